"""Who says what a hyperparameter is, and who goes before whom."""

from __future__ import annotations

import pytest

from onepass.errors import UserError
from onepass.sagemaker.hyperparameters import declarations
from onepass.sagemaker.settings import Given, Said, Source, gather, typed, variable_of
from onepass.serving.variables import VARIABLES

NAMES = [declared.name for _, declared in declarations()]
REQUIRED = {"k": "2", "feature_dim": "3"}


def test_an_option_goes_before_the_file_and_that_before_a_variable():
    given = Given({"k": "4"}, {"ONEPASS_K": "6", "ONEPASS_SEED": "7", "ONEPASS_NUM_GPUS": "0"})
    said = gather({**REQUIRED, "seed": "1"}, given)
    assert said == {
        "k": Said("4", Source.OPTION),
        "feature_dim": Said("3", Source.FILE),
        "seed": Said("1", Source.FILE),
        "_num_gpus": Said("0", Source.VARIABLE),
    }
    hyperparameters = typed(said)
    assert (hyperparameters.k, hyperparameters.seed, hyperparameters.num_gpus) == (4, 1, 0)


def test_a_variable_that_is_empty_or_of_others_says_nothing():
    variables = {"ONEPASS_K": " ", "K": "9", "ONEPASS_METRICS": "true", "onepass_k": "3"}
    assert gather({}, Given(variables=variables)) == {}


def test_a_wrong_value_goes_by_the_name_of_its_variable():
    with pytest.raises(UserError, match=r"^ONEPASS_SEED='x' is not accepted: seed must be a whole"):
        typed(gather(REQUIRED, Given(variables={"ONEPASS_SEED": "x"})))


def test_no_two_settings_have_the_same_variable():
    variables = [variable_of(name) for name in NAMES] + [one.name for one in VARIABLES]
    assert len(set(variables)) == len(variables)
