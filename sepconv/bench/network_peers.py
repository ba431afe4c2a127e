"""The same records in other libraries: PyTorch layer by layer, ONNX Runtime and OpenVINO as one ONNX graph."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .efficientnet import Record

Run = Callable[[], np.ndarray]  # the logits, (1, classes)
OPSET, IR = 17, 8  # old enough for every release in use


# --- PyTorch ------------------------------------------------------------------------------------------------------


class TorchNetwork:
    """The records as PyTorch runs them: one call a record, with the epilogue in place; padding on one side only is a step of its own there.

    `memory_format` is torch.contiguous_format or torch.channels_last; `dtype` e.g. torch.float32.
    """

    def __init__(self, records: Sequence[Record], memory_format: Any, dtype: Any) -> None:
        import torch

        self.records, self.memory_format, self.dtype = list(records), memory_format, dtype
        self.parameters = [self._tensors(torch, record) for record in self.records]

    def _tensors(self, torch: Any, record: Record) -> tuple[Any, Any]:
        if record.weight is None:
            return None, None
        weight = torch.tensor(record.weight, dtype=self.dtype)
        if weight.ndim == 4:
            weight = weight.contiguous(memory_format=self.memory_format)
        return weight, torch.tensor(record.bias, dtype=self.dtype)

    def input(self, x: np.ndarray) -> Any:
        """An array (1, 3, height, width) as a tensor in the network's format."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(x)).to(self.dtype).contiguous(memory_format=self.memory_format)

    def __call__(self, x: Any) -> Any:
        """The logits of what `input` made, as a tensor (1, classes)."""
        import torch

        functional, outputs = torch.nn.functional, []
        with torch.inference_mode():
            for record, (weight, bias) in zip(self.records, self.parameters):
                if record.kind == "mean":
                    x = x.mean((2, 3))
                elif record.kind == "linear":
                    x = functional.linear(x, weight, bias)
                else:
                    (top, bottom), (left, right) = record.pads
                    padding = (top, left)
                    if (top, left) != (bottom, right):
                        x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
                    x = torch.conv2d(x, weight, bias, record.stride, padding, 1, record.in_channels if record.kind == "depthwise" else 1)
                    if record.residual is not None:
                        x += outputs[record.residual]
                    if record.activation == "relu6":
                        x.clamp_(0, 6)
                outputs.append(x)
        return x


def exact(records: Sequence[Record], x: np.ndarray) -> np.ndarray:
    """The logits in float64, by PyTorch."""
    import torch

    network = TorchNetwork(records, torch.contiguous_format, torch.float64)
    return network(network.input(x)).numpy()


def original(x: np.ndarray) -> np.ndarray:
    """The logits of EfficientNet-Lite0 in float64, by the package efficientnet-lite-pytorch as it is: batch normalisation not folded."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    from .efficientnet import weights_file

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded its weights
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights_file()).eval().double()
    with torch.inference_mode():
        return model(torch.from_numpy(x).double()).numpy()


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Holds PyTorch, where it is installed, to so many threads."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_run(records: Sequence[Record], x: np.ndarray, threads: int, channels_last: bool) -> Run:
    import torch

    network = TorchNetwork(records, torch.channels_last if channels_last else torch.contiguous_format, torch.float32)
    tensor = network.input(x)
    return lambda: network(tensor).numpy()


# --- ONNX ---------------------------------------------------------------------------------------------------------


class _Graph:
    """Collects the nodes and constants of an ONNX graph; `at` is the value that the next node reads."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self.make_node, self.from_array = helper.make_node, numpy_helper.from_array
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.at = "x"

    def node(self, kind: str, name: str, *more: str, **attributes: Any) -> None:
        self.nodes.append(self.make_node(kind, [self.at, *more], [name], **attributes))
        self.at = name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(self.from_array(value, name))
        return name

    def record(self, record: Record, outputs: list[str]) -> None:
        """The nodes of one record; `outputs` are the values that the records before made."""
        name = record.name
        if record.kind == "mean":
            self.node("GlobalAveragePool", f"{name}.pool")
            self.node("Flatten", name)
            return
        parameters = self.constant(f"{name}.weight", record.weight), self.constant(f"{name}.bias", record.bias)
        if record.kind == "linear":
            self.node("Gemm", name, *parameters, transB=1)
            return
        (top, bottom), (left, right) = record.pads
        groups = record.in_channels if record.kind == "depthwise" else 1
        shape = dict(kernel_shape=[record.kernel] * 2, strides=[record.stride] * 2, pads=[top, left, bottom, right], group=groups)
        self.node("Conv", name, *parameters, **shape)
        if record.residual is not None:
            self.node("Add", f"{name}.sum", outputs[record.residual])
        if record.activation == "relu6":
            self.node("Clip", f"{name}.clip", "zero", "six")


def onnx_model(records: Sequence[Record]) -> bytes:
    """The records as a serialised ONNX model from input x, (1, 3, height, width), to output y, (1, classes)."""
    from onnx import TensorProto, helper

    graph, outputs = _Graph(), []
    graph.constant("zero", np.float32(0))
    graph.constant("six", np.float32(6))
    for record in records:
        graph.record(record, outputs)
        outputs.append(graph.at)
    graph.node("Identity", "y")
    first, last = records[0], records[-1]
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)  # noqa: E731
    given, made = [value("x", (1, first.in_channels, *first.in_size))], [value("y", (1, last.out_channels))]
    whole = helper.make_graph(graph.nodes, "network", given, made, graph.constants)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR).SerializeToString()


def onnxruntime_run(records: Sequence[Record], x: np.ndarray, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx_model(records), options, providers=["CPUExecutionProvider"])
    out = np.empty((1, records[-1].out_channels), np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(out))

    def run() -> np.ndarray:
        session.run_with_iobinding(binding)
        return out

    return run


def openvino_run(records: Sequence[Record], x: np.ndarray, threads: int) -> Run:
    import openvino as ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",  # else it computes in bfloat16 where the CPU can
    }  # fmt: skip
    request = core.compile_model(core.read_model(onnx_model(records)), "CPU", settings).create_infer_request()
    out = np.empty((1, records[-1].out_channels), np.float32)
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    request.set_output_tensor(ov.Tensor(out, shared_memory=True))

    def run() -> np.ndarray:
        request.infer(share_outputs=True)
        return out

    return run


# --- the table ----------------------------------------------------------------------------------------------------


class Peer(NamedTuple):
    """A library: how it makes a run of (records, x, threads), and the packages that takes."""

    make: Callable[[Sequence[Record], np.ndarray, int], Run]
    packages: tuple[str, ...]

    def missing(self) -> str | None:
        """Why it cannot be used here, or None. Whatever an installation is broken by, it counts as absent."""
        try:
            for name in self.packages:
                importlib.import_module(name)
        except Exception as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None


PEERS = {
    "PyTorch NCHW": Peer(functools.partial(torch_run, channels_last=False), ("torch",)),
    "PyTorch NHWC": Peer(functools.partial(torch_run, channels_last=True), ("torch",)),
    "ONNX Runtime": Peer(onnxruntime_run, ("onnxruntime", "onnx")),
    "OpenVINO": Peer(openvino_run, ("openvino", "onnx")),
}
