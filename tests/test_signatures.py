"""The signatures and docstrings of the public functions."""

from __future__ import annotations

import inspect
import re

import pytest
from oracle import LAYOUTS, OPS

import sepconv

DIMS = (1, 2, 3)

GEOMETRY = "stride=1, padding=0, dilation=1"
SIGNATURES = {
    "conv": f"(x, weight, bias=None, *, {GEOMETRY}, groups=1, padding_mode='constant', layout=None, activation=None, out=None)",
    "depthwise_conv": f"(x, weight, bias=None, *, {GEOMETRY}, padding_mode='constant', layout=None, activation=None, out=None)",
    "pointwise_conv": "(x, weight, bias=None, *, layout=None, activation=None, residual=None, out=None)",
    "separable_conv": f"(x, depthwise, pointwise, bias=None, *, {GEOMETRY}, padding_mode='constant', layout=None, depthwise_bias=None, "
    "depthwise_activation=None, activation=None, residual=None, out=None)",
    "conv_transpose": "(x, weight, bias=None, *, stride=1, padding=0, output_padding=0, output_size=None, dilation=1, groups=1, layout=None, "
    "activation=None, out=None)",
}
EXPECTED = {f"{name}{dims}d": text for name, text in SIGNATURES.items() for dims in DIMS} | {
    "causal_conv1d": "(x, weight, bias=None, *, activation=None, initial_state=None, return_final_state=False, layout=None, out=None)",
    "conv_cost": "(kind, *, in_channels, out_channels, kernel_size, input_size=None, stride=1, padding=0, dilation=1, multiplier=1, groups=1, "
    "bias=False, dtype='float32')",
    "separate": r"\(kernel, rank=None, rtol=.+\)",  # the default of rtol is the function's own
    "factorize": "(weight, terms=1)",
    "set_num_threads": "(n)",
    "get_num_threads": "()",
    "num_threads": "(n)",
    "backends": "()",
    "use_backend": "(name)",
    "explain": "(fn, *args, **kwargs)",
    "register_backend": r"\(name, backend, .+\)",
}
PUBLIC = sorted(name for name, thing in vars(sepconv).items() if not name.startswith("_") and inspect.isfunction(thing))


@pytest.mark.parametrize("name", PUBLIC)
def test_signature(name):
    """P9: names, order, kinds and defaults of design 3. A public function that the design does not have fails here, too."""
    found = inspect.signature(getattr(sepconv, name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    text = str(inspect.Signature(plain))
    assert text == EXPECTED[name] or re.fullmatch(EXPECTED[name], text), text


def test_functions_of_the_first_release():
    """The convolutions that there must be, so that a lost export does not go by as one test fewer."""
    assert {f"{op}{dims}d" for op in OPS for dims in DIMS} <= set(PUBLIC)


@pytest.mark.parametrize("name", [f"{op}{dims}d" for op in OPS for dims in DIMS])
def test_docstring(name):
    """Every argument is in the docstring, and the layouts are those of the dimension."""
    fn = getattr(sepconv, name)
    text = inspect.getdoc(fn) or ""
    assert all(re.search(rf"^(\w+, )*{argument}\b.* :|^{argument} :", text, re.M) for argument in inspect.signature(fn).parameters), text
    assert all(layout in text for layout in LAYOUTS[int(name[-2])])
    assert "Raises" in text and "Returns" in text and "Example" in text
