"""The Conv and ConvInteger cases that the onnx package tests backends with, through the public functions, against ONNX' own results."""

from __future__ import annotations

import functools
import pathlib
import warnings
from typing import Any

import numpy as np
import oracle
import pytest

onnx = pytest.importorskip("onnx", reason="the peer of these tests is onnx, of the extra sepconv[test]")

from onnx import numpy_helper  # noqa: E402
from onnx.backend.test import loader  # noqa: E402

NODES = 8  # Conv and ConvInteger cases written by ONNX, and those it took over from PyTorch
CONVERTED = {"pytorch-converted": 26, "pytorch-operator": 1}
PADDING = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}


def _is_convolution(model: Any) -> bool:
    return [node.op_type for node in model.graph.node] in (["Conv"], ["ConvInteger"])


def _tensors(folder: pathlib.Path, kind: str) -> list[np.ndarray]:
    files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda f: int(f.stem.rsplit("_", 1)[1]))
    return [numpy_helper.to_array(onnx.load_tensor(str(f))) for f in files]


@functools.cache
def node_cases() -> list[tuple[str, Any, list[Any]]]:
    """(name, model, (inputs, outputs) pairs) of the cases that ONNX generates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the collection computes every operator's cases, some with overflows on purpose
        found = loader.load_model_tests(kind="node")
    return [(case.name, case.model, case.data_sets) for case in found if case.model is not None and _is_convolution(case.model)]


@functools.cache
def stored_cases(kind: str) -> list[tuple[str, Any, list[Any]]]:
    """The same of the cases that the package keeps as files."""
    cases = []
    for case in loader.load_model_tests(kind=kind):
        folder = pathlib.Path(case.model_dir)
        model = onnx.load(str(folder / "model.onnx"))
        if _is_convolution(model):
            sets = sorted(folder.glob("test_data_set_*"))
            cases.append((case.name, model, [(_tensors(one, "input"), _tensors(one, "output")) for one in sets]))
    return sorted(cases, key=lambda case: case[0])


CASES = [*node_cases(), *(case for kind in CONVERTED for case in stored_cases(kind))]


def run(model: Any, inputs: list[np.ndarray]) -> np.ndarray:
    """One Conv or ConvInteger node by sepconv."""
    node = model.graph.node[0]
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    known.update(zip([i.name for i in model.graph.input if i.name not in known], inputs))
    x, weight, *rest = (known.get(name) for name in node.input)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    dims = x.ndim - 2
    assert attributes.get("kernel_shape", list(weight.shape[2:])) == list(weight.shape[2:])

    automatic = attributes.get("auto_pad", b"NOTSET").decode()
    pads = attributes.get("pads", [0] * (2 * dims))
    padding = PADDING.get(automatic, list(zip(pads[:dims], pads[dims:])))  # ONNX has all befores, then all afters
    options = dict(padding=padding, groups=attributes.get("group", 1))
    options.update({ours: attributes[theirs] for ours, theirs in (("stride", "strides"), ("dilation", "dilations")) if theirs in attributes})

    bias = None
    if node.op_type == "ConvInteger":  # zero points are subtracted before anything, so that padding means x's zero point
        zeros = [np.int32(0) if zero is None else zero.astype(np.int32) for zero in (rest + [None, None])[:2]]
        x = x.astype(np.int32) - zeros[0]
        weight = weight.astype(np.int32) - np.reshape(zeros[1], (-1,) + (1,) * (dims + 1))
    elif rest:
        bias = rest[0]
    return oracle.check(oracle.function("conv", dims), x, weight, bias, **options)


def test_number_of_cases():
    """A release of onnx that brings more cases is looked at; one that brings fewer is a collection gone wrong."""
    assert len(node_cases()) == NODES
    assert {kind: len(stored_cases(kind)) for kind in CONVERTED} == CONVERTED


@pytest.mark.parametrize("model, sets", [pytest.param(model, sets, id=name) for name, model, sets in CASES])
def test_case(backend, model, sets):
    assert sets
    for inputs, outputs in sets:
        result = run(model, list(inputs))
        assert result.dtype == outputs[0].dtype
        np.testing.assert_allclose(result, outputs[0], rtol=1e-3, atol=1e-6)  # ONNX' own tolerance: its outputs are float32 sums, too
