"""Libraries that run ONNX graphs: the case as a graph, and a call of it in ONNX Runtime and in OpenVINO."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .cases import Arrays, Case

OPSET, IR = 17, 8  # old enough for every release in use


class Unsupported(Exception):
    """A library cannot do a case; the text says why."""


class Prepared(NamedTuple):
    """`call` runs the operation once and returns what `read` turns into a float32 array (1, C_out, H_out, W_out)."""

    call: Callable[[], Any]
    read: Callable[[Any], np.ndarray]


class Graph:
    """An ONNX graph that grows at its end: `at` is the value that the next node reads, at first the input x."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.at = "x"

    def node(self, kind: str, name: str, *more: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, [self.at, *more], [name], **attributes))
        self.at = name

    def constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def conv(self, name: str, weight: np.ndarray, bias: np.ndarray | None, stride: int, pads: Sequence[int], groups: int, dilation: int = 1) -> None:
        """`pads` are those before, then those after."""
        more = [self.constant(f"{name}.weight", weight)] + ([] if bias is None else [self.constant(f"{name}.bias", bias)])
        shape = dict(kernel_shape=weight.shape[2:], strides=[stride] * 2, dilations=[dilation] * 2, pads=pads, group=groups)
        self.node("Conv", name, *more, **shape)

    def serialised(self, x: tuple[int, ...], y: tuple[int, ...]) -> bytes:
        """As a model from input x to output y of these shapes; the last node is named y."""
        from onnx import TensorProto, helper

        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "graph", [value("x", x)], [value("y", y)], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR).SerializeToString()


def model(case: Case, arrays: Arrays) -> bytes:
    """The case as a model: a Conv node for each half, each with its epilogue."""
    graph = Graph()
    for step, weight, bias in zip(case.steps, arrays.weights, arrays.biases):
        groups, name = step.in_channels if step.kind == "depthwise" else 1, "y" if step is case.steps[-1] else "half"
        graph.conv(f"{name}.sum" if arrays.relu else name, weight, bias, step.stride, [*step.padding] * 2, groups, step.dilation)
        if arrays.relu:
            graph.node("Relu", name)
    return graph.serialised(arrays.x.shape, arrays.out().shape)


def onnxruntime(graph: bytes, x: np.ndarray, out: np.ndarray, threads: int) -> Callable[[], Any]:
    """A call of a graph from its input x, bound, to its output y."""
    import onnxruntime as ort

    options = ort.SessionOptions()  # its threads spin between calls, the default: else small layers take up to twice as long. `timing.rest` waits
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(out))
    return functools.partial(session.run_with_iobinding, binding)


def openvino(graph: bytes, x: np.ndarray, out: np.ndarray, threads: int) -> Callable[[], Any]:
    """The same, its memory shared."""
    import openvino as ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",  # else it computes in bfloat16 where the CPU can
    }  # fmt: skip
    request = core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    request.set_output_tensor(ov.Tensor(out, shared_memory=True))
    return functools.partial(request.infer, share_outputs=True)


def prepared(engine: Callable[..., Callable[[], Any]], case: Case, arrays: Arrays, threads: int) -> Prepared:
    """A case in one of the two."""
    out = arrays.out()
    return Prepared(engine(model(case, arrays), arrays.x, out, threads), lambda _: out)
