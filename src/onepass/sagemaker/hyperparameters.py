"""Every hyperparameter, declared once: its type, range, default and meaning.

The names, ranges and defaults are those of Amazon SageMaker's k-means, but for those whose meaning
says that they are an addition of Onepass.
What makes this module long is that all of them stand here, with their meaning.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from onepass.errors import UserError
from onepass.sagemaker.values import (
    Kind,
    auto_or,
    choice,
    flag,
    names,
    numbers,
    plain_text,
    real,
    some_of,
    text,
    whole,
)  # fmt: skip

DEFAULT_MINI_BATCH = 5000

_IGNORED_PREFIX = "sagemaker_"  # which generic clients add for themselves

_USUAL_SWEEP = tuple(range(2, 21))
_MOST_SWEPT = 2**30
_ANY_COUNT = whole(0, 10**18 - 1)
_INIT = choice("random", "kmeans++", aliases={"k-means++": "kmeans++"})
_LABELS = choice(
    *("false", "csv", "parquet"), aliases={"False": "false", "true": "csv", "True": "csv"}
)._replace(accepted="false, true, csv or parquet")
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class Declaration(NamedTuple):
    """What is known of one hyperparameter.

    Attributes
    ----------
    name : str
    kind : Kind
    default : str or None
        As the user would write it; None where a value is required.
    tunable : str
        The range recommended for automatic tuning; empty where it is not tunable.
    meaning : str
    """

    name: str
    kind: Kind
    default: str | None
    tunable: str
    meaning: str


def _declare(
    kind: Kind, meaning: str, default: str | None = None, *, tunable: str = "", name: str = ""
) -> Any:
    return dataclasses.field(
        metadata={"declared": Declaration(name, kind, default, tunable, meaning)}
    )


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The hyperparameters of a job, checked and typed."""

    feature_dim: int = _declare(whole(1), "Features of a row.")
    k: int | Literal["auto"] = _declare(
        auto_or(whole(1)),
        "Clusters to find. auto (an addition of Onepass): as many as the knee of k_sweep says.",
    )
    epochs: int = _declare(
        whole(1),
        "Passes over the data. The first one makes the centers; each further one is an exact step "
        "of Lloyd's algorithm over all rows.",
        "1",
        tunable="1 to 10",
    )
    eval_metrics: tuple[Literal["msd", "ssd"], ...] = _declare(
        some_of("msd", "ssd"),
        "Scores of the channel 'test': mean (msd) and sum (ssd) of squared distances.",
        '["msd"]',
    )
    extra_center_factor: int | Literal["auto"] = _declare(
        auto_or(whole(1)),
        "The stream is summarised by k times as many centers. auto: about 500 in all, and never "
        "fewer than 4 times k.",
        "auto",
        tunable="4 to 10",
    )
    half_life_time_size: int = _declare(
        _ANY_COUNT, "Rows until a row counts half as much as a new one; 0: nothing fades.", "0"
    )
    init_method: Literal["random", "kmeans++"] = _declare(
        _INIT,
        "How the first centers are chosen among the first rows.",
        "random",
        tunable="random, kmeans++",
    )
    local_lloyd_init_method: Literal["random", "kmeans++"] = _declare(
        _INIT, "How each trial of the last step chooses its start.", "kmeans++"
    )
    local_lloyd_max_iter: int = _declare(
        whole(1), "Iterations at most in each trial of the last step.", "300"
    )
    local_lloyd_num_trials: int | Literal["auto"] = _declare(
        auto_or(whole(1)),
        "Trials of the last step at most; the best is kept. The first ten or twenty begin with "
        "starts of their own, all others with two results crossed. auto: 60, and fewer, 4 at "
        "least, where they would take long beside the pass.",
        "auto",
    )
    local_lloyd_tol: float = _declare(
        real(0, 1), "A trial stops when an iteration gains no more than this share.", "0.0001"
    )
    mini_batch_size: int = _declare(
        whole(1),
        "Rows between two moves of the centers; up to 16,000 of few features for the default.",
        str(DEFAULT_MINI_BATCH),
        tunable="3000 to 15000",
    )
    seed: int = _declare(
        _ANY_COUNT,
        "Seed of all random choices (an addition of Onepass): the same seed and the same data give "
        "the same model.",
        "0",
    )
    num_workers: int | Literal["auto"] = _declare(
        auto_or(whole(1, 1024)),
        "Processes that share the data (an addition of Onepass). auto: one for each CPU, as far as "
        "there are 64 MiB of data for each. The model depends on their number.",
        "auto",
    )
    reservoir_mib: int = _declare(
        whole(1, 2**20),
        "Memory for the sample that refines the result (an addition of Onepass).",
        "256",
    )
    max_bad_records: int = _declare(
        whole(0),
        "Records or rows of a channel that may be wrong in themselves (an addition of Onepass): "
        "they are passed over and reported. 0: the first one ends the job.",
        "0",
    )
    force_dense: bool | Literal["auto"] = _declare(
        auto_or(flag()),
        "Whether sparse records are unfolded: the centers are the same, to rounding. auto: where "
        "the first ones give more than one value in 16.",
        "auto",
    )
    device: Literal["auto", "cpu", "gpu"] = _declare(
        choice("auto", "cpu", "gpu"),
        "What the pass over the data is computed on (an addition of Onepass). auto: a GPU where "
        "there is one that can be used; gpu: the job fails without one.",
        "auto",
    )
    host_timeout_s: int = _declare(
        whole(1, 86_400),
        "Seconds until all hosts of a job must have met (an addition of Onepass).",
        "300",
    )
    tls_ca_file: str = _declare(
        text(),
        "Certificate in PEM that has signed those of all hosts, which then meet by TLS (an "
        "addition of Onepass).",
        "",
    )
    tls_cert_file: str = _declare(
        text(), "Certificate of this host, in PEM (an addition of Onepass).", ""
    )
    tls_key_file: str = _declare(text(), "Key of this host, in PEM (an addition of Onepass).", "")
    dashboard: bool = _declare(
        flag(),
        "Whether the leader of several hosts serves Dask's pages at port 8787 (an addition of "
        "Onepass).",
        "false",
    )
    state_sample_mib: int = _declare(
        whole(0, 2**20),
        "Of the sample, how much is kept in state_algo-1, beside the model, for later jobs to go "
        "on with (an addition of Onepass).",
        "4",
    )
    whole_state: bool = _declare(
        flag(),
        "Whether all that has been learnt is written to output/data, too, whatever its size (an "
        "addition of Onepass).",
        "false",
    )
    model_rows: int | Literal["auto"] = _declare(
        auto_or(whole(1)),
        "How many rows a model stands for of which nothing but its centers is given in the channel "
        "'model' (an addition of Onepass). auto: 1,000 a center.",
        "auto",
    )
    checkpoint_interval_s: int = _declare(
        whole(0, 86_400),
        "Seconds between two checkpoints, which are kept where there is a directory for them (an "
        "addition of Onepass).",
        "60",
    )
    k_sweep: tuple[int, ...] = _declare(
        numbers(1, 10_000, 1000),
        "Numbers of clusters to make as well, from the same pass, for an elbow in output/data (an "
        "addition of Onepass). With k=auto, 2-20 where nothing is said.",
        "",
    )
    report: bool = _declare(
        flag(),
        "Whether output/data/report.html is written, which shows the clusters (an addition of "
        "Onepass).",
        "true",
    )
    report_map: Literal["pca", "tsne"] = _declare(
        choice("pca", "tsne"),
        "How the report's map places rows: by their principal components, or by t-SNE, for which "
        "scikit-learn must be installed (an addition of Onepass).",
        "pca",
    )
    feature_names: tuple[str, ...] = _declare(
        names(),
        "What the features are called, for the report (an addition of Onepass): all of them, in "
        "their order.",
        "",
    )
    output_labels: Literal["false", "csv", "parquet"] = _declare(
        _LABELS,
        "Whether the cluster of each row of the channel 'train', and how far it is, are written to "
        "output/data by one more pass (an addition of Onepass). true: as csv.",
        "false",
    )
    num_gpus: int | Literal["auto"] = _declare(
        auto_or(whole(0)),
        "GPUs of each host that share the data, at most; 0: none is used.",
        "auto",
        name="_num_gpus",
    )
    log_level: str = _declare(
        choice(*_LOG_LEVELS, aliases={"warn": "warning"}),
        "The least level of log lines.",
        "info",
        name="_log_level",
    )
    tuning_objective_metric: str = _declare(
        text(), "Set by tuning jobs; no effect.", "", name="_tuning_objective_metric"
    )
    kvstore: str = _declare(text(), "Of the original only; no effect.", "auto", name="_kvstore")
    num_kv_servers: str = _declare(
        text(), "Of the original only; no effect.", "1", name="_num_kv_servers"
    )
    num_slices: str = _declare(text(), "Of the original only; no effect.", "1", name="_num_slices")
    enable_profiler: bool = _declare(
        flag(), "Of the original only; no effect.", "false", name="_enable_profiler"
    )
    disable_wait_to_read: bool = _declare(
        flag(), "Of the original only; no effect.", "false", name="_disable_wait_to_read"
    )

    @property
    def sweep(self) -> tuple[int, ...]:
        """The numbers of clusters that are made for an elbow, with that of the model."""
        swept = self.k_sweep or (_USUAL_SWEEP if self.k == "auto" else ())
        return tuple(sorted({*swept, self.k})) if swept and self.k != "auto" else swept

    @property
    def least_k(self) -> int:
        """The fewest clusters that will do."""
        return self.sweep[0] if self.k == "auto" else self.k

    @property
    def most_k(self) -> int:
        """The most clusters that are made."""
        return max(self.sweep, default=self.least_k)

    def as_given(self) -> dict[str, Any]:
        """Return every value under the name of its hyperparameter."""
        return {declared.name: getattr(self, name) for name, declared in declarations()}


def declarations() -> Iterator[tuple[str, Declaration]]:
    """Yield each attribute of `Hyperparameters` with its declaration."""
    for field in dataclasses.fields(Hyperparameters):
        declared: Declaration = field.metadata["declared"]
        yield field.name, declared._replace(name=declared.name or field.name)


def parse_hyperparameters(
    given: Mapping[str, object], called: Mapping[str, str] | None = None
) -> Hyperparameters:
    """Check and type the hyperparameters of a job.

    Parameters
    ----------
    given : mapping of str to object
        The content of ``hyperparameters.json``.
    called : mapping of str to str, optional
        What values that are not accepted go by, where that is not their name.

    Raises
    ------
    UserError
        Saying all that is wrong at once: required names that are missing, unknown names with the
        nearest known one, values that are not accepted with what is.

    Examples
    --------
    >>> parse_hyperparameters({"k": "8", "feature_dim": "7", "force_dense": "True"}).k
    8
    """
    known, called = dict(declarations()), called or {}
    problems = [*_missing(known.values(), given), *_unknown(known.values(), given)]
    values: dict[str, Any] = {}
    for attribute, declared in known.items():
        written = plain_text(given.get(declared.name, declared.default or ""))
        if declared.name not in given and declared.default is None:
            continue
        try:
            values[attribute] = declared.kind.parse(written)
        except (ValueError, TypeError, RecursionError):
            problems.append(
                f"{called.get(declared.name, declared.name)}={given.get(declared.name)!r} "
                f"is not accepted: {declared.name} must be {declared.kind.accepted}"
            )
    if problems:
        raise UserError("; ".join(problems))
    parsed = Hyperparameters(**values)
    n_centers = sum(parsed.sweep)
    n_bytes = 4 * n_centers * parsed.feature_dim
    if n_bytes > _MOST_SWEPT:
        raise UserError(
            f"k_sweep={given.get('k_sweep', '')!r} makes {n_centers} centers of "
            f"{parsed.feature_dim} features, {n_bytes / 2**30:.1f} GiB; at most "
            f"{_MOST_SWEPT / 2**30:.0f} GiB are accepted: leave numbers out"
        )
    n_names = len(parsed.feature_names)
    if n_names not in (0, parsed.feature_dim):
        raise UserError(f"feature_names has {n_names} names, and feature_dim={parsed.feature_dim}")
    return parsed


def _missing(known: Iterable[Declaration], given: Mapping[str, object]) -> list[str]:
    names = [repr(d.name) for d in known if d.default is None and d.name not in given]
    if not names:
        return []
    return [
        f"No value(s) were specified for {', '.join(names)} which are required hyperparameter(s)"
    ]


def _unknown(known: Iterable[Declaration], given: Mapping[str, object]) -> list[str]:
    names = [declared.name for declared in known]
    problems = []
    for name in given:
        if name in names or name.startswith(_IGNORED_PREFIX):
            continue
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(names)}"
        problems.append(f"Additional properties are not allowed ({name!r} was unexpected){hint}")
    return problems
