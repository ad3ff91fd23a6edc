"""Which device is used, and what is told of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster import devices
from onepass.cluster.device_stream import DeviceStream
from onepass.cluster.devices import find_gpu
from onepass.cluster.kernels import gpu
from onepass.cluster.model import KMeansModel
from onepass.errors import UserError
from onepass.resources import visible_gpus


@pytest.fixture
def visible(monkeypatch):
    """Say how many GPUs have a file."""

    def visible(n):
        monkeypatch.setattr(devices, "visible_gpus", lambda: n)

    return visible


@pytest.fixture
def small(monkeypatch):
    """Batches of a device as small as others; one block of few threads, for the emulation."""
    monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 1)
    monkeypatch.setattr("onepass.cluster.device_plan._ROW_VALUES", 1)
    monkeypatch.setattr(gpu, "_ONE_BLOCK", 96)


def mixture(n, d=3, k=4, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 5, (k, d))
    return (means[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def kmeans(**named):
    return KMeans(4, center_factor=6, batch_size=500, reservoir_bytes=20_000, **named)


class TestFinding:
    def test_files_of_devices_are_counted(self, tmp_path):
        for name in ("nvidia0", "nvidia1", "nvidia12", "nvidiactl", "nvidia-uvm", "null"):
            (tmp_path / name).touch()
        assert visible_gpus(tmp_path) == 3
        assert visible_gpus(tmp_path / "nothing") == 0

    def test_the_processor_is_wanted(self, visible, emulated):
        emulated()
        visible(1)
        assert find_gpu("cpu") is None

    def test_without_a_gpu_auto_is_the_processor(self, visible, caplog):
        visible(0)
        assert find_gpu("auto") is None
        assert not caplog.messages

    def test_with_a_gpu_auto_is_that(self, visible, emulated):
        emulated()
        visible(1)
        found = find_gpu("auto")
        assert found is not None
        assert found.name == "an emulation"

    def test_a_gpu_that_cannot_be_used_is_told_once(self, visible, emulated, caplog):
        emulated(major=5)
        visible(1)
        assert find_gpu("auto") is None
        [told] = caplog.messages
        assert told.startswith("computing on the CPU: an emulation is too old")

    def test_one_of_several_that_cannot_be_used_is_left_out(self, visible, emulated, caplog):
        cupy = emulated(n_gpus=3)
        visible(3)
        told_of = cupy.cuda.runtime.getDeviceProperties
        cupy.cuda.runtime.getDeviceProperties = lambda i: told_of(i) | {"major": 9 - 4 * (i == 1)}
        assert [found.index for found in devices.find_gpus("gpu", 9)] == [0, 2]
        assert [told[:40] for told in caplog.messages] == [
            "not used: an emulation is too old: compu"
        ]

    def test_one_that_fails_when_it_is_asked_is_not_used(self, visible, emulated, caplog):
        cupy = emulated()
        visible(1)

        def fail(_):
            raise cupy.cuda.runtime.CUDARuntimeError("out of memory")

        cupy.cuda.runtime.getDeviceProperties = fail
        assert find_gpu("auto") is None
        assert caplog.messages == [
            "computing on the CPU: GPU 0 cannot be made to compute: out of memory"
        ]

    def test_one_whose_kernels_cannot_be_kept_is_not_used(self, visible, emulated, caplog):
        cupy = emulated()
        visible(1)

        def refuse(**_):
            raise PermissionError(13, "Permission denied", "/nowhere/kernels")

        cupy.RawModule = refuse
        assert find_gpu("auto") is None
        [told] = caplog.messages
        assert "GPU 0 cannot be made to compute: [Errno 13] Permission denied" in told
        with pytest.raises(UserError, match="device=gpu: GPU 0 cannot be made to compute"):
            find_gpu("gpu")

    def test_one_of_several_is_found_by_its_number(self, emulated):
        emulated(n_gpus=3)
        assert [found.index for found in devices.find_gpus("gpu", 2)] == [0, 1]
        assert gpu.count_gpus() == 3
        assert [found.index for found in devices.find_gpus("gpu", 9)] == [0, 1, 2]
        assert [found.index for found in devices.find_gpus("gpu:2", 9)] == [2]
        free = [found.free_bytes() for found in devices.find_gpus("gpu", 3)]
        assert free == [2**34, 2**33, 2**32], "each tells of its own"
        with pytest.raises(UserError, match="device=gpu:3: there is no GPU 3"):
            find_gpu("gpu:3")

    def test_a_gpu_that_is_demanded_must_be_there(self, visible, emulated):
        visible(0)
        emulated(n_gpus=0)
        with pytest.raises(UserError, match="device=gpu: there is no GPU; device must be auto"):
            find_gpu("gpu")
        with pytest.raises(UserError, match="there is no GPU"):
            kmeans(device="gpu").partial_fit(mixture(10))

    @pytest.mark.parametrize(
        "device", ["cuda", None, 1, ["gpu"], "gpu:", "gpu:x", "gpu:1 ", "cpu:0"]
    )
    def test_other_devices_are_refused(self, device):
        with pytest.raises(UserError, match="device must be 'auto', 'cpu', 'gpu'"):
            kmeans(device=device).fit(mixture(10))


@pytest.mark.usefixtures("small")
class TestKMeans:
    def test_two_take_turns_on_different_devices(self, emulated):
        """Each array and each kernel stays where it belongs: the emulation looks."""
        emulated(n_gpus=2)
        rows = mixture(2600)
        both = [kmeans(device="gpu:0"), kmeans(device="gpu:1")]
        for start in range(0, 2600, 650):
            for one in both:
                one.partial_fit(rows[start : start + 650])
        found = [one.finalize().cluster_centers_ for one in both]
        np.testing.assert_array_equal(*found)

    def test_rows_are_clustered_on_the_device(self, emulated):
        emulated()
        rows = mixture(2600)
        ours = kmeans(device="gpu").partial_fit(rows)
        assert ours._stream._stream._there is not None
        ours.finalize()
        theirs = kmeans(device="cpu").partial_fit(rows).finalize()
        assert not isinstance(theirs._stream._stream, DeviceStream)
        assert ours.n_samples_seen_ == 2600
        found, expected = (one.to_model().inertia(rows) for one in (ours, theirs))
        assert found == pytest.approx(expected, rel=0.01)
        assert ours.inertia_ == pytest.approx(found, rel=0.1)

    def test_a_fitted_one_holds_no_memory_of_the_device(self, emulated, monkeypatch):
        monkeypatch.setattr("onepass.cluster.device_finish._WORTH_REFINING", 0)
        emulated()
        rows = mixture(2600)
        fitted = kmeans(device="gpu").fit(rows)
        assert fitted._stream._stream._there is None
        taken = kmeans(device="gpu").partial_fit(rows).finalize()
        assert taken._stream._stream._there is not None
        centers = taken.cluster_centers_
        assert taken.leave_device()._stream._stream._there is None
        taken.refine([rows])
        assert taken.to_model().inertia(rows) <= KMeansModel(centers).inertia(rows)
        assert kmeans().leave_device().n_samples_seen_ == 0

    def test_few_rows_stay_on_the_host(self, visible):
        """Nobody looks for a GPU as long as there is not enough to do for one."""
        visible(1)
        rows = mixture(900)
        fitted = kmeans(device="auto").fit(rows)
        assert isinstance(fitted._stream._stream, DeviceStream)
        assert not fitted._stream._stream._has_looked
        assert fitted.labels_.shape == (900,)

    def test_few_rows_are_taken_as_without_a_gpu(self, visible, monkeypatch):
        visible(1)
        monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 10**4)
        rows = mixture(7300)
        ours, theirs = (kmeans(device=device).fit(rows) for device in ("auto", "cpu"))
        np.testing.assert_array_equal(ours.cluster_centers_, theirs.cluster_centers_)
        assert ours.msd_ == theirs.msd_
        assert not ours._stream._stream._has_looked

    def test_where_there_is_none_after_all_it_goes_on_without(self, visible, emulated, caplog):
        visible(1)
        emulated(n_gpus=0)
        rows = mixture(3000)
        ours = kmeans(device="auto").partial_fit(rows)
        assert ours._stream._stream._has_looked
        ours.finalize()
        theirs = kmeans(device="cpu").partial_fit(rows).finalize()
        np.testing.assert_array_equal(ours.cluster_centers_, theirs.cluster_centers_)
        assert caplog.messages == ["computing on the CPU: there is no GPU"]

    def test_shards_leave_the_device_where_it_is(self, emulated):
        emulated()
        rows = mixture(4000)
        whole = kmeans(device="gpu")
        for part in (rows[:2000], rows[2000:]):
            shard = whole.shard(2).partial_fit(part).flush()
            whole.merge(copy.deepcopy(shard))
        whole.finalize()
        assert whole.n_samples_seen_ == 4000
        theirs = kmeans(device="cpu").partial_fit(rows).finalize()
        found, expected = (one.to_model().inertia(rows) for one in (whole, theirs))
        assert found == pytest.approx(expected, rel=0.02)

    def test_sparse_rows_stay_on_the_host(self, emulated):
        from scipy.sparse import csr_array

        emulated()
        rows = csr_array(np.maximum(mixture(2600), 0))
        fitted = kmeans(device="gpu").partial_fit(rows).finalize()
        assert not isinstance(fitted._stream._stream, DeviceStream)

    def test_values_of_any_size_are_taken(self, emulated):
        """Squares of these leave the range of float32: they are scaled, as on the host."""
        emulated()
        rows = mixture(1600)
        ours = kmeans(device="gpu").partial_fit(rows)
        scaled_by = np.float32(2.0**70)
        theirs = kmeans(device="gpu").partial_fit(rows * scaled_by)
        ours.finalize()
        theirs.finalize()
        found = KMeansModel(theirs.cluster_centers_ / scaled_by).inertia(rows)
        assert found == pytest.approx(ours.to_model().inertia(rows), rel=0.03)
        assert theirs.msd_ == pytest.approx(ours.msd_ * 2.0**140, rel=0.1)
