"""PyTorch tensors on a GPU: unwrapped to what the CUDA backend sees of them, and wrapped again. Torch is never imported here, only found.

The dtype is read from the tensor and not from its interface, which shows bfloat16 as float16. Results come from torch's own pool, on its current
stream. Gradients are not recorded: a tensor that requires one is refused while torch records them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from . import cuda
from .cuda import bind, explain, filter_engine, runtime, signature
from .cuda.arrays import Kind, View

__all__ = ["admit", "bind", "explain", "filter_engine", "info", "signature"]


def _dtype(name: str, tensor: Any) -> np.dtype:
    """NumPy's dtype of a tensor's; bfloat16 comes with ml_dtypes."""
    text = str(tensor.dtype).removeprefix("torch.")
    if text == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            raise TypeError(f"{name} has dtype torch.bfloat16, which needs ml_dtypes: {runtime.INSTALL}") from None
        return np.dtype(ml_dtypes.bfloat16)
    try:
        return np.dtype(text)
    except TypeError:
        raise TypeError(f"{name} has dtype {tensor.dtype}, which NumPy has not; convert it") from None


def _view(name: str, tensor: Any, kind: Kind) -> View:
    dtype, size = _dtype(name, tensor), tensor.element_size()
    strides = tuple(step * size for step in tensor.stride())
    return View(name, tensor, kind, tensor.data_ptr(), tuple(tensor.shape), strides, dtype, False, kind.stream(tensor, {}), kind.device(tensor, 0))


def _empty(shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...], like: View) -> View:
    torch = sys.modules["torch"]
    made = torch.empty(shape, dtype=getattr(torch, dtype.name), device=like.owner.device).permute(axes)
    return _view("out", made, like.kind)


def _stream(tensor: Any, interface: dict[str, Any]) -> int | None:
    return sys.modules["torch"].cuda.current_stream(tensor.device).cuda_stream or None if tensor.is_cuda else None


TORCH = Kind(_empty, _stream, lambda tensor, address: tensor.device.index)


def admit(name: str, tensor: Any) -> View:
    """An argument as the CUDA backend sees it; TypeError or ValueError names it."""
    torch = sys.modules["torch"]
    if not isinstance(tensor, torch.Tensor):
        cls = type(tensor)
        raise TypeError(f"{name} is a {cls.__module__}.{cls.__qualname__}; allowed is a torch.Tensor on a GPU, as x is one")
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} has layout {tensor.layout}; allowed is torch.strided")
    if not tensor.is_cuda and not runtime.SIMULATED:
        raise TypeError(f"{name} is a tensor on {tensor.device}; allowed are tensors on a GPU, and of others the arrays: {name}.numpy()")
    runtime.require()
    if tensor.requires_grad and torch.is_grad_enabled():
        raise TypeError(f"{name} requires a gradient, which is not recorded here; allowed is {name}.detach(), or a call under torch.no_grad()")
    if tensor.is_conj() or tensor.is_neg():
        if name == "out":
            raise ValueError("out is a lazy conjugate or negative; allowed is a tensor with memory of its own")
        tensor = tensor.resolve_conj().resolve_neg()
    return _view(name, tensor, TORCH)


def info() -> dict[str, Any]:
    """Those of the CUDA backend; RuntimeError where nothing can run."""
    return cuda.info()
