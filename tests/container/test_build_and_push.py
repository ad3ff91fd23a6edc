"""The script that pushes the image to ECR, with stand-ins for `aws`, `docker` and `git` on PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import onepass

SCRIPT = Path(__file__).parents[2] / "container/build_and_push.sh"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
VERSION = onepass.__version__
COMMIT = "0123456789ab"
URI = f"{REGISTRY}/onepass:{VERSION}-{COMMIT}"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

STAND_IN = """#!{python} -IS
import json, os, sys
name = os.path.basename(sys.argv[0])
command = " ".join([name, *sys.argv[1:]])
with open({log!r}, "a") as log:
    given = sys.stdin.read() if "--password-stdin" in sys.argv else ""
    print(json.dumps([[name, *sys.argv[1:]], given]), file=log)
for start, (code, out) in json.load(open({answers!r})):
    if command.startswith(start):
        print(out, file=sys.stderr if code else sys.stdout)
        sys.exit(code)
"""

ANSWERS = {
    "aws configure get region": (0, "eu-west-1"),
    "aws sts get-caller-identity": (0, "123456789012"),
    "aws ecr get-login-password": (0, "secret"),
    "aws ecr describe-images": (0, DOCKER_MANIFEST),
    "git rev-parse": (0, COMMIT),
}


class Machine:
    """A PATH of its own, what the commands there answer, and what they were asked."""

    def __init__(self, folder: Path):
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.answers = folder / "answers"
        self.bin.mkdir()
        for name in ("bash", "dirname", "sed", "uname"):
            self.bin.joinpath(name).symlink_to(shutil.which(name))
        stand_in = STAND_IN.format(
            python=sys.executable, log=str(self.log), answers=str(self.answers)
        )
        for name in ("aws", "docker", "git"):
            self.bin.joinpath(name).write_text(stand_in)
            self.bin.joinpath(name).chmod(0o755)

    def push(self, *arguments, answers=None, **environ):
        # Those that come first are found first.
        self.answers.write_text(json.dumps([*(answers or {}).items(), *ANSWERS.items()]))
        done = subprocess.run(
            [SCRIPT, *arguments],
            env={"PATH": str(self.bin), **environ},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.asked = [json.loads(line) for line in lines]
        return done

    def commands(self, *start):
        """The commands that were run, of those that begin so."""
        return [words for words, _ in self.asked if words[: len(start)] == list(start)]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def value_of(words, option):
    return words[words.index(option) + 1]


def test_prints_the_uri_and_nothing_else(machine):
    done = machine.push()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{URI}\n"


def test_builds_a_plain_image_of_the_target_with_both_tags(machine):
    machine.push("--target", "gpu")
    [build] = machine.commands("docker", "buildx", "build")
    assert value_of(build, "--target") == "gpu"
    assert value_of(build, "--platform") == "linux/amd64"
    assert value_of(build, "--build-arg") == f"VERSION={VERSION}"
    assert {"--provenance=false", "--sbom=false"} <= set(build)
    tags = [build[i + 1] for i, word in enumerate(build) if word == "--tag"]
    assert tags == [
        f"{REGISTRY}/onepass:{VERSION}-gpu",
        f"{REGISTRY}/onepass:{VERSION}-{COMMIT}-gpu",
    ]
    assert [push[-1] for push in machine.commands("docker", "push")] == tags


def test_the_password_goes_by_a_pipe(machine):
    machine.push()
    [(login, given)] = [asked for asked in machine.asked if asked[0][:2] == ["docker", "login"]]
    assert login[2:] == ["--username", "AWS", "--password-stdin", REGISTRY]
    assert given == "secret\n"


def test_a_repository_that_is_there_is_left_alone(machine):
    machine.push("--repository", "team/k-means")
    assert machine.commands("aws", "ecr", "create-repository") == []


def test_one_that_is_missing_is_created(machine):
    answers = {"aws ecr describe-repositories": (254, "(RepositoryNotFoundException) no such")}
    assert machine.push("--repository", "team/k-means", answers=answers).returncode == 0
    [create] = machine.commands("aws", "ecr", "create-repository")
    assert value_of(create, "--repository-name") == "team/k-means"


def test_one_that_may_not_be_seen_is_not(machine):
    answers = {"aws ecr describe-repositories": (254, "(AccessDeniedException) not allowed")}
    done = machine.push(answers=answers)
    assert done.returncode == 1
    assert "cannot look for the repository onepass: (AccessDeniedException)" in done.stderr
    assert machine.commands("docker", "push") == []


def test_account_and_region_may_be_given(machine):
    done = machine.push("--account", "999999999999", "--region", "cn-north-1")
    assert done.stdout.startswith("999999999999.dkr.ecr.cn-north-1.amazonaws.com.cn/onepass:")
    assert machine.commands("aws", "sts") == []
    assert machine.commands("aws", "configure") == []


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_may_stand_in_the_environment(machine, name):
    assert ".us-east-2." in machine.push(**{name: "us-east-2"}).stdout


def test_a_commit_that_was_changed_is_called_so(machine):
    done = machine.push(answers={"git status": (0, " M Dockerfile")})
    assert done.stdout == f"{URI}-modified\n"


def test_without_a_checkout_the_version_is_the_only_tag(machine):
    done = machine.push(answers={"git rev-parse": (128, "not a git repository")})
    assert done.stdout == f"{REGISTRY}/onepass:{VERSION}\n"


def test_another_base_is_passed_on(machine):
    machine.push(ONEPASS_BASE_IMAGE="debian-like:1")
    [build] = machine.commands("docker", "buildx", "build")
    assert "BASE_IMAGE=debian-like:1" in build


def test_docker_without_buildx_builds_as_well(machine):
    done = machine.push(answers={"docker buildx version": (1, "no such plugin")})
    if os.uname().machine == "x86_64":
        assert done.returncode == 0
        assert len(machine.commands("docker", "build")) == 1
    else:
        assert "plugin buildx" in done.stderr


def test_an_image_that_sagemaker_refuses_is_told(machine):
    answers = {"aws ecr describe-images": (0, "application/vnd.oci.image.index.v1+json")}
    done = machine.push(answers=answers)
    assert (done.returncode, done.stdout) == (1, "")
    assert "as application/vnd.oci.image.index.v1+json, which SageMaker refuses" in done.stderr


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"docker info": (1, "")}, "no Docker daemon answers"),
        ({"aws sts": (255, "Unable to locate credentials")}, "run 'aws configure' or 'aws sso"),
        ({"aws configure get region": (1, "")}, "no region: give --region"),
        ({"aws configure get region": (0, "")}, "no region: give --region"),
        ({"docker login": (1, "denied")}, f"cannot log in to {REGISTRY}"),
        ({"aws ecr get-login-password": (254, "denied")}, f"cannot log in to {REGISTRY}"),
    ],
)
def test_what_is_missing_is_said(machine, answers, message):
    done = machine.push(answers=answers)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert machine.commands("docker", "push") == []


@pytest.mark.parametrize(("name", "said"), [("docker", "Docker is not"), ("aws", "AWS CLI is not")])
def test_a_program_that_is_missing_is_named(machine, name, said):
    machine.bin.joinpath(name).unlink()
    done = machine.push()
    assert done.returncode == 1
    assert f"{said} installed: there is no '{name}' on PATH" in done.stderr


@pytest.mark.parametrize("command", ["docker buildx build", "docker push"])
def test_a_command_that_fails_ends_it(machine, command):
    done = machine.push(answers={command: (7, "failed")})
    assert (done.returncode, done.stdout) == (7, "")
    assert "failed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "tpu"], "--target is cpu or gpu, not 'tpu'"),
        (["--region"], "--region needs a value"),
        (["onepass"], "unknown argument 'onepass'"),
    ],
)
def test_arguments_are_checked(machine, arguments, message):
    done = machine.push(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert machine.asked == []


def test_a_dry_run_prints_what_would_be_done_and_does_none_of_it(machine):
    for name in ("aws", "docker"):
        machine.bin.joinpath(name).unlink()
    done = machine.push("--dry-run", "--region", "eu-west-1", "--account", "123456789012")
    assert done.returncode == 0, done.stderr
    *commands, uri = done.stdout.splitlines()
    assert uri == URI
    starts = [" ".join(command.split()[:3]) for command in commands]
    assert starts == [
        "docker buildx build",
        "aws ecr describe-repositories",
        "aws ecr get-login-password",
        f"docker push {REGISTRY}/onepass:{VERSION}",
        f"docker push {URI}",
        "aws ecr describe-images",
    ]


def test_a_dry_run_asks_only_who_and_where(machine):
    assert machine.push("--dry-run").returncode == 0
    asked = [" ".join(words[:3]) for words, _ in machine.asked if words[0] != "git"]
    assert asked == ["aws configure get", "aws sts get-caller-identity"]


def test_help_tells_what_it_takes(machine):
    done = machine.push("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Build the image and push it to Amazon ECR:\n")
    assert "--dry-run" in done.stdout
    assert "set -euo" not in done.stdout
