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


def model(case: Case, arrays: Arrays) -> bytes:
    """The case as a serialised ONNX model with input x and output y: a Conv node for each half, each with its epilogue."""
    from onnx import helper, numpy_helper

    nodes, constants, at = [], [], "x"
    for i, (step, weight, bias) in enumerate(zip(case.steps, arrays.weights, arrays.biases)):
        names = [at, f"w{i}"] + ([f"b{i}"] if bias is not None else [])
        constants.append(numpy_helper.from_array(weight, f"w{i}"))
        if bias is not None:
            constants.append(numpy_helper.from_array(bias, f"b{i}"))
        groups, last = step.in_channels if step.kind == "depthwise" else 1, i == len(case.steps) - 1
        made = "y" if last and not arrays.relu else f"c{i}"
        shape = dict(kernel_shape=step.kernel, strides=[step.stride] * 2, dilations=[step.dilation] * 2, pads=[*step.padding] * 2, group=groups)
        nodes.append(helper.make_node("Conv", names, [made], **shape))
        at = made
        if arrays.relu:
            at = "y" if last else f"r{i}"
            nodes.append(helper.make_node("Relu", [made], [at]))
    return serialised(nodes, constants, arrays.x.shape, arrays.out().shape)


def serialised(nodes: Sequence[Any], constants: Sequence[Any], x: tuple[int, ...], y: tuple[int, ...]) -> bytes:
    """A model of these nodes, from input x to output y of these shapes."""
    from onnx import TensorProto, helper

    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "graph", [value("x", x)], [value("y", y)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR).SerializeToString()


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
