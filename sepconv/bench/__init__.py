"""`sepconv bench`: the layers of `sepconv.data` in every library that is installed, checked, then timed in turns, beside the machine's roofs.

cases.py      layers as cases, their arrays, the expected results
libraries.py  the libraries, a table; graphs.py  those that run ONNX graphs
images.py  image_libraries.py   the same for filters of images; suites.py  both, a table
timing.py     the clock
machine.py    the processor and its roofs
gpu.py  gpu_libraries.py  gpu_machine.py   the same on a GPU
network.py    a whole network: its head names the files
results.py    rows, means, JSON; report.py  tables; picture.py  the picture; command.py  `sepconv bench`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from .. import get_num_threads, num_threads
from ..problem import one_of
from . import cases, suites, timing
from .graphs import Prepared, Unsupported
from .libraries import LIBRARIES, Library, choose, versions
from .results import Report, Row

__all__ = ["LIBRARIES", "Library", "Report", "Row", "run"]

LAYOUTS = ("NCHW", "NHWC", "both")


def run(
    op: Sequence[str] | None = None,
    net: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    *,
    layout: str = "both",
    threads: int | None = None,
    libraries: Sequence[str | Library] | None = None,
    seconds: float = 1.0,
    epilogue: str = "none",
    roofs: bool = True,
    tell: Callable[[str], None] | None = None,
    progress: bool = False,
) -> Report:
    """Measure the layers of `sepconv.data` in sepconv and in the other libraries that are installed.

    Every layer is one image, float32. Layers that are the same convolution are measured once. Results are checked first: a library whose
    result is wrong is reported in `Row.wrong` and not timed.

    Parameters
    ----------
    op : some of "depthwise", "pointwise", "separable" (a depthwise layer and the pointwise one that follows it), "standard"; None: all of these.
        Or some of "gaussian", "box", "sobel", "dense", "outer" (a Gaussian given as a dense kernel): filters of photographs, float32 and uint8,
        grey and colour, of 3 to 61 taps, in `sepconv.ndimage`, OpenCV and SciPy; needs scikit-image.
    net : some of `sepconv.data.networks()`, for filters of "1080p" and "4096"; None: all.
    layers : texts, of which "net name" of a layer must contain one, as "s3.", "grey uint8"; None: all.
    layout : "NCHW", "NHWC" or "both": of sepconv. Peers are measured in every format they have, as the best of all is what counts.
    threads : of every library; None: `sepconv.get_num_threads()`.
    libraries : names as in `LIBRARIES`, packages or parts of names, or Library objects; None: all that are installed.
    seconds : for one convolution, shared by the libraries.
    epilogue : "none", "bias" or "relu" (bias and relu), after each half.
    roofs : whether to measure the machine's roofs too, some seconds.
    tell : called with a line of text about what is going on.
    progress : whether to show a bar, which needs sepconv[bench].

    Returns
    -------
    Report with `.rows`, `.means()`, `.to_json()`.

    Raises
    ------
    ValueError, TypeError : before any work, naming the argument, its value and what is allowed.

    Example
    -------
    >>> report = sepconv.bench.run(["depthwise"], ["mobilenet_v1"], seconds=0.2)
    >>> report.rows[0].ratio()
    """
    from . import machine

    threads = get_num_threads() if threads is None else threads
    _check(layout, seconds, epilogue)
    suite = suites.of(op, layout, epilogue)
    suite.ready()
    with num_threads(threads):  # refuses what is no number of threads
        groups = cases.grouped(suite.select(op, net, layers))
        chosen, absent = _present(choose(libraries, layout, suite.libraries))
        tell = tell or (lambda text: None)
        average, busy = timing.load()
        tell(busy or f"the load average is {'unknown' if average is None else f'{average:.2f}'}")
        options = dict(op=op, net=net, layers=layers, layout=layout, threads=threads, seconds=seconds, epilogue=epilogue, what=suite.what)
        report = Report(_machine(chosen, threads, average), options, {lib.name: lib.note for lib in chosen}, absent, [busy] if busy else [])
        here = Device("machine", lambda: machine.measure(threads), timing.measure)
        return measured(report, groups, lambda case: suite.arrays(case, epilogue), chosen, here, roofs, tell, progress)


class Device(NamedTuple):
    """What the libraries run on: its roofs, its clock; of a GPU how many images a call has, and of which dtype."""

    name: str
    roofs: Callable[[], Any]
    measure: Callable[..., dict[str, timing.Times]]
    batch: int | None = None
    dtype: str = "float32"


def measured(
    report: Report, groups: list[list[Any]], arrays: Callable[[Any], Any], chosen: Sequence[Library], device: Device, roofs: bool,
    tell: Callable[[str], None], progress: bool,
) -> Report:  # fmt: skip
    """The report with its roofs, if they are asked for, and a row for each group of cases."""
    found, threads = None, report.options["threads"]
    if roofs:
        tell(f"measuring the {device.name}'s roofs")
        found = device.roofs()
        report.machine |= {"gflops": found.gflops, "copy_gbytes": {str(size): rate for size, rate in found.bandwidth.items()}}
    with ExitStack() as stack:
        for session in dict.fromkeys(lib.session for lib in chosen):
            stack.enter_context(session(threads))
        for group in _bar(groups, progress):
            report.rows.append(_row(group, arrays(group[0]), chosen, threads, report.options["seconds"], device, found))
    return report


def _check(layout: str, seconds: float, epilogue: str) -> None:
    one_of("layout", layout, LAYOUTS)
    one_of("epilogue", epilogue, cases.EPILOGUES)
    if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise ValueError(f"seconds is {seconds!r}; allowed is a positive number")


def _present(chosen: Sequence[Library]) -> tuple[list[Library], dict[str, str]]:
    """Those that can be imported, and why the others can't."""
    why = {lib.name: lib.missing() for lib in chosen}
    return [lib for lib in chosen if why[lib.name] is None], {name: reason for name, reason in why.items() if reason is not None}


def _machine(chosen: Sequence[Library], threads: int, average: float | None) -> dict[str, Any]:
    from . import machine

    return {**machine.facts(threads), "load_average": average, "libraries": versions(chosen)}


def _row(group: list[Any], arrays: Any, chosen: Sequence[Library], threads: int, seconds: float, device: Device, roofs: Any) -> Row:
    case, cost, batch = group[0], group[0].cost, device.batch or 1
    weights = 4 * cost.params
    moved = (batch * (cost.bytes - weights) + weights) * np.dtype(device.dtype).itemsize // 4
    shape, key = (case.shape, case.key) if device.batch is None else (f"{batch} x {case.shape}", (case.key, batch, device.dtype))
    titles = [f"{each.net} {each.name}" for each in group]
    row = Row(case.op, case.net, case.name, shape, repr(key), case.stride, titles, batch * cost.macs, moved, 2 * batch * cost.macs / moved)
    if roofs is not None:
        row.bound_ms = 1e3 * roofs.seconds(batch * case.limits[0], moved)
    prepared = _prepare(case, arrays, chosen, threads, row)  # both are held until all is done: a session may point into arrays that it does not own
    others = timing.others()
    calls, pools = {name: each.call for name, each in prepared.items()}, {lib.name: lib.package for lib in chosen}
    for name, times in device.measure(calls, seconds, threads, pools).items():
        row.least_ms[name], row.median_ms[name], row.calls[name] = 1e3 * times.least, 1e3 * times.median, times.calls
    row.others = others()
    return row


def _prepare(case: Any, arrays: Any, chosen: Sequence[Library], threads: int, row: Row) -> dict[str, Prepared]:
    """The calls of the libraries that can do the case and do it right; what happened to the others goes into the row."""
    expected, right = arrays.expected(), {}
    for lib in chosen:
        try:
            prepared = lib.make(case, arrays, threads)
            wrong = cases.error_of(prepared.read(prepared.call()), expected, arrays.rounding)
        except Unsupported as error:
            row.left_out[lib.name] = str(error)
        except Exception as error:  # a peer's own failure is a finding, and no reason to lose the run
            row.wrong[lib.name] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            if wrong is None:
                right[lib.name] = prepared
            else:
                row.wrong[lib.name] = wrong
    return right


def _bar(groups: list[list[Any]], progress: bool) -> Iterator[list[Any]]:
    """The groups, one after the other, behind a bar if one is asked for."""
    if not progress:
        yield from groups
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("", total=len(groups))
        for group in groups:
            bar.update(task, description=f"{group[0].op} {group[0].net} {group[0].name}")
            yield group
            bar.advance(task)
