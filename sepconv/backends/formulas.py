"""The activations in registers: formulas over any machine's vectors (or scalars), for every backend that generates code.

`m` is the machine: it makes constants and offers `where`, `bits`, `from_bits`; its values know + - * / and < >, unfused.
Every formula keeps NaN. Each is within a few units in the last place; `backends/reference.py` has the meaning.
"""

from __future__ import annotations

import math
from typing import Any

from .. import activations as codes

# erfc(z) = t * exp(-z*z + P(2t - 1)) with t = 2 / (2 + z), z >= 0: Chebyshev series of P, fitted to scipy.special.erfcx.
ERFC = (
    -1.30265371978170943, 0.64196979235649026, 0.0194764732041858363, -0.00956151478680863164,
    -0.000946595344482036866, 0.000366839497852761452, 0.0000425233248069077716, -0.0000202785781125342432,
    -1.62429000464702551e-6, 1.3036558355805232e-6, 1.56264417220661432e-8, -8.52380959149265425e-8,
    6.5290544390988515e-9, 5.05934349555146894e-9, -9.91364156493033087e-10, -2.27365122293183586e-10,
    9.6467911020155268e-11, 2.39403808303911474e-12, -6.8860275264975534e-12, 8.94487927309072572e-13,
    3.13092139934295808e-13, -1.12708223613672524e-13, 3.81090525518923206e-16, 7.10609761360923699e-15,
    -1.5230282014571043e-15, -9.457494571291234e-17, 1.21023718922427899e-16, -2.81666308774717697e-17,
)  # fmt: skip

# Per number of mantissa bits: terms of the series for exp and erfc that reach the last place, and the range of exp.
TERMS = {23: (7, 12), 52: (13, 28)}


def clip(v: Any, lo: Any, hi: Any, m: Any) -> Any:
    v = m.where(v < lo, lo, v)  # in this order a NaN is neither, and stays
    return m.where(v > hi, hi, v)


def _reduced(v: Any, m: Any) -> tuple[Any, Any, Any]:
    """(r, 2**a, 2**b) with v = r + (a + b) ln 2 and |r| <= ln 2 / 2; two powers, since 2**(a + b) may not be representable."""
    magic = m.constant(1.5 * 2**m.mantissa)  # adding it rounds to a whole number, which then stands in the low bits
    shifted = v * m.constant(1 / math.log(2)) + magic
    n = shifted - magic
    whole = m.bits(shifted) - m.bits(magic)
    high = float(int(math.log(2) * 2 ** (m.mantissa - 8))) / 2 ** (m.mantissa - 8)  # few bits, so that n * high is exact
    r = v - n * m.constant(high) - n * m.constant(math.log(2) - high)
    half = whole >> 1
    return r, m.power(half), m.power(whole - half)


def _series(r: Any, m: Any, first: int) -> Any:
    """sum r**(i - first) / i! for i = first, first + 1, ..., by Horner."""
    total = m.constant(0.0)
    for i in range(TERMS[m.mantissa][0], first - 1, -1):
        total = total * r + m.constant(1 / math.factorial(i))
    return total


def exp(v: Any, m: Any) -> Any:
    low, high = math.log(2) * (m.least - 2), math.log(2) * (m.most + 1)
    r, a, b = _reduced(clip(v, m.constant(low), m.constant(high), m), m)
    return _series(r, m, 0) * a * b


def expm1(v: Any, m: Any) -> Any:
    """exp(v) - 1 for v <= 0, without the cancellation near 0."""
    r, a, b = _reduced(clip(v, m.constant(-50.0), m.constant(1.0), m), m)
    power = a * b
    return power * (_series(r, m, 1) * r) + (power - m.constant(1.0))


def _absolute(v: Any, m: Any) -> Any:
    return m.where(v < m.constant(0.0), m.constant(0.0) - v, v)


def leaky_relu(v: Any, m: Any) -> Any:
    return m.where(v < m.constant(0.0), v * m.constant(codes.LEAKY_SLOPE), v)


def hard_sigmoid(v: Any, m: Any) -> Any:
    return clip(v + m.constant(3.0), m.constant(0.0), m.constant(6.0), m) * m.constant(1 / 6)


def hard_swish(v: Any, m: Any) -> Any:
    return v * hard_sigmoid(v, m)


def sigmoid(v: Any, m: Any) -> Any:
    small = exp(m.constant(0.0) - _absolute(v, m), m)
    one = m.constant(1.0)
    return m.where(v < m.constant(0.0), small, one) / (one + small)


def silu(v: Any, m: Any) -> Any:
    return v * sigmoid(v, m)


def tanh(v: Any, m: Any) -> Any:
    t = expm1(_absolute(v, m) * m.constant(-2.0), m)
    size = (m.constant(0.0) - t) / (t + m.constant(2.0))
    return m.where(v < m.constant(0.0), m.constant(0.0) - size, size)


def erfc(v: Any, m: Any) -> Any:
    """By Chebyshev series in t = 2 / (2 + |v|), exact to rounding relative to the result for |v| where that is normal."""
    z = _absolute(v, m)
    two = m.constant(2.0)
    t = two / (two + z)
    y = t * m.constant(4.0) - two
    after, total = m.constant(0.0), m.constant(0.0)
    for c in reversed(ERFC[1 : TERMS[m.mantissa][1]]):  # Clenshaw's recurrence
        after, total = total, y * total - after + m.constant(c)
    inside = total * m.constant(0.5) * y - after + m.constant(ERFC[0] / 2)
    tail = t * exp(inside - z * z, m)
    return m.where(v < m.constant(0.0), two - tail, tail)


def gelu(v: Any, m: Any) -> Any:
    return v * (erfc(v * m.constant(-math.sqrt(0.5)), m) * m.constant(0.5))


# Those that are more than bounds; a new activation is a line here, one in `activations.py` and one in `reference.py`.
CURVED = {
    codes.LEAKY_RELU: leaky_relu,
    codes.HARD_SIGMOID: hard_sigmoid,
    codes.HARD_SWISH: hard_swish,
    codes.SIGMOID: sigmoid,
    codes.SILU: silu,
    codes.TANH: tanh,
    codes.GELU: gelu,
}
