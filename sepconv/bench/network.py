"""A whole network, EfficientNet-Lite0 with its published weights, on a photograph: every convolution by sepconv, beside other libraries.

`sepconv bench --network` checks that all give the top five classes of the original PyTorch model, then times them in turns.

efficientnet.py      the network's records, its weights;  photograph.py  the image and the names of the classes
network_sepconv.py   the records by sepconv
network_peers.py     the records by PyTorch, ONNX Runtime and OpenVINO
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import get_num_threads, layers, num_threads
from . import _machine, _present, efficientnet, libraries, network_peers, photograph, timing
from . import report as tables
from .efficientnet import Record
from .graphs import Prepared
from .network_sepconv import LAYOUTS, Functions, SepconvNetwork

NAMES = ("efficientnet_lite0",)
TOLERANCE = 1e-4  # of a logit, as a share of the largest: float32 rounds in some fifty layers, each a different order of sums
EXTRA = "sepconv[network]"


@dataclass
class Row:
    """One way to run the network."""

    name: str
    error: float  # the largest difference of a logit from the original's in float64, as a share of the largest logit
    same: bool  # whether the top five classes are the original's, in their order
    least_ms: float | None = None
    median_ms: float | None = None
    runs: int = 0

    @property
    def right(self) -> bool:
        return self.same and self.error <= TOLERANCE


@dataclass
class Result:
    """What `run` returns. `top` are (class, name, probability) of the original; `absent` are the libraries that could not run, and why."""

    network: str
    macs: int
    image: str
    threads: int
    machine: dict[str, Any]
    top: list[tuple[int, str, float]]
    rows: list[Row]
    absent: dict[str, str]
    notes: list[str] = field(default_factory=list)
    others: float | None = None  # share of the cores that other processes took meanwhile, where the system tells

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    def speedup(self) -> float | None:
        """The fastest peer's least time over sepconv's: above 1 sepconv is faster."""
        timed = [row for row in self.rows if row.least_ms is not None]
        ours = min((row.least_ms for row in timed if row.name.startswith("sepconv")), default=None)  # type: ignore[type-var]
        peer = min((row.least_ms for row in timed if not row.name.startswith("sepconv")), default=None)  # type: ignore[type-var]
        return None if ours is None or peer is None else peer / ours


# --- the runs -----------------------------------------------------------------------------------------------------


def ours(records: Sequence[Record], x: np.ndarray, layouts: Sequence[str], every_way: bool = False) -> dict[str, Prepared]:
    """The network by sepconv in each layout; with `every_way` also with separate calls for the two halves of a separable convolution."""
    made: dict[str, Prepared] = {}
    for layout in layouts:
        image = x if layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        ways = {f"sepconv {layout}": (True, layers)}
        if every_way:
            ways[f"sepconv {layout}, two calls a separable layer"] = (False, layers)
            ways[f"sepconv {layout}, weights not packed"] = (True, Functions)
        for name, (fused, source) in ways.items():
            network = SepconvNetwork(records, layout, fused, source)
            made[name] = Prepared(functools.partial(network, image), lambda logits: logits)
    return made


def _theirs(records: Sequence[Record], x: np.ndarray, threads: int) -> tuple[dict[str, Prepared], dict[str, str]]:
    """The runs of the peers, and why others are absent."""
    runs, (present, absent) = {}, _present(network_peers.PEERS)
    for peer in present:
        try:
            runs[peer.name] = peer.make(records, x, threads)
        except Exception as error:  # a peer's own failure is a finding, and no reason to lose the run
            absent[peer.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return runs, absent


def checked(runs: Mapping[str, Prepared], expected: np.ndarray) -> list[Row]:
    """A row for each run, with how far its logits are from those expected."""
    rows = []
    for name, each in runs.items():
        logits = each.read(each.call())
        error = np.abs(logits - expected).max() / np.abs(expected).max()
        rows.append(Row(name, float(error), best(logits) == best(expected)))
    return rows


def best(logits: np.ndarray, count: int = 5) -> list[int]:
    """The classes of the largest logits, the largest first."""
    return np.argsort(-logits[0], kind="stable")[:count].tolist()


def run(
    image: str | None = None,
    *,
    layouts: Sequence[str] = LAYOUTS,
    threads: int | None = None,
    seconds: float = 8.0,
    every_way: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run EfficientNet-Lite0 on a photograph in every library that is installed; check; time.

    Parameters
    ----------
    image : a picture file; None: scikit-image's photograph of a cat.
    layouts : of sepconv, some of "NCHW" and "NHWC". Peers are measured in every format they have.
    threads : of every library; None: `sepconv.get_num_threads()`.
    seconds : of timing, shared by all.
    every_way : whether to run sepconv also in its slower ways, to see what each saves.
    tell : called with a line of text about what is going on.

    Returns
    -------
    Result. What gives another top five than the original, or logits too far from its, is in it without a time.

    Raises
    ------
    ImportError : a package of sepconv[network] is absent, named by `.name`.
    OSError, ValueError : the image cannot be read.

    Example
    -------
    >>> sepconv.bench.network.run(threads=2).speedup()
    """
    threads = get_num_threads() if threads is None else threads
    with num_threads(threads), libraries.torch_session(threads):
        records, x = efficientnet.lite0(), photograph.load(image)
        tell("the original model, in float64")
        expected = network_peers.original(x)
        average, busy = timing.load()
        tell("compiling and checking")
        runs, absent = _theirs(records, x, threads)
        runs = {**ours(records, x, layouts, every_way), **runs}
        rows = checked(runs, expected)
        tell("timing")
        others = timing.others()
        right = {row.name: row for row in rows if row.right}
        pools = {name: name.partition(" ")[0] for name in right}  # sepconv's ways share their threads, and so do PyTorch's
        for name, times in timing.measure({name: runs[name].call for name in right}, seconds, threads, pools).items():
            row = right[name]
            row.least_ms, row.median_ms, row.runs = 1e3 * times.least, 1e3 * times.median, times.calls
        taken = others()
    return Result(
        NAMES[0], sum(record.macs for record in records), image or photograph.DEFAULT, threads,
        _machine([libraries.LIBRARIES[0], *_present(network_peers.PEERS)[0]], threads, average),
        _top(expected), rows, absent, [busy] if busy else [], taken,
    )  # fmt: skip


def _top(logits: np.ndarray) -> list[tuple[int, str, float]]:
    power = np.exp(logits[0] - logits[0].max())
    return [(index, photograph.label(index), float(power[index] / power.sum())) for index in best(logits)]


# --- the command --------------------------------------------------------------------------------------------------


def report(result: Result) -> None:
    """Prints the classes and a table."""
    console = tables.console()
    console.print(f"\n{result.image}: the original PyTorch model in float64 sees", markup=False)
    for index, name, probability in result.top:
        console.print(f"  {probability:6.1%}  {name} (class {index})", markup=False)
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    title = f"{result.network}, {result.macs / 1e6:.0f} M multiply-adds, batch 1, float32, {threads}"
    grid = tables.Grid(title, ["library", "least ms", "median ms", "runs", "GFLOP/s", "logits off by", "top 5"], 1)
    for row in result.rows:
        timed = row.least_ms is not None and row.median_ms is not None
        numbers = [f"{row.least_ms:.2f}", f"{row.median_ms:.2f}", str(row.runs), f"{2e-6 * result.macs / row.least_ms:.0f}"] if timed else ["-"] * 4
        grid.add([row.name, *numbers, f"{row.error:.1e}", "the same" if row.same else "OTHERS"], not row.right)
    console.print(tables.table(grid))
    for name, reason in result.absent.items():
        console.print(f"{name} is not here: {reason}", markup=False)
    for note in result.notes:
        console.print(f"Note: {note}", markup=False)
    if result.others is not None:
        console.print(f"Other processes had {result.others:.0%} of the cores meanwhile.")
    if result.speedup() is not None:
        console.print(f"Fastest peer / fastest sepconv: {result.speedup():.2f}")


def command(chosen: argparse.Namespace) -> int:
    """Runs what the command line says; the exit code is 0, 1 if a result is wrong, 2 where the installation does not allow it."""
    layouts = LAYOUTS if chosen.layout == "both" else (chosen.layout,)
    try:
        result = run(
            chosen.image, layouts=layouts, threads=chosen.threads, seconds=chosen.seconds, every_way=chosen.every_way,
            tell=lambda text: print(text, file=sys.stderr),
        )  # fmt: skip
    except ImportError as error:
        print(f'--network needs {error.name}, which is not installed: install {EXTRA}, as in pip install "{EXTRA}"', file=sys.stderr)
        return 2
    report(result)
    if chosen.json:
        Path(chosen.json).write_text(result.to_json(), encoding="utf-8")
    return 0 if all(row.right for row in result.rows) else 1
