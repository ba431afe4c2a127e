"""What the docstrings of the functions have in common, written once for all of them and for the three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .problem import LAYOUTS

_SHARED = {
    "x": """x : array, {first} ("{layout_first}") or {last} ("{layout_last}"); the batch axis may be absent.
        Any strides, alignment and byte order are taken as they are. float32 and float64 run at full speed; float16 and bfloat16 are
        stored in 16 bits and summed in float32; complex64, complex128; int8 to uint16 return int32, wider integers stay and wrap.
        Mixed dtypes are computed in `numpy.result_type`.""",
    "geometry": """stride, dilation : int, or one int per axis.
    padding : int; one int per axis; a (before, after) pair per axis; "valid"; "same" (TensorFlow's SAME and ONNX' SAME_UPPER: output
        ceil(n / stride), the smaller half before); "same_lower"{causal}. A 1-D pair of ints is (before, after). PyTorch models with a stride
        want explicit numbers: for n = 6, k = 3, stride = 2, "same" pads (0, 1), `padding=1` pads (1, 1).
    padding_mode : "constant" (zeros), "edge", "reflect", "symmetric", "wrap", as in `numpy.pad`; "zeros", "replicate", "circular" are
        PyTorch's names. Padding wider than x repeats. No padded copy is made.""",
    "rest": """layout : None, "{layout_first}" or "{layout_last}"; None means channels first. Which kernel runs is decided by the strides of x.
    activation : None, "relu", "relu6", "leaky_relu", "silu", "gelu", "hard_swish", "hard_sigmoid", "sigmoid", "tanh" or ("clip", lo, hi).
    out : array of the result's shape and dtype, any strides, or None. It may not overlap an input (residual itself excepted).

    Returns
    -------
    The array (N, C_out, *out_size) or (N, *out_size, C_out), or `out`. Where x's memory is channels last, so is a new result's.

    Raises
    ------
    ValueError, TypeError : before any work, naming the argument, its value and what is allowed.""",
}


def documented(text: str, dims: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that sets the docstring: `text`, with what all functions share and the names and sizes of this number of dimensions filled in."""
    first, last = LAYOUTS[dims]
    shape = lambda layout: "(" + ", ".join(layout) + ")"
    words = dict(
        first=shape(first), last=shape(last), layout_first=first, layout_last=last, dims=dims, ones=", 1" * dims,
        k={1: "k", 2: "kh, kw", 3: "kd, kh, kw"}[dims], causal=', "causal" (k - 1 zeros before)' if dims == 1 else "",
        sizes={1: "16", 2: "8, 8", 3: "4, 8, 8"}[dims], taps={1: "3", 2: "3, 3", 3: "3, 3, 3"}[dims],
    )  # fmt: skip

    def fill(function: Callable[..., Any]) -> Callable[..., Any]:
        made = text
        for name, piece in _SHARED.items():
            made = made.replace(f"<{name}>", piece)
        function.__doc__ = made.format(**words)
        return function

    return fill
