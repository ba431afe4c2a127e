"""Chains of layers: the same as their calls one by one, run after run, whatever of them can be recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sepconv
from sepconv import layers
from sepconv.backends.cpu.entry import PEEK
from sepconv.layers import Chain
from sepconv.threads import LIMIT

RNG = np.random.default_rng(7)
recording = pytest.mark.skipif(not PEEK, reason="the fields of an ndarray object are not where they are looked for here")


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def network(dtype: Any = np.float32, weight: np.ndarray | None = None) -> list[tuple[Any, ...]]:
    """Steps with a residual, and one of plain Python in the middle."""
    x, wide, y, z, end = (np.zeros(shape, dtype) for shape in ((1, 40, 40, 8), (1, 40, 40, 24), (1, 40, 40, 8), (1, 40, 40, 8), (1, 40, 40, 8)))
    expand = layers.PointwiseConv2d(drawn(24, 8).astype(dtype), drawn(24).astype(dtype), layout="NHWC", activation="relu")
    filters = drawn(24, 3, 3) if weight is None else weight
    rest = layers.SeparableConv2d(filters.astype(dtype), drawn(8, 24).astype(dtype), padding=1, layout="NHWC")
    double = lambda x, out: np.multiply(x, 2, out=out)
    last = layers.DepthwiseConv2d(drawn(8, 3, 3).astype(dtype), padding=1, layout="NHWC")
    return [(expand, x, wide), (rest, wide, y, x), (double, y, z), (last, z, end)]


def one_by_one(steps: list[tuple[Any, ...]]) -> np.ndarray:
    for layer, x, out, *residual in steps:
        layer(x, out=out, **({"residual": residual[0]} if residual else {}))
    return steps[-1][2].copy()


def recorded(chain: Chain) -> list[bool]:
    (tape,) = chain._tapes.values()
    return [False] * len(chain._steps) if tape is None else [entry != 0 for entry in tape._entries]


@pytest.mark.parametrize("threads", [1, min(2, LIMIT)])
@pytest.mark.parametrize("dtype", ["float32", "float16", ">f4"])
def test_a_chain_is_its_calls(dtype: Any, threads: int) -> None:
    steps = network(dtype)
    with sepconv.num_threads(threads):
        chain = Chain(*steps)
        for _ in range(5):
            steps[0][1][...] = drawn(1, 40, 40, 8)
            found = chain()
            assert found is steps[-1][2]
            np.testing.assert_array_equal(found.copy(), one_by_one(steps))
        if PEEK:
            assert recorded(chain) == [c == "y" for c in {"float32": "yyny", "float16": "ynny", ">f4": "nnnn"}[dtype]]


@recording
def test_a_step_that_python_has_to_look_at_is_called() -> None:
    """The NaNs of an infinite weight over the border are put in by Python; so is a result that overlaps what it is made from refused each time."""
    weight = drawn(24, 3, 3)
    weight[5, 0, 0] = np.inf
    steps = network(weight=weight)
    steps[0][1][...] = drawn(1, 40, 40, 8)
    chain, expected = Chain(*steps), one_by_one(steps)
    assert np.isnan(expected).any()
    for _ in range(5):
        np.testing.assert_array_equal(chain(), expected)
    assert recorded(chain) == [True, True, False, True]
    layer, room = steps[-1][0], np.zeros((1, 41, 40, 8), np.float32)
    wrong = Chain((layer, room[:, :-1], room[:, 1:]))
    for _ in range(4):
        with pytest.raises(ValueError, match="out"):
            wrong()


@recording
def test_other_threads_and_backends_have_other_ways() -> None:
    steps = network()
    steps[0][1][...] = drawn(1, 40, 40, 8)
    chain, expected = Chain(*steps), one_by_one(steps)
    for threads in (1, min(2, LIMIT), 1):
        with sepconv.num_threads(threads):
            for _ in range(3):
                steps[-1][2][...] = 0
                np.testing.assert_array_equal(chain(), expected)
    assert set(chain._tapes) == {1, min(2, LIMIT)}
    with sepconv.use_backend("reference"):
        np.testing.assert_allclose(chain(), expected, rtol=1e-4, atol=1e-4)


@recording
def test_long_chains_are_run_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between which Ctrl-C is heard."""
    from sepconv.backends.cpu import tape

    monkeypatch.setattr(tape, "MACS_A_LAUNCH", 1000)
    steps = network()
    steps[0][1][...] = drawn(1, 40, 40, 8)
    chain, expected = Chain(*steps), one_by_one(steps)
    for _ in range(4):
        steps[-1][2][...] = 0
        np.testing.assert_array_equal(chain(), expected)
    (made,) = chain._tapes.values()
    assert made._ends == [1, 2, 4]


def test_a_chain_refuses() -> None:
    with pytest.raises(ValueError, match="steps has none"):
        Chain()
    layer, x = layers.DepthwiseConv1d(drawn(2, 3), padding=1), drawn(1, 2, 9)
    for wrong in (layer, (layer, x), (layer, x, x, None, x), (x, x, x)):
        with pytest.raises(TypeError, match=r"(?s)steps has .*\(layer, x, out\)"):
            Chain((layer, x, x.copy()), wrong)
