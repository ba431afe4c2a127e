"""Random problems against PyTorch in float64. What PyTorch lacks (border modes, unequal pads) it gets as a padded input.

SEPCONV_PROPERTY_SECONDS=600 pytest tests/test_torch.py -k budget -s        ten minutes a backend, with a line of what was compared
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, seed, settings
from oracle import Call

from sepconv.problem import Problem

torch = pytest.importorskip("torch", reason="the peer of these tests is PyTorch, of the extra sepconv[peers]")
F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # it may copy, it says

SECONDS = float(os.environ.get("SEPCONV_PROPERTY_SECONDS", "0"))
PAIRS = [
    ("float64", "float64"), ("float64", "float64"), ("float32", "float32"), ("float32", "float32"), ("float32", "float64"),
    ("float16", "float16"), ("bfloat16", "bfloat16"), ("complex64", "complex64"), ("complex128", "complex128"), ("int8", "int8"),
    ("uint8", "int8"), ("int16", "int16"),
]  # fmt: skip
ACTIVATIONS = {
    "relu": torch.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "hard_sigmoid": F.hardsigmoid, "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid, "silu": F.silu, "tanh": torch.tanh, "gelu": F.gelu,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's pool would wait for the cores that sepconv's has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensor(array: np.ndarray) -> Any:
    """The array's values in double precision."""
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)))


def convolve(problem: Problem, options: dict[str, Any], x: Any, weight: Any, bias: Any = None) -> Any:
    """Channels first, with PyTorch's own reading of the padding where it has one, else on the padded input."""
    p = problem
    padding, mode = options.get("padding", 0), options.get("padding_mode", "constant")
    one_each = isinstance(padding, tuple) and len(padding) == p.dims > 1 and isinstance(padding[0], int)
    plain = padding == "valid" or isinstance(padding, int) or one_each or (padding == "same" and set(p.stride) == {1} and p.batched)
    if mode not in ("constant", "zeros") or not (plain or (padding == "same" and set(p.stride) == {1} and p.batched)):
        around = [(0, 0)] * (x.ndim - p.dims) + list(p.pads)
        named = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(mode, mode)
        x, padding = torch.from_numpy(np.pad(x.numpy(), around, named)), 0
    weight = weight.reshape(p.out_channels, p.group_in, *p.kernel)
    conv = getattr(F, f"conv{p.dims}d")
    return conv(x, weight, bias, stride=p.stride, padding=padding, dilation=p.dilation, groups=p.groups)


def epilogue(problem: Problem, total: Any, chosen: Any, residual: Any = None) -> Any:
    if residual is not None:
        total = total + residual
    if problem.result.kind == "i":  # the sums are whole and below 2**53; what is left is the wrap
        total = tensor(total.numpy().astype(np.int64).astype(problem.result))
    if isinstance(chosen, (tuple, list)):
        return torch.clamp(total, *chosen[1:])
    return ACTIVATIONS[chosen](total) if chosen else total


def by_torch(call: Call) -> np.ndarray:
    """The result of a call, in double precision, by PyTorch."""
    problems = oracle.problems(oracle.function(call.op, call.dims), **call.arrays, **call.options)
    p = problems[-1]
    # What is cast is cast first: a float64 bias of a float32 call counts as float32.
    arrays = {n: tensor(a.astype(p.result if "bias" in n or n == "residual" else p.dtype)) for n, a in call.arrays.items()}
    to_first = lambda a: a.movedim(-1, -1 - call.dims) if p.channels_last and a is not None else a
    x, residual, bias = to_first(arrays["x"]), to_first(arrays.get("residual")), arrays.get("bias")
    options = dict(call.options)
    if call.op == "separable_conv":
        middle = convolve(problems[0], options, x, arrays["depthwise"], arrays.get("depthwise_bias"))
        x = epilogue(problems[0], middle, options["depthwise_activation"])
    last = {} if call.op == "separable_conv" else options
    total = convolve(p, last, x, arrays["pointwise" if call.op == "separable_conv" else "weight"], bias)
    total = epilogue(p, total, options["activation"], residual)
    return (total.movedim(-1 - call.dims, -1) if p.channels_last else total).numpy()


def compare(call: Call) -> float:
    """The worst error as a share of the bound, which is doubled: PyTorch's double precision rounds, too."""
    bound = call.exact()
    with np.errstate(invalid="ignore"):
        want = by_torch(call)
    return oracle.compare(call.run(), oracle.Expected(want, 2 * bound.error, bound.dtype))


def drawn() -> Any:
    return oracle.calls(pairs=PAIRS, specials=False)


@given(call=drawn())
def test_random_calls(backend, call):
    compare(call)


@pytest.mark.skipif(not SECONDS, reason="a long run; set SEPCONV_PROPERTY_SECONDS to the seconds it may take")
def test_for_the_budget(backend, capsys):
    """Fresh seeds until the time is up."""
    shares: list[float] = []
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end:

        @seed(number)
        @settings(max_examples=100, derandomize=False, database=None)
        @given(call=drawn())
        def some(call):
            if time.monotonic() < end or not shares:
                shares.append(compare(call))

        some()
        number += 1
    with capsys.disabled():
        compared = f"{len(shares)} problems compared with PyTorch {torch.__version__} in {SECONDS:g} s"
        print(f"\n{backend}: {compared}, worst error {max(shares):.3f} of the bound")


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf))
def test_not_finite(backend, value, last):
    """A NaN or Inf in the image under a zero weight, and a weight of that kind over each border and corner of zeros."""
    for y, x in ((0, 0), (0, 4), (3, 0), (3, 4), (0, 2), (2, 0), (1, 2)):
        image, weight = np.ones((1, 3, 4, 5)), np.zeros((3, 1, 3, 3))
        image[0, 1, y, x] = value
        weight[2, 0, y % 3, x % 3] = value
        arrays = {"x": np.moveaxis(image, 1, -1) if last else image, "weight": weight}
        options = {"padding": 1, "activation": None, "layout": "NHWC" if last else None}
        for op in ("depthwise_conv", "conv"):
            compare(Call(op, 2, arrays, options if op == "depthwise_conv" else options | {"groups": 3}))
