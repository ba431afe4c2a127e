"""`sepconv warm`: compiles the kernels that calls will need ahead of them, for containers, read-only installs and first calls that may not wait.

The kernels go into the cache folder (SEPCONV_CACHE_DIR and so on, see `sepconv info`). They are for this machine's kind of processor, this
version of sepconv and of Numba: where one of these differs, the first calls compile again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import chain, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import conv2d, depthwise_conv2d, dispatch, explain, get_num_threads, num_threads, pointwise_conv2d, separable_conv2d
from .data import Layer
from .problem import LAYOUTS, integer
from .threads import checked
from .warm_shapes import Shape, models, parse, read, shape_of, shapes_of

__all__ = ["Report", "Shape", "models", "parse", "read", "shapes_of", "warm"]

DTYPES = ("float32", "float64")
ENTRY, SPREAD = ("entry", ()), ("spread", ())  # in place of kernels: what every call goes through, and what runs one on several threads
Progress = Callable[[int, int, str], None]


class Report(NamedTuple):
    """What `warm` returns."""

    kernels: int  # that the calls need
    compiled: int
    loaded: int  # from the cache folder; the rest this process had already
    seconds: float
    folder: str

    def __str__(self) -> str:
        return f"{self.kernels} kernels in {self.seconds:.1f} s: {self.compiled} compiled, {self.loaded} loaded, in {self.folder}"


# --- the work -----------------------------------------------------------------------------------------------------


def warm(
    layers: Iterable[Layer | Shape | str] | str,
    layouts: Sequence[str] = LAYOUTS[2],
    dtypes: Sequence[str] = ("float32",),
    *,
    threads: Sequence[int] | int | None = None,
    batch: int = 1,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Compile, or load, the kernels that calls of these layers need, without computing anything.

    Parameters
    ----------
    layers : a name of `models()`; or records of `sepconv.data.layers`, `Shape`s, and texts such as "32x112x112 k3 s2" (see `parse`).
    layouts : some of "NCHW" and "NHWC": where the channels lie in memory decides the kernel.
    dtypes : some of "float32" and "float64"; other dtypes run on one plain kernel, which is compiled at its first call.
    threads : how many threads the calls will use, an int or several; tiles may differ with it. None: `sepconv.get_num_threads()`.
    batch : images a call.
    jobs : processes that compile at once. More than one are started anew: a script that asks for them needs its `if __name__ == "__main__":`.
    progress : called as progress(done, total, text) before each kernel, and once at the end.

    Returns
    -------
    Report, with `.kernels`, `.compiled`, `.loaded`, `.seconds`, `.folder`.

    Raises
    ------
    ValueError, TypeError : before any work, naming the argument, its value and what is allowed.
    OSError : there is no folder to keep kernels in.

    Example
    -------
    >>> sepconv.warm.warm("mobilenet_v2", ["NHWC"]).kernels
    >>> sepconv.warm.warm(["depthwise 32x112x112 k3 s2", "32x56x56 -> 64"]).compiled
    """
    layouts, dtypes = _allowed("layouts", layouts, LAYOUTS[2]), _allowed("dtypes", dtypes, DTYPES)
    batch, jobs = (integer(name, value, 1, "a positive int") for name, value in (("batch", batch), ("jobs", jobs)))
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers is {layers!r}; allowed is the name of a model, or a list of records, Shapes and texts")
    shapes = list(dict.fromkeys(shapes_of(layers) if isinstance(layers, str) else map(shape_of, layers)))
    given = get_num_threads() if threads is None else threads
    counts = [checked("threads", n) for n in (given if isinstance(given, (list, tuple)) else (given,))]
    start, found = time.perf_counter(), {}
    for n, dtype, layout, shape in product(counts, dtypes, layouts, shapes):
        with num_threads(n), dispatch.use_backend("cpu"):
            for kernel in _kernels(*_call(shape, LAYOUTS[2][layout == "NCHW"] if shape.turned else layout, dtype, batch)):
                found.setdefault(kernel, f"{layout} {dtype} {shape}")
    if found:
        found[ENTRY] = "calls"
    if max(counts, default=1) > 1:
        found[SPREAD] = "calls on several threads"
    folder = dispatch.load("cpu").info()["cache_folder"]
    if folder.startswith("none"):
        raise OSError("there is no folder to keep kernels in that can be written; SEPCONV_CACHE_DIR names one")
    compiled, loaded = _all(found, jobs, progress or (lambda done, total, text: None))
    return Report(len(found), compiled, loaded, time.perf_counter() - start, folder)


def _all(found: dict[Any, str], jobs: int, progress: Progress) -> tuple[int, int]:
    """Makes the kernels ready; how many were compiled, how many loaded."""
    missing = [kernel for kernel in found if not _kept(kernel)] if jobs > 1 else []
    rest = [kernel for kernel in found if kernel not in missing]
    compiled = loaded = done = 0
    # Each process compiles other kernels: two that share the calls would compile many twice.
    with ProcessPoolExecutor(min(jobs, len(missing)), get_context("spawn")) if missing else nullcontext() as pool:
        made = chain(map(_make, rest), pool.map(_make, missing) if pool is not None else ())
        for kernel in (*rest, *missing):
            progress(done, len(found), found[kernel])
            misses, hits = next(made)
            compiled, loaded, done = compiled + misses, loaded + hits, done + 1
    progress(done, done, "")
    return compiled, loaded


def _allowed(name: str, values: Iterable[str], allowed: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is {values!r}; allowed is a list of some of {', '.join(allowed)}")
    for value in (given := tuple(values)):
        if value not in allowed:
            raise ValueError(f"{name} has {value!r}; allowed are {', '.join(allowed)}")
    return given


def _call(shape: Shape, layout: str, dtype: str, batch: int) -> tuple[list[Any], list[Any], np.ndarray | None]:
    """(problems, arrays, out) of a call, as a backend gets them; the arrays are memory that is never touched."""
    s, middle = shape, shape.in_channels * shape.multiplier
    empty = lambda *sizes: np.empty(sizes, dtype)
    placed = lambda c, size: empty(batch, c, *size) if layout == "NCHW" else empty(batch, *size, c)
    x, bias = placed(s.in_channels, s.in_size), empty(s.out_channels)
    geometry: dict[str, Any] = dict(stride=s.stride, padding=s.padding, dilation=s.dilation)
    rest: dict[str, Any] = dict(layout=layout, activation=s.activation)
    if s.kind == "separable":
        depthwise, pointwise, first = empty(middle, 1, *s.kernel), empty(s.out_channels, middle), empty(middle)
        rest |= dict(depthwise_bias=first, depthwise_activation=s.depthwise_activation, **geometry)
        function, given = separable_conv2d, (x, depthwise, pointwise, bias)
        arrays: list[Any] = [x, depthwise, first, pointwise, bias, None]
    else:
        inputs = 1 if s.kind == "depthwise" else s.in_channels
        weight = empty(s.out_channels, inputs, *s.kernel)
        rest |= {} if s.kind == "pointwise" else geometry
        function = {"standard": conv2d, "depthwise": depthwise_conv2d, "pointwise": pointwise_conv2d}[s.kind]
        given, arrays = (x, weight, bias), [x, weight, bias, None]
    if not s.residual:
        return explain(function, *given, **rest).problems, arrays, None
    out_size = explain(function, *given, **rest).problems[-1].out_size
    arrays[-1], out = placed(s.out_channels, out_size), placed(s.out_channels, out_size)  # a network adds into buffers of its own
    return explain(function, *given, **rest, residual=arrays[-1], out=out).problems, arrays, out


def _kernels(problems: list[Any], arrays: list[Any], out: np.ndarray | None) -> list[Any]:
    """What `_make` needs to know of each kernel of one call."""
    from .backends import cpu

    return cpu.kernels(problems, arrays, out)


def _shared() -> dict[Any, tuple[Any, Any]]:
    """The function that stands for each, and what makes it ready."""
    from .backends.cpu import entry, team

    return {ENTRY: (entry._go, entry.go), SPREAD: (team.launcher(), team.spread)}


def _kept(kernel: Any) -> bool:
    """Whether the cache folder has it, as far as the name of its file tells."""
    from .backends.cpu.kernel_cache import Impl, cache_folder

    factory, cells = kernel
    function = shared[0] if (shared := _shared().get(kernel)) else factory(*cells)
    folder = cache_folder()
    return folder is not None and (folder / f"{Impl(function).filename_base}.nbi").exists()


def _make(kernel: Any) -> tuple[int, int]:
    """Makes one kernel ready in this process; whether it was compiled, whether it was loaded."""
    from .backends.cpu import runtime
    from .backends.cpu.kernel_cache import counts

    factory, cells = kernel
    before = dict(counts)
    if shared := _shared().get(kernel):
        shared[1]()
    else:
        runtime.kernel(factory, *cells)
    return tuple(int(counts[name] - before[name]) for name in ("misses", "hits"))  # type: ignore[return-value]


# --- the command --------------------------------------------------------------------------------------------------


def command(chosen: argparse.Namespace) -> Report:
    """What `sepconv warm` does with its arguments. ValueError, TypeError, OSError: they do not allow it."""
    layers = [shape for model in (models() if chosen.all else chosen.model) for shape in shapes_of(model)]
    for text in chosen.shapes:
        layers += read(text) if text.lower().endswith(".csv") else [parse(text)]
    if not layers:
        raise ValueError("nothing to compile; give --model, --shapes or --all")
    if chosen.dir is not None:
        os.environ["SEPCONV_CACHE_DIR"] = chosen.dir  # read when the backend is first asked for its folder
        folder = dispatch.load("cpu").info()["cache_folder"]
        if Path(chosen.dir).resolve() not in Path(folder).resolve().parents:
            raise OSError(f"dir is {chosen.dir!r}, where nothing can be written; kernels would go to {folder}")
    with _shown() as progress:
        return warm(layers, chosen.layout, chosen.dtype, threads=chosen.threads, batch=chosen.batch, jobs=chosen.jobs, progress=progress)


@contextmanager
def _shown() -> Iterator[Progress]:
    """A bar where rich is installed and somebody looks, else a line for each kernel."""
    try:
        from rich.console import Console
        from rich.progress import Progress as Bar
    except ImportError:
        yield _line
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("")
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)


def _line(done: int, total: int, text: str) -> None:
    if text:
        print(f"{done + 1}/{total} {text}", file=sys.stderr, flush=True)
