"""A report as tables: on the screen by rich, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from .results import BEST, OURS, Mean, Report, Row, change, compared, geometric

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LAYOUTS = ("NCHW", "NHWC")
SPOILED = 0.05  # share of the cores that others may take before a time is doubtful


@dataclass
class Grid:
    """A table before it is drawn. The first `words` columns are words, the others numbers."""

    title: str
    headings: list[str]
    words: int
    rows: list[list[str]] = field(default_factory=list)
    behind: set[int] = field(default_factory=set)  # rows in which a peer is faster, or which became slower

    def add(self, cells: list[str], behind: bool = False) -> None:
        """One more row."""
        if behind:
            self.behind.add(len(self.rows))
        self.rows.append(cells)


# --- numbers -------------------------------------------------------------------------------------------------------


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _ways(report: Report) -> list[str]:
    """The layouts of sepconv that were measured, and which was the better one if both were."""
    found = [layout for layout in LAYOUTS if any(f"sepconv {layout}" in row.least_ms for row in report.rows)]
    return found if len(found) == 1 else [*found, BEST]


# --- the tables ----------------------------------------------------------------------------------------------------


def layers(report: Report, op: str, all_rows: bool = False) -> Grid:
    """Times in milliseconds of every convolution of an operation; with `all_rows`, of every layer, repeated ones too."""
    rows = [row for row in report.rows if row.op == op]
    names = [name for name in report.libraries if any(name in row.least_ms or name in row.wrong for row in rows)]
    ways = _ways(report)
    ratios = [f"peer / {way}" for way in ways]
    grid = Grid(f"{op}: milliseconds, the least of many", [report.what[:-1], "shape", "rows", *names, *ratios, "GFLOP/s", "of bound"], 2)
    for row in rows:
        numbers = [_ms(row.least_ms.get(name)) if name not in row.wrong else "wrong" for name in names]
        numbers += [_ratio(row.ratio(way)) for way in ways]
        best = row.gflops()
        numbers += ["" if best is None else f"{best:.1f}", _percent(row.share())]
        for title, count in _titles(row, all_rows):
            grid.add([title, row.shape, count, *numbers], (row.ratio() or 1) < 1)
    return grid


def _titles(row: Row, all_rows: bool) -> list[tuple[str, str]]:
    """The lines of a row: (title, how many layers it stands for)."""
    return [(title, "1") for title in row.stands_for] if all_rows else [(f"{row.net} {row.name}", str(len(row.stands_for)))]


def short_layers(report: Report, op: str, all_rows: bool = False) -> Grid:
    """The same for a narrow screen: sepconv beside the best of the others."""
    ways = [way for way in _ways(report) if way != BEST] or [BEST]
    times = *(f"peer / {way}" for way in ways), *(f"{way} ms" for way in ways)
    headings = [report.what[:-1], "shape", "best peer", *times, "peer ms", "of bound", "rows"]
    grid = Grid(f"{op}: milliseconds, the least of many; a wider screen or --markdown shows every library", headings, 3)
    for row in (row for row in report.rows if row.op == op):
        numbers = [*(_ratio(row.ratio(way)) for way in ways), *(_ms(row.ours(way)) for way in ways), _ms(_peer(row)), _percent(row.share())]
        for title, count in _titles(row, all_rows):
            grid.add([title, row.shape, row.best_peer or "", *numbers, count], (row.ratio() or 1) < 1)
    return grid


def means(report: Report, short: bool = False) -> Grid | None:
    """Geometric means of the ratios, over the different convolutions and over all layers that they stand for; `short`: of the better layout."""
    found, ways = report.means(), _ways(report)[-1:] if short else _ways(report)
    if not found:
        return None
    headings = [f"peer / {way}, {over}" for way in ways for over in ("unique", "all")]
    grid = Grid(
        "Best peer's time / sepconv's, geometric mean", ["", "unique", "all rows", *headings, "behind", "of bound", "least ratio", "where"], 1
    )
    for mean in found:
        grid.add(_mean_cells(mean, ways), mean.ratio[BEST][0] < 1)
    return grid


def families(report: Report) -> Grid:
    """Filters of images, by what they have in common: how much faster sepconv is than the fastest function of each other library."""
    names = report.families()
    headings = ["", "rows", *(text for name in names for text in (f"{name} / sepconv", "behind", "least", "where")), "of copy"]
    grid = Grid("Each library's time / sepconv's, geometric mean; share of the speed of a copy", headings, 1)
    for group, rows in report.groups().items():
        cells, slower = [group, str(len(rows))], False
        for name in names:
            found = sorted((row.against(name), i) for i, row in enumerate(rows) if row.against(name) is not None)
            if not found:
                cells += [""] * 4
                continue
            worst = rows[found[0][1]]
            behind = sum(ratio < 1 for ratio, _ in found)
            mean = geometric((ratio, 1) for ratio, _ in found)
            cells += [_ratio(mean), f"{behind} of {len(found)}", _ratio(found[0][0]), " ".join(worst.words)]
            slower |= mean < 1
        shares = [(row.share(), 1) for row in rows if row.share() is not None]
        grid.add([*cells, _percent(geometric(shares)) if shares else ""], slower)
    return grid


def _mean_cells(mean: Mean, ways: Sequence[str]) -> list[str]:
    ratios = [_ratio(mean.ratio[way][i]) if way in mean.ratio else "" for way in ways for i in (0, 1)]
    where = f"{mean.worst.net} {mean.worst.name} ({mean.worst.best_peer})"
    return [mean.name, str(mean.unique), str(mean.layers), *ratios, str(mean.behind), _percent(mean.share), _ratio(mean.worst.ratio()), where]


def comparison(new: Report, old: Report) -> Grid:
    """Every convolution that both runs have: sepconv's times then and now. The peers' change tells how far the machine was the same."""
    pairs = compared(new, old)
    ways = [way for way in _ways(new) if way in _ways(old)]
    headings = ["layer", "shape", "op"]
    for way in ways:
        headings += [f"{way} before", "now", "now / before"]
    was = {name: value for name, value in old.options.items() if name in ("threads", "epilogue", "dtype", "batch") and value != new.options.get(name)}
    titles = ["Beside the earlier run: milliseconds" if pairs else "The earlier run has none of these convolutions"]
    titles += [f"{name} was {value} and is {new.options.get(name)}" for name, value in was.items()]
    grid = Grid("; ".join(titles), [*headings, "peer, now / before"], 3)
    for row, before in pairs:
        cells = [f"{row.net} {row.name}", row.shape, row.op]
        for way in ways:
            cells += [_ms(before.ours(way)), _ms(row.ours(way)), _ratio(change([(row, before)], lambda r, way=way: r.ours(way)))]
        grid.add([*cells, _ratio(change([(row, before)], _peer))], (change([(row, before)], Row.ours) or 1) > 1)
    for op in dict.fromkeys(row.op for row, _ in pairs):
        mine = [pair for pair in pairs if pair[0].op == op]
        cells = ["geometric mean", f"{len(mine)} convolutions", op]
        for way in ways:
            cells += ["", "", _ratio(change(mine, lambda r, way=way: r.ours(way)))]
        grid.add([*cells, _ratio(change(mine, _peer))])
    return grid


def _peer(row: Row) -> float | None:
    return None if row.best_peer is None else row.least_ms[row.best_peer]


def grids(report: Report, all_rows: bool = False, old: Report | None = None, width: int | None = None) -> list[Grid]:
    """All tables of a report, in the order in which they are read; the short ones where the others are wider than `width`."""
    ops = list(dict.fromkeys(row.op for row in report.rows))
    made = [*(layers(report, op, all_rows) for op in ops), means(report)]
    if width is not None and not all(_fits(grid, width) for grid in made if grid):
        made = [*(short_layers(report, op, all_rows) for op in ops), means(report, short=True)]
    made += [families(report)] if report.what == "images" and report.families() else []
    return [grid for grid in (*made, comparison(report, old) if old else None) if grid]


# --- the words around them -----------------------------------------------------------------------------------------


def machine_lines(report: Report) -> list[str]:
    """Where and how it was measured, a fact a line."""
    m, o = report.machine, report.options
    gpu = "gpu" in m
    versions = {"python": m["python"], "numba": m["numba"], **m["libraries"]}
    if gpu:
        what = f"{m['gpu']}, compute capability {m['cc']}, driver {m['driver']}"
        how = f"{o['dtype']}, {o['batch']} images, epilogue: {o['epilogue']}"
    else:
        what = f"{m['cpu']} ({m['llvm_cpu']}, {m['isa']}), {m['cores']} cores; {m['threads']} thread{'s' * (m['threads'] > 1)} for every library"
        how = f"float32, one image, epilogue: {o['epilogue']}" if report.what == "layers" else "photographs, the border mirrored"
    lines = [f"{what}; {m['platform']}", ", ".join(f"{name} {version}" for name, version in versions.items())]
    if m.get("variables"):
        held = ", ".join(f"{name}={value}" for name, value in m["variables"].items())
        lines.append(f"held by {held}; ONNX Runtime, and OpenVINO but for its oneDNN, know no such variable")
    if "gflops" in m:
        copies = ", ".join(f"{_size(int(size))} {value:.0f}" for size, value in m["copy_gbytes"].items() if gpu or int(size) in _SHOWN)
        lines.append(f"measured in this run: {m['gflops']:.0f} GFLOP/s of fused multiply-adds; copies, GB/s read and written: {copies}")
    load = "unknown" if m["load_average"] is None else f"{m['load_average']:.2f}"
    clock = "CUDA's events" if gpu else f"load average before {load}"
    lines.append(f"{how}; {o['seconds']:g} s a convolution, libraries in turns; {clock}")
    return lines


_SHOWN = (2**15, 2**18, 2**20, 2**23, 2**25, 2**28)


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 2**20 else f"{count >> 10} KiB"


def notes(report: Report) -> list[str]:
    """What a reader must know: what the libraries are given, who is absent, whose results were wrong."""
    lines = [f"{name}: {note}" for name, note in report.libraries.items() if note]
    lines += [f"{name} is absent: {why}" for name, why in report.absent.items()]
    lines += [f"note: {note}" for note in report.notes]
    spoiled = [row for row in report.rows if row.others is not None and row.others > SPOILED]
    if spoiled:
        worst = max(spoiled, key=lambda row: row.others or 0)
        where = f"the most for {worst.op} {worst.net} {worst.name}, {_percent(worst.others)}"
        lines.append(
            f"note: while {len(spoiled)} of {len(report.rows)} were measured, others took more than {_percent(SPOILED)} of the cores; {where}"
        )
    shares = [share for row in report.rows if (share := row.share()) is not None]
    if shares and median(shares) > 1:  # single rows may be: large kernels leave out taps beyond the border
        lines.append("note: most rows are above their bound: the machine was slower when its roofs were measured, and shares say nothing")
    for row in report.rows:
        lines += [f"WRONG, not timed: {name} for {row.op} {row.net} {row.name} ({row.shape}): {why}" for name, why in row.wrong.items()]
    if report.what == "images":
        lines.append("peer: the fastest function but sepconv's. GFLOP/s: of two passes, or of all taps of a dense kernel.")
        lines.append("of bound, of copy: of the speed at which arrays of that size, read once and written once, can be copied.")
        return lines
    lines.append("rows: layers of the tables that are this convolution. peer: the fastest library but sepconv. best: the better layout of sepconv.")
    lines.append("of bound: of the speed that the peak of multiply-adds and the speed of copying arrays of that size allow, whichever is less.")
    return lines


# --- rich and Markdown ---------------------------------------------------------------------------------------------


def table(grid: Grid) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(title=grid.title, title_justify="left", pad_edge=False, box=SIMPLE_HEAD, collapse_padding=True)
    for index, heading in enumerate(grid.headings):
        ours = heading in OURS or "peer /" in heading
        justify = "left" if index < grid.words or heading == "where" else "right"
        made.add_column(heading, justify=justify, style="bold" if ours else "", min_width=_width(grid, index))
    for index, cells in enumerate(grid.rows):
        made.add_row(*cells, style="red" if index in grid.behind else "")
    return made


def _width(grid: Grid, index: int) -> int:
    """What a column needs if its words are not broken; numbers with their units are one word."""
    cells = [cells[index] for cells in grid.rows]
    if index < grid.words or grid.headings[index] == "where":
        cells = [word for cell in cells for word in cell.split()]
    return max(len(text) for text in (*grid.headings[index].split(), *cells, ""))


def _fits(grid: Grid, width: int) -> bool:
    """Whether a table can be shown with its words unbroken."""
    return sum(_width(grid, index) + 2 for index in range(len(grid.headings))) <= width


def show(console: Console, report: Report, all_rows: bool = False, old: Report | None = None) -> None:
    """Everything on the screen."""
    for line in machine_lines(report):
        console.print(line, markup=False)
    for grid in grids(report, all_rows, old, console.width):
        console.print()
        console.print(table(grid))
    console.print()
    for line in notes(report):
        console.print(line, markup=False)


def console() -> Console:
    """The screen; a pipe has no width, and no line of a table shall break there."""
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=240)


def markdown(report: Report, all_rows: bool = False, old: Report | None = None) -> str:
    """The same as Markdown."""
    lines: list[Any] = ["# sepconv bench", "", *(line + "  " for line in machine_lines(report))]
    for grid in grids(report, all_rows, old):
        lines += ["", f"## {grid.title}", "", _line(grid.headings), _line([":--"] * grid.words + ["--:"] * (len(grid.headings) - grid.words))]
        lines += [_line(cells) for cells in grid.rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in notes(report))]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
