"""A report as a picture: how sepconv compares with the best other library, layer by layer, and the roofline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from .report import machine_lines
from .results import BEST, Report, Row, geometric

INK, QUIET = "#1d2733", "#66727f"
LAYOUTS = {"NCHW": "#2f4858", "NHWC": "#d1495b", BEST: "#2f4858"}
MARKS = ("o", "s", "^", "D", "v")
TICKS = (0.125, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 16, 32, 64)
NAMED = 70  # more bars than this are too narrow for names


def draw(report: Report, path: str | Path) -> None:
    """Writes the picture as a PNG. OSError if it cannot be written."""
    ops = list(dict.fromkeys(row.op for row in report.rows))
    figure = Figure(figsize=(16, 4.2 * len(ops) + 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(ops) + 1, 1, height_ratios=[*[1.0] * len(ops), 1.6], squeeze=False)[:, 0]
    for axes, op in zip(panels, ops):
        _ratios(axes, op, [row for row in report.rows if row.op == op])
    _roofline(panels[-1], report)
    figure.suptitle("sepconv bench: the fastest other library's time over sepconv's; above 1 sepconv is faster", color=INK, fontsize=15)
    figure.supxlabel("\n".join(machine_lines(report)), color=QUIET, fontsize=8)
    figure.savefig(path, format="png", dpi=100)


def _ratios(axes: Axes, op: str, rows: list[Row]) -> None:
    """A pair of bars for every convolution, one for each layout of sepconv; they start at 1, the best of the others."""
    shown = [layout for layout in ("NCHW", "NHWC") if any(row.ratio(layout) for row in rows)]
    shown = shown or [BEST] * any(row.ratio() for row in rows)
    width = 0.84 / max(1, len(shown))
    for i, layout in enumerate(shown):
        ratios = [row.ratio(layout) or 1 for row in rows]
        mean = geometric((r, 1) for r in ratios)
        at = np.arange(len(rows)) + (i - (len(shown) - 1) / 2) * width
        name = "" if layout == BEST else f"{layout}, "
        axes.bar(at, np.asarray(ratios) - 1, width, bottom=1, color=LAYOUTS[layout], label=f"{name}geometric mean {mean:.2f}")
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(-0.7, max(len(rows), 8) - 0.3)
    axes.margins(y=0.15)
    counted = sum(len(row.stands_for) for row in rows)
    layers = f", {counted} layers" * (counted > len(rows))
    axes.set_title(f"{op}: {len(rows)} convolution{'s' * (len(rows) > 1)}{layers}", loc="left", color=INK)
    axes.set_ylabel("peer / sepconv")
    axes.set_xticks(range(len(rows)), [f"{row.net} {row.shape}" for row in rows] if len(rows) <= NAMED else [""] * len(rows))
    axes.tick_params(axis="x", labelrotation=90, labelsize=6)
    axes.grid(axis="y", color="#e3e6e9")
    axes.set_axisbelow(True)
    if shown:
        axes.legend(frameon=False, loc="upper right", ncols=len(shown))


def _roofline(axes: Axes, report: Report) -> None:
    """GFLOP/s over flops per byte, under the roofs that were measured in the same run."""
    for op, mark in zip(dict.fromkeys(row.op for row in report.rows), MARKS):
        rows = [row for row in report.rows if row.op == op and row.least_ms]
        ours = [(row.intensity, row.gflops()) for row in rows if row.gflops()]
        peers = [(row.intensity, 2 * row.macs / row.least_ms[row.best_peer] / 1e6) for row in rows if row.best_peer]
        for points, colour, name in ((peers, "#a7b0b8", "the best other"), (ours, LAYOUTS["NHWC"], "sepconv")):
            if points:
                axes.scatter(*zip(*points), s=22, marker=mark, color=colour, alpha=0.8, linewidths=0, label=f"{op}, {name}")
    if "gflops" in report.machine:
        _roofs(axes, report)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title("Roofline", loc="left", color=INK)
    axes.set_xlabel("flops per byte (input and weights read once, output written once)")
    axes.set_ylabel("GFLOP/s")
    axes.grid(color="#e3e6e9")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower right", ncols=2, fontsize=8)


ROOFS = {2**18: "256 KiB", 2**21: "2 MiB", 2**24: "16 MiB", 2**28: "256 MiB"}


def _roofs(axes: Axes, report: Report) -> None:
    """The peak, and for some sizes of the arrays together the speed at which they can be copied."""
    peak, copies = report.machine["gflops"], {int(size): value for size, value in report.machine["copy_gbytes"].items()}
    rows = report.rows
    left = min([0.5, *(row.intensity for row in rows)]) / 1.3
    right = max([2 * peak / min(copies.values()), *(row.intensity for row in rows)]) * 1.3
    x = np.geomspace(left, right, 200)
    for size, name in ROOFS.items():
        axes.plot(x, np.minimum(peak, copies[size] * x), color=QUIET, linewidth=1, zorder=1)
        at = left * 1.05
        axes.annotate(f"copies of {name}: {copies[size]:.0f} GB/s", (at, copies[size] * at), color=QUIET, fontsize=7, rotation=0, va="bottom")
    axes.annotate(f"fused multiply-adds: {peak:.0f} GFLOP/s", (right, peak), color=QUIET, fontsize=8, ha="right", va="bottom")
    axes.set_xlim(left, right)
