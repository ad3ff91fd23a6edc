"""The headline job, on a GPU: millions of records from files to a model, in seconds.

    python tests/benchmarks/headline.py [--rows 23e6 --features 400 --clusters 500] [--quick]
    python tests/benchmarks/headline.py --rows 100e6 --features 26 --clusters 10
    python tests/benchmarks/headline.py --rows 4e6 --features 784 --clusters 10000

Writes the records once, in `--folder`, and reads them through so that they are in the page cache.
Then, in one run, medians of `--rounds`:

floor       Read and copied to the device, nothing else; and the products of all rows with as many
            centers as the summary has, nothing else.
ours        `onepass train` in a process of its own, from its start to `model_algo-1`: with kernels
            compiled anew, and as any later job; by its own clock, the pass and the last step. The
            same with other mini-batch sizes.
parts       One pass in this process, in which the device is waited for behind every part, so that
            parts add up to more than the pass takes: unpacking, search, update, sample,
            consolidation; of batches while data is there already.
peers       What is installed of flash-kmeans, fastkmeans, PyTorch, cuML, faiss and scikit-learn, on
            the same rows; seconds without the time to get them there.

msd is exact, of all rows, in float64 sums. `--emulated` takes the tests' emulation of a GPU, for
a look at whether this runs; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from onepass import KMeans, load_model
from onepass.cluster import device_plan
from onepass.cluster.device_epoch import DeviceEpoch
from onepass.cluster.device_summary import DeviceSummary
from onepass.cluster.kernels import gpu as kernels
from onepass.cluster.model import KMeansModel
from onepass.cluster.record_intake import N_SLOTS
from onepass.data.bad_records import BadRecords
from onepass.data.batches import BatchReader
from onepass.data.record_blocks import Memories
from onepass.data.record_cursor import RecordCursor
from onepass.data.sources import Span, n_bytes_of, whole_files
from onepass.formats.record_writer import write_rows
from onepass.resources import available_cpus
from onepass.training import device_tasks, record_feed

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
from headline_peers import PEERS, Fitted
from memory import configure, train

BLOCK_ROWS = 50_000
PARTS = {
    "unpack": "unpack",
    "search": "lay_out multiply settle open_far settle_down adopt",
    "update": "add move",
    "sample": "draw take fill_holes relabel",
}


class Shape(NamedTuple):
    """What is clustered."""

    n_rows: int
    n_features: int
    n_clusters: int
    n_files: int

    def name(self) -> str:
        return f"{self.n_rows}-{self.n_features}-{self.n_clusters}-{self.n_files}"


def draw(shape: Shape, block: int, n: int) -> np.ndarray:
    """Draw a block of a mixture in which few clusters are large and many small."""
    k, d = shape.n_clusters, shape.n_features
    rng = np.random.default_rng(0)
    means = rng.standard_normal((k, d), np.float32) * np.float32(4 * np.sqrt(2 / d))
    spread = ((0.5 + rng.random(k)) / np.sqrt(d)).astype(np.float32)
    shares = 1 / np.arange(1, k + 1) ** 0.7
    rng = np.random.default_rng([1, block])
    labels = rng.choice(k, n, p=shares / shares.sum())
    rows = rng.standard_normal((n, d), np.float32)
    rows *= spread[labels, None]
    rows += means[labels]
    return rows


def write_file(shape: Shape, path: Path, index: int) -> None:
    """Write one file, unless it is there."""
    first, last = (shape.n_rows * i // shape.n_files for i in (index, index + 1))
    if path.exists():
        return
    written = path.with_suffix(".part")
    with written.open("wb") as file:
        for start in range(first, last, BLOCK_ROWS):
            n = min(BLOCK_ROWS, last - start)
            file.write(write_rows(draw(shape, start, n)))
    written.rename(path)


def write(shape: Shape, channel: Path) -> list[Span]:
    """Write all files, as many at a time as there are processors."""
    channel.mkdir(parents=True, exist_ok=True)
    paths = [channel / f"part-{i:03}.pbr" for i in range(shape.n_files)]
    with ProcessPoolExecutor(available_cpus()) as pool:
        deque(pool.map(partial(write_file, shape), paths, range(len(paths))), maxlen=0)
    for path in paths:  # into the page cache
        with path.open("rb", buffering=0) as file:
            while file.read(2**24):
                pass
    return whole_files(paths)


def seconds_of(work: Callable[[], Any], n_rounds: int) -> float:
    """Return the median of what something takes."""
    taken = []
    for _ in range(n_rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


class Floors:
    """What cannot be gone below: reading with copying, and products."""

    def __init__(self, gpu: kernels.Gpu, sources: list[Span], shape: Shape) -> None:
        self._gpu, self._sources, self._shape = gpu, sources, shape
        n_threads = min(available_cpus(), 16)
        self._memories = Memories(gpu.page_locked, N_SLOTS + 1 + n_threads, 2**24, n_threads)
        self._lane = gpu.new_lane()
        self._slots = [gpu.empty(2**22, np.uint32) for _ in range(N_SLOTS)]

    def copy(self) -> None:
        """Read all and copy it to the device."""
        cursor = RecordCursor(self._sources, self._shape.n_features, BadRecords())
        cursor.decode(1)
        stride = cursor.layout.stride
        sent: deque = deque()
        with closing(cursor.blocks(stride, self._memories)) as blocks:
            for i, block in enumerate(blocks):
                if len(sent) == N_SLOTS:
                    self._done(*sent.popleft())
                sent.append((block, self._lane.copy(block.words, self._slots[i % N_SLOTS])))
        while sent:
            self._done(*sent.popleft())

    @staticmethod
    def _done(block: Any, copied: kernels.Mark) -> None:
        copied.wait()
        block.release()

    def products(self) -> float:
        """Return the seconds that the products of all rows with a summary's centers take."""
        n_rows, d, k, _ = self._shape
        room = -(-KMeans(k).checked_parameters().n_centers // 32) * 32
        n = max(1, min(n_rows, 2**26 // room, 2**24 // d))
        rows, factors = (self._gpu.zeros((m, d), np.float32) for m in (n, room))
        out = self._gpu.empty((n, room), np.float32)
        tf32 = d >= 64

        def ten_times() -> None:
            for _ in range(10):
                self._gpu.multiply(rows, factors, out, tf32=tf32)
            self._gpu.mark().wait()

        ten_times()
        return seconds_of(ten_times, 3) / 10 * n_rows / n


def parts_of_pass(gpu: kernels.Gpu, sources: list[Span], shape: Shape) -> dict[str, float]:
    """Return the seconds of each part of a pass, each waited for."""
    taken: dict[str, float] = defaultdict(float)
    kept = {}

    def timed(owner: type, method: str, part: str) -> None:
        work = kept[owner, method] = getattr(owner, method)

        @wraps(work)
        def wrapper(*given: Any, **named: Any) -> Any:
            gpu.mark().wait()
            started = time.perf_counter()
            result = work(*given, **named)
            gpu.mark().wait()
            taken[part] += time.perf_counter() - started
            return result

        setattr(owner, method, wrapper)

    for part, methods in PARTS.items():
        for method in methods.split():
            timed(kernels.Gpu, method, part)
    timed(DeviceSummary, "consolidate", "consolidate")
    try:
        started = time.perf_counter()
        at_once = max(1, min(5000, shape.n_rows // 10))
        kmeans = KMeans(shape.n_clusters, init="random", batch_size=at_once, device="gpu")
        reader = BatchReader(sources, shape.n_features, at_once)
        device_tasks.summarise(kmeans, reader, lambda _: None)
        taken["the pass, waiting"] = time.perf_counter() - started
        started = time.perf_counter()
        kmeans.finalize()
        taken["finish"] = time.perf_counter() - started
    finally:
        for (owner, method), work in kept.items():
            setattr(owner, method, work)
    return taken


def msd_of(gpu: kernels.Gpu, centers: np.ndarray, sources: list[Span], shape: Shape) -> float:
    """Return the exact mean squared distance of all rows."""
    epoch = DeviceEpoch(gpu, KMeansModel(centers))
    sink = device_tasks.EpochSink(epoch)
    reader = BatchReader(sources, shape.n_features, 5000)
    if not record_feed.feed(sink, reader, lambda _: None):
        raise SystemExit("the records are not all alike")
    return epoch.step().inertia / shape.n_rows


def our_runs(base: Path, shape: Shape, options: argparse.Namespace) -> Iterator[Fitted]:
    """Run the real command: compiled anew, again, and with other mini-batch sizes."""
    cases = [("with kernels compiled anew", None), ("as any later job", None)]
    cases += [(f"mini_batch_size={size}", size) for size in options.batch_sizes]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CUPY_CACHE_DIR"] = cache
        for name, size in cases:
            configure(base, shape.n_clusters, shape.n_features)
            path = base / "input/config/hyperparameters.json"
            wanted = json.loads(path.read_text()) | ({"mini_batch_size": size} if size else {})
            path.write_text(json.dumps(wanted))
            jobs = [train(base) for _ in range(1 if "anew" in name else options.rounds)]
            jobs.sort(key=lambda job: job.wall_s)
            job = jobs[len(jobs) // 2]
            pass_s, finish_s = (job.stage_s(s) for s in ("read_and_summarise", "final_centers"))
            centers = load_model(base / "model").centers
            note = f"pass {pass_s:.2f} s, finish {finish_s:.2f} s, {job.cpu_s:.1f} CPU seconds"
            yield Fitted(f"Onepass, {name}", job.wall_s, centers, note)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    number = lambda text: int(float(text))  # noqa: E731 - 23e6 is easier to read than its zeros
    parser.add_argument("--rows", type=number, default=23_000_000)
    parser.add_argument("--features", type=int, default=400)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--files", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[1000, 5000, 100_000])
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS])
    parser.add_argument("--iterations", type=int, default=25, help="of the peers' Lloyd")
    parser.add_argument("--folder", type=Path, help="where records are written and kept")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--emulated", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.emulated:
        import emulation

        stand_in = emulation.stand_in()
        kernels.cuda = lambda: stand_in
        kernels._ONE_BLOCK, device_plan._LEAST_ROWS, device_plan._ROW_VALUES = 96, 256, 1
    try:
        gpu = kernels.Gpu()
    except kernels.NoGpuError as error:
        sys.exit(f"{error}: nothing is measured")
    n_rows = options.rows // 10 if options.quick else options.rows
    shape = Shape(n_rows, options.features, options.clusters, min(options.files, n_rows))
    with tempfile.TemporaryDirectory() as scratch:
        base = (options.folder or Path(scratch)) / shape.name()
        sources = write(shape, base / "input/data/train")
        report(gpu, base, sources, shape, options)


def report(
    gpu: kernels.Gpu, base: Path, sources: list[Span], shape: Shape, options: argparse.Namespace
) -> None:
    n_bytes = n_bytes_of(sources)
    print(f"{shape.n_rows:,} x {shape.n_features}, k = {shape.n_clusters}, {n_bytes / 1e9:.1f} GB")
    print(f"{gpu.name}, {available_cpus()} processors\n")
    floors = Floors(gpu, sources, shape)
    floors.copy()
    copy_s, products_s = seconds_of(floors.copy, options.rounds), floors.products()
    floor = max(copy_s, products_s)
    print("| floor | seconds | GB/s or TFLOP/s |\n| --- | ---: | ---: |")
    print(f"| read and copied | {copy_s:.3f} | {n_bytes / copy_s / 1e9:.1f} |")
    n_centers = KMeans(shape.n_clusters).checked_parameters().n_centers
    operations = 2 * shape.n_rows * shape.n_features * n_centers
    print(f"| products | {products_s:.3f} | {operations / products_s / 1e12:.1f} |\n")
    parts = parts_of_pass(gpu, sources, shape)
    print("| part | seconds |\n| --- | ---: |")
    for part, seconds in parts.items():
        print(f"| {part} | {seconds:.3f} |")
    print("\n| | seconds | x floor | msd | |\n| --- | ---: | ---: | ---: | --- |", flush=True)
    fits: list[Callable[[], Iterator[Fitted]]] = [partial(our_runs, base, shape, options)]
    fits += [partial(PEERS[name], sources, shape, options.iterations) for name in options.peers]
    for fit in fits:
        try:
            for done in fit():
                msd = msd_of(gpu, done.centers, sources, shape)
                figures = f"{done.seconds:.2f} | {done.seconds / floor:.2f} | {msd:.5g}"
                print(f"| {done.name} | {figures} | {done.note} |", flush=True)
        except Exception as error:  # noqa: BLE001 - a peer may fail as it likes: others go on
            print(f"| {fit.func.__name__} | | | | not run: {error!r:.200} |", flush=True)


if __name__ == "__main__":
    main()
