"""What a job is told of its channels and hosts."""

from __future__ import annotations

import json

import pytest

from onepass.errors import UserError
from onepass.sagemaker.inputs import read_job_input
from onepass.sagemaker.paths import Paths

# As a real host had it.
REAL_RESOURCES = {
    "current_group_name": "homogeneousCluster",
    "current_host": "algo-1",
    "current_instance_type": "ml.c5.xlarge",
    "hosts": ["algo-1"],
    "instance_groups": [
        {
            "hosts": ["algo-1"],
            "instance_group_name": "homogeneousCluster",
            "instance_type": "ml.c5.xlarge",
        }
    ],
    "network_interface_name": "eth0",
    "topology": None,
}
REAL_CHANNEL = {
    "ContentType": "application/x-recordio-protobuf",
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}


@pytest.fixture
def write(tmp_path):
    """Write configuration files, each as JSON or as the text given; make the channel 'train'."""
    (tmp_path / "input/config").mkdir(parents=True)
    (tmp_path / "input/data/train").mkdir(parents=True)

    def write(hyperparameters=None, channels=None, resources=None):
        given = {
            "hyperparameters": {"k": "2", "feature_dim": "3"}
            if hyperparameters is None
            else hyperparameters,
            "inputdataconfig": channels,
            "resourceconfig": resources,
        }
        for name, content in given.items():
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (tmp_path / f"input/config/{name}.json").write_text(text, encoding="utf-8")
        return Paths(tmp_path)

    return write


def refusal(paths):
    with pytest.raises(UserError) as caught:
        read_job_input(paths)
    return str(caught.value)


def test_the_files_of_a_real_host_are_read(write):
    job = read_job_input(write(channels={"train": REAL_CHANNEL}, resources=REAL_RESOURCES))
    assert job.hyperparameters.k == 2
    assert job.host == "algo-1"
    assert job.train.name == "train"
    assert job.train.content_type == "application/x-recordio-protobuf"
    assert job.test is None
    assert job.ignored == ()


def test_only_hyperparameters_and_the_channels_directory_are_needed(write, tmp_path):
    job = read_job_input(write())
    assert job.host == "algo-1"
    assert job.train.directory == tmp_path / "input/data/train"
    assert job.train.content_type == "application/x-recordio-protobuf"


def test_without_hyperparameters_the_file_is_named(tmp_path):
    assert f"{tmp_path}/input/config/hyperparameters.json is missing" in refusal(Paths(tmp_path))


@pytest.mark.parametrize(
    "described", [{}, {"TrainingInputMode": "File"}, {"ContentType": None}, {"ContentType": ""}]
)
def test_every_key_of_a_channel_is_optional(write, described):
    job = read_job_input(write(channels={"train": described}))
    assert job.train.content_type == "application/x-recordio-protobuf"


def test_the_short_form_of_local_mode_is_read(write):
    channels = {"train": {"TrainingInputMode": "File", "ContentType": "text/csv;label_size=0"}}
    resources = {
        "current_host": "algo-1-ieqh5",
        "hosts": ["algo-1-ieqh5"],
        "network_interface_name": "eth0",
        "current_instance_type": "local",
    }
    job = read_job_input(write(channels=channels, resources=resources))
    assert job.host == "algo-1-ieqh5"
    assert job.train.content_type == "text/csv;label_size=0"


@pytest.mark.parametrize("mode", ["File", "FastFile", "Pipe", None])
def test_a_channel_is_read_in_any_mode(write, mode):
    job = read_job_input(write(channels={"train": {"TrainingInputMode": mode}}))
    assert job.train.mode == (mode or "File")
    assert not job.train.wrapped


def test_each_pass_has_a_pipe_beside_the_directory(write, tmp_path):
    job = read_job_input(write(channels={"train": {"TrainingInputMode": "Pipe"}}))
    assert job.train.pipe(0) == tmp_path / "input/data/train_0"
    assert job.train.pipe(12) == tmp_path / "input/data/train_12"


@pytest.mark.parametrize("name", ["train", "test"])
def test_other_modes_are_refused_by_name(write, name):
    channels = {"train": {}, name: {"TrainingInputMode": "pipe"}}
    assert refusal(write(channels=channels)) == (
        f"channel {name!r}: TrainingInputMode='pipe' is not known; accepted are File, FastFile, "
        "Pipe"
    )


@pytest.mark.parametrize(
    ("wrapper", "wrapped"), [(None, False), ("None", False), ("RecordIO", True)]
)
def test_a_pipe_may_wrap_objects_in_records(write, wrapper, wrapped):
    described = {"TrainingInputMode": "Pipe", "RecordWrapperType": wrapper}
    assert read_job_input(write(channels={"train": described})).train.wrapped == wrapped


@pytest.mark.parametrize(
    "described",
    [
        {"RecordWrapperType": "RecordIO"},
        {"RecordWrapperType": "RecordIO", "TrainingInputMode": "FastFile"},
        {"RecordWrapperType": "recordio", "TrainingInputMode": "Pipe"},
    ],
)
def test_other_wrappers_are_refused(write, described):
    text = refusal(write(channels={"train": described}))
    assert "channel 'train': RecordWrapperType='" in text
    assert "must be None, or RecordIO in Pipe mode" in text


def test_a_hosts_place_is_that_of_its_name_among_all_sorted(write):
    hosts = ["algo-2", "algo-10", "algo-1"]
    places = {}
    for host in hosts:
        job = read_job_input(write(resources={"current_host": host, "hosts": hosts}))
        assert job.hosts == ("algo-1", "algo-10", "algo-2")
        places[job.host] = job.host_index
    assert places == {"algo-1": 0, "algo-10": 1, "algo-2": 2}


@pytest.mark.parametrize("resources", [None, {}, {"current_host": "a"}, REAL_RESOURCES])
def test_one_host_is_the_first(write, resources):
    job = read_job_input(write(resources=resources))
    assert (len(job.hosts), job.host_index) == (1, 0)


@pytest.mark.parametrize("host", [None, "", "algo-3"])
def test_a_host_that_is_none_of_several_is_refused(write, host):
    resources = {"hosts": ["algo-1", "algo-2"]} | ({} if host is None else {"current_host": host})
    text = refusal(write(resources=resources))
    assert f"current_host={str(host)!r} must be one of hosts=['algo-1', 'algo-2']" in text


def test_hosts_of_one_name_are_refused(write):
    text = refusal(write(resources={"current_host": "a", "hosts": ["a", "a"]}))
    assert "hosts=['a', 'a'] must differ from one another" in text


@pytest.mark.parametrize("distribution", ["FullyReplicated", "ShardedByS3Key", None, ""])
def test_a_channel_says_what_each_host_gets(write, distribution):
    job = read_job_input(write(channels={"train": {"S3DistributionType": distribution}}))
    assert job.train.distribution == (distribution or "FullyReplicated")


def test_other_distributions_are_refused_by_name(write):
    channels = {"train": {}, "test": {"S3DistributionType": "Sharded"}}
    assert refusal(write(channels=channels)) == (
        "channel 'test': S3DistributionType='Sharded' is not known; accepted are FullyReplicated, "
        "ShardedByS3Key"
    )


@pytest.mark.parametrize("hosts", [[], None, "algo-1", {"algo-1": 1}, [1, 2]])
def test_hosts_that_are_no_list_of_names_are_refused(write, hosts):
    text = refusal(write(resources={"current_host": "algo-1", "hosts": hosts}))
    assert f"hosts={hosts!r} must be a list of names" in text


@pytest.mark.parametrize(
    ("resources", "host"),
    [({}, "algo-1"), ({"hosts": ["algo-7"]}, "algo-7"), ({"current_host": "a"}, "a")],
)
def test_the_host_is_named_by_what_there_is(write, resources, host):
    assert read_job_input(write(resources=resources)).host == host


def test_a_job_without_the_channel_train_is_refused_with_those_it_has(write):
    text = refusal(write(channels={"training": {}, "test": {}}))
    assert text == "the channel 'train' is required; the job has: test, training"


def test_a_job_without_any_channel_is_refused(tmp_path, write):
    (tmp_path / "input/data/train").rmdir()
    assert refusal(write()) == "the channel 'train' is required; the job has: none"


def test_channels_that_have_no_use_are_named(write):
    job = read_job_input(write(channels={"validation": {"TrainingInputMode": "Pipe"}, "train": {}}))
    assert job.ignored == ("validation",)


def test_directories_are_the_channels_where_none_are_described(write, tmp_path):
    (tmp_path / "input/data/test").mkdir()
    (tmp_path / "input/data/train-manifest").write_text("[]")
    job = read_job_input(write(channels={}))
    assert job.test is not None
    assert job.test.directory == tmp_path / "input/data/test"
    assert job.ignored == ()


def test_a_directory_that_is_not_described_is_no_channel(write, tmp_path):
    (tmp_path / "input/data/test").mkdir()
    assert read_job_input(write(channels={"train": REAL_CHANNEL})).test is None


@pytest.mark.parametrize("field", ["hyperparameters", "channels", "resources"])
@pytest.mark.parametrize("text", ["", "{", "{'k': 1}", "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_a_file_that_is_not_json_is_refused_by_name(write, field, text):
    file = {"channels": "inputdataconfig", "resources": "resourceconfig"}.get(field, field)
    assert f"input/config/{file}.json is not valid JSON: " in refusal(write(**{field: text}))


@pytest.mark.parametrize("field", ["hyperparameters", "channels", "resources"])
@pytest.mark.parametrize("content", ["[]", "null", '"text"', "1"])
def test_a_file_that_holds_no_object_is_refused_by_name(write, field, content):
    assert ".json must hold a JSON object, found " in refusal(write(**{field: content}))


def test_a_channel_that_is_no_object_is_refused(write):
    assert "channel 'train' must be an object" in refusal(write(channels={"train": []}))


def test_a_file_that_is_not_utf8_is_refused_by_name(write):
    paths = write()
    paths.hyperparameters.write_bytes(b'{"k": "\xff"}')
    assert f"cannot read {paths.hyperparameters}" in refusal(paths)


def test_a_directory_in_the_place_of_a_file_is_refused_by_name(write):
    paths = write()
    paths.resource_config.mkdir()
    assert f"cannot read {paths.resource_config}" in refusal(paths)
