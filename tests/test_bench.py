"""`sepconv bench` on a tiny layer with a tiny budget: who is timed, what is counted, what is shown. No time is asserted."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest
from benches import BUDGET, TINY, one_run, operations_of, peer

import sepconv
from sepconv import bench
from sepconv.bench import cases, libraries, machine, timing
from sepconv.bench.cases import Arrays, Case
from sepconv.bench.graphs import Prepared
from sepconv.bench.libraries import LIBRARIES, Library
from sepconv.bench.results import Report
from sepconv.data import Layer


def layer(kind: str, c_in: int, c_out: int, size: tuple[int, int], kernel: tuple[int, int] = (1, 1), stride: int = 1, dilation: int = 1) -> Layer:
    padding = tuple(dilation * (k - 1) // 2 for k in kernel)
    multiplier = c_out // c_in if kind == "depthwise" else 1
    return Layer("net", "name", kind, c_in, c_out, size, kernel, stride, padding, dilation, multiplier, 1, "")


CASES = [  # most on kernels of other tests
    Case("depthwise", (layer("depthwise", 6, 6, (9, 19), (3, 3)),)),
    Case("depthwise", (layer("depthwise", 5, 10, (9, 8), (3, 5), stride=2),)),
    Case("depthwise", (layer("depthwise", 6, 6, (9, 19), (3, 3), dilation=2),)),
    Case("depthwise", (layer("depthwise", 6, 6, (9, 19), (5, 5)),)),
    Case("pointwise", (layer("pointwise", 6, 5, (9, 19)),)),
    Case("separable", (layer("depthwise", 6, 6, (9, 19), (3, 3)), layer("pointwise", 6, 5, (9, 19)))),
    Case("standard", (layer("standard", 6, 5, (9, 19), (3, 3), stride=2),)),
]


@pytest.fixture(scope="module")
def found() -> Report:
    """One real run: sepconv, a right peer, wrong ones, and one that does not do it."""
    return one_run()


# --- a run ---------------------------------------------------------------------------------------------------------


def test_only_right_results_are_timed(found: Report) -> None:
    (row,) = found.rows
    assert set(row.least_ms) == {"sepconv NCHW", "sepconv NHWC", "right"}
    assert all(0 < row.least_ms[name] <= row.median_ms[name] and row.calls[name] >= 1 for name in row.least_ms)
    assert set(row.wrong) == {"wrong", "not a number"} and "off by" in row.wrong["wrong"]
    assert row.left_out == {"unable": "no wish to"}


def test_a_wrong_shape_and_a_failure_are_wrong_too() -> None:
    def fails(case: Case, arrays: Arrays, threads: int) -> Prepared:
        raise RuntimeError("out of order\nand more")

    cut = Library("cut", "numpy", "NCHW", lambda case, arrays, threads: Prepared(lambda: arrays.x[..., :-1], lambda y: y))
    row = bench.run(**TINY, **BUDGET, roofs=False, libraries=[cut, Library("fails", "numpy", "NCHW", fails)]).rows[0]
    assert "shape" in row.wrong["cut"] and row.wrong["fails"] == "RuntimeError: out of order" and not row.least_ms
    assert row.ratio() is None and row.gflops() is None


def test_derived_numbers(found: Report) -> None:
    (row,) = found.rows
    ours = min(row.least_ms["sepconv NCHW"], row.least_ms["sepconv NHWC"])
    assert row.best_peer == "right" and row.ratio() == row.least_ms["right"] / ours
    assert row.ratio("NHWC") == row.least_ms["right"] / row.least_ms["sepconv NHWC"]
    case = sepconv.data.layers("inceptionnext_t")[2]
    assert (row.macs, row.bytes) == (case.macs, case.bytes) and row.gflops() == pytest.approx(2 * case.macs / ours / 1e6)
    assert 0 < row.share() == row.bound_ms / ours
    assert found.machine["gflops"] > 0 and found.machine["threads"] == 1 and "sepconv" in found.machine["libraries"]


def test_equal_convolutions_are_measured_once() -> None:
    made = bench.run(["depthwise"], ["mobilenet_v1"], ["s3."], **BUDGET, roofs=False, libraries=["sepconv NCHW"])
    assert [len(row.stands_for) for row in made.rows] == [1, 5]
    assert made.rows[1].stands_for[-1] == "mobilenet_v1 s3.5.dw"


def test_a_library_that_is_absent_is_named() -> None:
    gone = Library("gone", "no_such_package", "NCHW", peer("x").make)
    made = bench.run(**TINY, **BUDGET, roofs=False, libraries=["sepconv NCHW", gone])
    assert "no_such_package" in made.absent["gone"] and "gone" not in made.rows[0].least_ms


def test_layout_leaves_one_sepconv() -> None:
    names = [lib.name for lib in libraries.choose(None, "NHWC")]
    assert "sepconv NHWC" in names and "sepconv NCHW" not in names and "PyTorch" in names and "PyTorch channels_last" in names
    assert [lib.name for lib in libraries.choose(["torch", "onnx r"])] == ["PyTorch", "PyTorch channels_last", "ONNX Runtime"]
    assert [lib.name for lib in libraries.choose(["PyTorch"])] == ["PyTorch"]


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(op=["dw"]), "op is 'dw'; allowed are depthwise"),
        (dict(net=["lenet"]), "net is 'lenet'; allowed are mobilenet_v1"),
        (dict(layers=["nothing like it"]), "no layer is left"),
        (dict(layout="CHWN"), "layout is 'CHWN'; allowed are NCHW"),
        (dict(epilogue="gelu"), "epilogue is 'gelu'; allowed are none"),
        (dict(seconds=0), "seconds is 0"),
        (dict(libraries=["caffe"]), "libraries has 'caffe'; allowed are sepconv NCHW"),
        (dict(threads=0), "n is 0"),
    ],
)
def test_refusals_name_what_is_allowed(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError) as told:
        bench.run(**wrong)
    assert words in str(told.value)


# --- the libraries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epilogue", cases.EPILOGUES)
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_every_library_is_right(library: Library, epilogue: str) -> None:
    able = operations_of(library, CASES, lambda case: Arrays(case, epilogue))
    if library.package in ("sepconv", "torch", "onnxruntime", "openvino"):
        assert able == set(cases.OPS)
    elif library.package == "numpy":
        assert able == {"pointwise"}
    else:
        assert able == ({"depthwise"} if epilogue == "none" else set())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.shape)
def test_expected_is_what_the_reference_says(case: Case) -> None:
    arrays = Arrays(case, "relu")
    y = arrays.x.astype(np.float64)
    for step, weight, bias in zip(case.steps, arrays.weights, arrays.biases):
        groups = step.in_channels if step.kind == "depthwise" else 1
        options = dict(stride=step.stride, padding=step.padding, dilation=step.dilation, groups=groups, activation="relu")
        with sepconv.use_backend("reference"):
            y = sepconv.conv2d(y, weight.astype(np.float64), bias.astype(np.float64), **options)
    np.testing.assert_allclose(arrays.expected(), y, rtol=1e-12, atol=1e-12)


def test_arrays_begin_on_a_cache_line() -> None:
    arrays = Arrays(CASES[0], "bias")
    for array in (arrays.x, arrays.x_last, *arrays.weights, *arrays.biases, arrays.out(), arrays.out("NHWC")):
        assert array.ctypes.data % 64 == 0 and array.flags.c_contiguous
    assert np.array_equal(np.moveaxis(arrays.x_last, -1, 1), arrays.x)


def test_bfloat16_would_be_noticed() -> None:
    exact = Arrays(CASES[4]).expected()
    assert cases.error_of(exact.astype(np.float32), exact) is None
    assert cases.error_of(exact * (1 + 2**-8), exact) is not None


# --- clock and machine ---------------------------------------------------------------------------------------------


def test_every_call_gets_its_turns() -> None:
    counts = {"fast": 0, "slow": 0}

    def fast() -> None:
        counts["fast"] += 1

    def slow() -> None:
        counts["slow"] += 1
        time.sleep(0.03)

    enabled = gc.isenabled()
    times = timing.measure({"fast": fast, "slow": slow}, 0.02, threads=2, pools={"fast": "one", "slow": "one"})
    assert gc.isenabled() == enabled
    assert times["slow"].calls == 1 and times["fast"].calls > 1
    assert counts["slow"] == 2 and counts["fast"] > times["fast"].calls  # calls that are not timed come first
    assert times["slow"].least >= 0.03 and times["fast"].least <= times["fast"].median


class Clock:
    """Time that passes in `sleep` alone, in a process whose threads compute until `busy`, or for ever."""

    def __init__(self, busy: float) -> None:
        self.now, self.busy = 0.0, busy

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return min(self.now, self.busy)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("busy, until", [(0.0, timing.LOOK), (0.1, 0.1), (1e9, timing.LONGEST)])
def test_rest_waits_for_threads_that_spin(busy: float, until: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(busy)
    monkeypatch.setattr(timing, "time", clock)
    timing.rest()
    assert until <= clock.now <= until + 2 * timing.LOOK


@pytest.mark.parametrize("threads, untimed", [(1, 2), (2, 15)])
def test_several_threads_are_woken_before_their_turn(threads: int, untimed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(0.0), []
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing, "WAKE", 0.0145)
    times = timing.measure({"one": lambda: calls.append(clock.sleep(0.001))}, 0.05, threads)["one"]
    assert len(calls) - times.calls == untimed * round(times.calls / 10) and times.least == pytest.approx(0.001)


def test_roofs() -> None:
    roofs = machine.Roofs(100.0, {1024: 200.0, 4096: 50.0})
    assert roofs.copy(1) == 200 and roofs.copy(10**9) == 50 and roofs.copy(2048) == pytest.approx(125)
    assert roofs.seconds(10**9, 1024) == pytest.approx(0.01)  # arithmetic decides
    assert roofs.seconds(1, 10**9) == pytest.approx(0.02)  # memory does


def test_measured_roofs_are_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SIZES", (2**14, 2**20))
    monkeypatch.setattr(machine, "SECONDS", 0.002)
    found = machine.measure(1)  # threads that wait for a busy core would be measured instead
    assert 1 < found.gflops < 1e5 and all(0.1 < value < 1e5 for value in found.bandwidth.values())
