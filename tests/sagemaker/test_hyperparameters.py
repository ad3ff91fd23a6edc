"""Hyperparameters: names, defaults, spellings and refusals."""

from __future__ import annotations

import json

import pytest

from onepass.errors import UserError
from onepass.sagemaker.hyperparameters import declarations, parse_hyperparameters

REQUIRED = {"k": "8", "feature_dim": "7"}

# What the original image prints as its default-input.json.
ORIGINAL_DEFAULTS = json.loads(
    """
    {"init_method": "random", "mini_batch_size": "5000", "epochs": "1",
     "extra_center_factor": "auto", "local_lloyd_max_iter": "300", "local_lloyd_tol": "0.0001",
     "local_lloyd_init_method": "kmeans++", "local_lloyd_num_trials": "auto",
     "half_life_time_size": "0", "eval_metrics": "[\\"msd\\"]", "force_dense": "true",
     "_disable_wait_to_read": "false", "_enable_profiler": "false", "_kvstore": "auto",
     "_log_level": "info", "_num_gpus": "auto", "_num_kv_servers": "1", "_num_slices": "1",
     "_tuning_objective_metric": ""}
    """
)


def parse(**given):
    return parse_hyperparameters({**REQUIRED, **given})


def refusal(**given):
    with pytest.raises(UserError) as caught:
        parse(**given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("epochs", 1),
        ("eval_metrics", ("msd",)),
        ("extra_center_factor", "auto"),
        ("half_life_time_size", 0),
        ("init_method", "random"),
        ("local_lloyd_init_method", "kmeans++"),
        ("local_lloyd_max_iter", 300),
        ("local_lloyd_num_trials", "auto"),
        ("local_lloyd_tol", 0.0001),
        ("mini_batch_size", 5000),
        ("seed", 0),
        ("num_workers", "auto"),
        ("reservoir_mib", 256),
        ("force_dense", "auto"),
        ("max_bad_records", 0),
        ("device", "auto"),
        ("num_gpus", "auto"),
        ("log_level", "info"),
        ("tuning_objective_metric", ""),
        ("kvstore", "auto"),
        ("num_kv_servers", "1"),
        ("num_slices", "1"),
        ("enable_profiler", False),
        ("disable_wait_to_read", False),
    ],
)
def test_the_default_is_the_originals(attribute, value):
    assert getattr(parse(), attribute) == value


def test_every_declared_name_but_ours_is_one_of_the_originals():
    names = {declared.name for _, declared in declarations()}
    ours = {"seed", "num_workers", "reservoir_mib", "max_bad_records", "device"}
    ours |= {"host_timeout_s", "tls_ca_file", "tls_cert_file", "tls_key_file", "dashboard"}
    ours |= {"state_sample_mib", "whole_state", "model_rows", "checkpoint_interval_s"}
    ours |= {"k_sweep", "report", "report_map", "feature_names"}
    ours |= {"output_labels"}
    assert names == set(ORIGINAL_DEFAULTS) | set(REQUIRED) | ours


def test_the_originals_default_file_changes_nothing_but_that_rows_are_unfolded():
    assert parse(**ORIGINAL_DEFAULTS) == parse(force_dense="true")


def test_values_are_given_back_under_their_own_names():
    given = parse(_log_level="error", k="3").as_given()
    assert given["_log_level"] == "error"
    assert given["k"] == 3
    assert "log_level" not in given


@pytest.mark.parametrize("written", ["7", 7, '"7"', " 7 ", '" 7 "'])
def test_a_whole_number_may_be_written_as(written):
    assert parse(k=written).k == 7


@pytest.mark.parametrize("written", ["0.25", 0.25, '"0.25"', ".25", "2.5e-1", "25E-2", "+0.25"])
def test_a_real_number_may_be_written_as(written):
    assert parse(local_lloyd_tol=written).local_lloyd_tol == 0.25


@pytest.mark.parametrize("written", ["0", "1", 0, 1, "0.0", "1.", "1e-300"])
def test_the_ends_of_the_range_of_the_tolerance_are_in_it(written):
    assert 0 <= parse(local_lloyd_tol=written).local_lloyd_tol <= 1


@pytest.mark.parametrize("written", ["true", "True", "TRUE", True, '"true"', '"True"'])
def test_true_may_be_written_as(written):
    assert parse(force_dense=written).force_dense is True


@pytest.mark.parametrize("written", ["false", "False", False, '"False"'])
def test_false_may_be_written_as(written):
    assert parse(force_dense=written).force_dense is False


@pytest.mark.parametrize(
    "written",
    [
        '["ssd", "msd"]',
        "['ssd', 'msd']",
        '["ssd","msd"]',
        ["ssd", "msd"],
        '"[\\"ssd\\",\\"msd\\"]"',
    ],
)
def test_a_list_of_metrics_keeps_its_order_and_may_be_written_as(written):
    assert parse(eval_metrics=written).eval_metrics == ("ssd", "msd")


@pytest.mark.parametrize("written", ["['msd']", '["msd"]', ["msd"], "msd", '"msd"'])
def test_one_metric_may_be_written_as(written):
    assert parse(eval_metrics=written).eval_metrics == ("msd",)


@pytest.mark.parametrize("name", ["init_method", "local_lloyd_init_method"])
@pytest.mark.parametrize("written", ["kmeans++", "k-means++", '"kmeans++"', '"k-means++"'])
def test_both_spellings_of_kmeans_plus_plus_mean_the_same(name, written):
    assert getattr(parse(**{name: written}), name) == "kmeans++"


@pytest.mark.parametrize("name", ["extra_center_factor", "local_lloyd_num_trials", "_num_gpus"])
@pytest.mark.parametrize(("written", "value"), [("auto", "auto"), ('"auto"', "auto"), ("4", 4)])
def test_auto_or_a_number_is_accepted(name, written, value):
    assert parse(**{name: written}).as_given()[name] == value


def test_a_tuning_jobs_objective_is_accepted():
    parse(_tuning_objective_metric="test:msd")


def test_warn_means_warning():
    assert parse(_log_level="warn").log_level == "warning"


def test_names_that_generic_clients_add_for_themselves_are_passed_over():
    assert parse(sagemaker_program="train.py", sagemaker_region='"us-east-1"') == parse()


def test_missing_names_are_told_together_in_the_originals_words():
    with pytest.raises(UserError) as caught:
        parse_hyperparameters({})
    text = str(caught.value)
    assert text.startswith("No value(s) were specified for ")
    assert "'k'" in text
    assert "'feature_dim'" in text
    assert "required hyperparameter(s)" in text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mini_batch_siz", "mini_batch_size"),
        ("K", "k"),
        ("local_lloyd_max_iterations", "local_lloyd_max_iter"),
        ("log_level", "_log_level"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name, meant):
    text = refusal(**{name: "1"})
    assert f"({name!r} was unexpected)" in text
    assert f"did you mean {meant!r}?" in text or f"known are feature_dim, {meant}" in text


def test_an_unknown_name_like_no_other_is_refused_with_all_known_ones():
    text = refusal(zzz="1")
    assert "'zzz' was unexpected" in text
    assert all(name in text for name in ORIGINAL_DEFAULTS)


COUNT = ("0", "-1", "1.5", "1e3", "1_000", "07", "", "abc", "٣", "99999999999999999999", None, 1.0)


@pytest.mark.parametrize(
    ("name", "wrong", "accepted"),
    [
        *[
            (name, value, "a whole number from 1")
            for name in ("k", "feature_dim", "epochs", "local_lloyd_max_iter", "mini_batch_size")
            for value in COUNT
        ],
        *[(name, "2147483648", "to 2147483647") for name in ("k", "feature_dim", "epochs")],
        *[
            (name, value, "auto or a whole number from 1")
            for name in ("extra_center_factor", "local_lloyd_num_trials")
            for value in ("0", "Auto", "automatic", "-4", "2.5")
        ],
        *[
            (name, value, "a whole number from 0")
            for name in ("half_life_time_size", "seed")
            for value in ("-1", "0.5", "auto", "1" + 18 * "0")
        ],
        ("num_workers", "0", "auto or a whole number from 1 to 1024"),
        ("reservoir_mib", "0", "a whole number from 1 to 1048576"),
        ("max_bad_records", "-1", "a whole number from 0 to 2147483647"),
        ("max_bad_records", "0.01", "a whole number from 0 to 2147483647"),
        *[
            ("local_lloyd_tol", value, "a number from 0 to 1")
            for value in ("-0.1", "1.01", "nan", "inf", "1e400", "", "0,1", "1_0", "٣", "0x1")
        ],
        *[
            (name, value, "random or kmeans++")
            for name in ("init_method", "local_lloyd_init_method")
            for value in ("Random", "kmeans", "", "k-means||")
        ],
        *[
            ("eval_metrics", value, '["msd", "ssd"]')
            for value in (
                "[]",
                "",
                '["msd","msd"]',
                '["mse"]',
                "[",
                "[1]",
                "[[1]]",
                '[{"a":1}]',
                "[" * 5000,
                "msd,ssd",
                "{}",
                None,
            )
        ],
        *[
            ("force_dense", value, "auto or true or false")
            for value in ("yes", "1", "0", "", "None")
        ],
        *[("_num_gpus", value, "auto or a whole number from 0") for value in ("-1", "all", "")],
        *[("_log_level", value, "debug or info") for value in ("verbose", "10", "")],
        *[("_enable_profiler", value, "must be true or false") for value in ("on", "2")],
    ],
)
def test_a_wrong_value_is_refused_with_its_name_itself_and_what_is_accepted(name, wrong, accepted):
    text = refusal(**{name: wrong})
    assert f"{name}={wrong!r} is not accepted: {name} must be " in text
    assert accepted in text


def test_the_largest_accepted_numbers_are_accepted():
    wanted = parse(k="2147483647", seed="9" * 18, half_life_time_size="9" * 18)
    assert (wanted.k, wanted.seed) == (2**31 - 1, 10**18 - 1)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(UserError) as caught:
        parse_hyperparameters({"k": "0", "epoch": "1", "local_lloyd_tol": "2", "init_method": "x"})
    problems = str(caught.value).split("; ")
    assert any("'feature_dim'" in problem for problem in problems)
    assert any("'epoch' was unexpected" in problem for problem in problems)
    assert any(problem.startswith("k='0'") for problem in problems)
    assert any(problem.startswith("local_lloyd_tol='2'") for problem in problems)
    assert any(problem.startswith("init_method='x'") for problem in problems)


@pytest.mark.parametrize(
    ("k", "k_sweep", "sweep", "least", "most"),
    [
        ("8", "", (), 8, 8),
        ("8", "2-5", (2, 3, 4, 5, 8), 8, 8),
        ("8", "2, 4,16", (2, 4, 8, 16), 8, 16),
        ("8", [2, "4-5"], (2, 4, 5, 8), 8, 8),
        ("auto", "3-4,3", (3, 4), 3, 4),
        ("auto", "", tuple(range(2, 21)), 2, 20),
        ("auto", "7", (7,), 7, 7),
    ],
)
def test_numbers_of_clusters(k, k_sweep, sweep, least, most):
    parsed = parse(k=k, k_sweep=k_sweep)
    assert (parsed.sweep, parsed.least_k, parsed.most_k) == (sweep, least, most)


@pytest.mark.parametrize("written", ["0-3", "3-2", "2-", "-4", "2;3", "two", "1-1001", "2 3"])
def test_what_is_no_sweep(written):
    with pytest.raises(UserError, match="k_sweep must be numbers and ranges from 1 to 10000, 1000"):
        parse(k_sweep=written)


def test_a_sweep_that_would_take_all_memory_is_refused():
    with pytest.raises(UserError, match=r"makes 500500 centers of 784 features, 1.5 GiB; at most"):
        parse(k_sweep="1-1000", feature_dim="784")


@pytest.mark.parametrize("written", ["a, b,c", '["a", "b", "c"]', ["a", "b", "c"]])
def test_names_of_features(written):
    assert parse(feature_names=written, feature_dim="3").feature_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("a,b", "feature_names has 2 names, and feature_dim=3"),
        ("a,,c", "feature_names='a,,c' is not accepted: .* a JSON list of names, or names betw"),
        ("[1, 2, 3]", "is not accepted"),
        ("[", "is not accepted"),
    ],
)
def test_what_are_no_names(written, message):
    with pytest.raises(UserError, match=message):
        parse(feature_names=written, feature_dim="3")
