"""Kernels on a GPU: what `gpu.cu` does, and products by cuBLAS.

The only module that knows CuPy, and long because it calls every kernel. Arrays on the device are
its; whatever is named `rows` there is C-contiguous float32, relative to an origin near the data,
and weights are float64 or None for 1 each. Work is queued: nothing waits for the device but
`Gpu.read` and what returns arrays of NumPy.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.kernels.on_device import (
    REPORT,
    Array,
    Chance,
    Coins,
    DeviceBatch,
    DeviceHoldings,
    Drawn,
    Found,
    Ordered,
    PartnersThere,
    RecordLayout,
    Room,
    Seekers,
    Terms,
    blank_report,
)
from onepass.errors import PlatformError, UserError

_THREADS = 256
_ONE_BLOCK = 1024
_LANES = 32
_PIECE = 128  # as in gpu.cu
_SHARES = 128
"""Into how many shares rows are put in order, each by a warp."""

_OLDEST = 70
"""Compute capability, in tenths: lanes of a warp are matched by what they hold from there on."""

_TF32, _FLOAT32 = 3, 0  # cublasMath_t
_TRANSPOSED, _AS_IS = 1, 0  # cublasOperation_t

_COPIED_AT_ONCE = 2**16
"""Bytes that the driver has taken over when it returns."""

_NOTHING = np.uint64(0)
"""The address of an array that is absent."""


class NoGpuError(UserError):
    """There is no GPU that can be used; the message says why."""


class Cuda(NamedTuple):
    """What is used of CuPy.

    Attributes
    ----------
    cupy : module
    cublas : module
        Its face of cuBLAS.
    """

    cupy: Any
    cublas: Any


@functools.cache
def cuda() -> Cuda:
    """Return CuPy: it takes two seconds to import, and is not there on most machines.

    Raises
    ------
    NoGpuError
        When it is not installed, or has no folder to keep kernels in.
    """
    try:
        import cupy  # noqa: PLC0415
        from cupy_backends.cuda.libs import cublas  # noqa: PLC0415
    except ImportError as error:
        raise NoGpuError(
            f"CuPy cannot be imported ({error}): it comes with the extra gpu: "
            "pip install 'onepass-kmeans[gpu]'"
        ) from error
    except OSError as error:
        raise NoGpuError(
            f"CuPy cannot be imported ({error}): let CUPY_CACHE_DIR name a folder for its kernels"
        ) from error
    return Cuda(cupy, cublas)


def is_loaded() -> bool:
    """Whether CuPy has been imported, so that a GPU takes no time to start."""
    return "cupy" in sys.modules


def count_gpus() -> int:
    """Return how many GPUs there are.

    Raises
    ------
    NoGpuError
        When there is none, or no driver.
    """
    runtime = cuda().cupy.cuda.runtime
    try:
        n = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        raise NoGpuError(f"no GPU can be used: {error}") from error
    if not n:
        raise NoGpuError("there is no GPU")
    return n


class Gpu:
    """One GPU.

    Parameters
    ----------
    index : int
        Among those of this machine.

    Attributes
    ----------
    index : int
    name : str
    n_bytes : int
        Of memory.

    Raises
    ------
    NoGpuError
        When there is none of that index, when it is too old, or when CUDA's libraries are not all
        there or kernels cannot be kept (`CUPY_CACHE_DIR`).
    """

    def __init__(self, index: int = 0) -> None:
        if not 0 <= index < count_gpus():
            raise NoGpuError(f"there is no GPU {index}")
        self.index = index
        self._cupy, self._cublas = cuda()
        self._device = self._cupy.cuda.Device(index)
        runtime = self._cupy.cuda.runtime
        failures = OSError, ImportError, RuntimeError, self._cupy.cuda.compiler.CompileException
        try:
            told = runtime.getDeviceProperties(index)
            self.name = told["name"].decode()
            self.n_bytes = int(told["totalGlobalMem"])
            capability = 10 * int(told["major"]) + int(told["minor"])
            if capability >= _OLDEST:
                with self._device:
                    self._kernels = self._compiled()
        except failures as error:
            raise NoGpuError(f"GPU {index} cannot be made to compute: {error}") from error
        if capability < _OLDEST:
            raise NoGpuError(
                f"{self.name} is too old: compute capability {capability / 10}, "
                f"{_OLDEST / 10} is needed"
            )

    def _compiled(self) -> Any:
        """Return the kernels, compiled once for each kind of GPU: CuPy keeps them in a folder."""
        source = files(__package__).joinpath("gpu.cu").read_text()
        module = self._cupy.RawModule(code=source, options=("--std=c++17",))
        module.compile()
        self._cupy.cuda.get_cublas_handle()  # which may be missing, or find no room
        return module

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Use this GPU, whichever the thread uses otherwise; say what is wrong with it."""
        memory, runtime = self._cupy.cuda.memory, self._cupy.cuda.runtime
        try:
            with self._device:
                yield
        except memory.OutOfMemoryError as error:
            raise PlatformError(
                f"{self.name} has no memory left, though it had enough when it was asked: {error}"
            ) from error
        except runtime.CUDARuntimeError as error:
            raise PlatformError(f"{self.name} has failed: {error}") from error

    def free_bytes(self) -> int:
        """Return how much memory is free, with what CuPy keeps for its next use."""
        with self._used():
            free, _ = self._cupy.cuda.runtime.memGetInfo()
            return int(free) + int(self._cupy.get_default_memory_pool().free_bytes())

    def empty(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return memory on the device."""
        with self._used():
            return self._cupy.empty(shape, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return memory on the device, cleared."""
        with self._used():
            return self._cupy.zeros(shape, dtype)

    def put(self, array: npt.NDArray[Any]) -> Array:
        """Copy an array to the device."""
        there = self.empty(array.shape, array.dtype)
        self.copy(array, there)
        return there

    def get(self, array: Array) -> npt.NDArray[Any]:
        """Copy an array from the device, when what was queued before is done."""
        with self._used():
            copied: npt.NDArray[Any] = self._cupy.asnumpy(array)
            return copied

    def copy(self, array: npt.NDArray[Any], to: Array) -> None:
        """Copy an array to one on the device, of the same shape and type."""
        with self._used():
            to.set(np.ascontiguousarray(array))
            if array.nbytes > _COPIED_AT_ONCE:  # the driver may read it until it is told to end
                self._cupy.cuda.get_current_stream().synchronize()

    def clear(self, array: Array) -> None:
        """Fill an array on the device with zeros."""
        with self._used():
            array.data.memset_async(0, array.nbytes)

    def page_locked(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Return memory of the host that is copied from at full speed, and beside other work."""
        with self._used():
            memory = self._cupy.cuda.alloc_pinned_memory(n_bytes)
        return np.frombuffer(memory, np.uint8, n_bytes)

    def new_lane(self) -> Lane:
        """Return a lane for copies that do not wait for what is computed."""
        with self._used():
            return Lane(self._cupy.cuda, self._used)

    def mark(self) -> Mark:
        """Return a mark behind all that has been queued, but for what lanes copy."""
        with self._used():
            return Mark(self._cupy.cuda.get_current_stream().record())

    def new_report(self) -> Array:
        """Return room for a `REPORT`."""
        return self.put(blank_report().view(np.uint8))

    def read(self, report: Array) -> np.void:
        """Return what a `REPORT` says, when what was queued before is done."""
        told: np.void = self.get(report).view(REPORT)[0]
        return told

    def blank(self, report: Array) -> None:
        """Let a report say nothing."""
        self.copy(blank_report().view(np.uint8), report)

    def unpack(self, records: Array, layout: RecordLayout, into: Room, report: Array) -> None:
        """Take rows out of records that have a layout in common.

        Parameters
        ----------
        records : array of shape (n * layout.stride,), uint32
        layout : RecordLayout
            On the device.
        into : Room
            Receives the values less its origin; those of records of another layout, or not finite,
            mean nothing.
        report : array
            Is told of these, by where in the batch they are, and of the peak.
        """
        n, d = len(records) // layout.stride, into.rows.shape[1]
        self._warps(
            "unpack", n, records, _i64(n), _i64(layout.stride), layout.pattern, layout.mask,
            _i64(layout.first), np.int32(layout.shift), _i64(d), into.origin, into.rows,
            _i64(into.n_rows), report,
        )  # fmt: skip

    def subtract(self, rows: Array, origin: Array) -> None:
        """Subtract something from all rows, in place."""
        nothing = self.zeros(rows.shape[1], np.uint32)
        plain = RecordLayout(rows.shape[1], nothing, nothing, 0, 0)
        words = rows.view(np.uint32).reshape(-1)
        self.unpack(words, plain, Room(rows, origin, 0), self.new_report())

    def lay_out(self, centers: Array, n: int, factors: Array, squares: Array) -> None:
        """Lay out centers for `search`.

        Parameters
        ----------
        centers : array of shape (at least n, n_features), float32
        n : int
            How many of them there are.
        factors : array of shape (room, n_features), float32
            Receives -2 times each.
        squares : array of shape (room,), float32
            Receives their squared norms, infinite where there is none.
        """
        room, d = factors.shape
        self._warps("lay_out", room, centers, _i64(n), _i64(room), _i64(d), factors, squares)

    def multiply(self, rows: Array, factors: Array, out: Array, *, tf32: bool) -> None:
        """Multiply rows by factors: (n, d) by (room, d) gives (n, room)."""
        (n, d), room = rows.shape, len(factors)
        one, nothing = np.array([1], np.float32), np.array([0], np.float32)
        with self._used():
            handle = self._cupy.cuda.get_cublas_handle()
            self._cublas.setMathMode(handle, _TF32 if tf32 else _FLOAT32)
            self._cublas.sgemm(
                handle, _TRANSPOSED, _AS_IS, room, n, d, one.ctypes.data, factors.data.ptr, d,
                rows.data.ptr, d, nothing.ctypes.data, out.data.ptr, room,
            )  # fmt: skip

    def new_found(self, n: int, *, others: bool = False, norms: bool = False) -> Found:
        """Return room for what `settle` finds of n rows."""
        return Found(
            self.empty(n, np.int32),
            self.empty(n, np.float32),
            self.empty(n, np.float32) if others else None,
            self.empty(n, np.float32) if norms else None,
        )

    def settle(
        self, products: Array, squares: Array, rows: Array, centers: Array, found: Found
    ) -> None:
        """Find the closest center of each row from its products.

        Of the two with the least scores the closer one is taken, by differences: a product in TF32
        may put the wrong one first.
        """
        n, d = rows.shape
        self._warps(
            "settle", n, products, _i64(n), _i64(len(squares)), squares, rows, centers, _i64(d),
            *found,
        )  # fmt: skip

    def open_far(
        self, batch: DeviceBatch, found: Found, coins: Coins, terms: Terms, report: Array
    ) -> Array:
        """Choose the rows that open centers, as if they came one by one.

        Parameters
        ----------
        batch : DeviceBatch
        found : Found
            With norms.
        coins : Coins
        terms : Terms
        report : array
            Is told how many are opened, and whether more could.

        Returns
        -------
        array of shape (room,), int32
            Which rows they are.
        """
        n, d = batch.rows.shape
        asked, opened = self.empty(n, np.int32), self.empty(terms.room, np.int32)
        left, votes = self.empty(terms.room, np.float64), self.empty(-(-n // _LANES), np.uint32)
        coin_of = np.uint64(coins.seed), _i64(coins.before)
        price = terms.service, np.float64(terms.capacity)
        self._run(
            "vote_far", (-(-n // _THREADS),), _THREADS, _i64(n), batch.weights,
            found.sq_distances, found.norms, *coin_of, *price, votes,
        )  # fmt: skip
        self._run(
            "open_far", (1,), _ONE_BLOCK, batch.rows, _i64(n), _i64(d), batch.weights,
            found.sq_distances, *coin_of, *price, _i64(terms.room), votes, asked, left, opened,
            report,
        )  # fmt: skip
        return opened

    def settle_down(
        self, rows: Array, opened: Array, centers: Array, first: int, found: Found
    ) -> None:
        """Make the rows that open the centers `first`, `first` + 1, ..., and let them go there."""
        n = len(opened)
        self._warps(
            "settle_down", n, rows, _i64(rows.shape[1]), opened, _i64(n), centers,
            np.int32(first), found.labels, found.sq_distances,
        )  # fmt: skip

    def adopt(
        self, products: Array, squares: Array, rows: Array, fresh: Array, first: int, found: Found
    ) -> None:
        """Let rows go to fresh centers, `first` and those behind, where these are closer."""
        n, d = rows.shape
        self._warps(
            "adopt", n, products, _i64(n), _i64(len(squares)), squares, rows, fresh, _i64(d),
            np.int32(first), found.labels, found.sq_distances,
        )  # fmt: skip

    def add(self, batch: DeviceBatch, found: Found, n_labels: int) -> Ordered:
        """Add up the rows of each label, in their order, whatever order threads run in."""
        n, d = batch.rows.shape
        counts = self.zeros((_SHARES, n_labels), np.int32)
        starts, order = self.empty(n_labels + 1, np.int32), self.empty(n, np.int32)
        sizes = _i64(n), _i64(n_labels), _i64(_SHARES)
        self._warps("count_labels", _SHARES, found.labels, *sizes, counts)
        self._run("place_labels", (1,), _ONE_BLOCK, *sizes[1:], counts, starts)
        self._warps("order_rows", _SHARES, found.labels, *sizes, counts, starts, order)
        width, n_pieces = d + 2, -(-n // _PIECE)
        heads, tails = (self.empty((n_pieces, width), np.float64) for _ in range(2))
        added = Ordered(starts, self.empty((n_labels, width), np.float64), heads, tails)
        n_threads = min(_PIECE, -(-width // _LANES) * _LANES)
        self._run(
            "add_pieces", (n_pieces, -(-width // n_threads)), n_threads, batch.rows, _i64(n),
            _i64(d), batch.weights, found.sq_distances, found.labels, order, *added,
        )  # fmt: skip
        return added

    def new_sums(self, n_labels: int, n_features: int) -> Array:
        """Return sums of nothing: (n_labels, n_features + 2), float64.

        The last two columns are for weights and costs.
        """
        return self.zeros((n_labels, n_features + 2), np.float64)

    def sum_up(self, added: Ordered, sums: Array) -> None:
        """Add what each label's rows add up to."""
        n_labels, width = sums.shape
        self._run("sum_labels", (n_labels,), _threads_for(width), _i64(width - 2), *added, sums)

    def move(
        self, added: Ordered, held: DeviceHoldings, share: float, service: Array, report: Array
    ) -> None:
        """Move centers to the means of all they hold, and tell what the rows added have cost.

        Parameters
        ----------
        added : Ordered
        held : DeviceHoldings
            Of as many centers as there are labels; changed in place.
        share : float
            What is left of the weight of what was held before.
        service : array of shape (1,), float64
            The service cost, to which that of the rows is added.
        report : array
        """
        n, d = held.sums.shape
        costs = self.empty(n, np.float64)
        self._run(
            "move_centers",
            (n,),
            _threads_for(d),
            _i64(d),
            np.float64(share),
            *added,
            *held,
            costs,
        )
        self._run("add_costs", (1,), _ONE_BLOCK, _i64(n), costs, np.float64(share), service, report)

    def find_partners(
        self, products: Array, squares: Array, centers: Array, shares: Array, seekers: Seekers
    ) -> PartnersThere:
        """Find the center that it costs least to unite each seeker with; see `ward`.

        Parameters
        ----------
        products : array of shape (n, room), float32
            Of the seekers with the centers, as laid out.
        squares : array of shape (room,), float32
        centers : array of shape (n_centers, n_features), float32
        shares : array of shape (n_centers,), float32
            Their weights, as shares of the largest.
        seekers : Seekers
        """
        (n_centers, d), n = centers.shape, len(seekers.rows)
        found = PartnersThere(self.empty(n, np.int32), self.empty(n, np.float64))
        self._warps(
            "find_partners", n, products, _i64(n), _i64(len(squares)), squares, centers,
            _i64(n_centers), _i64(d), shares, *seekers, *found,
        )  # fmt: skip
        return found

    def unite(
        self, held: DeviceHoldings, starts: Array, members: Array, united: DeviceHoldings
    ) -> None:
        """Unite centers, group by group.

        Parameters
        ----------
        held : DeviceHoldings
        starts : array of shape (n_groups + 1,), int32
        members : array, int32
            The centers of each group, from where it starts.
        united : DeviceHoldings
            Receives as many as there are groups; none of the memory of `held`.
        """
        n, d = len(starts) - 1, held.sums.shape[1]
        given = starts, members, *held, *united
        self._run("unite", (n,), _threads_for(d), _i64(d), *given)

    def shift_rows(self, rows: Array, labels: Array, shifts: Array) -> None:
        """Move rows, in place, by what is told for their labels."""
        n, d = rows.shape
        self._warps("shift_rows", n, rows, _i64(n), _i64(d), labels, shifts)

    def measure(self, rows: Array, centers: Array, labels: Array) -> Array:
        """Return how far rows are from the centers named, squared."""
        n, d = rows.shape
        out = self.empty(n, np.float32)
        self._warps("measure", n, rows, _i64(n), _i64(d), centers, labels, out)
        return out

    def gather(self, rows: Array, which: Array, out: Array | None = None) -> Array:
        """Return a copy of the rows named, or make it where it is told."""
        n, d = len(which), rows.shape[1]
        out = self.empty((n, d), np.float32) if out is None else out
        self._warps("gather", n, rows, _i64(d), which, _i64(n), out)
        return out

    def draw(
        self,
        batch: DeviceBatch,
        found: Found,
        coins: Coins,
        chance: Chance,
        drawn: Drawn,
        report: Array,
    ) -> None:
        """Draw rows for a sample: those whose keys are below a threshold.

        See `onepass.cluster.reservoir.Reservoir`. There must be room for all rows.
        """
        n = len(batch.rows)
        votes = self.empty(-(-n // _LANES), np.uint32)
        given = (
            _i64(n), batch.weights, found.sq_distances, chance.service,
            np.float64(chance.total_weight), np.uint64(coins.seed), _i64(coins.before),
            np.float64(chance.log2_age),
        )  # fmt: skip
        grid = (-(-n // _THREADS),)
        self._run("vote_drawn", grid, _THREADS, *given, np.float64(chance.log2_threshold), votes)
        self._run("draw_rows", (1,), _ONE_BLOCK, *given, votes, *drawn, report)

    def take(
        self, rows: Array, labels: Array, which: Array, report: Array, into: tuple[Array, Array]
    ) -> None:
        """Copy the rows that have been drawn, as the report says how many, and their labels."""
        taken, taken_labels = into
        n = min(len(which), len(taken))
        self._warps(
            "take_rows", n, rows, labels, _i64(rows.shape[1]), which, report, _i64(n), taken,
            taken_labels,
        )  # fmt: skip

    def fill_holes(self, rows: Array, holes: Array, movers: Array) -> None:
        """Copy some rows into the places of others, which are no movers themselves."""
        n = len(holes)
        self._warps("fill_holes", n, rows, _i64(rows.shape[1]), holes, movers, _i64(n))

    def relabel(self, labels: Array, n: int, mapping: npt.NDArray[np.int32]) -> None:
        """Rename the first n labels: label c becomes ``mapping[c]``."""
        grid = (-(-n // _THREADS),)
        self._run("relabel", grid, _THREADS, labels, _i64(n), self.put(mapping))

    def _warps(self, name: str, n_warps: int, *arguments: Any) -> None:
        """Run a kernel with a warp for each row, or for each of whatever it takes."""
        self._run(name, (-(-n_warps * _LANES // _THREADS),), _THREADS, *arguments)

    def _run(self, name: str, grid: tuple[int, ...], n_threads: int, *arguments: Any) -> None:
        if all(grid):
            given = tuple(_NOTHING if one is None else one for one in arguments)
            with self._used():
                self._kernels.get_function(name)(grid, (n_threads,), given)


class Lane:
    """Copies to a device, one behind the other, beside what is computed there.

    Parameters
    ----------
    cuda : module
        Of CuPy.
    used : callable
        Returns what uses the device.
    """

    def __init__(self, cuda: Any, used: Callable[[], AbstractContextManager[None]]) -> None:
        self._used = used
        self._stream = cuda.Stream(non_blocking=True)

    def copy(self, array: npt.NDArray[Any], to: Array, after: Mark | None = None) -> Mark:
        """Copy an array to one on the device.

        Parameters
        ----------
        array : ndarray, contiguous
            In page-locked memory; not to be changed before the copy is done.
        to : array
            On the device, of as many bytes at least.
        after : Mark, optional
            What is to be done before.

        Returns
        -------
        Mark
            Reached when it is done.
        """
        with self._used():
            if after:
                self._stream.wait_event(after.event)
            to.data.copy_from_host_async(array.ctypes.data, array.nbytes, self._stream)
            return Mark(self._stream.record())

    def wait(self) -> None:
        """Wait until all is copied."""
        self._stream.synchronize()


class Mark(NamedTuple):
    """A place in what is queued for a device."""

    event: Any

    def wait(self) -> None:
        """Wait until all before it is done."""
        self.event.synchronize()


def _threads_for(n_values: int) -> int:
    """Return threads of a block that shares so many values out among them."""
    return min(_THREADS, -(-n_values // _LANES) * _LANES)


def _i64(number: int) -> np.int64:
    return np.int64(number)
