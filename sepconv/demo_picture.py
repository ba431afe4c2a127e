"""The demo's picture: what the operations do to the photograph, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

if TYPE_CHECKING:
    from .demo import Results, Row

INK, QUIET = "#1d2733", "#66727f"
COLOURS = {"sepconv": "#d1495b", "NumPy": "#a7b0b8", "SciPy": "#6d8a96", "PyTorch": "#2f4858"}
BARS = ("#2f4858", "#d1495b", "#e07a5f", "#edae49")
TINTS = ("#c0392b", "#2e8b57", "#2f6fb0")
RIM = 3  # pixels whose window reaches past the border into the zeros: true, but not worth showing


def _inner(plane: np.ndarray) -> np.ndarray:
    """The plane without its rim, if something is left."""
    height, width = plane.shape[:2]
    return plane[RIM:-RIM, RIM:-RIM] if min(height, width) > 4 * RIM else plane


def _panel(axes: Axes, image: np.ndarray, title: str, note: str, colour: str = INK, **how: object) -> None:
    axes.imshow(_inner(image), **{"cmap": "gray", "interpolation": "antialiased", **how})
    axes.set_xticks([])
    axes.set_yticks([])
    _titled(axes, title, note, colour)


def _titled(axes: Axes, title: str, note: str, colour: str = INK) -> None:
    """A title and a note above what has no frame."""
    axes.set_title(title, fontsize=11, color=colour, loc="left", pad=19, fontweight="bold")
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=9, color=QUIET, va="bottom")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _inset(axes: Axes, kernel: np.ndarray) -> None:
    """The filter itself, in a corner of what it made."""
    small = axes.inset_axes((0.74, 0.03, 0.23, 0.23), transform=axes.transAxes)
    limit = float(np.abs(kernel).max())
    small.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
    small.set_xticks([])
    small.set_yticks([])
    for spine in small.spines.values():
        spine.set_color("white")
        spine.set_linewidth(1.5)


def _spread(plane: np.ndarray) -> dict[str, float]:
    """Limits of the grey scale that a few extreme pixels do not decide."""
    low, high = np.percentile(_inner(plane), (1, 99))
    return {"vmin": float(low), "vmax": float(max(high, low + 1e-6))}


def _signed(plane: np.ndarray) -> dict[str, float]:
    """Limits around zero, which is grey."""
    limit = max(float(np.percentile(np.abs(_inner(plane)), 99)), 1e-6)
    return {"vmin": -limit, "vmax": limit}


def _filter_table(axes: Axes, weight: np.ndarray) -> None:
    """The standard filter bank that equals a depthwise one: a table of filters, zero off the diagonal."""
    count, _, kh, kw = weight.shape
    tile = np.full((count * (kh + 1) + 1, count * (kw + 1) + 1), np.nan)
    for o in range(count):
        for c in range(count):
            kernel = weight[o, c]
            tile[o * (kh + 1) + 1 : (o + 1) * (kh + 1), c * (kw + 1) + 1 : (c + 1) * (kw + 1)] = kernel / max(np.abs(kernel).max(), 1e-9)
    axes.imshow(tile, cmap="RdBu_r", vmin=-1, vmax=1, extent=(0, count, count, 0))
    axes.set_facecolor("#c9ced3")
    axes.set_anchor("N")
    axes.set_xticks(np.arange(count) + 0.5, ["reads R", "G", "B"], fontsize=8.5, color=QUIET)
    axes.set_yticks(np.arange(count) + 0.5, ["R", "G", "B"], fontsize=8.5, color=QUIET)
    axes.tick_params(length=0)


def _first_row(figure: Figure, grid: GridSpec, results: Results) -> None:
    axes = [figure.add_subplot(grid[0, i]) for i in range(6)]
    height, width = results.image.shape[:2]
    _panel(axes[0], results.image, "The photograph", f"{width} x {height}, float32")
    names = (("Red, blurred", "a Gaussian, 7x7"), ("Green, sharpened", "identity plus detail"), ("Blue, its edges", "a derivative across"))
    for i, (title, note) in enumerate(names):
        plane = results.filtered[i]
        limits = _signed(plane) if i == 2 else {"vmin": 0.0, "vmax": 1.0}
        _panel(axes[1 + i], plane, title, note, TINTS[i], **limits)
        _inset(axes[1 + i], results.filters[i, 0])
    stacked = results.filtered.copy()
    stacked[2] = stacked[2] / (2 * _signed(stacked[2])["vmax"]) + 0.5
    _panel(axes[4], stacked.transpose(1, 2, 0).clip(0, 1), "Stacked again", "depthwise_conv2d: one call")
    _filter_table(axes[5], results.zeroed)
    _titled(axes[5], "The same, as standard", f"{results.zeroed.size} weights, {results.identity_error:.0e} apart at most")


def _second_row(figure: Figure, grid: GridSpec, results: Results) -> None:
    axes = [figure.add_subplot(grid[1, i]) for i in range(6)]
    edges = np.hypot(results.sobel_x, results.sobel_y)
    _panel(axes[0], results.sobel_x, "Sobel, across", "[1 2 1]ᵀ [−1 0 1]: 6 weights, not 9", **_signed(results.sobel_x))
    _panel(axes[1], results.sobel_y, "Sobel, down", "[−1 0 1]ᵀ [1 2 1]", **_signed(results.sobel_y))
    _panel(axes[2], edges, "Edge magnitude", "√(across² + down²)", cmap="magma", **_spread(edges))
    limits: dict[str, float] | None = None
    by_name = {name: row for name, row in zip(results.layers, _layer_rows(results))}
    shown = [list(results.layers)[i] for i in (0, 1, -1)]
    for axis, name in zip(axes[3:], shown):
        strongest = np.abs(results.layers[name]).max(axis=0)
        limits = limits or {**_spread(strongest), "vmin": 0.0}
        row = by_name[name]
        title = "Standard layer" if name == "standard" else f"Separable, {name}"
        note = f"{row.params:,} weights" + ("; strongest of 16" if name == "standard" else f", {_off(row.error)} off")
        _panel(axis, strongest, title, note, cmap="magma", **limits)


def _off(error: float) -> str:
    return f"{error:.0%}" if error >= 0.005 else f"{error:.0e}"


def _layer_rows(results: Results) -> list[Row]:
    """The rows of the table that belong to the layers, in their order."""
    return results.rows[-len(results.layers) :]


def _bars(axes: Axes, title: str, names: list[str], values: list[float], texts: list[str]) -> None:
    """One bar a layer, its value at its end."""
    at = np.arange(len(names))
    axes.barh(at, values, color=BARS[: len(names)], height=0.68)
    for y, value, text in zip(at, values, texts):
        axes.text(value + max(values) * 0.02, y, text, va="center", fontsize=9.5, color=INK)
    axes.set_yticks(at, names, fontsize=9.5, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.25)
    _bare(axes, title)


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, color=INK, loc="left", fontweight="bold", pad=8)
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color("#c9ced3")


def _times(axes: Axes, results: Results, names: list[str]) -> None:
    """Milliseconds by layer and library; the scale is logarithmic, for between the libraries lie powers of ten."""
    rows, libraries = _layer_rows(results), list(results.versions)
    thick = 0.84 / len(libraries)
    floor = min(min(row.milliseconds.values()) for row in rows) / 3
    for i, library in enumerate(libraries):
        values = [row.milliseconds[library] for row in rows]
        at = np.arange(len(rows)) + (i - (len(libraries) - 1) / 2) * thick
        axes.barh(at, values, height=thick * 0.9, color=COLOURS.get(library, QUIET), label=library)
        for y, value in zip(at, values):
            axes.text(value * 1.12, y, f"{value:.2g}" if value < 100 else f"{value:.0f}", va="center", fontsize=8.5, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(floor, max(max(row.milliseconds.values()) for row in rows) * 3)
    axes.set_yticks(np.arange(len(rows)), names, fontsize=9.5, color=INK)
    axes.invert_yaxis()
    threads = f"{results.threads} thread{'s' * (results.threads > 1)}"
    _bare(axes, f"Milliseconds (log), {threads}")
    axes.legend(
        fontsize=8.5, frameon=False, ncols=len(libraries), loc="upper right", bbox_to_anchor=(1.03, 1.17), columnspacing=1.0, handlelength=1.0
    )


def _third_row(figure: Figure, grid: GridSpec, results: Results) -> None:
    rows = _layer_rows(results)
    names = ["standard", *(f"separable\n{name}" for name in results.layers if name != "standard")]
    params, macs = [float(row.params) for row in rows], [row.macs / 1e6 for row in rows]
    _bars(figure.add_subplot(grid[0, 0]), "Parameters", names, params, [f"{v:,.0f}" for v in params])
    _bars(figure.add_subplot(grid[0, 1]), "Million multiply-adds", names, macs, [f"{v:,.0f}" if v >= 10 else f"{v:.2g}" for v in macs])
    _times(figure.add_subplot(grid[0, 2]), results, names)


def draw(results: Results, path: Path) -> None:
    """Writes the picture, 1600 x 1000 pixels, as PNG."""
    figure = Figure(figsize=(16, 10), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.02, 0.968, "sepconv: convolution, taken apart", fontsize=19, fontweight="bold", color=INK, va="center")
    summary = "Depthwise: a filter per channel.  Spatially separable: a column, then a row.  Depthwise separable: depthwise, then 1x1."
    figure.text(0.98, 0.968, summary, fontsize=11, color=QUIET, va="center", ha="right")
    pictures = GridSpec(2, 6, figure, left=0.02, right=0.98, top=0.895, bottom=0.285, wspace=0.08, hspace=0.2)
    _first_row(figure, pictures, results)
    _second_row(figure, pictures, results)
    bars = GridSpec(1, 3, figure, left=0.07, right=0.98, top=0.215, bottom=0.02, wspace=0.28, width_ratios=(1, 1, 1.7))
    _third_row(figure, bars, results)
    figure.savefig(path, format="png", dpi=100)
