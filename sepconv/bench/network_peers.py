"""The same records in other libraries, a table as in `libraries.py`: PyTorch layer by layer, ONNX Runtime and OpenVINO as one ONNX graph."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import graphs
from .efficientnet import Record, weights_file
from .graphs import Graph, Prepared
from .libraries import Library, torch_session


def original(x: np.ndarray) -> np.ndarray:
    """The logits of EfficientNet-Lite0 in float64, by the package efficientnet-lite-pytorch as it is: batch normalisation not folded."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded its weights
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights_file()).eval().double()
    with torch.inference_mode():
        return model(torch.from_numpy(x).double()).numpy()


def _torch(last: bool) -> Callable[[Sequence[Record], np.ndarray, int], Prepared]:
    """One call a record, with the epilogue in place; padding on one side only is a step of its own there."""

    def make(records: Sequence[Record], x: np.ndarray, threads: int) -> Prepared:
        import torch

        memory, pad = torch.channels_last if last else torch.contiguous_format, torch.nn.functional.pad
        here = lambda array: None if array is None else torch.from_numpy(array).contiguous(**{"memory_format": memory} if array.ndim == 4 else {})
        image, parameters = here(x), [(here(record.weight), here(record.bias)) for record in records]

        def call() -> Any:
            y, outputs = image, []
            for record, (weight, bias) in zip(records, parameters):
                if record.kind == "mean":
                    y = y.mean((2, 3))
                elif record.kind == "linear":
                    y = torch.nn.functional.linear(y, weight, bias)
                else:
                    (top, bottom), (left, right) = record.pads
                    padding = (top, left)
                    if (top, left) != (bottom, right):
                        y, padding = pad(y, (left, right, top, bottom)), (0, 0)
                    y = torch.conv2d(y, weight, bias, record.stride, padding, 1, record.in_channels if record.kind == "depthwise" else 1)
                    if record.residual is not None:
                        y += outputs[record.residual]
                    if record.activation == "relu6":
                        y.clamp_(0, 6)
                outputs.append(y)
            return y

        return Prepared(call, lambda y: y.numpy())

    return make


def _nodes(graph: Graph, record: Record, outputs: list[str]) -> None:
    """The nodes of one record; `outputs` are the values that the records before made."""
    name = record.name
    if record.kind == "mean":
        graph.node("GlobalAveragePool", f"{name}.pool")
        graph.node("Flatten", name)
    elif record.kind == "linear":
        graph.node("Gemm", name, graph.constant(f"{name}.weight", record.weight), graph.constant(f"{name}.bias", record.bias), transB=1)
    else:
        (top, bottom), (left, right) = record.pads
        groups = record.in_channels if record.kind == "depthwise" else 1
        graph.conv(name, record.weight, record.bias, record.stride, [top, left, bottom, right], groups)
        if record.residual is not None:
            graph.node("Add", f"{name}.sum", outputs[record.residual])
        if record.activation == "relu6":
            graph.node("Clip", f"{name}.clip", "zero", "six")


def _onnx(engine: Callable[..., Callable[[], Any]], records: Sequence[Record], x: np.ndarray, threads: int) -> Prepared:
    """The records as one graph in `graphs.onnxruntime` or `graphs.openvino`."""
    graph, outputs = Graph(), []
    graph.constant("zero", np.float32(0))
    graph.constant("six", np.float32(6))
    for record in records:
        _nodes(graph, record, outputs)
        outputs.append(graph.at)
    graph.node("Identity", "y")
    out = np.empty((1, records[-1].out_channels), np.float32)
    run = engine(graph.serialised(x.shape, out.shape), x, out, threads)
    return Prepared(run, lambda _: out)


PEERS: tuple[Library, ...] = (
    Library("PyTorch NCHW", "torch", "NCHW", _torch(False), torch_session),
    Library("PyTorch NHWC", "torch", "NHWC", _torch(True), torch_session),
    Library("ONNX Runtime", "onnxruntime", "NCHW", functools.partial(_onnx, graphs.onnxruntime), needs=("onnx",)),
    Library("OpenVINO", "openvino", "NCHW", functools.partial(_onnx, graphs.openvino), needs=("onnx",)),
)
