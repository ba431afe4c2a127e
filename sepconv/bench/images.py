"""Image filters as cases: photographs of two sizes, kernels of 3 to 61 taps, and what every library must give."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..cost import Cost
from ..problem import one_of
from .cases import aligned

OPS = ("gaussian", "box", "sobel", "dense", "outer")  # dense: a kernel of no structure; outer: a Gaussian given as a dense kernel
SIZES = {"1080p": (1080, 1920), "4096": (4096, 4096)}
LINES = (3, 5, 7, 9, 15, 31, 61)
TAPS = {"gaussian": LINES, "box": LINES, "sobel": (3,), "dense": (3, 5, 7, 11, 15, 31, 61), "outer": (7, 15, 31)}
DTYPES = ("float32", "uint8")
MOST = 5e10  # multiply-adds of a dense kernel; more is left out
CORNER = 40  # pixels a side of a patch that is checked


class Case(NamedTuple):
    """One filter of one picture. `op` is one of OPS, `net` one of SIZES; kernels are `taps` by `taps`."""

    op: str
    net: str
    channels: int
    dtype: str
    taps: int
    stride: int = 1

    @property
    def name(self) -> str:
        return f"{'grey' if self.channels == 1 else 'colour'} {self.dtype} k{self.taps}"

    @property
    def key(self) -> tuple[Any, ...]:
        return self.op, self.net, self.size, self.channels, self.dtype, self.taps

    @property
    def size(self) -> tuple[int, int]:
        return SIZES[self.net]

    @property
    def array_shape(self) -> tuple[int, ...]:
        """(H, W), or (H, W, C) in colour."""
        return self.size if self.channels == 1 else (*self.size, self.channels)

    @property
    def result(self) -> str:
        """dtype of the result: edges of bytes need a sign."""
        return "int16" if self.op == "sobel" and self.dtype == "uint8" else self.dtype

    @property
    def dense(self) -> bool:
        """Whether the kernel is more than two vectors."""
        return self.op == "dense"

    @property
    def shape(self) -> str:
        return f"{'x'.join(map(str, self.array_shape))} {self.dtype} k{self.taps}" + f" -> {self.result}" * (self.result != self.dtype)

    @property
    def cost(self) -> Cost:
        """Multiply-adds of the passes down the columns and along the rows, or of all taps; the image read once, the result written once."""
        count, params = int(np.prod(self.array_shape)), self.taps**2 if self.dense else 2 * self.taps
        moved = count * (np.dtype(self.dtype).itemsize + np.dtype(self.result).itemsize)
        return Cost(params, count * params, 2 * count * params, moved, 2 * count * params / moved)

    @property
    def limits(self) -> tuple[int, int]:
        """Operations and bytes that bound it: the bytes alone, so that the share is of the speed of a copy."""
        return 0, self.cost.bytes  # type: ignore[return-value]


def select(ops: Sequence[str] | None = None, nets: Sequence[str] | None = None, layers: Sequence[str] | None = None) -> list[Case]:
    """The filters of these operations and sizes whose "net name" contains one of the texts `layers`; None means all.

    Sobel is of grey pictures: in colour SciPy's smooths over the channels. Kernels given as arrays that are outer products are of float32, since
    in uint8 two passes would be cut twice. ValueError names what is allowed, or says that nothing is left.
    """
    for name, values, allowed in (("op", ops, OPS), ("net", nets, SIZES)):
        for value in values or ():
            one_of(name, value, allowed)
    found = [Case(op, net, channels, dtype, taps)
             for op in ops or OPS for net in nets or SIZES for dtype in DTYPES for channels in (1, 3) for taps in TAPS[op]]  # fmt: skip
    found = [case for case in found if not (case.op == "sobel" and case.channels > 1 or case.op == "outer" and case.dtype == "uint8")]
    kept = [case for case in found if not (case.dense and case.cost.macs > MOST)]  # type: ignore[operator]
    kept = [case for case in kept if not layers or any(text in f"{case.net} {case.name}" for text in layers)]
    if not kept:
        raise ValueError(f"no filter is left: op is {ops}, net is {nets}, layers is {layers}")
    return kept


@functools.lru_cache(maxsize=4)
def photograph(size: tuple[int, int], channels: int) -> np.ndarray:
    """One of scikit-image's photographs, its middle of the given shape enlarged by bicubic interpolation, uint8. ImportError without it."""
    from PIL import Image
    from skimage import data

    height, width = size
    image = Image.fromarray(data.astronaut() if height == width else data.coffee())
    image = image if channels == 3 else image.convert("L")
    across = min(image.width, image.height * width / height)
    down = across * height / width
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + across, top + down)))


@dataclass
class Arrays:
    """The inputs of a case, the same for every library: an image (H, W) or (H, W, C), and its kernel as float64, `line` (k,) or `kernel` (k, k)."""

    case: Case
    epilogue: str = "none"
    x: np.ndarray = field(init=False)
    line: np.ndarray = field(init=False)  # down the columns; of Sobel's the smooth one
    kernel: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        case = self.case
        self.x = aligned(*case.array_shape, dtype=case.dtype)
        self.x[...] = photograph(case.size, case.channels)
        at = np.arange(case.taps) - case.taps // 2
        bell = np.exp(-(at**2) / (2 * self.sigma**2))
        self.line = {"box": np.ones(case.taps) / case.taps, "sobel": np.array([1.0, 2, 1])}.get(case.op, bell / bell.sum())
        self.kernel = np.outer(self.line, [-1.0, 0, 1] if case.op == "sobel" else self.line)
        if case.dense:
            drawn = np.random.default_rng(0).random((case.taps, case.taps))
            self.kernel = drawn / drawn.sum()

    @property
    def sigma(self) -> float:
        """Of the Gaussian that these taps cut off at four standard deviations."""
        return self.case.taps // 2 / 4

    @property
    def rounding(self) -> float:
        """How far whole numbers may be from the exact result: cut after each of two passes in one library, rounded once in another."""
        return 0.0 if self.case.result == "float32" else 2.0

    def out(self) -> np.ndarray:
        """A new array for the result."""
        return aligned(*self.case.array_shape, dtype=self.case.result)

    def expected(self) -> np.ndarray:
        """The result by plain NumPy in float64 on patches, (patches, rows, columns, channels): the corners and the middle."""
        half, made = self.case.taps // 2, []
        x = self.x.reshape(*self.case.size, -1)
        for rows, columns in self._places():
            ys, xs = (np.arange(at.start - half, at.stop + half) for at in (rows, columns))
            part = x[_mirrored(ys, len(x))][:, _mirrored(xs, x.shape[1])].astype(np.float64)
            total = np.zeros((rows.stop - rows.start, columns.stop - columns.start, x.shape[2]))
            for (i, j), weight in np.ndenumerate(self.kernel):
                if weight:
                    total += weight * part[i : i + total.shape[0], j : j + total.shape[1]]
            made.append(total)
        return np.stack(made)

    def patches(self, result: np.ndarray) -> np.ndarray:
        """The same parts of a library's result."""
        result = np.asarray(result).reshape(*self.case.size, -1)
        return np.stack([result[place].astype(np.float64) for place in self._places()])

    def _places(self) -> list[tuple[slice, slice]]:
        spans = []
        for n in self.case.size:
            count = min(n, CORNER)
            spans.append([slice(at, at + count) for at in (0, (n - count) // 2, n - count)])
        (top, middle, bottom), (left, centre, right) = spans
        return [(top, left), (top, right), (middle, centre), (bottom, left), (bottom, right)]


def _mirrored(places: np.ndarray, n: int) -> np.ndarray:
    """Indices with the border d c b a | a b c d | d c b a."""
    places = places % (2 * n)
    return np.minimum(places, 2 * n - 1 - places)
