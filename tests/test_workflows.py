"""What the workflows on GitHub promise, as far as their files show it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github/workflows"
PATHS = sorted(FOLDER.glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

MAY_WRITE = {
    ("release", "pypi"): {"id-token"},
    ("release", "image"): {"packages", "id-token", "attestations"},
}
"""The permissions beyond reading the source that a job is given, for those that have any."""

MADE = ("dist/",)
"""Folders that jobs make themselves."""


def workflow(name):
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))


JOBS = {
    (path.stem, name): job for path in PATHS for name, job in workflow(path.stem)["jobs"].items()
}
STEPS = [(*place, step) for place, job in JOBS.items() for step in job.get("steps", ())]
COMMANDS = sorted({step["run"] for *_, step in STEPS if "run" in step})


def pythons_of(job):
    """The versions of Python that a job sets up."""
    matrix = job.get("strategy", {}).get("matrix", {}).get("python", [])
    asked = {
        step["with"]["python-version"]
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/setup-python@")
    }
    return set(matrix) if asked == {"${{ matrix.python }}"} else asked


def test_there_are_two():
    assert [path.stem for path in PATHS] == ["ci", "release"]


@pytest.mark.parametrize("place", JOBS, ids="-".join)
def test_every_job_ends_by_itself(place):
    job = JOBS[place]
    # One that calls another workflow has the limits of that one's jobs.
    assert "uses" in job or 0 < job["timeout-minutes"] <= 90


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_newer_run_does_not_race_an_older_one(path):
    assert "${{ github.ref }}" in workflow(path.stem)["concurrency"]["group"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_nothing_is_permitted_unless_a_job_says_so(path):
    assert workflow(path.stem)["permissions"] == {}


@pytest.mark.parametrize("place", JOBS, ids="-".join)
def test_jobs_may_write_only_what_they_publish(place):
    permissions = JOBS[place]["permissions"]
    assert {name for name, level in permissions.items() if level != "read"} == MAY_WRITE.get(
        place, set()
    )
    assert {name for name, level in permissions.items() if level == "read"} <= {"contents"}


def test_no_credentials_are_left_in_a_checkout():
    checkouts = [step for *_, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) > 5
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_commits_with_the_version_beside_them(path):
    used = re.findall(r"uses: (?!\./)(.*)", path.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_the_same_action_is_of_one_version():
    used = {step["uses"] for *_, step in STEPS if "uses" in step}
    assert len({action.split("@")[0] for action in used}) == len(used)


def test_tests_run_on_the_versions_of_python_that_are_promised():
    promised = {
        found[1]
        for line in PROJECT["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    tested = pythons_of(JOBS["ci", "tests"]) | pythons_of(JOBS["ci", "pythons"])
    wheels = PROJECT["tool"]["cibuildwheel"]["build"]
    built = {re.sub(r"^cp3(\d+)-.*", r"3.\1", name) for name in wheels}
    assert promised == tested == built
    assert f">={min(promised)}" == PROJECT["project"]["requires-python"]


def test_the_readme_s_test_command_is_run():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^\./tests/run\.sh ", readme, re.MULTILINE)
    assert "./tests/run.sh" in [step.get("run") for step in JOBS["ci", "tests"]["steps"]]


def test_both_targets_of_the_image_are_built_and_published():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    built = JOBS["ci", "image"]["strategy"]["matrix"]["target"]
    published = [
        each["target"] for each in JOBS["release", "image"]["strategy"]["matrix"]["include"]
    ]
    assert built == published == ["cpu", "gpu"]
    assert all(re.search(rf"^FROM \w+ AS {target}$", dockerfile, re.MULTILINE) for target in built)


def test_what_commands_name_is_there():
    words = re.compile(r"(?<![\w$/'\"\\])(?:\./)?(?:[\w.-]+/)+[\w.*-]+")
    named = {name for command in COMMANDS for name in words.findall(command)}
    assert {"./tests/run.sh", "container/waivers.py", ".github/workflows/*.yml"} <= named
    missing = {n for n in named if not n.startswith(MADE) and not list(ROOT.glob(n))}
    assert missing == set()


def test_extras_that_are_installed_are_there():
    installed = {extra for c in COMMANDS for extra in re.findall(r"\.\[([\w,]+)\]", c)}
    named = {name for extra in installed for name in extra.split(",")}
    assert "dev" in named
    assert named <= set(PROJECT["project"]["optional-dependencies"])


def test_nothing_is_published_before_the_checks_have_passed():
    for place in MAY_WRITE:
        assert "checks" in JOBS[place]["needs"]
    assert JOBS["release", "checks"]["uses"] == "./.github/workflows/ci.yml"
    # YAML 1.1, which is what PyYAML reads, takes the key `on` for true.
    assert "workflow_call" in workflow("ci")[True]


def test_a_vulnerability_that_has_a_fix_fails_the_scan_unless_it_is_waived():
    steps = JOBS["ci", "image"]["steps"]
    [scan] = [step for step in steps if step.get("uses", "").startswith("anchore/scan-action@")]
    [waive] = [step for step in steps if "waivers.py" in step.get("run", "")]
    assert scan["with"]["severity-cutoff"] == "high"
    assert scan["with"]["only-fixed"] is True
    assert scan["with"].get("fail-build", True) is True
    assert scan["with"]["config"] == "${{ runner.temp }}/grype.yaml"
    assert waive["run"] == 'python3 container/waivers.py >"$RUNNER_TEMP/grype.yaml"'
    assert scan["if"] == waive["if"] == "matrix.target == 'cpu'"


def test_what_is_published_is_not_made_of_caches():
    text = (FOLDER / "release.yml").read_text(encoding="utf-8")
    assert not re.search(r"^\s*cache(-from|-to)?:", text, re.MULTILINE)
