"""The libraries that are compared on a GPU, a table as that of `libraries.py`: a function that prepares a call, and an entry of `_table`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import libraries
from .cases import Arrays, Case
from .graphs import Prepared, Unsupported
from .libraries import Library, layer_of, torch_call

# By how much a peer that computes with fewer bits may be off, of the largest value; it is looked at for mistakes, not for rounding
COARSE = 2e-2


def _images(x: np.ndarray, batch: int) -> np.ndarray:
    return np.repeat(x, batch, axis=0)


def _first_and_last(y: np.ndarray, coarse: bool, expected: Callable[[], np.ndarray]) -> np.ndarray:
    """One image for the check: the first, if the last has the same bits. Coarse results within their bound count as the expected ones."""
    y = y.astype(np.float32)
    if not np.array_equal(y[0], y[-1], equal_nan=True):
        raise ArithmeticError("the first and the last image of the batch, which are the same, have different results")
    if not coarse:
        return y[:1]
    want = expected()
    off = np.abs(y[:1] - want).max() <= COARSE * np.abs(want).max()
    return want if off else y[:1]


def _sepconv(layout: str, dtype: str, batch: int) -> Callable[[Case, Arrays, int], Prepared]:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        from numba import cuda

        here = lambda a: None if a is None else cuda.to_device(np.ascontiguousarray(a, dtype))
        x = here(_images(arrays.x if layout == "NCHW" else arrays.x_last, batch))
        shape = arrays.out(layout).shape
        out = cuda.device_array((batch, *shape[1:]), dtype)
        layer = layer_of(case, arrays, layout, here)

        def read(y: Any) -> np.ndarray:
            found = y.copy_to_host()
            return _first_and_last(found if layout == "NCHW" else np.moveaxis(found, -1, 1), dtype != "float32", arrays.expected)

        return Prepared(lambda: layer(x, out=out), read)

    return make


@contextlib.contextmanager
def _torch_session(threads: int) -> Iterator[None]:
    import torch

    tuned = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True  # cuDNN tries its algorithms once
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.benchmark = tuned


def _torch(last: bool, dtype: str, batch: int, tf32: bool) -> Callable[[Case, Arrays, int], Prepared]:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        import torch

        if not torch.cuda.is_available():
            raise Unsupported("this PyTorch sees no GPU")
        kind = getattr(torch, dtype)
        run = torch_call(case, arrays, _images(arrays.x, batch), lambda a: torch.from_numpy(a).to("cuda", kind), last)

        def call() -> Any:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            return run()

        read = lambda y: _first_and_last(y.float().cpu().contiguous().numpy(), tf32 or dtype != "float32", arrays.expected)
        return Prepared(call, read)

    return make


def _cupy(last: bool, dtype: str, batch: int) -> Callable[[Case, Arrays, int], Prepared]:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        import cupy

        if case.op != "pointwise" or arrays.biases[0] is not None:
            raise Unsupported("only pointwise, without an epilogue")
        weight = cupy.asarray(arrays.weights[0][:, :, 0, 0].astype(dtype))
        shape = arrays.out("NHWC" if last else "NCHW").shape[1:]
        x = cupy.asarray(_images(arrays.x_last if last else arrays.x, batch).astype(dtype))
        if last:
            x, weight = x.reshape(-1, x.shape[-1]), cupy.ascontiguousarray(weight.T)
            out = cupy.empty((x.shape[0], weight.shape[1]), dtype)
            call = lambda: cupy.matmul(x, weight, out=out)
        else:
            x = x.reshape(batch, x.shape[1], -1)
            out = cupy.empty((batch, weight.shape[0], x.shape[2]), dtype)
            call = lambda: cupy.matmul(weight, x, out=out)

        def read(y: Any) -> np.ndarray:
            found = cupy.asnumpy(y).reshape(batch, *shape)
            return _first_and_last(np.moveaxis(found, -1, 1) if last else found, True, arrays.expected)

        return Prepared(call, read)

    return make


def _table(dtype: str, batch: int) -> list[Library]:
    same = "sepconv.layers on Numba's device arrays, into out="
    table = [Library(f"sepconv {way}", "sepconv", way, _sepconv(way, dtype, batch), note=same) for way in ("NCHW", "NHWC")]
    for tf32 in (False, True) if dtype == "float32" else (False,):
        for last in (False, True):
            name = "PyTorch" + " channels_last" * last + " TF32" * tf32
            note = "conv2d by cuDNN, which tries its algorithms first; no out=" + ("; factors rounded to 11 bits" if tf32 else "")
            table.append(Library(name, "torch", "NHWC" if last else "NCHW", _torch(last, dtype, batch, tf32), _torch_session, note))
    for last in (False, True):
        note = "pointwise only: matmul by cuBLAS, into out="
        table.append(Library("CuPy" + " NHWC" * last, "cupy", "NHWC" if last else "NCHW", _cupy(last, dtype, batch), note=note))
    return table


def choose(names: Sequence[str] | None, layout: str, dtype: str, batch: int) -> list[Library]:
    """The libraries of these names, as `libraries.choose` has it."""
    return libraries.choose(names, layout, _table(dtype, batch))
