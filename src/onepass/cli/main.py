"""The command ``onepass``.

What makes this module long is the help that each command gives; what they do is elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from onepass import __version__
from onepass.cli.numbers import parse_numbers
from onepass.cli.settings import SETTINGS, Setting, complete_names, given_by
from onepass.convert.file_formats import FileFormat
from onepass.sagemaker.paths import DEFAULT_BASE

_BASE = click.option(
    "--base",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_BASE,
    show_default=True,
    help="The directory that holds input/, model/ and output/.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Tell it in JSON, on standard output.")


def _data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that describe data with no job around them."""
    options = (
        click.option("--content-type", help="Of data; by default told by how they begin."),
        click.option(
            "--feature-dim",
            type=click.IntRange(1),
            help="Features of a row of data; by default as many as the first row has.",
        ),
        click.option(
            "--label-size",
            type=click.IntRange(0),
            help="Leading columns of data that are labels; none by default.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


_STORY = ("convert", "check", "config", "train", "elbow", "describe", "predict", "serve")
"""Commands in the order in which one needs them."""

_COMPLETION = "_ONEPASS_COMPLETE"


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the story."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _STORY.index(name) if name in _STORY else len(_STORY))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command, or tell a shell how it may go on."""
        if _COMPLETION in os.environ:
            from onepass.cli.completion import complete_in_bash

            complete_in_bash()
        return super().__call__(*args, **{"complete_var": _COMPLETION} | kwargs)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onepass")
def main() -> None:
    """One-pass k-means: a drop-in replacement for Amazon SageMaker's built-in algorithm.

    \b
    From a table to clusters, on one's own machine:
      onepass convert rows.csv ml/input/data/train/
      onepass train --base ml -s k=10 -s feature_dim=26
      onepass predict ml/model rows.csv

    `onepass COMMAND --help` has examples and exit codes of each. All of them have in common: 0 it
    is done; 1 a bug of ours; 2 something you can mend; 3 the machine (disk, memory, network);
    130 stopped by Ctrl-C; 143 stopped by SIGTERM.

    \b
    Completion with the Tab key, a line for the shell's start-up file:
      bash  eval "$(_ONEPASS_COMPLETE=bash_source onepass)"
      zsh   eval "$(_ONEPASS_COMPLETE=zsh_source onepass)"
      fish  _ONEPASS_COMPLETE=fish_source onepass | source
    """


@main.command(short_help="Train a model.")
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
    """Train a model from the rows under BASE/input/data.

    Makes one pass over the files in BASE/input/data/train, and leaves BASE/model/model_algo-1 and
    BASE/output/model.tar.gz. When it fails, BASE/output/failure says why.

    Hyperparameters (k and feature_dim are required) are what -s says, then what
    BASE/input/config/hyperparameters.json says, then the variables ONEPASS_K, ONEPASS_SEED, ...,
    then the defaults. Several hosts take the file alone. The data are RecordIO-protobuf, unless
    BASE/input/config/inputdataconfig.json says otherwise.

    At a terminal there are a bar and a summary, else a log. The bar's msd so far is that of rows to
    the many centers the model will be made from. --json prints the summary as JSON.

    SIGTERM ends the pass, and the job with a model of what has been read.

    \b
    Examples:
      onepass train --base ml -s k=10 -s feature_dim=26
      onepass train --base ml -s k=10 -s feature_dim=26 --json | jq .msd
      onepass train                       # as SageMaker calls it

    Exit codes: 0 trained; 1 a bug of ours; 2 something you can mend; 3 the machine (disk, memory);
    130 stopped by Ctrl-C; 143 stopped by SIGTERM with too few rows read.
    """
    from onepass.cli.train import Asked, run_training

    raise SystemExit(run_training(Asked(base, scheduler, given_by(settings), as_json)))


@main.command(short_help="Read the data of a job, or any, and tell what is wrong.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--base",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The directory of a job, as PATH.  [default: {DEFAULT_BASE}]",
)
@_data
@SETTINGS
@_JSON
def check(
    path: Path | None,
    base: Path | None,
    settings: tuple[Setting, ...],
    *,
    as_json: bool,
    **told: Any,
) -> None:
    """Read all that `train` would read, and tell what it holds or what is wrong with it.

    PATH is the directory of a job, which holds input/config or input/data, or a directory or a file
    of nothing but data, which --content-type, --feature-dim and --label-size describe.

    Nothing is written but what is told. With --json that is one object, whose `problem` is null or
    what is wrong.

    \b
    Examples:
      onepass check --base ml -s k=10 -s feature_dim=26
      onepass check rows.csv --label-size 1

    Exit codes: 0 nothing is wrong; 1 a bug of ours; 2 something you can mend; 3 the machine;
    130 stopped by Ctrl-C.
    """
    from onepass.cli.check import run_check, run_check_of_data
    from onepass.training.unconfigured import Told, is_job

    if path and base:
        raise click.UsageError("PATH and --base are both given; one names the directory")
    data = Told(**told)
    if path and not is_job(path):
        if settings:
            raise click.UsageError("-s is for the directory of a job; PATH holds nothing but data")
        raise SystemExit(run_check_of_data(path, data, as_json=as_json))
    if any(value is not None for value in data):
        raise click.UsageError("what a job's data are is said in its input/config, not by options")
    raise SystemExit(run_check(path or base or DEFAULT_BASE, given_by(settings), as_json=as_json))


@main.command(short_help="Show every setting, and where its value comes from.")
@click.argument("name", required=False, shell_complete=complete_names)
@_BASE
@SETTINGS
@click.option("--serve", "of_server", is_flag=True, help="The settings of `serve` instead.")
@_JSON
def config(
    name: str | None,
    base: Path,
    settings: tuple[Setting, ...],
    *,
    of_server: bool,
    as_json: bool,
) -> None:
    """Show every setting of a job, its value, and where that comes from.

    Those are the hyperparameters that `train` would run with: from -s, from
    BASE/input/config/hyperparameters.json, from the variables ONEPASS_K, ONEPASS_SEED, ..., or by
    default; of these, the first one counts. --serve shows those of `serve`, which are variables.

    NAME is one of either, to be told of in full: what is accepted, its default, its range for
    tuning, and how it can be said.

    \b
    Examples:
      onepass config --base ml -s k=10
      onepass config mini_batch_size
      onepass config --serve

    Exit codes: 0 all is right; 1 a bug of ours; 2 the configuration is wrong, or there is no such
    NAME.
    """
    from onepass.cli.config import Asked, run_config

    raise SystemExit(run_config(Asked(base, given_by(settings), name, of_server, as_json)))


_FORMATS = click.Choice([str(one) for one in FileFormat])


@main.command(short_help="Turn files into records to train on, and back.")
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
@_JSON
def convert(inputs: tuple[str, ...], output: str, **options: Any) -> None:
    """Convert rows between RecordIO-protobuf, CSV, Parquet, NumPy and libsvm.

    IN are files, directories, or objects and folders in S3 (s3://bucket/name), plain or, but for
    Parquet, compressed by gzip or zstd. Formats are told by names (.pbr .csv .parquet .npy .libsvm)
    or, of IN, by how a file begins. OUT is one file where its name has an ending (.gz behind it
    compresses it), else, or with a / at its end, a folder of part-00000.pbr, part-00001.pbr, ...;
    RecordIO if --to does not say otherwise.

    Values are float32. Rows keep their order; memory does not grow with their number. Files appear
    complete, all at the end, or not at all.

    \b
    Examples:
      onepass convert rows.csv ml/input/data/train/ --label-size 1
      onepass convert train.npy s3://bucket/train/ --rows-per-file 100000
      onepass convert ml/input/data/train/ rows.parquet

    Exit codes: 0 converted; 1 a bug of ours; 2 something you can mend; 3 the machine (disk, memory,
    network); 130 stopped by Ctrl-C; 143 stopped by SIGTERM.
    """
    from onepass.cli.convert import run_conversion

    raise SystemExit(run_conversion(inputs, output, options))


@main.command(short_help="Answer requests by HTTP with a model.")
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
    them from under BASE/models. `onepass config --serve` shows all variables.

    \b
    Examples:
      onepass serve --base ml --port 8080
      curl -H 'Content-Type: text/csv' --data-binary @rows.csv localhost:8080/invocations

    Exit codes: 0 stopped by a signal; 1 a bug of ours; 2 a variable is wrong, or there is no
    readable model; 3 the machine: the port is taken, say.
    """
    from onepass.cli.serve import run_server

    raise SystemExit(run_server(base, port))


@main.command(short_help="Tell what is known of a model.")
@click.argument("model", type=click.Path(path_type=Path))
@_JSON
def describe(model: Path, *, as_json: bool) -> None:
    """Tell what is known of a model: clusters, features, rows seen, msd, dates, what it came from.

    MODEL is a model_algo-1, a model.tar.gz or a directory that holds either, of Onepass or of
    Amazon's k-means.

    \b
    Examples:
      onepass describe ml/model
      onepass describe model.tar.gz --json | jq .k

    Exit codes: 0 told; 1 a bug of ours; 2 something you can mend; 3 the machine.
    """
    from onepass.cli.describe import run_description

    raise SystemExit(run_description(model, as_json=as_json))


@main.command(short_help="Tell how many clusters there are.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--k",
    "ks",
    metavar="NUMBERS",
    callback=parse_numbers,
    default="2-20",
    show_default=True,
    help="Numbers of clusters, and ranges of them: 2-12 or 2,4,8.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory for elbow.json, elbow.csv and elbow.png; none is written by default.",
)
@_data
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_JSON
def elbow(
    path: Path,
    ks: tuple[int, ...],
    output: Path | None,
    content_type: str | None,
    feature_dim: int | None,
    label_size: int | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Tell how many clusters there are: the msd of each number, and where it stops falling fast.

    PATH is what a job has left, a model.tar.gz or a directory that holds one: then no data is read.
    Or it is data, a file or a directory, which is read once; --content-type, --feature-dim and
    --label-size describe it.

    \b
    Examples:
      onepass elbow model.tar.gz --k 2-12
      onepass elbow rows.csv --output plots

    Exit codes: 0 told; 1 a bug of ours; 2 something you can mend; 3 the machine; 130 stopped by
    Ctrl-C.
    """
    from onepass.cli.elbow import run_elbow
    from onepass.training.unconfigured import Told

    told = Told(content_type, feature_dim, label_size)
    raise SystemExit(run_elbow(path, ks, told, output, seed, as_json=as_json))


@main.command(short_help="Find the cluster of each row in files.")
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

    \b
    Examples:
      onepass predict ml/model rows.csv
      onepass predict model.tar.gz rows.csv.gz --accept 'text/csv; verbose=true' -o answers.csv
      cut -d, -f2- rows.csv | onepass predict ml/model - --content-type text/csv

    Exit codes: 0 scored; 1 a bug of ours; 2 something you can mend; 3 the machine (disk, memory);
    130 stopped by Ctrl-C; 143 stopped by SIGTERM.
    """
    from onepass.cli.predict import Asked, run_prediction

    raise SystemExit(run_prediction(Asked(model, inputs, output, content_type, accept, device)))


if __name__ == "__main__":
    main()
