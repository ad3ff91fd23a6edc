"""The command ``onepass``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onepass import __version__
from onepass.cli.settings import SETTINGS, Setting, given_by
from onepass.convert.file_formats import FileFormat
from onepass.sagemaker.paths import DEFAULT_BASE

_BASE = click.option(
    "--base",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_BASE,
    show_default=True,
    help="The directory that holds input/, model/ and output/.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onepass")
def main() -> None:
    """One-pass k-means: a drop-in replacement for Amazon SageMaker's built-in algorithm."""


@main.command()
@_BASE
@SETTINGS
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="A Dask cluster whose workers read the data, tcp://host:8786 say: they must find it under "
    "the same paths.",
)
@_JSON
def train(
    base: Path, settings: tuple[Setting, ...], scheduler: str | None, *, as_json: bool
) -> None:
    """Train a model from the channels under BASE/input/data.

    Reads BASE/input/config/hyperparameters.json (k and feature_dim are required), makes one pass
    over the rows in BASE/input/data/train, and leaves BASE/model/model_algo-1 and
    BASE/output/model.tar.gz. When it fails, BASE/output/failure says why.

    SIGTERM ends the pass, and the job with a model of what has been read.

    Exit codes: 0 trained; 1 a bug of ours; 2 something you can mend; 3 the machine (disk, memory);
    130 stopped by Ctrl-C; 143 stopped by SIGTERM with too few rows read.
    """
    from onepass.cli.train import Asked, run_training

    raise SystemExit(run_training(Asked(base, scheduler, given_by(settings), as_json)))


@main.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--base",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The directory of a job, as PATH.  [default: {DEFAULT_BASE}]",
)
@click.option("--content-type", help="Of data; by default told by how they begin.")
@click.option(
    "--feature-dim",
    type=click.IntRange(1),
    help="Features of a row of data; by default as many as the first row has.",
)
@click.option(
    "--label-size",
    type=click.IntRange(0),
    help="Leading columns of data that are labels; none by default.",
)
def check(
    path: Path | None,
    base: Path | None,
    content_type: str | None,
    feature_dim: int | None,
    label_size: int | None,
) -> None:
    """Read all that `train` would read, and tell what it holds or what is wrong with it.

    PATH is the directory of a job, which holds input/config or input/data, or a directory or a file
    of nothing but data, which the last three options describe.

    Nothing is written. Exit codes: 0 nothing is wrong; 2 something you can mend; 3 the machine.
    """
    from onepass.cli.check import run_check, run_check_of_data
    from onepass.training.unconfigured import Told, is_job

    if path and base:
        raise click.UsageError("PATH and --base are both given; one names the directory")
    told = Told(content_type, feature_dim, label_size)
    if path and not is_job(path):
        raise SystemExit(run_check_of_data(path, told))
    if any(value is not None for value in told):
        raise click.UsageError("what a job's data are is said in its input/config, not by options")
    raise SystemExit(run_check(path or base or DEFAULT_BASE))


_FORMATS = click.Choice([str(one) for one in FileFormat])


@main.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@click.argument("output", metavar="OUT")
@click.option("--from", "from_", type=_FORMATS, help="What IN is; by default, as each name tells.")
@click.option("--to", type=_FORMATS, help="What OUT becomes; by default, as its name tells.")
@click.option(
    "--label-size",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many leading columns of csv, parquet and npy are labels.",
)
@click.option(
    "--labels",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="What becomes of labels, those of recordio and libsvm included.",
)
@click.option(
    "--feature-dim",
    type=click.IntRange(1),
    help="Features of a row. Needed for libsvm; of others, what must be found.",
)
@click.option(
    "--first-index",
    type=click.IntRange(0, 1),
    default=1,
    show_default=True,
    help="What libsvm calls the first feature.",
)
@click.option(
    "--sparse/--dense",
    default=None,
    help="Records without their zeros, or with them; by default, as the first row of IN is.",
)
@click.option(
    "--rows-per-file",
    type=click.IntRange(1),
    help="Rows of each file in the folder OUT; by default, all are in one.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, or all in the folder OUT.")
def convert(inputs: tuple[str, ...], output: str, **options: Any) -> None:
    """Convert rows between RecordIO-protobuf, CSV, Parquet, NumPy and libsvm.

    IN are files, directories, or objects and folders in S3 (s3://bucket/name), plain or, but for
    Parquet, compressed by gzip or zstd. Formats are told by names (.pbr .csv .parquet .npy .libsvm)
    or, of IN, by how a file begins. OUT is one file where its name has an ending (.gz behind it
    compresses it), else, or with a / at its end, a folder of part-00000.pbr, part-00001.pbr, ...;
    RecordIO if --to does not say otherwise.

    Values are float32. Rows keep their order; memory does not grow with their number. Files appear
    complete, all at the end, or not at all.

    Exit codes: 0 converted; 1 a bug of ours; 2 something you can mend; 3 the machine (disk, memory,
    network); 130 stopped by Ctrl-C; 143 stopped by SIGTERM.
    """
    from onepass.cli.convert import run_conversion

    raise SystemExit(run_conversion(inputs, output, options))


@main.command()
@_BASE
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=None,
    help="Where to listen; by default $SAGEMAKER_BIND_TO_PORT, or 8080.",
)
def serve(base: Path, port: int | None) -> None:
    """Answer GET /ping and POST /invocations with the model under BASE/model.

    The model is BASE/model/model_algo-1, or the one in BASE/model/model.tar.gz. With
    SAGEMAKER_MULTI_MODEL=true in the environment there are none at first: requests to /models load
    them from under BASE/models. Other variables are in the README.

    Exit codes: 0 stopped by a signal; 2 there is no readable model; 3 the port is taken.
    """
    from onepass.cli.serve import run_server

    raise SystemExit(run_server(base, port))


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@_JSON
def describe(model: Path, *, as_json: bool) -> None:
    """Tell what is known of a model: clusters, features, rows seen, msd, dates, what it came from.

    MODEL is a model_algo-1, a model.tar.gz or a directory that holds either, of Onepass or of
    Amazon's k-means.

    Exit codes: 0 told; 1 a bug of ours; 2 something you can mend; 3 the machine.
    """
    from onepass.cli.describe import run_description

    raise SystemExit(run_description(model, as_json=as_json))


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--output", "-o", default="-", help="The file to write; by default standard output.")
@click.option("--content-type", help="What INPUT holds; by default, as each name tells.")
@click.option(
    "--accept",
    default="application/jsonlines",
    show_default=True,
    help="The form of the answer; 'text/csv; verbose=true' has the distances to all clusters.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "gpu"]),
    help="What searches: a GPU where there is one, the processor, or a GPU and nothing else.",
)
def predict(
    model: Path,
    inputs: tuple[str, ...],
    output: str,
    content_type: str | None,
    accept: str,
    device: str,
) -> None:
    """Find the closest cluster of each row in files, and how far it is.

    MODEL is a model_algo-1, a model.tar.gz or a directory that holds either. INPUT are files, or
    directories of them, plain or compressed by gzip or zstd, of what `serve` takes: CSV (without a
    header; 'text/csv; label_size=1' drops a label), JSON, JSON Lines, RecordIO-protobuf and NumPy.
    - is standard input.

    Answers are those of `serve`, of all rows in their order, with an end of the last line; memory
    does not grow with their number. A file is written whole, or not at all. On a GPU, distances may
    differ in the last digits.

    Exit codes: 0 scored; 1 a bug of ours; 2 something you can mend; 3 the machine (disk, memory);
    130 stopped by Ctrl-C; 143 stopped by SIGTERM.
    """
    from onepass.cli.predict import Asked, run_prediction

    raise SystemExit(run_prediction(Asked(model, inputs, output, content_type, accept, device)))


if __name__ == "__main__":
    main()
