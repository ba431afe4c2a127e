"""What a run found: rows, means over them, and the same as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1  # of the JSON
OURS = ("sepconv", "sepconv NCHW", "sepconv NHWC")  # of images, and of layers in both layouts
BEST = "best"


@dataclass
class Row:
    """One convolution, and every layer of the tables that is this convolution. Times are milliseconds, by library."""

    op: str
    net: str
    name: str
    shape: str  # for people
    key: str  # for programs: rows with equal keys are the same work
    stride: int
    stands_for: list[str]  # "net name" of each layer
    macs: int
    bytes: int  # input and weights read once, output written once
    intensity: float  # flops per byte
    least_ms: dict[str, float] = field(default_factory=dict)
    median_ms: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)  # libraries whose result was not the expected one; they are not timed
    left_out: dict[str, str] = field(default_factory=dict)  # libraries that cannot do it, and why
    bound_ms: float | None = None  # the least that the roofs of the machine allow
    others: float | None = None  # share of the cores that other processes took meanwhile

    def ours(self, layout: str = BEST) -> float | None:
        """sepconv's time, in "NCHW", "NHWC" or the better of the two."""
        names = OURS if layout == BEST else (f"sepconv {layout}",)
        return min((self.least_ms[name] for name in names if name in self.least_ms), default=None)

    @property
    def best_peer(self) -> str | None:
        """The fastest of the other libraries."""
        peers = [name for name in self.least_ms if not name.startswith("sepconv")]
        return min(peers, key=self.least_ms.__getitem__, default=None)

    def ratio(self, layout: str = BEST) -> float | None:
        """The best peer's time over sepconv's: above 1 sepconv is faster."""
        ours, peer = self.ours(layout), self.best_peer
        return None if ours is None or peer is None else self.least_ms[peer] / ours

    def against(self, family: str) -> float | None:
        """The time of the fastest library whose name begins so, over sepconv's."""
        ours, theirs = self.ours(), min((time for name, time in self.least_ms.items() if name.split()[0] == family), default=None)
        return None if ours is None or theirs is None else theirs / ours

    @property
    def words(self) -> list[str]:
        """What it can be grouped by: "gaussian", "1080p", "grey", "uint8", "k3"."""
        return [self.op, self.net, *self.name.split()]

    def gflops(self, layout: str = BEST) -> float | None:
        ours = self.ours(layout)
        return None if ours is None else 2 * self.macs / ours / 1e6

    def share(self, layout: str = BEST) -> float | None:
        """How near sepconv is to the bound; 1 is at it."""
        ours = self.ours(layout)
        return None if ours is None or self.bound_ms is None else self.bound_ms / ours


@dataclass
class Mean:
    """Geometric means of a group of rows: over different convolutions, and over all layers that they stand for."""

    name: str
    unique: int
    layers: int
    ratio: dict[str, tuple[float, float]]  # by layout: (over the different ones, over all layers)
    share: float | None
    worst: Row
    behind: int  # different convolutions in which the best peer is faster

    def to_json(self) -> dict[str, Any]:
        worst = f"{self.worst.net} {self.worst.name}"
        return {**{k: v for k, v in vars(self).items() if k != "worst"}, "worst": worst, "worst_ratio": self.worst.ratio()}


def geometric(values: Iterable[tuple[float, int]]) -> float:
    """The geometric mean of (value, weight)."""
    pairs = list(values)
    return math.exp(sum(math.log(value) * weight for value, weight in pairs) / sum(weight for _, weight in pairs))


@dataclass
class Report:
    """What `run` returns. `machine` holds the processor, versions and roofs, `options` how it was run, `notes` what a reader must know."""

    machine: dict[str, Any]
    options: dict[str, Any]
    libraries: dict[str, str]  # name -> note
    absent: dict[str, str]  # name -> why
    notes: list[str]
    rows: list[Row] = field(default_factory=list)

    @property
    def what(self) -> str:
        """ "layers" or "images"."""
        return str(self.options.get("what", "layers"))

    def families(self) -> list[str]:
        """First words of the names of the other libraries that were measured, as "OpenCV" of all its functions."""
        names = dict.fromkeys(name.split()[0] for row in self.rows for name in row.least_ms)
        return [name for name in names if name != "sepconv"]

    def groups(self) -> dict[str, list[Row]]:
        """All rows of filters of images, and those with the same word."""
        words = dict.fromkeys(word for i in range(5) for row in self.rows for word in row.words[i : i + 1])
        return {"all": self.rows} | {word: [row for row in self.rows if word in row.words] for word in words}

    def means(self) -> list[Mean]:
        """For each operation all its rows, and those of stride 2 apart where it has them."""
        made = []
        for op in dict.fromkeys(row.op for row in self.rows):
            mine = [row for row in self.rows if row.op == op]
            made.append(self._mean(op, mine))
            strides = {row.stride for row in mine}
            if len(strides) > 1:
                made += [self._mean(f"{op}, stride {s}", [row for row in mine if row.stride == s]) for s in sorted(strides)]
        return [mean for mean in made if mean is not None]

    def _mean(self, name: str, rows: list[Row]) -> Mean | None:
        rows = [row for row in rows if row.ratio() is not None]
        if not rows:
            return None
        ratio = {}
        for layout in (BEST, "NCHW", "NHWC"):
            found = [(row.ratio(layout), len(row.stands_for)) for row in rows if row.ratio(layout) is not None]
            if found:
                ratio[layout] = (geometric((r, 1) for r, _ in found), geometric(found))
        shares = [(row.share(), 1) for row in rows if row.share() is not None]
        worst = min(rows, key=Row.ratio)
        behind = sum(row.ratio() < 1 for row in rows)
        layers = sum(len(row.stands_for) for row in rows)
        return Mean(name, len(rows), layers, ratio, geometric(shares) if shares else None, worst, behind)

    def to_json(self) -> str:
        """All of it as text; `Report.from_json` reads it. Ratios, shares and means are in it for other readers."""
        rows = []
        for row in self.rows:
            derived = {"best_peer": row.best_peer, "ratio": row.ratio(), "gflops": row.gflops(), "share": row.share()}
            rows.append({**vars(row), **derived})
        whole = {**vars(self), "format": FORMAT, "rows": rows, "means": [mean.to_json() for mean in self.means()]}
        return json.dumps(whole, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """ValueError if the text is not of `to_json`."""
        try:
            whole = json.loads(text)
            if whole["format"] != FORMAT:
                raise ValueError(f"its format is {whole['format']}; this version reads {FORMAT}")
            rows = [Row(**{name: each[name] for name in Row.__dataclass_fields__}) for each in whole["rows"]]
            return cls(*(whole[name] for name in ("machine", "options", "libraries", "absent", "notes")), rows)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a result of sepconv bench ({type(error).__name__}: {error})") from None

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """OSError if there is no such file, ValueError if it holds something else."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def compared(new: Report, old: Report) -> list[tuple[Row, Row]]:
    """(new, old) of every convolution that both have."""
    before: dict[str, Row] = {row.key: row for row in old.rows}
    return [(row, before[row.key]) for row in new.rows if row.key in before]


def change(pairs: list[tuple[Row, Row]], of: Callable[[Row], float | None]) -> float | None:
    """Geometric mean of new time over old time, where both have one."""
    found = [(of(new) / of(old), 1) for new, old in pairs if of(new) is not None and of(old) is not None]  # type: ignore[operator]
    return geometric(found) if found else None
