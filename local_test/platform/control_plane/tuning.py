"""Tuning jobs: training jobs over ranges of hyperparameters, and which of them did best."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

from control_plane.errors import in_use, invalid, not_found
from control_plane.names import arn, now
from control_plane.training import TrainingJob, TrainingJobs

_POLL_S = 0.3
_MOST_OF_A_GRID = 500
_COUNTED = ("Completed", "InProgress", "Stopped")


class TuningJob:
    """One job.

    Parameters
    ----------
    given : dict
        The request.
    jobs : TrainingJobs
    """

    def __init__(self, given: dict[str, Any], jobs: TrainingJobs) -> None:
        self.name: str = given["HyperParameterTuningJobName"]
        self.given, self._jobs = given, jobs
        self._config = given["HyperParameterTuningJobConfig"]
        if "TrainingJobDefinition" not in given:
            raise invalid("TrainingJobDefinition is needed here")
        self._definition = given["TrainingJobDefinition"]
        objective = self._config.get("HyperParameterTuningJobObjective")
        if objective is None:
            raise invalid("HyperParameterTuningJobObjective is needed here")
        self._metric, self._is_least = objective["MetricName"], objective["Type"] == "Minimize"
        limits = self._config["ResourceLimits"]
        self._n_parallel = limits["MaxParallelTrainingJobs"]
        ranges = self._config.get("ParameterRanges", {})
        grid = self._config["Strategy"] == "Grid"
        self._trials = list(_grid(ranges) if grid else _drawn(ranges, limits, self.name))
        self.status = "InProgress"
        self._times: dict[str, Any] = {"CreationTime": now(), "LastModifiedTime": now()}
        self._made: list[tuple[TrainingJob, dict[str, str]]] = []
        self._stopping = threading.Event()

    def run(self) -> None:
        """Run it to its end."""
        waiting = list(enumerate(self._trials, start=1))
        while waiting or any(not job.has_ended for job, _ in self._made):
            n_running = sum(not job.has_ended for job, _ in self._made)
            if self._stopping.is_set():
                waiting.clear()
            elif waiting and n_running < self._n_parallel:
                self._begin(*waiting.pop(0))
                continue
            time.sleep(_POLL_S)
        self.status = "Stopped" if self._stopping.is_set() else "Completed"
        if self._best() is None and self.status == "Completed":
            self.status = "Failed"
        self._times["HyperParameterTuningEndTime"] = self._times["LastModifiedTime"] = now()

    def stop(self) -> None:
        """Ask it to end, with all of its training jobs."""
        self.status = "Stopping"
        self._stopping.set()
        for job, _ in self._made:
            if not job.has_ended:
                self._jobs.stop({"TrainingJobName": job.name})

    def describe(self) -> dict[str, Any]:
        """Return what DescribeHyperParameterTuningJob tells."""
        statuses = [job.status for job, _ in self._made]
        counters = {name: statuses.count(name) for name in _COUNTED}
        counters |= {"NonRetryableError": statuses.count("Failed"), "RetryableError": 0}
        n_found = sum(self._value(job) is not None for job, _ in self._made)
        n_ended = sum(job.has_ended for job, _ in self._made)
        told = {
            **self.given,
            **self._times,
            "HyperParameterTuningJobArn": arn("hyper-parameter-tuning-job", self.name),
            "HyperParameterTuningJobStatus": self.status,
            "TrainingJobStatusCounters": counters,
            "ObjectiveStatusCounters": {
                "Succeeded": n_found,
                "Pending": len(self._made) - n_ended,
                "Failed": n_ended - n_found,
            },
        }
        best = self._best()
        if best is not None:
            told["BestTrainingJob"] = self._summary(*best)
        return told

    def summaries(self) -> list[dict[str, Any]]:
        """Return what is told of its training jobs."""
        return [self._summary(job, tuned) for job, tuned in self._made]

    def _begin(self, number: int, tuned: dict[str, str]) -> None:
        definition = {
            name: value
            for name, value in self._definition.items()
            if name not in ("StaticHyperParameters", "DefinitionName", "TuningObjective")
        }
        wanted = self._definition.get("StaticHyperParameters", {}) | tuned
        wanted |= {"_tuning_objective_metric": self._metric}
        name = f"{self.name}-{number:03}"
        self._jobs.create(definition | {"TrainingJobName": name, "HyperParameters": wanted})
        self._made.append((self._jobs.get(name), tuned))

    def _summary(self, job: TrainingJob, tuned: dict[str, str]) -> dict[str, Any]:
        told = job.describe()
        names = (
            *("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime"),
            *("TrainingEndTime", "TrainingJobStatus", "FailureReason"),
        )
        summary = {name: told[name] for name in names if name in told}
        summary["TunedHyperParameters"] = tuned
        value = self._value(job)
        if value is not None:
            kind = "Minimize" if self._is_least else "Maximize"
            metric = {"Type": kind, "MetricName": self._metric, "Value": value}
            summary["FinalHyperParameterTuningJobObjectiveMetric"] = metric
        return summary

    def _value(self, job: TrainingJob) -> float | None:
        return job.metrics.get(self._metric) if job.status == "Completed" else None

    def _best(self) -> tuple[TrainingJob, dict[str, str]] | None:
        values = [(self._value(job), i) for i, (job, _) in enumerate(self._made)]
        found = [(value, i) for value, i in values if value is not None]
        if not found:
            return None
        return self._made[(min if self._is_least else max)(found)[1]]


def _grid(ranges: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield all combinations: as the service has it, of words alone."""
    if ranges.get("IntegerParameterRanges") or ranges.get("ContinuousParameterRanges"):
        raise invalid("Strategy=Grid takes CategoricalParameterRanges only")
    given = ranges.get("CategoricalParameterRanges", [])
    names = [one["Name"] for one in given]
    n = math.prod(len(one["Values"]) for one in given)
    if n > _MOST_OF_A_GRID:
        raise invalid(f"a grid of {n} training jobs is too large: {_MOST_OF_A_GRID} is most")
    for values in itertools.product(*(one["Values"] for one in given)):
        yield dict(zip(names, values, strict=True))


def _drawn(ranges: dict[str, Any], limits: dict[str, Any], seed: str) -> Iterator[dict[str, str]]:
    """Yield combinations drawn; Bayesian and Hyperband are served by that, too."""
    rng = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    for _ in range(limits.get("MaxNumberOfTrainingJobs", 1)):
        words = ranges.get("CategoricalParameterRanges", [])
        drawn = {one["Name"]: rng.choice(one["Values"]) for one in words}
        for kind, cast in (("Integer", round), ("Continuous", float)):
            for one in ranges.get(f"{kind}ParameterRanges", []):
                drawn[one["Name"]] = str(cast(_between(one, rng)))
        yield drawn


def _between(one: dict[str, Any], rng: random.Random) -> float:
    low, high = float(one["MinValue"]), float(one["MaxValue"])
    if low > high:
        raise invalid(f"{one['Name']}: MinValue is above MaxValue")
    if one.get("ScalingType") == "Logarithmic" and low > 0:
        return math.exp(rng.uniform(math.log(low), math.log(high)))
    return rng.uniform(low, high)


class TuningJobs:
    """All jobs."""

    def __init__(self, jobs: TrainingJobs) -> None:
        self._training = jobs
        self._jobs: dict[str, TuningJob] = {}

    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        """Begin a job."""
        name = given["HyperParameterTuningJobName"]
        if name in self._jobs:
            raise in_use("Tuning job", name)
        job = self._jobs[name] = TuningJob(given, self._training)
        threading.Thread(target=job.run, daemon=True).start()
        return {"HyperParameterTuningJobArn": arn("hyper-parameter-tuning-job", name)}

    def describe(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of one."""
        return self._job(given).describe()

    def stop(self, given: dict[str, Any]) -> dict[str, Any]:
        """Have one end."""
        self._job(given).stop()
        return {}

    def list_training_jobs(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of the training jobs of one."""
        told = self._job(given).summaries()
        return {"TrainingJobSummaries": told[: given.get("MaxResults", 100)]}

    def _job(self, given: dict[str, Any]) -> TuningJob:
        name = given["HyperParameterTuningJobName"]
        if name not in self._jobs:
            raise not_found("tuning job", name)
        return self._jobs[name]
