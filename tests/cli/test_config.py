"""The command ``onepass config``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from onepass.cli.main import main
from onepass.sagemaker.hyperparameters import declarations
from onepass.serving.variables import VARIABLES


@pytest.fixture
def config(tmp_path):
    """Run the command on a job; return its exit code, what it said and what it complained of."""

    def config(*arguments, file=None, variables=None):
        if file is not None:
            (tmp_path / "input/config").mkdir(parents=True, exist_ok=True)
            text = file if isinstance(file, str) else json.dumps(file)
            (tmp_path / "input/config/hyperparameters.json").write_text(text)
        command = ["config", "--base", str(tmp_path), *arguments]
        done = CliRunner().invoke(main, command, env=variables)
        return done.exit_code, done.stdout, done.stderr.strip()

    return config


def by_name(said):
    return {one["name"]: one for one in json.loads(said)["settings"]}


def test_every_hyperparameter_is_told_with_its_source(config):
    file = {"k": "3", "feature_dim": 4, "init_method": "k-means++"}
    variables = {"ONEPASS_SEED": "7", "ONEPASS_K": "9"}
    code, said, complaint = config("-s", "epochs=2", "--json", file=file, variables=variables)
    assert (code, complaint) == (0, "")
    told = by_name(said)
    assert list(told) == [declared.name for _, declared in declarations()]
    values = {name: (one["value"], one["from"]) for name, one in told.items()}
    assert values["k"] == (3, "hyperparameters.json")
    assert values["feature_dim"] == (4, "hyperparameters.json")
    assert values["init_method"] == ("kmeans++", "hyperparameters.json")
    assert values["epochs"] == (2, "-s")
    assert values["seed"] == (7, "environment")
    assert values["eval_metrics"] == (["msd"], "default")
    assert json.loads(said)["problem"] is None


def test_people_see_values_sources_and_meanings(config):
    code, said, _ = config("-s", "k=3", "-s", "feature_dim=4")
    lines = said.splitlines()
    assert code == 0
    assert [line.split() for line in lines if line.startswith("k =")] == [["k", "=", "3", "-s"]]
    [seed] = [i for i, line in enumerate(lines) if line.startswith("seed = 0 ")]
    assert lines[seed].endswith(" default")
    assert lines[seed + 1].startswith("  Seed of all random choices")
    assert "Accepted: random or kmeans++." in " ".join(said.split())
    assert max(map(len, lines)) <= 100


def test_what_is_wrong_is_shown_as_it_is_written_and_told(config):
    file = {"feature_dim": "x", "kk": "1"}
    code, said, complaint = config("--json", file=file, variables={"ONEPASS_SEED": "-1"})
    assert code == 2
    told = by_name(said)
    assert (told["k"]["value"], told["k"]["from"]) == (None, "required")
    assert (told["feature_dim"]["value"], told["epochs"]["value"]) == ("x", 1)
    assert told["seed"]["problem"].startswith("ONEPASS_SEED='-1' is not accepted")
    for part in (
        "No value(s) were specified for 'k'",
        "('kk' was unexpected); did you mean 'k'?",
        "feature_dim='x' is not accepted: feature_dim must be a whole number",
        "ONEPASS_SEED='-1' is not accepted: seed must be a whole number",
    ):
        assert part in complaint
    assert complaint == f"ClientError: {json.loads(said)['problem']}"


def test_a_job_without_anything_is_told_as_training_tells_it(config):
    code, said, complaint = config()
    assert code == 2
    assert said.startswith("feature_dim = - ")
    assert "hyperparameters.json is missing" in complaint


@pytest.mark.parametrize("name", [[], ["k"]])
def test_a_file_that_is_no_json_ends_it(config, name):
    code, said, complaint = config(*name, file="{")
    assert (code, said) == (2, "")
    assert "hyperparameters.json is not valid JSON" in complaint


@pytest.mark.parametrize("name", ["extra_center_factor", "ONEPASS_EXTRA_CENTER_FACTOR"])
def test_one_setting_is_told_in_full_without_a_job(config, name):
    code, said, complaint = config(name)
    assert (code, complaint) == (0, "")
    assert said.startswith("extra_center_factor\n  The stream is summarised by")
    facts = dict(line.split(maxsplit=1) for line in said.splitlines()[-7:])
    assert facts == {
        "value": "auto",
        "from": "default",
        "accepted": "auto or a whole number from 1 to 2147483647",
        "default": "auto",
        "tuning": "4 to 10",
        "option": "-s extra_center_factor=",
        "variable": "ONEPASS_EXTRA_CENTER_FACTOR",
    }


def test_one_setting_that_is_wrong_is_refused_and_others_do_not_matter(config):
    file = {"k": "0", "seed": "1"}
    assert config("seed", file=file)[0] == 0
    code, said, complaint = config("k", file=file)
    assert (code, said.splitlines()[0]) == (2, "k")
    assert complaint.startswith(
        "ClientError: k='0' is not accepted: k must be auto or a whole number"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mini_batch", "did you mean 'mini_batch_size'?"),
        ("num_gpus", "did you mean '_num_gpus'"),
        ("onepass_metric", "did you mean 'ONEPASS_METRICS'"),
        ("zzz", "`onepass config` and `onepass config --serve` list all"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest(config, name, hint):
    code, said, complaint = config(name)
    assert (code, said) == (2, "")
    assert complaint.startswith(f"ClientError: there is no setting {name!r}; {hint}")


def test_the_variables_of_the_server_are_told(config):
    variables = {"SAGEMAKER_BIND_TO_PORT": "9000", "ONEPASS_METRICS": ""}
    code, said, complaint = config("--serve", "--json", variables=variables)
    assert (code, complaint) == (0, "")
    told = by_name(said)
    assert list(told) == [one.name for one in VARIABLES]
    port, metrics = told["SAGEMAKER_BIND_TO_PORT"], told["ONEPASS_METRICS"]
    assert (port["value"], port["from"], port["option"]) == ("9000", "environment", "--port")
    assert (metrics["value"], metrics["from"]) == ("false", "default")


def test_wrong_variables_of_the_server_are_refused_all_at_once(config):
    variables = {"ONEPASS_BODY_S": "0", "ONEPASS_METRICS": "perhaps"}
    code, said, complaint = config("--serve", variables=variables)
    assert code == 2
    assert "ONEPASS_BODY_S = 0 " in said
    assert "ONEPASS_BODY_S='0' must be a whole number from 1 to 3600" in complaint
    assert "ONEPASS_METRICS='perhaps' must be true or false" in complaint
