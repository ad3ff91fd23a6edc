"""Every algorithm that ours is compared with, each fit in a process of its own.

    python tests/benchmarks/peers.py PEER rows.npy K SEED ... --threads 1 --out 'centers-{seed}.npy'

Prints a line of JSON a seed. The process reads its modules and the rows, and forks once a seed; CPU
seconds (user and system, of the child and of all it started, such as a Java machine), wall seconds
and the peak of resident memory are those of the fit alone. Resident memory before it and the start
of a Java machine, rows handed over included, stand beside them. Algorithms whose packages would
break ours run in environments made on first use in the cache. What makes this module long is how
many algorithms there are.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import inspect
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import numpy as np

BATCH_ROWS = 5_000
READY_SECONDS = 1_800
FOREVER = 10**9


class Task(NamedTuple):
    """What to cluster."""

    rows: np.ndarray
    k: int
    seed: int
    threads: int
    scratch: Path

    def batches(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.rows), BATCH_ROWS):
            yield self.rows[start : start + BATCH_ROWS]


Fit = Callable[[], Any]


def onepass(task: Task) -> Fit:
    """Feed batches once, then finish."""
    from onepass import KMeans

    several = "n_workers" in inspect.signature(KMeans).parameters
    workers: dict[str, Any] = {"n_workers": task.threads} if several else {}
    kmeans = KMeans(task.k, random_state=task.seed, **workers)

    def fit() -> np.ndarray:
        for batch in task.batches():
            kmeans.partial_fit(batch)
        return kmeans.finalize().cluster_centers_

    return fit


def sklearn_kmeans(task: Task) -> Fit:
    """Run one start from k-means++ until it stands still."""
    from sklearn.cluster import KMeans

    kmeans = KMeans(task.k, n_init=1, max_iter=300, random_state=task.seed)
    return lambda: kmeans.fit(task.rows).cluster_centers_


def sklearn_minibatch(task: Task) -> Fit:
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(task.k, random_state=task.seed)
    return lambda: kmeans.fit(task.rows).cluster_centers_


def sklearn_minibatch_once(task: Task) -> Fit:
    """Feed the batches that ours gets, once."""
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(task.k, random_state=task.seed)

    def fit() -> np.ndarray:
        for batch in task.batches():
            kmeans.partial_fit(batch)
        return kmeans.cluster_centers_

    return fit


def _faiss(task: Task, **settings: Any) -> Fit:
    import faiss

    faiss.omp_set_num_threads(task.threads)
    if settings.pop("plus_plus", False):
        settings["init_method"] = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    kmeans = faiss.Kmeans(task.rows.shape[1], task.k, seed=task.seed, **settings)

    def fit() -> np.ndarray:
        kmeans.train(task.rows)
        return kmeans.centroids

    return fit


def faiss_default(task: Task) -> Fit:
    """Make 25 iterations on at most 256 rows a cluster, from rows drawn at random."""
    return _faiss(task)


def faiss_full(task: Task) -> Fit:
    """Make 25 iterations on all rows."""
    return _faiss(task, max_points_per_centroid=FOREVER)


def faiss_plus_plus(task: Task) -> Fit:
    """Make 25 iterations on all rows, from k-means++."""
    return _faiss(task, max_points_per_centroid=FOREVER, plus_plus=True)


def _spark(task: Task) -> Any:
    """Start a Java machine that uses no more processors than it may."""
    from pyspark import SparkConf, SparkContext

    options = f"-XX:ActiveProcessorCount={task.threads}"
    settings = {
        "spark.driver.memory": "10g",
        "spark.driver.extraJavaOptions": options,
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(task.scratch),
    }
    os.environ["PYSPARK_PYTHON"] = sys.executable
    conf = SparkConf().setMaster(f"local[{task.threads}]").setAll([*settings.items()])
    context = SparkContext(conf=conf)
    context.setLogLevel("ERROR")
    return context


def _vectors(context: Any, rows: np.ndarray, path: Path, vector: Callable[..., Any]) -> Any:
    """Hand rows over by a file: Spark's own reader of fixed-length records is fastest."""
    import numpy as np

    rows.tofile(path)
    records = context.binaryRecords(str(path), rows.shape[1] * 4)
    return records.map(lambda record: vector(np.frombuffer(record, "<f4")))


def spark_streaming(task: Task) -> Fit:
    """Update Spark's streaming model once a batch; nothing fades.

    Its random centers are drawn around 0 whatever the data, so it starts from rows of the first
    batch instead. The batches lie in the Java machine's memory before the clock starts, and no row
    passes through Python after that.
    """
    import numpy as np
    from pyspark.mllib.common import callMLlibFunc
    from pyspark.mllib.linalg import DenseVector

    batches = _spark_batches(task)
    first = next(task.batches())
    drawn = np.random.default_rng(task.seed).choice(len(first), task.k, replace=False)

    def fit() -> list[Any]:
        state: Any = ([DenseVector(row) for row in first[drawn]], [0.0] * task.k)
        for batch in batches:
            moved = callMLlibFunc("updateStreamingKMeansModel", *state, batch, 1.0, "batches")
            state = ([*moved[0]], [*moved[1]])
        return [center.toArray() for center in state[0]]

    return fit


def _spark_batches(task: Task) -> list[Any]:
    from pyspark.mllib.common import _to_java_object_rdd
    from pyspark.mllib.linalg import DenseVector

    context = _spark(task)
    batches = []
    for i, batch in enumerate(task.batches()):
        vectors = _vectors(context, batch, task.scratch / f"{i}.raw", DenseVector)
        batches.append(_to_java_object_rdd(vectors).cache())
        batches[-1].count()
    return batches


def spark_kmeans(task: Task) -> Fit:
    """Run Spark's KMeans from k-means|| on rows that lie in the Java machine's memory."""
    from pyspark.ml.clustering import KMeans
    from pyspark.ml.linalg import DenseVector
    from pyspark.sql import SparkSession

    context = _spark(task)
    session = SparkSession(context)
    vectors = _vectors(
        context, task.rows, task.scratch / "rows.raw", lambda row: (DenseVector(row),)
    )
    frame = session.createDataFrame(vectors, ["features"]).cache()
    frame.count()
    kmeans = KMeans(k=task.k, seed=task.seed)
    return lambda: kmeans.fit(frame).clusterCenters()


def river_kmeans(task: Task) -> Fit:
    """Learn row by row, with the defaults."""
    from river.cluster import KMeans

    kmeans = KMeans(n_clusters=task.k, seed=task.seed)
    columns = range(task.rows.shape[1])
    rows = [dict(zip(columns, row, strict=True)) for row in task.rows.tolist()]

    def fit() -> list[Any]:
        for row in rows:
            kmeans.learn_one(row)
        return [[center[j] for j in columns] for center in kmeans.centers.values()]

    return fit


def dask_kmeans(task: Task) -> Fit:
    """Run dask-ml's KMeans from k-means|| on chunks in memory."""
    import dask
    import dask.array
    from dask_ml.cluster import KMeans

    dask.config.set(scheduler="threads", num_workers=task.threads)
    chunk = max(BATCH_ROWS, -(-len(task.rows) // (4 * task.threads)))
    rows = dask.array.from_array(task.rows, chunks=(chunk, -1))
    kmeans = KMeans(n_clusters=task.k, random_state=task.seed)
    return lambda: kmeans.fit(rows).cluster_centers_


class Peer(NamedTuple):
    """An algorithm, and what it needs.

    Attributes
    ----------
    package : str
        Whose version is the algorithm's.
    modules : str
        Imported before the clock starts.
    requirements : str
        What an environment of its own needs; empty when it runs in ours.
    slow : bool
        Large sets are measured with fewer seeds.
    max_rows, max_features : int
        Above these it is left out.
    """

    prepare: Callable[[Task], Fit]
    title: str
    package: str
    modules: str
    requirements: str = ""
    slow: bool = False
    max_rows: int = FOREVER
    max_features: int = FOREVER


SPARK = "pyspark>=4,<5 numpy"
PEERS = {
    "onepass": Peer(onepass, "Onepass", "onepass-kmeans", "onepass"),
    "kmeans": Peer(sklearn_kmeans, "KMeans, one start", "scikit-learn", "sklearn.cluster"),
    "minibatch": Peer(sklearn_minibatch, "MiniBatchKMeans", "scikit-learn", "sklearn.cluster"),
    "minibatch-once": Peer(
        sklearn_minibatch_once, "MiniBatchKMeans, one pass", "scikit-learn", "sklearn.cluster"
    ),
    "faiss": Peer(faiss_default, "faiss", "faiss-cpu", "faiss"),
    "faiss-full": Peer(faiss_full, "faiss, all rows", "faiss-cpu", "faiss"),
    "faiss-plus-plus": Peer(faiss_plus_plus, "faiss, k-means++, all rows", "faiss-cpu", "faiss"),
    "spark-streaming": Peer(
        spark_streaming, "Spark StreamingKMeans", "pyspark", "pyspark.mllib.common", SPARK, True
    ),
    "spark": Peer(spark_kmeans, "Spark KMeans", "pyspark", "pyspark.ml.clustering", SPARK, True),
    "dask": Peer(
        dask_kmeans, "dask-ml KMeans", "dask-ml", "dask.array dask_ml.cluster", "dask-ml", True
    ),
    "river": Peer(
        river_kmeans, "river KMeans", "river", "river.cluster", "river", True, 20_000, 64
    ),
}


@dataclass(frozen=True)
class Run:
    """What one fit cost; `problem` says why there is no more to say."""

    peer: str
    version: str
    seed: int
    threads: int
    cpu_s: float = 0.0
    wall_s: float = 0.0
    ready_s: float = 0.0
    rss_before: int = 0
    rss_peak: int = 0
    problem: str = ""


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            with contextlib.suppress(OSError):
                yield from _descendants(int(child))


def cpu_seconds() -> float:
    """Return CPU seconds of this process, of those it waited for and of those it has running."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    for pid in _descendants(os.getpid()):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def resident(field: str) -> int:
    """Return bytes resident now ("VmRSS") or at the peak ("VmHWM"), of this process and its own."""
    total = 0
    for pid in (os.getpid(), *_descendants(os.getpid())):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
    return total


def forget_peak() -> None:
    for pid in (os.getpid(), *_descendants(os.getpid())):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _measure(peer: str, task: Task, out: Path, pipe: Connection) -> None:
    """Fit in this process, a child; tell when it is ready, and then what it took."""
    import numpy as np

    os.setpgrp()
    begun = time.perf_counter()
    fit = PEERS[peer].prepare(task)
    ready = time.perf_counter() - begun
    forget_peak()
    found = {"ready_s": ready, "rss_before": resident("VmRSS")}
    pipe.send(found)
    cpu, wall = cpu_seconds(), time.perf_counter()
    centers = fit()
    found["wall_s"] = time.perf_counter() - wall
    found |= {"cpu_s": cpu_seconds() - cpu, "rss_peak": resident("VmHWM")}
    np.save(out, np.asarray(centers, np.float32))
    pipe.send(found)


def _child(peer: str, task: Task, out: Path, pipe: Connection) -> None:
    try:
        _measure(peer, task, out, pipe)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its result
        traceback.print_exc()
        pipe.send({"problem": f"{type(error).__name__}: {error}"[:300]})


def fit_once(peer: str, task: Task, out: Path, max_seconds: float) -> Run:
    """Fit in a child that is ended when it takes too long."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(peer, task, out, theirs))
    child.start()
    theirs.close()
    try:
        found = _told(ours, max_seconds)
    finally:
        with contextlib.suppress(OSError):
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.join()
    return Run(peer, version(peer), task.seed, task.threads, **found)


def _told(pipe: Connection, max_seconds: float) -> dict[str, Any]:
    """Wait until the child is ready, and then for what its fit took."""
    found: dict[str, Any] = {}
    for seconds in (READY_SECONDS, max_seconds):
        try:
            found = pipe.recv() if pipe.poll(seconds) else {"problem": f"> {seconds:g} s"}
        except EOFError:
            found = {"problem": "died"}
        if "problem" in found:
            break
    return found


def version(peer: str) -> str:
    return importlib.metadata.version(PEERS[peer].package)


def too_large(peer: str, shape: tuple[int, ...]) -> str:
    """Return why the algorithm is spared rows of this shape, or nothing."""
    known = PEERS[peer]
    if shape[0] <= known.max_rows and shape[1] <= known.max_features:
        return ""
    return f"measured up to {known.max_rows:,} x {known.max_features} only"


def interpreter(peer: str, cache: Path) -> Path:
    """Return the Python that runs the algorithm, its environment made now if it is missing."""
    known = PEERS[peer]
    if not known.requirements:
        return Path(sys.executable)
    return environment(known.package, known.requirements, cache)


def environment(name: str, wanted: str, cache: Path) -> Path:
    """Return the Python of an environment of its own, made now if it is missing."""
    home = cache / "environments" / name
    ready = home / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        install = [home / "bin" / "pip", "install", "--quiet", *wanted.split()]
        subprocess.run(install, check=True, capture_output=True, text=True)
        ready.write_text(wanted)
    return home / "bin" / "python"


def runs(
    peer: str,
    rows: Path,
    k: int,
    seeds: list[int],
    *,
    threads: int,
    out: Path,
    max_seconds: float,
    python: Path,
    log: Path,
) -> Iterator[Run]:
    """Run one algorithm once a seed; `out` names the files of centers, with ``{seed}`` in it.

    It ends with the first problem; what the algorithm complained of is added to `log`.
    """
    command = [python, "-W", "ignore", __file__, peer, rows, str(k), *map(str, seeds)]
    command += ["--threads", str(threads), "--out", out, "--max-seconds", str(max_seconds)]
    with (
        log.open("a") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as worker,
    ):
        for line in worker.stdout or ():
            if line.startswith('{"peer"'):
                yield Run(**json.loads(line))
    if worker.returncode:
        problem = f"ended with {worker.returncode}: see {log}"
        yield Run(peer, "", seeds[0], threads, problem=problem)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("rows", type=Path)
    parser.add_argument("k", type=int)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("centers-{seed}.npy"))
    parser.add_argument("--max-seconds", type=float, default=3600)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the child on the way out
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):  # read when these are imported
        os.environ[f"{library}_NUM_THREADS"] = str(options.threads)
    for module in ("numpy", *PEERS[options.peer].modules.split()):
        importlib.import_module(module)
    rows = sys.modules["numpy"].load(options.rows, allow_pickle=False)
    for seed in options.seeds:
        out = Path(str(options.out).replace("{seed}", str(seed)))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            task = Task(rows, options.k, seed, options.threads, Path(scratch))
            run = fit_once(options.peer, task, out, options.max_seconds)
        print(json.dumps(asdict(run)), flush=True)
        if run.problem:  # the next seed would fare no better
            break


if __name__ == "__main__":
    main()
