"""The libraries that are compared, a table: adding one is a function that prepares a call, and an entry of LIBRARIES.

Every library gets the same arrays and writes float32. A prepared call does nothing but the operation: graphs are built, weights are laid out
as the library wants them, and outputs are allocated before, where the library allows that.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

import sepconv
from sepconv import layers

from . import graphs
from .cases import Arrays, Case
from .graphs import Prepared, Unsupported


class Library(NamedTuple):
    """A column of the results."""

    name: str
    package: str  # what must be importable
    layout: str  # of the arrays that it reads and writes: "NCHW", "NHWC" or "image"
    make: Callable[[Case, Arrays, int], Prepared]  # (case, arrays, threads); raises Unsupported, with a reason
    session: Callable[[int], AbstractContextManager[Any]] = lambda threads: nullcontext()  # holds the library to so many threads
    note: str = ""  # what a reader of its times must know
    needs: tuple[str, ...] = ()  # more that must be importable

    @property
    def ours(self) -> bool:
        return self.package == "sepconv"

    def missing(self) -> str | None:
        """Why it cannot be used here, or None. Whatever an installation is broken by, it counts as absent."""
        try:
            for name in (self.package, *self.needs):
                importlib.import_module(name)
        except Exception as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def _one_step(case: Case, kind: str) -> None:
    if case.op != kind:
        raise Unsupported(f"only {kind}")


# --- sepconv -------------------------------------------------------------------------------------------------------


def layer_of(case: Case, arrays: Arrays, layout: str, here: Callable[[Any], Any] = lambda array: array) -> Any:
    """The case as one of `sepconv.layers`; `here` makes of an array, or None, what the layer is to hold."""
    first, activation = case.steps[0], "relu" if arrays.relu else None
    weights, biases = map(here, arrays.weights), map(here, arrays.biases)
    options: dict[str, Any] = dict(layout=layout, activation=activation)
    geometry = dict(stride=first.stride, padding=first.padding, dilation=first.dilation)
    if case.op == "separable":
        (depthwise, pointwise), (middle, bias) = weights, biases
        options |= dict(depthwise_bias=middle, depthwise_activation=activation, **geometry)
        return layers.SeparableConv2d(depthwise, pointwise, bias, **options)
    kinds = dict(depthwise=layers.DepthwiseConv2d, pointwise=layers.PointwiseConv2d, standard=layers.Conv2d)
    options |= {} if case.op == "pointwise" else geometry
    return kinds[case.op](*weights, *biases, **options)


def _sepconv(layout: str) -> Callable[[Case, Arrays, int], Prepared]:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        x, out = arrays.x if layout == "NCHW" else arrays.x_last, arrays.out(layout)
        layer = layer_of(case, arrays, layout)
        return Prepared(lambda: layer(x, out=out), (lambda y: y) if layout == "NCHW" else (lambda y: np.moveaxis(y, -1, 1)))

    return make


# --- PyTorch -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def torch_session(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def torch_call(case: Case, arrays: Arrays, x: np.ndarray, here: Callable[[np.ndarray], Any], last: bool) -> Callable[[], Any]:
    """The case on x as calls of conv2d; `here` makes a tensor of an array."""
    import torch

    memory = torch.channels_last if last else torch.contiguous_format
    images, steps, relu = here(x).contiguous(memory_format=memory), [], arrays.relu
    for step, weight, bias in zip(case.steps, arrays.weights, arrays.biases):
        groups = step.in_channels if step.kind == "depthwise" else 1
        options = (None if bias is None else here(bias), step.stride, step.padding, step.dilation, groups)
        steps.append((here(weight).contiguous(memory_format=memory), options))
    weight, options = steps[0]

    def once() -> Any:
        y = torch.conv2d(images, weight, *options)
        return y.relu_() if relu else y

    def chain() -> Any:
        y = images
        for weight, options in steps:
            y = torch.conv2d(y, weight, *options)
            if relu:
                y.relu_()
        return y

    return once if len(steps) == 1 else chain


def _torch(last: bool) -> Callable[[Case, Arrays, int], Prepared]:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        import torch

        return Prepared(torch_call(case, arrays, arrays.x, torch.from_numpy, last), lambda y: y.numpy())

    return make


# --- NumPy, SciPy, OpenCV ------------------------------------------------------------------------------------------


def _blas_session(threads: int) -> AbstractContextManager[Any]:
    """NumPy's BLAS has read its environment long ago; threadpoolctl can still change its mind."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads, user_api="blas")


def _matmul(layout: str) -> Callable[[Case, Arrays, int], Prepared]:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        _one_step(case, "pointwise")
        weight, bias, relu, out = arrays.weights[0][:, :, 0, 0], arrays.biases[0], arrays.relu, arrays.out(layout)
        if layout == "NCHW":
            left, right, flat = weight, arrays.x.reshape(weight.shape[1], -1), out.reshape(len(weight), -1)
        else:
            left, right, flat = arrays.x_last.reshape(-1, weight.shape[1]), weight.T, out.reshape(-1, len(weight))
        added = None if bias is None else bias[:, None] if layout == "NCHW" else bias

        def call() -> np.ndarray:
            np.matmul(left, right, out=flat)
            if added is not None:
                np.add(flat, added, out=flat)
            if relu:
                np.maximum(flat, 0, out=flat)
            return out

        return Prepared(call, (lambda y: y) if layout == "NCHW" else (lambda y: np.moveaxis(y, -1, 1)))

    return make


def _planes(case: Case, arrays: Arrays) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(plane of x, its filter, plane of the result) of each channel, for libraries that filter pictures."""
    _one_step(case, "depthwise")
    step = case.steps[0]
    if arrays.epilogue != "none":
        raise Unsupported("no epilogue")
    if step.stride != 1 or step.dilation != 1 or step.multiplier != 1 or any(k != 2 * pad + 1 for k, pad in zip(step.kernel, step.padding)):
        raise Unsupported("only stride 1 and dilation 1, with a result of x's size")
    return [(plane, weight[0], made) for plane, weight, made in zip(arrays.x[0], arrays.weights[0], arrays.out()[0])]


SCIPY_MACS = 60_000_000  # about half a second


def _scipy(case: Case, arrays: Arrays, threads: int) -> Prepared:
    from scipy import ndimage

    planes = _planes(case, arrays)
    if case.cost.macs > SCIPY_MACS:  # type: ignore[operator]
        raise Unsupported("more than half a second")

    def call() -> list[np.ndarray]:
        for plane, weight, out in planes:
            ndimage.correlate(plane, weight, output=out, mode="constant")
        return [out for _, _, out in planes]

    return Prepared(call, lambda made: np.stack(made)[None])


@contextlib.contextmanager
def opencv_session(threads: int) -> Iterator[None]:
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _opencv(case: Case, arrays: Arrays, threads: int) -> Prepared:
    import cv2

    planes = _planes(case, arrays)

    def call() -> list[np.ndarray]:
        for plane, weight, out in planes:
            cv2.filter2D(plane, -1, weight, out, borderType=cv2.BORDER_CONSTANT)
        return [out for _, _, out in planes]

    return Prepared(call, lambda made: np.stack(made)[None])


# --- the table -----------------------------------------------------------------------------------------------------

OURS = lambda threads: sepconv.num_threads(threads)

LIBRARIES: tuple[Library, ...] = (
    Library("sepconv NCHW", "sepconv", "NCHW", _sepconv("NCHW"), OURS, "sepconv.layers, which lay their weights out once; into out="),
    Library("sepconv NHWC", "sepconv", "NHWC", _sepconv("NHWC"), OURS, "the same, channels last"),
    Library("PyTorch", "torch", "NCHW", _torch(False), torch_session, "conv2d, contiguous; it has no out=, each call allocates"),
    Library("PyTorch channels_last", "torch", "NHWC", _torch(True), torch_session, "conv2d, x and weights channels last; it has no out="),
    Library("ONNX Runtime", "onnxruntime", "NCHW", functools.partial(graphs.prepared, graphs.onnxruntime),
            note="a graph of one or two Conv nodes; input and output bound", needs=("onnx",)),
    Library("OpenVINO", "openvino", "NCHW", functools.partial(graphs.prepared, graphs.openvino),
            note="the same graph, float32, latency hint; input and output shared", needs=("onnx",)),
    Library("NumPy matmul", "numpy", "NCHW", _matmul("NCHW"), _blas_session, "pointwise only, into out=", ("threadpoolctl",)),
    Library("NumPy matmul NHWC", "numpy", "NHWC", _matmul("NHWC"), _blas_session, "pointwise only, into out=", ("threadpoolctl",)),
    Library("OpenCV", "cv2", "NCHW", _opencv, opencv_session, "filter2D, channel by channel; depthwise of stride 1 only"),
    Library("SciPy", "scipy", "NCHW", _scipy, note="ndimage.correlate, channel by channel, one thread; small depthwise of stride 1 only"),
)  # fmt: skip


def choose(names: Sequence[str | Library] | None, layout: str = "both", table: Sequence[Library] = LIBRARIES) -> list[Library]:
    """The libraries of these names: each a whole name, a package, or a part of a name; None means all. sepconv's only in `layout`."""
    chosen: list[Library] = []
    for name in table if names is None else names:
        if isinstance(name, Library):
            chosen.append(name)
            continue
        exact = [lib for lib in table if name.lower() in (lib.name.lower(), lib.package)]
        found = exact or [lib for lib in table if name.lower() in lib.name.lower()]
        if not found:
            raise ValueError(f"libraries has {name!r}; allowed are {', '.join(lib.name for lib in table)}, or parts of these")
        chosen += found
    return [lib for lib in dict.fromkeys(chosen) if not lib.ours or layout in ("both", lib.layout)]


def versions(libraries: Sequence[Library]) -> dict[str, str]:
    """Version of each package."""
    found = {}
    for package in dict.fromkeys(lib.package for lib in libraries):
        module = importlib.import_module(package)
        try:
            found[package] = str(getattr(module, "__version__", None) or importlib.metadata.version(package)).partition("-")[0]
        except importlib.metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found
