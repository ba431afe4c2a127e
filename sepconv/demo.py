"""The demo: a photograph filtered every way there is, compared with the libraries that are installed, told in words, a table and a picture.

Every stage is a `Case`: the same convolution as a call of sepconv and of each other library, and what NumPy says in float64.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import sepconv

Call = Callable[[], Any]
SIDE = 1280  # a larger photograph is made smaller first, so that the demo stays a matter of seconds
TAPS = 9
EDGES, LINES, COLOUR = 16, 8, 4  # filters of the layer: edges and lines of brightness, edges of red-green and of blue-yellow
TERMS = (1, 2, 3, 4, 5)
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)


@dataclass
class Case:
    """One convolution, computed by several libraries."""

    name: str
    cost: sepconv.Cost
    calls: dict[str, Call]  # by library; "sepconv" is one of them
    truth: np.ndarray  # float64
    result: np.ndarray = field(init=False)
    errors: dict[str, float] = field(init=False)
    ms: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        """Compute: this is each call's warm-up too, and what compiles sepconv's kernel."""
        results = {library: np.asarray(call()) for library, call in self.calls.items()}
        self.result = results["sepconv"].reshape(self.truth.shape)
        self.errors = {library: difference(y.reshape(self.truth.shape), self.truth) for library, y in results.items()}
        self.ms = {library: 1e3 * seconds for library, seconds in in_turns(self.calls).items()}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, as a share of the largest magnitude."""
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def in_turns(calls: dict[str, Call], turns: int = 7, seconds: float = 1.0) -> dict[str, float]:
    """The least time of each call. They take turns, so that a busy moment of the machine meets all of them alike."""
    best = dict.fromkeys(calls, math.inf)
    start = time.perf_counter()
    for turn in range(turns):
        for name, call in calls.items():
            began = now = time.perf_counter()
            while now - began < 0.01 or now == began:  # short calls several times, for the threads of the one before to go to sleep
                before = now
                call()
                now = time.perf_counter()
                best[name] = min(best[name], now - before)
        if turn >= 2 and time.perf_counter() - start > seconds:
            break
    return best


# --- the photograph -----------------------------------------------------------------------------------------------


def read(path: str | None) -> tuple[np.ndarray, str]:
    """A picture file as float32 (3, H, W) from 0 to 1, and what to call it. Grey becomes RGB; what is transparent, white."""
    from matplotlib import cbook
    from matplotlib.image import pil_to_array
    from PIL import Image, ImageOps

    file = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False) if path is None else path
    with Image.open(file) as opened:
        pixels = pil_to_array(ImageOps.exif_transpose(opened))
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    pixels = np.clip(pixels.astype(np.float32) / np.float32(scale), 0, 1)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.shape[2] == 4:
        pixels = pixels[:, :, :3] * pixels[:, :, 3:] + (1 - pixels[:, :, 3:])
    step = -(-max(pixels.shape) // SIDE)
    if step > 1 and min(pixels.shape[:2]) >= step:
        h, w = (n // step * step for n in pixels.shape[:2])
        pixels = pixels[:h, :w].reshape(h // step, step, w // step, step, 3).mean((1, 3))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), os.path.basename(str(file))


# --- filters ------------------------------------------------------------------------------------------------------


def gaussian(sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian of TAPS x TAPS that sums to one, and the coordinates y and x."""
    y, x = np.mgrid[:TAPS, :TAPS] - (TAPS - 1) / 2.0
    bell = np.exp(-(x * x + y * y) / (2 * sigma * sigma))
    return bell / bell.sum(), y, x


def channel_filters() -> np.ndarray:
    """(3, TAPS, TAPS): red is blurred, green sharpened, blue lit from the upper left."""
    blur = gaussian(2.2)[0]
    soft, y, x = gaussian(1.0)
    point = (y == 0) & (x == 0)
    relief = -(x + y) * soft
    return np.stack([blur, 3 * point - 2 * soft, point * 0.45 + 0.9 * relief / np.abs(relief).sum() * 2]).astype(np.float32)


def oriented_filters() -> np.ndarray:
    """(32, 3, TAPS, TAPS): edges and lines of every direction, of brightness and of two colour contrasts.

    Derivatives of a Gaussian: an edge filter of any direction is a mix of 2, a line filter of 3 (Freeman and Adelson 1991,
    "The design and use of steerable filters"). All filters that look at one colour are therefore mixes of 5.
    """
    bell, y, x = gaussian(1.4)
    xx, yy, xy = ((c - (c * bell).sum()) * bell for c in (x * x, y * y, x * y))
    directions = lambda n: np.arange(n) * math.pi / n
    edges = [(math.cos(a) * x + math.sin(a) * y) * bell for a in directions(max(EDGES, COLOUR))]
    lines = [math.cos(a) ** 2 * xx + math.sin(a) ** 2 * yy + 2 * math.cos(a) * math.sin(a) * xy for a in directions(LINES)]
    some = edges[:: EDGES // COLOUR]
    contrasts = {"brightness": (1 / 3, 1 / 3, 1 / 3), "red-green": (1.0, -1.0, 0.0), "blue-yellow": (-0.5, -0.5, 1.0)}
    pairs = [*((f, "brightness") for f in edges + lines), *((f, "red-green") for f in some), *((f, "blue-yellow") for f in some)]
    bank = [np.multiply.outer(contrasts[colours], f / np.abs(f).sum()) for f, colours in pairs]
    return np.stack(bank).astype(np.float32)


# --- the other libraries ------------------------------------------------------------------------------------------


def padded(x: np.ndarray, kernel: tuple[int, ...]) -> np.ndarray:
    return np.pad(x, [(0, 0), *((k // 2, k // 2) for k in kernel)])


def numpy_depthwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A sum over the taps: each a shifted picture times one weight a channel. x (C, H, W), weight (C * m, kh, kw)."""
    (_, h, w), (kh, kw) = x.shape, weight.shape[1:]
    many = weight.shape[0] // x.shape[0]
    source = padded(x, (kh, kw))
    out = np.zeros((weight.shape[0], h, w), x.dtype).reshape(x.shape[0], many, h, w)
    taps = weight.reshape(x.shape[0], many, kh, kw, 1, 1)
    for i in range(kh):
        for j in range(kw):
            out += taps[:, :, i, j] * source[:, None, i : i + h, j : j + w]
    return out.reshape(-1, h, w)


def numpy_standard(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Windows times weights as one matrix product, a band of rows at a time to bound the memory. weight (C_out, C_in, kh, kw)."""
    (_, h, w), (kh, kw) = x.shape, weight.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(padded(x, (kh, kw)), (kh, kw), axis=(1, 2))
    out = np.empty((weight.shape[0], h, w), x.dtype)
    for row in range(0, h, 32):
        band = slice(row, row + 32)
        out[:, band] = np.tensordot(weight, windows[:, band], ((1, 2, 3), (0, 3, 4)))
    return out


def numpy_pointwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (weight @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])


def scipy_depthwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return np.stack([ndimage.correlate(plane, taps, mode="constant") for plane, taps in zip(x, weight)])


def _importable(name: str) -> Any:
    """The library, or None: not installed, or not in working order, is the same to a comparison."""
    try:
        return __import__(name)
    except (ImportError, OSError):
        return None


def torch_call(torch: Any, x: np.ndarray, *layers: tuple[np.ndarray, int]) -> Call:
    """A chain of `conv2d`s, each (weight, groups), with arrays shared, not copied."""
    tensors = [(torch.from_numpy(weight), groups, tuple(k // 2 for k in weight.shape[2:])) for weight, groups in layers]
    picture = torch.from_numpy(x)[None]

    def call() -> Any:
        with torch.inference_mode():
            y = picture
            for weight, groups, padding in tensors:
                y = torch.nn.functional.conv2d(y, weight, padding=padding, groups=groups)
            return y

    return call


# --- the cases ----------------------------------------------------------------------------------------------------


class Lab:
    """The photograph, and every convolution of it that the demo shows."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.size = image, image.shape[1:]
        self.grey = np.ascontiguousarray(image.mean(0, dtype=np.float32)[None])
        self.scipy, self.torch = _importable("scipy"), _importable("torch")
        self.threads = sepconv.get_num_threads()
        if self.torch is not None:
            self.torch.set_num_threads(self.threads)

    def cost(self, kind: str, out_channels: int, kernel: tuple[int, ...], channels: int = 3, multiplier: int = 1) -> sepconv.Cost:
        return sepconv.conv_cost(
            kind, in_channels=channels, out_channels=out_channels, kernel_size=kernel, input_size=self.size, padding="same", multiplier=multiplier
        )  # fmt: skip

    def calls(self, scipy: Call | None = None, torch: tuple[Any, ...] = (), **calls: Call) -> dict[str, Call]:
        """The libraries that are there; `torch` holds the arguments of `torch_call`."""
        if scipy is not None and self.scipy is not None:
            calls["SciPy"] = scipy
        if torch and self.torch is not None:
            calls["PyTorch"] = torch_call(self.torch, *torch)
        return calls

    def depthwise(self, weight: np.ndarray) -> Case:
        x = self.image
        calls = self.calls(
            sepconv=lambda: sepconv.depthwise_conv2d(x, weight, padding="same"),
            NumPy=lambda: numpy_depthwise(x, weight),
            scipy=lambda: scipy_depthwise(x, weight),
            torch=(x, (weight[:, None], len(x))),
        )
        return Case("depthwise", self.cost("depthwise", len(x), weight.shape[1:]), calls, numpy_depthwise(*wide(x, weight)))

    def standard(self, name: str, weight: np.ndarray, truth: np.ndarray | None = None) -> Case:
        x = self.image
        calls = self.calls(
            sepconv=lambda: sepconv.conv2d(x, weight, padding="same"),
            NumPy=lambda: numpy_standard(x, weight),
            torch=(x, (weight, 1)),
        )
        truth = numpy_standard(*wide(x, weight)) if truth is None else truth
        return Case(name, self.cost("standard", len(weight), weight.shape[2:]), calls, truth)

    def separable(self, name: str, kernel: sepconv.FactorizedKernel, truth: np.ndarray, peers: bool) -> Case:
        """A depthwise-separable layer; its truth is the result of the standard layer it stands for."""
        x, depthwise, pointwise = self.image, kernel.depthwise, kernel.pointwise
        cost = self.cost("separable", len(pointwise), depthwise.shape[2:], multiplier=kernel.terms)
        calls = {"sepconv": lambda: sepconv.separable_conv2d(x, depthwise, pointwise, padding="same")}
        if peers:
            layers = (depthwise, len(x)), (pointwise[:, :, None, None], 1)
            halves = lambda: numpy_pointwise(numpy_depthwise(x, depthwise[:, 0]), pointwise)
            calls = self.calls(**calls, NumPy=halves, torch=(x, *layers))
        return Case(name, cost, calls, truth)

    def sobel(self, name: str, passes: tuple[np.ndarray, ...], dense: np.ndarray) -> Case:
        """One 2-D pass or two 1-D passes over the grey picture; `dense` is the 2-D kernel either way."""
        x = self.grey
        weights = [p[None] for p in passes]  # (1, kh, kw): one channel
        kind = "depthwise" if len(passes) == 1 else "spatial"
        calls = self.calls(
            sepconv=lambda: chain(lambda y, w: sepconv.depthwise_conv2d(y, w, padding="same"), x, weights),
            NumPy=lambda: chain(numpy_depthwise, x, weights),
            scipy=lambda: chain(scipy_depthwise, x, weights),
            torch=(x, *((w[None], 1) for w in weights)),
        )
        return Case(name, self.cost(kind, 1, dense.shape, channels=1), calls, numpy_depthwise(*wide(x, dense[None])))


def wide(*arrays: np.ndarray) -> list[np.ndarray]:
    return [a.astype(np.float64) for a in arrays]


def chain(step: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    for weight in weights:
        x = step(x, weight)
    return x


@dataclass
class Results:
    """What the table and the picture are made of."""

    title: str
    image: np.ndarray
    filters: np.ndarray
    threads: int
    depthwise: Case
    zeroed: Case
    split: sepconv.SeparableKernel
    sobel: list[Case]  # x in one pass, x in two, y in two
    bank: np.ndarray
    standard: Case
    kernels: list[sepconv.FactorizedKernel]  # one for each of TERMS
    separable: list[Case]

    @property
    def compared(self) -> list[Case]:
        return [self.depthwise, self.zeroed, *self.sobel[:2], self.standard, self.separable[-1]]


def compute(image: np.ndarray, title: str) -> Results:
    """All cases, and the times of all libraries."""
    lab = Lab(image)
    filters = channel_filters()
    depthwise = lab.depthwise(filters)
    zeroed_weight = np.zeros((3, *filters.shape), np.float32)
    zeroed_weight[range(3), range(3)] = filters
    zeroed = lab.standard("standard, zeroed channels", zeroed_weight, depthwise.truth)

    split = sepconv.separate(SOBEL)
    down, along = split.column[:, None], split.row[None]
    sobel = [
        lab.sobel("Sobel, one 2-D pass", (SOBEL,), SOBEL),
        lab.sobel("Sobel, two 1-D passes", (down, along), SOBEL),
        lab.sobel("Sobel y", (np.ascontiguousarray(along.T), np.ascontiguousarray(down.T)), np.ascontiguousarray(SOBEL.T)),
    ]
    bank = oriented_filters()
    standard = lab.standard(f"standard, 3 -> {len(bank)} channels", bank)
    kernels = [sepconv.factorize(bank, terms=terms) for terms in TERMS]
    separable = [
        lab.separable(f"separable, {k.terms} term{'s' * (k.terms > 1)}", k, standard.truth, peers=k.terms == TERMS[-1]) for k in kernels
    ]
    return Results(title, image, filters, lab.threads, depthwise, zeroed, split, sobel, bank, standard, kernels, separable)
