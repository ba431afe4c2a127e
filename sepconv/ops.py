"""The functions users call: each builds the Problem and gives it to the backend of x.

ops -> Problem -> dispatch -> backend -> kernel -> out. What they have in common is in `call`; the common parts of their docstrings are in
`documentation`.
"""

from __future__ import annotations

from typing import Any

from .call import convolution
from .documentation import documented

Array = Any  # whatever a backend takes; the result is of x's kind


_STANDARD = """Standard convolution in {dims}-D, a correlation: the filter is not flipped.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in / groups, {k}), channels first whatever the layout.
    bias : array (C_out,), or None.
    <geometry>
    groups : int; it divides C_in and C_out, and each group of outputs reads its own group of inputs.
    <rest>

    Example
    -------
    >>> sepconv.conv{dims}d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3, {taps})), padding="same").shape[1]
    16
    """


@documented(_STANDARD, 1)
def conv1d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
           padding_mode: str = "constant", layout: str | None = None, activation: Any = None, out: Array | None = None) -> Array:  # fmt: skip
    return convolution("standard", 1, (x, weight, bias, None), out, (stride, padding, dilation, groups, padding_mode, layout, activation))


@documented(_STANDARD, 2)
def conv2d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
           padding_mode: str = "constant", layout: str | None = None, activation: Any = None, out: Array | None = None) -> Array:  # fmt: skip
    return convolution("standard", 2, (x, weight, bias, None), out, (stride, padding, dilation, groups, padding_mode, layout, activation))


@documented(_STANDARD, 3)
def conv3d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
           padding_mode: str = "constant", layout: str | None = None, activation: Any = None, out: Array | None = None) -> Array:  # fmt: skip
    return convolution("standard", 3, (x, weight, bias, None), out, (stride, padding, dilation, groups, padding_mode, layout, activation))


_DEPTHWISE = """Depthwise convolution in {dims}-D: every channel has its own filters. To filter a stack of images, see also `sepconv.conv{dims}d`.

    Parameters
    ----------
    <x>
    weight : array (C * m, 1, {k}) or, for m = 1, (C, {k}), channels first whatever the layout. Output channel c * m + q reads input
        channel c.
    bias : array (C * m,), or None.
    <geometry>
    <rest>

    Source: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, section 2.

    Example
    -------
    >>> sepconv.depthwise_conv{dims}d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), padding="same").shape[1]
    3
    """


@documented(_DEPTHWISE, 1)
def depthwise_conv1d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, activation: Any = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    return convolution("depthwise", 1, (x, weight, bias, None), out, (stride, padding, dilation, 1, padding_mode, layout, activation))


@documented(_DEPTHWISE, 2)
def depthwise_conv2d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, activation: Any = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    return convolution("depthwise", 2, (x, weight, bias, None), out, (stride, padding, dilation, 1, padding_mode, layout, activation))


@documented(_DEPTHWISE, 3)
def depthwise_conv3d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, activation: Any = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    return convolution("depthwise", 3, (x, weight, bias, None), out, (stride, padding, dilation, 1, padding_mode, layout, activation))


_POINTWISE = """Pointwise (1x1) convolution in {dims}-D: a matrix over the channels of every position.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in), or (C_out, C_in{ones}).
    bias : array (C_out,), or None.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Example
    -------
    >>> sepconv.pointwise_conv{dims}d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3))).shape[1]
    16
    """


@documented(_POINTWISE, 1)
def pointwise_conv1d(x: Array, weight: Array, bias: Array | None = None, *, layout: str | None = None, activation: Any = None,
                     residual: Array | None = None, out: Array | None = None) -> Array:  # fmt: skip
    return convolution("pointwise", 1, (x, weight, bias, residual), out, (1, 0, 1, 1, "constant", layout, activation))


@documented(_POINTWISE, 2)
def pointwise_conv2d(x: Array, weight: Array, bias: Array | None = None, *, layout: str | None = None, activation: Any = None,
                     residual: Array | None = None, out: Array | None = None) -> Array:  # fmt: skip
    return convolution("pointwise", 2, (x, weight, bias, residual), out, (1, 0, 1, 1, "constant", layout, activation))


@documented(_POINTWISE, 3)
def pointwise_conv3d(x: Array, weight: Array, bias: Array | None = None, *, layout: str | None = None, activation: Any = None,
                     residual: Array | None = None, out: Array | None = None) -> Array:  # fmt: skip
    return convolution("pointwise", 3, (x, weight, bias, residual), out, (1, 0, 1, 1, "constant", layout, activation))


_SEPARABLE = """Depthwise-separable convolution in {dims}-D: a depthwise convolution, then a pointwise one.

    Equal to `pointwise_conv{dims}d(depthwise_conv{dims}d(x, depthwise, depthwise_bias, ...), pointwise, bias, ...)`.

    Parameters
    ----------
    <x>
    depthwise : array (C * m, 1, {k}) or, for m = 1, (C, {k}).
    pointwise : array (C_out, C * m), or with trailing ones.
    bias : array (C_out,), or None; added after the pointwise half.
    <geometry>
    depthwise_bias, depthwise_activation : the epilogue of the depthwise half; array (C * m,) and a name as for `activation`.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Source: L. Sifre, "Rigid-Motion Scattering for Image Classification", 2014; A. Howard et al., "MobileNets", 2017.

    Example
    -------
    >>> sepconv.separable_conv{dims}d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), numpy.ones((16, 3)), padding="same").shape[1]
    16
    """


@documented(_SEPARABLE, 1)
def separable_conv1d(x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, depthwise_bias: Array | None = None,
                     depthwise_activation: Any = None, activation: Any = None, residual: Array | None = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    arrays = (x, depthwise, depthwise_bias, pointwise, bias, residual)
    return convolution("separable", 1, arrays, out, (stride, padding, dilation, padding_mode, layout, depthwise_activation, activation))


@documented(_SEPARABLE, 2)
def separable_conv2d(x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, depthwise_bias: Array | None = None,
                     depthwise_activation: Any = None, activation: Any = None, residual: Array | None = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    arrays = (x, depthwise, depthwise_bias, pointwise, bias, residual)
    return convolution("separable", 2, arrays, out, (stride, padding, dilation, padding_mode, layout, depthwise_activation, activation))


@documented(_SEPARABLE, 3)
def separable_conv3d(x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, depthwise_bias: Array | None = None,
                     depthwise_activation: Any = None, activation: Any = None, residual: Array | None = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    arrays = (x, depthwise, depthwise_bias, pointwise, bias, residual)
    return convolution("separable", 3, arrays, out, (stride, padding, dilation, padding_mode, layout, depthwise_activation, activation))
