"""Imports point one way, and each third-party package stays behind its wall."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onepass

PACKAGE = Path(onepass.__file__).parent

# A room may import itself and every room of a deeper layer, never one of its own layer.
LAYERS = (
    {"cli"},
    {"training", "serving", "convert"},
    {"distributed"},
    {"artifact", "sagemaker", "data", "report"},
    {"cluster", "formats"},
    {"errors", "resources", "finite", "sparse"},
)
DEPTH = {room: depth for depth, layer in enumerate(LAYERS) for room in layer}

# The one exception is the package's own face, which loads what is asked of it.
FACE = "onepass"

WALLS = {
    "cupy": ("cluster/kernels/gpu.py",),
    "cupy_backends": ("cluster/kernels/gpu.py",),
    "scipy": ("cluster/kernels/reference.py", "cluster/kernels/sparse.py"),
    "boto3": ("data/s3_client.py",),
    "botocore": ("data/s3_client.py",),
    "isal": ("data/gzip_stream.py", "data/gzip_writer.py"),
    "pyarrow": (
        "convert/parquet_tables.py",
        "data/csv_file.py",
        "data/parquet_file.py",
        "data/zstd_stream.py",
        "formats/csv_writer.py",
        "formats/label_table.py",
        "formats/libsvm.py",
    ),
    "ctypes": ("cluster/kernels/compiled.py", "formats/compiled.py", "resources.py"),
    "sklearn": ("cluster/estimator.py", "convert/models.py", "report/projection.py"),
    "PIL": ("report/png.py",),
    "onnx": ("convert/models.py",),
    "gunicorn": ("serving/gunicorn.py",),
    "uvicorn": ("serving/connections.py", "serving/gunicorn.py"),
    "httptools": ("serving/connections.py",),
    "prometheus_client": ("serving/metrics.py",),
    "orjson": ("formats/answers.py", "serving/"),
    "google": ("formats/",),
    "dask": ("distributed/",),
    "distributed": ("distributed/",),
    "click": ("cli/",),
    "threadpoolctl": ("cluster/workers.py",),
    "numpy": (
        "cluster/",
        "convert/",
        "data/",
        "distributed/collections.py",
        "finite.py",
        "formats/",
        "report/",
        "serving/invocation.py",
        "sparse.py",
    ),
}
GENERATED = "formats/record_pb2.py"
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
ENVIRONMENT = {f"os.{name}" for name in ("environ", "environb", "getenv", "putenv")}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name != GENERATED:
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every absolute module name that a module imports, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node, node.module or ""
            if node.module == "onepass":
                for alias in node.names:
                    yield node, f"onepass.{alias.name}"


def room_of(name: str) -> str:
    """``serving/app.py`` -> ``serving``, ``errors.py`` -> ``errors``, ``__init__.py`` -> face."""
    first = name.split("/", maxsplit=1)[0].removesuffix(".py")
    return FACE if first == "__init__" else first


def rooms_imported(tree: ast.Module) -> set[str]:
    found = set()
    for _, name in imports(tree):
        parts = name.split(".")
        if parts[0] == "onepass" and len(parts) > 1 and parts[1] != "__version__":
            found.add(parts[1])
    return found


def breaches_of_direction(name: str, tree: ast.Module) -> list[str]:
    room = room_of(name)
    if room == FACE:
        return []
    return [
        f"{name} imports {other}"
        for other in sorted(rooms_imported(tree))
        if other != room and DEPTH.get(other, -1) <= DEPTH[room]
    ]


def breaches_of_walls(name: str, tree: ast.Module) -> list[str]:
    return [
        f"{name} imports {module}"
        for _, module in imports(tree)
        for wall in [WALLS.get(module.split(".")[0])]
        if wall is not None and not name.startswith(wall)
    ]


def breaches_of_manners(name: str, tree: ast.Module) -> list[str]:
    found = [f"imports {module}" for _, module in imports(tree) if module in FORBIDDEN_MODULES]
    for node in ast.walk(tree):
        found += _bad_anywhere(node)
        if not name.startswith("cli/"):
            found += _bad_outside_cli(node)
    return [f"{name} {what}" for what in found]


def _bad_anywhere(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and node.level:
        yield "imports relatively"
    elif isinstance(node, ast.Assert):
        yield "asserts"
    elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
        yield f"uses {node.id}"


def _bad_outside_cli(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and node.id == "print":
        yield "uses print"
    elif isinstance(node, ast.Attribute) and ast.unparse(node) in ENVIRONMENT:
        yield f"uses {ast.unparse(node)}"
    elif isinstance(node, ast.ImportFrom) and node.module == "os":
        yield from (
            f"imports {alias.name}" for alias in node.names if f"os.{alias.name}" in ENVIRONMENT
        )


def opt_ml_constants(tree: ast.Module) -> int:
    """Count the string constants, docstrings aside, in which the platform's directory stands."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return sum(
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and "/opt/ml" in node.value
        and id(node) not in docstrings
        for node in ast.walk(tree)
    )


def test_every_room_has_its_place_in_the_order():
    rooms = {room_of(name) for name, _ in modules()} - {FACE}
    assert rooms <= set(DEPTH)


def test_imports_point_downwards_and_never_sideways():
    found = [breach for module in modules() for breach in breaches_of_direction(*module)]
    # When a user gives KMeans rows of Dask, and not before.
    assert found == [
        "cluster/elsewhere.py imports convert",
        "cluster/elsewhere.py imports distributed",
    ]


def test_third_party_packages_stay_behind_their_walls():
    assert [breach for module in modules() for breach in breaches_of_walls(*module)] == []


def test_boto3_is_imported_by_one_module_at_most():
    users = [
        name
        for name, tree in modules()
        if any(module.split(".")[0] in ("boto3", "botocore") for _, module in imports(tree))
    ]
    assert len(users) <= 1


def test_no_module_asserts_prints_pickles_evaluates_or_reads_the_environment():
    found = [breach for module in modules() for breach in breaches_of_manners(*module)]
    # Between processes that one program has forked; nothing of it is stored or comes from outside.
    assert found == ["distributed/parcels.py imports pickle"]


def test_the_platforms_directory_is_written_once_and_in_paths():
    counts = {name: opt_ml_constants(tree) for name, tree in modules()}
    assert {name: count for name, count in counts.items() if count} == {"sagemaker/paths.py": 1}


def test_importing_the_package_loads_neither_numpy_nor_a_server():
    code = "import sys, onepass; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & {"numpy", "scipy", "uvicorn", "gunicorn", "google", "click"} == set()


def test_asking_for_help_loads_no_numpy():
    code = (
        "import sys\n"
        "from onepass.cli.main import main\n"
        "try:\n    main(['train', '--help'])\n"
        "except SystemExit:\n    print('numpy' in sys.modules, 'uvicorn' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"


def test_every_module_can_be_imported_alone():
    names = [
        "onepass." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name, _ in modules()
        if name != "__init__.py"
    ]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for known in [n for n in sys.modules if n.split('.')[0] == 'onepass']:\n"
        "        if not known.endswith('_pb2'): del sys.modules[known]\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "source", "breach"),
    [
        ("formats/fake.py", "import onepass.cluster.model", "formats/fake.py imports cluster"),
        ("data/fake.py", "from onepass import artifact", "data/fake.py imports artifact"),
        ("cluster/fake.py", "def f():\n    from onepass.cli import logs", "imports cli"),
        ("errors.py", "import onepass.resources", "errors.py imports resources"),
        ("serving/fake.py", "from onepass.training.job import train", "imports training"),
        ("cluster/fake.py", "from onepass import KMeans", "cluster/fake.py imports KMeans"),
    ],
)
def test_the_walker_sees_an_import_against_the_order(name, source, breach):
    [found] = breaches_of_direction(name, ast.parse(source))
    assert breach in found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cluster/kernels/cpu.py", "import cupy as cp"),
        ("training/job.py", "import uvicorn"),
        ("serving/app.py", "from httptools import parse_url"),
        ("serving/app.py", "import gunicorn.app.base"),
        ("data/batches.py", "from google.protobuf import message"),
        ("training/job.py", "if True:\n    import click"),
        ("cluster/kernels/cpu.py", "import scipy.sparse"),
        ("formats/recordio.py", "import ctypes"),
    ],
)
def test_the_walker_sees_a_package_outside_its_wall(name, source):
    assert len(breaches_of_walls(name, ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from . import job",
        "assert True",
        "print(1)",
        "eval('1')",
        "import pickle",
        "import os\nos.environ['A']",
        "import os\nos.getenv('A')",
        "from os import environ",
    ],
)
def test_the_walker_sees_bad_manners(source):
    assert len(breaches_of_manners("training/fake.py", ast.parse(source))) == 1


def test_the_walker_counts_the_directory_in_code_but_not_in_docstrings():
    assert opt_ml_constants(ast.parse('"""Like /opt/ml."""')) == 0
    assert opt_ml_constants(ast.parse('"""Doc."""\nBASE = f"{1}/opt/ml/model"')) == 1
