"""The layer tables: what is counted from the sizes is what the table says, and the records fit each other."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
import pytest
from processes import python

import sepconv
from sepconv import data

with resources.files("sepconv").joinpath("layers.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


def test_module_comes_when_asked_for() -> None:
    told = "import sys, sepconv; before = 'sepconv.data' in sys.modules; print(before, len(sepconv.data.layers()), 'numba' in sys.modules)"
    done = python("-c", told)
    assert done.stdout.split() == ["False", "391", "False"], done.stderr
    assert "data" in dir(sepconv)
    with pytest.raises(AttributeError, match="'sepconv' has no attribute 'nonsense'"):
        _ = sepconv.nonsense


def test_counts() -> None:
    assert len(data.networks()) == 15 and data.networks()[0] == "mobilenet_v1"
    assert [len(data.layers(kind=kind)) for kind in ("standard", "depthwise", "pointwise")] == [5, 191, 195]
    assert [len(data.layers(kind=kind, unique=True)) for kind in ("standard", "depthwise", "pointwise")] == [2, 119, 102]
    assert sum(layer.macs * layer.count for layer in data.layers("mobilenet_v1")) == 567_716_352  # 569 M with the classifier's 1 M


def test_every_row_is_what_the_table_says() -> None:
    """macs and bytes come from conv_cost, sizes from the formula; the columns were counted elsewhere."""
    for layer, row in zip(data.layers(), ROWS, strict=True):
        assert (layer.net, layer.name, layer.note) == (row["net"], row["layer"], row["note"])
        assert layer.macs == int(row["macs"]), layer
        assert layer.bytes == int(row["bytes_f32"]), layer
        assert layer.out_size == (int(row["Ho"]), int(row["Wo"])), layer
        assert layer.count == int(row["count"]) >= 1
        assert layer.cost.intensity == pytest.approx(float(row["flop_per_byte"]), abs=0.006)


def test_sizes_are_consistent() -> None:
    for layer in data.layers():
        if layer.kind == "depthwise":
            assert layer.out_channels == layer.in_channels * layer.multiplier
        else:
            assert layer.multiplier == 1
        if layer.kind == "pointwise":
            assert layer.kernel == (1, 1) and layer.padding == (0, 0) and layer.stride == 1 and layer.in_size == layer.out_size


def test_a_layer_can_be_computed() -> None:
    layer = next(layer for layer in data.layers("inceptionnext_t") if layer.name == "1x11")
    x = np.zeros((1, layer.in_channels, *layer.in_size), np.float32)
    weight = np.zeros((layer.out_channels, 1, *layer.kernel), np.float32)
    with sepconv.use_backend("reference"):
        y = sepconv.depthwise_conv2d(x, weight, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
    assert y.shape == (1, layer.out_channels, *layer.out_size)


def test_unique_leaves_one_of_each() -> None:
    kept, everything = data.layers(unique=True), data.layers()
    keys = [layer.shape_key for layer in kept]
    assert len(set(keys)) == len(keys) and set(keys) == {layer.shape_key for layer in everything}
    a, b = everything[1], everything[1]._replace(net="other", name="other", count=7, note="other")
    assert a.shape_key == b.shape_key
    changed = dict(kind="pointwise", in_channels=1, out_channels=1, in_size=(1, 1), kernel=(1, 3), stride=3, padding=(0, 9), dilation=2, multiplier=2)
    assert all(a._replace(**{field: value}).shape_key != a.shape_key for field, value in changed.items())


def test_separable_pairs() -> None:
    for net in ("mobilenet_v1", "xception_299", "convnext_t"):
        depthwise = data.layers(net, "depthwise")
        assert [first for first, _ in data.separable_pairs(net)] == depthwise, net
    assert {second.name for _, second in data.separable_pairs("convnext_t")} == {"pw1"}
    assert not data.separable_pairs("replknet_31b")
    for first, second in data.separable_pairs():
        assert (first.kind, second.kind, first.net) == ("depthwise", "pointwise", second.net)
        assert first.out_channels == second.in_channels and first.out_size == second.in_size
    assert len(data.separable_pairs()) == sum(len(data.separable_pairs(net)) for net in data.networks())


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        (dict(net="lenet"), ValueError, ("net is 'lenet'", "mobilenet_v1", "convnext_t")),
        (dict(kind="dw"), ValueError, ("kind is 'dw'", "depthwise")),
        (dict(net=1), TypeError, ("net is 1", "mobilenet_v1")),
        (dict(unique=1), TypeError, ("unique is 1", "True")),
    ],
)
def test_refusals_name_what_is_allowed(wrong: dict, error: type[Exception], words: tuple[str, ...]) -> None:
    with pytest.raises(error) as told:
        data.layers(**wrong)
    assert all(word in str(told.value) for word in words)
    if "net" in wrong:
        with pytest.raises(error):
            data.separable_pairs(wrong["net"])
