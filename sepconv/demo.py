"""`sepconv demo`: the operations on a photograph, what each costs, how long it takes beside other libraries, and one picture of it all."""

from __future__ import annotations

from dataclasses import dataclass, field

import matplotlib.cbook
import numpy as np
from rich.console import Console

from . import conv2d, conv_cost, depthwise_conv2d, factorize, get_num_threads, separable_conv2d, separate
from . import demo_baselines as baselines
from .bench.command import writable
from .bench.photograph import opened
from .bench.report import Grid, console, table
from .bench.timing import load as load_average
from .cost import Cost

LARGEST_SIDE = 1024  # a larger photograph is made smaller first, so that the demo takes seconds on any
LAYER_CHANNELS = 16
TERMS = (1, 2, 5)
EXACT_TERMS = 5  # derivatives of first order are 2 filters mixed, those of second order 3 (Freeman & Adelson, 1991)


@dataclass
class Row:
    """One line of the table: an operation, what it costs, how far it is from what it stands for, and milliseconds by library."""

    name: str
    cost: list[Cost]
    error: float
    milliseconds: dict[str, float] = field(default_factory=dict)

    @property
    def params(self) -> int:
        return sum(c.params for c in self.cost)

    @property
    def macs(self) -> int:
        return sum(c.macs for c in self.cost)


# --- the photograph ----------------------------------------------------------------------------------------------


def load(path: str | None) -> np.ndarray:
    """A photograph as RGB, (height, width, 3), float32 in 0..1. OSError, ValueError: it cannot be read."""
    image = opened(path or str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return np.asarray(image, dtype=np.float32) / np.float32(255)


# --- the filters -------------------------------------------------------------------------------------------------


def _gaussian(size: int, sigma: float) -> np.ndarray:
    at = np.arange(size) - size // 2
    bell = np.exp(-(at**2) / (2 * sigma**2))
    return np.outer(bell, bell) / np.outer(bell, bell).sum()


def channel_filters() -> np.ndarray:
    """Three 7x7 filters, (3, 1, 7, 7): red is blurred, green is sharpened, blue keeps its vertical edges."""
    blur, wide = _gaussian(7, 3.0), _gaussian(7, 1.6)
    sharpen = -2 * wide
    sharpen[3, 3] += 3
    edges = -(np.arange(7) - 3) * _gaussian(7, 1.2)
    return np.stack([blur, sharpen, edges])[:, None].astype(np.float32)


def oriented_bank() -> np.ndarray:
    """A standard filter bank, (16, 3, 7, 7): derivatives of a Gaussian, 8 of first and 8 of second order, each in its own colour mix."""
    y, x = np.mgrid[-3:4, -3:4].astype(np.float64)
    bell = _gaussian(7, 1.2)
    colours = np.random.default_rng(5).normal(0.5, 0.5, (LAYER_CHANNELS, 3))
    half, bank = LAYER_CHANNELS // 2, []
    for i in range(LAYER_CHANNELS):
        angle = np.pi * (i % half) / half
        along = x * np.cos(angle) + y * np.sin(angle)
        shape = bell * along if i < half else bell * (along**2 - 1.44)
        shape = shape - shape.mean() * (i >= half)
        bank.append(colours[i][:, None, None] * shape / np.abs(shape).sum())
    return np.asarray(bank, dtype=np.float32)


def zeroed_standard(filters: np.ndarray) -> np.ndarray:
    """The standard convolution that a depthwise one equals: filter c is zero in every channel but c."""
    channels = len(filters)
    weight = np.zeros((channels, channels, *filters.shape[2:]), filters.dtype)
    weight[np.arange(channels), np.arange(channels)] = filters[:, 0]
    return weight


# --- the work ----------------------------------------------------------------------------------------------------


@dataclass
class Results:
    """Everything the table and the picture show."""

    image: np.ndarray
    filters: np.ndarray
    zeroed: np.ndarray
    identity_error: float
    filtered: np.ndarray
    sobel_x: np.ndarray
    sobel_y: np.ndarray
    layers: dict[str, np.ndarray]
    rows: list[Row]
    versions: dict[str, str]
    threads: int  # of sepconv and PyTorch
    busy: str | None  # a warning, if others use the cores


def _error(result: np.ndarray, exact: np.ndarray) -> float:
    """The size of the difference beside the size of what it should be."""
    size = float(np.linalg.norm(exact.astype(np.float64)))
    return float(np.linalg.norm(result.astype(np.float64) - exact)) / size if size else 0.0


def _depthwise_part(x: np.ndarray, filters: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, list[baselines.Job], list[Row]]:
    zeroed = zeroed_standard(filters)
    run = lambda: depthwise_conv2d(x, filters, padding="same")
    standard = lambda: conv2d(x, zeroed, padding="same")
    exact = baselines.plain(x.astype(np.float64), filters)
    filtered, same = run(), standard()
    shape = dict(in_channels=3, out_channels=3, kernel_size=(7, 7), input_size=x.shape[1:], padding="same")
    rows = [
        Row("depthwise 7x7, a filter per channel", [conv_cost("depthwise", **shape)], _error(filtered, exact)),
        Row("the same as standard, zeros elsewhere", [conv_cost("standard", **shape)], _error(same, exact)),
    ]
    jobs = [baselines.job(run, x, filters), baselines.job(standard, x, zeroed)]
    return filtered, zeroed, float(np.abs(filtered - same).max()), jobs, rows


def _sobel_part(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[baselines.Job], list[Row]]:
    """Gx in one pass of 9 weights, and in two of 3 that `separate` finds."""
    grey = np.ascontiguousarray(np.tensordot(np.float32([0.299, 0.587, 0.114]), x, 1)[None].astype(np.float32))
    kernel = np.float32([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    split = separate(kernel)
    column, line = (np.asarray(part, dtype=np.float32) for part in (split.column, split.row))
    column, line = column.reshape(1, 1, 3, 1), line.reshape(1, 1, 1, 3)
    whole = kernel[None, None]
    once = lambda: depthwise_conv2d(grey, whole, padding="same")
    twice = lambda: depthwise_conv2d(depthwise_conv2d(grey, column, padding="same"), line, padding="same")
    exact = baselines.plain(grey.astype(np.float64), whole)
    shape = dict(in_channels=1, out_channels=1, kernel_size=(3, 3), input_size=grey.shape[1:], padding="same")
    rows = [
        Row("Sobel Gx, one 3x3 pass", [conv_cost("depthwise", **shape)], _error(once(), exact)),
        Row("Sobel Gx, split: 3x1 then 1x3", [conv_cost("spatial", **shape)], _error(twice(), exact)),
    ]
    jobs = [baselines.job(once, grey, whole), baselines.job(twice, grey, column, line)]
    down = depthwise_conv2d(grey, np.ascontiguousarray(whole.transpose(0, 1, 3, 2)), padding="same")
    return twice()[0], down[0], jobs, rows


def _layer_part(x: np.ndarray) -> tuple[dict[str, np.ndarray], list[baselines.Job], list[Row]]:
    """A standard layer, and the depthwise-separable ones that `factorize` finds nearest to it."""
    bank = oriented_bank()
    exact = baselines.plain(x.astype(np.float64), bank)
    shape = dict(in_channels=3, out_channels=LAYER_CHANNELS, kernel_size=(7, 7), input_size=x.shape[1:], padding="same")
    standard = lambda: conv2d(x, bank, padding="same")
    maps = {"standard": standard()}
    rows = [Row(f"standard layer 3->{LAYER_CHANNELS}, 7x7", [conv_cost("standard", **shape)], _error(maps["standard"], exact))]
    jobs = [baselines.job(standard, x, bank)]
    for terms in TERMS:
        found = factorize(bank, terms=terms)
        depthwise, pointwise = (np.asarray(part, dtype=np.float32) for part in (found.depthwise, found.pointwise))
        run = lambda d=depthwise, p=pointwise: separable_conv2d(x, d, p, padding="same")
        label = f"{terms} term{'s' * (terms > 1)}"
        maps[label] = run()
        rows.append(Row(f"depthwise-separable, {label}", [conv_cost("separable", multiplier=terms, **shape)], _error(maps[label], exact)))
        jobs.append(baselines.job(run, x, depthwise, pointwise[:, :, None, None]))
    return maps, jobs, rows


def work(image: np.ndarray) -> Results:
    """All parts on one photograph, then all timings."""
    x, busy = np.ascontiguousarray(image.transpose(2, 0, 1)), load_average()[1]
    filters = channel_filters()
    filtered, zeroed, identity, jobs, rows = _depthwise_part(x, filters)
    sobel_x, sobel_y, more_jobs, more_rows = _sobel_part(x)
    layers, layer_jobs, layer_rows = _layer_part(x)
    rows = [*rows, *more_rows, *layer_rows]
    for row, job in zip(rows, [*jobs, *more_jobs, *layer_jobs]):
        row.milliseconds = baselines.milliseconds(job)
    return Results(image, filters, zeroed, identity, filtered, sobel_x, sobel_y, layers, rows, baselines.versions(), get_num_threads(), busy)


# --- the words ---------------------------------------------------------------------------------------------------


def _count(n: int) -> str:
    return f"{n / 1e6:,.1f} M" if n >= 1e6 else f"{n:,}"


def _time(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.2f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def costs(results: Results) -> Grid:
    """One line an operation."""
    grid = Grid("", ["operation", "params", "MACs", *(f"{name} ms" for name in results.versions), "error"], 1)
    for row in results.rows:
        times = [_time(row.milliseconds.get(name)) for name in results.versions]
        grid.add([row.name, f"{row.params:,}", _count(row.macs), *times, f"{row.error:.1e}"])
    return grid


def tell(console: Console, results: Results) -> None:
    """What was done, in plain words, and the table."""
    standard, *separable = [row for row in results.rows if "layer" in row.name or "separable" in row.name]
    nearest, exact = separable[0], separable[-1]
    threads = results.threads
    console.print(
        f"\n1. Depthwise: each colour channel through a filter of its own. A standard convolution whose filters are zero outside one\n"
        f"   channel does the same: the largest difference between the two results is {results.identity_error:.1e}.\n"
        f"2. Sobel: separate() splits its 3x3 kernel into a column and a row, 9 weights into 6; two short passes do its work.\n"
        f"3. A layer of {LAYER_CHANNELS} oriented filters, {standard.params:,} weights: factorize() finds the nearest depthwise-separable layer.\n"
        f"   One term has {nearest.params:,} weights and is {nearest.error:.0%} off; {EXACT_TERMS} terms have {exact.params:,}"
        f" and are {exact.error:.0e} off: this bank is made of {EXACT_TERMS} shapes.\n"
    )
    console.print(table(costs(results)))
    others = "\n  ".join(f"{name} {version}: {baselines.HOW[name]}" for name, version in results.versions.items() if name != "sepconv")
    console.print(
        f"ms: the least of several runs after a warm-up, libraries in turns, float32. sepconv {results.versions['sepconv']}: {threads} "
        f"thread{'s' * (threads > 1)}. Beside it:\n  {others}\n"
        "error: size of the difference, relative, from the whole operation in float64 by plain NumPy."
        + (f"\nNote: {results.busy}." if results.busy else "")
        + "\n"
    )


def run(image: str | None = None, output: str = "sepconv-demo.png") -> None:
    """Runs the demo on an image file and writes the picture."""
    from . import demo_picture

    screen = console()
    target = writable(output)
    photograph = load(image)
    height, width = photograph.shape[:2]
    name = image or "the portrait of Grace Hopper that comes with matplotlib"
    screen.print(f"The photograph: {name}, {width} x {height} pixels.\nA first run compiles its kernels, which takes some seconds.", markup=False)
    results = work(photograph)
    tell(screen, results)
    demo_picture.draw(results, target)
    screen.print(f"The picture: {target}", markup=False, soft_wrap=True)
