"""Libraries that run ONNX graphs: the case as a graph, and a call of it in ONNX Runtime and in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
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
    from onnx import TensorProto, helper, numpy_helper

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
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "case", [value("x", arrays.x.shape)], [value("y", arrays.out().shape)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR).SerializeToString()


def onnxruntime(case: Case, arrays: Arrays, threads: int) -> Prepared:
    import onnxruntime as ort

    options = ort.SessionOptions()  # its threads spin between calls, the default: else small layers take up to twice as long. `timing.rest` waits
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model(case, arrays), options, providers=["CPUExecutionProvider"])
    out = arrays.out()
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(arrays.x))
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(out))
    run = session.run_with_iobinding
    return Prepared(lambda: run(binding), lambda _: out)


def openvino(case: Case, arrays: Arrays, threads: int) -> Prepared:
    import openvino as ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",  # else it computes in bfloat16 where the CPU can
    }  # fmt: skip
    compiled = core.compile_model(core.read_model(model(case, arrays)), "CPU", settings)
    request, out = compiled.create_infer_request(), arrays.out()
    request.set_input_tensor(ov.Tensor(arrays.x, shared_memory=True))
    request.set_output_tensor(ov.Tensor(out, shared_memory=True))
    infer = request.infer
    return Prepared(lambda: infer(share_outputs=True), lambda _: out)
