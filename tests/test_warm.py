"""Kernels made ahead: a process that comes later compiles none, and what is wanted is read as it was meant."""

from __future__ import annotations

from pathlib import Path

import processes
import pytest

from sepconv import cli, data, warm_shapes
from sepconv.warm import Shape, _call, _kernels, models, parse, read, shapes_of, warm


def python(folder: Path, *arguments: str) -> str:
    """What a new process prints, with its kernels in that folder."""
    done = processes.python(*arguments, SEPCONV_CACHE_DIR=str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the kernels ----------------------------------------------------------------------------------------------------

NETWORK = """
import numpy as np, sepconv
from sepconv.threads import LIMIT
from sepconv.bench import efficientnet
from sepconv.bench.efficientnet import Block

sepconv.set_num_threads(min(2, LIMIT))
blocks = (Block(2, 3, 1, 2, 8),)
records = efficientnet.architecture(blocks, size=(60, 60), stem=8, head=24, classes=10)
"""
WARM = """
from sepconv import warm, warm_shapes
print(warm.warm(warm_shapes.of_records(records), ["NHWC"])[:3])
"""
RUN = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from networks import random_weights
from sepconv import layers
from sepconv.bench.network_sepconv import Functions, SepconvNetwork
records = random_weights(records, np.random.default_rng(0))
for made in (Functions, layers):  # layers hold their weights in another order of memory, and run the same kernels
    for fused in (True, False):
        SepconvNetwork(records, "NHWC", fused, made)(np.zeros((1, 60, 60, 3), np.float32))
facts = sepconv.backends()["cpu"]
print(facts["cache_misses"], facts["cache_hits"])
"""


def test_a_network_compiles_nothing_after_it(tmp_path: Path) -> None:
    kernels, compiled, loaded = eval(python(tmp_path, "-c", NETWORK + WARM))
    assert kernels == compiled >= 3 and loaded == 0
    misses, hits = python(tmp_path, "-c", NETWORK + RUN).split()
    assert (int(misses), int(hits)) == (0, kernels)  # and nothing was made that is not needed


def test_command_fills_the_folder_once(tmp_path: Path) -> None:
    line = ["-m", "sepconv", "warm", "--shapes", "8x9x9 k3", "8x9x9 -> 8", "--layout", "NCHW", "--threads", "1", "--dir", str(tmp_path / "kernels")]
    assert python(tmp_path, *line, "--jobs", "2").startswith("3 kernels")  # and the way into them is one
    made = sorted(path.name for path in (tmp_path / "kernels").rglob("*.nbc"))
    assert len(made) == 3
    assert "0 compiled, 3 loaded" in python(tmp_path, *line, "--jobs", "2")  # which starts no process
    assert sorted(path.name for path in (tmp_path / "kernels").rglob("*.nbc")) == made


def test_dtypes_and_layouts_have_kernels_of_their_own() -> None:
    shape, found = parse("separable 32x64x64 k3 -> 32"), {}
    for layout in ("NCHW", "NHWC"):
        for dtype in ("float32", "float64"):
            found[layout, dtype] = set(_kernels(*_call(shape, layout, dtype, 1)))
    assert all(found.values())
    keys = [*found]
    assert not any(found[a] & found[b] for i, a in enumerate(keys) for b in keys[:i])


@pytest.mark.parametrize("model", ["mobilenet_v2", "efficientnet_lite0", "convnext_t", "deeplabv3p_aspp"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_call_of_a_network_has_kernels(model: str, layout: str) -> None:
    assert all(_kernels(*_call(shape, layout, "float32", 1)) for shape in shapes_of(model))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pairs_share_their_kernels(layout: str) -> None:
    """All separable pairs of a network have one kernel of their own: it calls those of the halves, most of which the single layers have too."""
    pairs = [shape for shape in shapes_of("efficientnet_lite0") if shape.kind == "separable"]
    found = [kernel for shape in pairs for kernel in _kernels(*_call(shape, layout, "float32", 1))]
    assert len([kernel for kernel in set(found) if kernel[0].__module__.endswith("separable")]) == 1
    assert len(found) == 3 * 16


# --- what is wanted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, shape",
    [
        ("32x112x96 k3 s2", Shape("depthwise", 32, 32, (112, 96), (3, 3), 2)),
        ("8x9x9 k1x5 p2 d3 m2", Shape("depthwise", 8, 16, (9, 9), (1, 5), 1, 2, 3, 2)),
        ("32x56x56 -> 64", Shape("pointwise", 32, 64, (56, 56))),
        ("standard  3x224x224 k3 s2 p1  -> 32", Shape("standard", 3, 32, (224, 224), (3, 3), 2, 1)),
        ("separable 32x56x56 k3 -> 64", Shape("separable", 32, 64, (56, 56), (3, 3))),
    ],
)
def test_texts(text: str, shape: Shape) -> None:
    assert parse(text) == shape


@pytest.mark.parametrize("text", ["", "32x56 k3", "32x56x56 k3 -> 64", "grouped 8x9x9 k3", "pointwise 8x9x9", "8x9x9 k3 s2 q1", "standard 8x9x9 k3"])
def test_bad_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shape is "):
        parse(text)


def test_the_table_of_the_package_can_be_read() -> None:
    rows = read(Path(data.__file__).with_name("layers.csv"))
    assert rows == [warm_shapes.shape_of(layer) for layer in data.layers()]


def test_bad_files_name_the_row(tmp_path: Path) -> None:
    head, file = "kind,C,H,W,kh,kw,stride,Cout\n", tmp_path / "shapes.csv"
    file.write_text(head + "dw,8,9,9,3,3,1,8\npw,8,9,9,1,1,1,4\n")
    assert read(file) == [Shape("depthwise", 8, 8, (9, 9), (3, 3)), Shape("pointwise", 8, 4, (9, 9))]
    for text, words in (
        (head + "dw,8,9,9,3,three,1,8\n", "row 2.*three"),
        (head + "odd,8,9,9,3,3,1,8\n", "row 2: kind is 'odd'.*pointwise"),
        ("kind,C\ndw,8\n", "row 2: column H is missing"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=words):
            read(file)


def test_models_have_their_layers_and_pairs() -> None:
    assert set(models()) == {*data.networks(), "efficientnet_lite0"}
    lite0 = shapes_of("efficientnet_lite0")
    assert [sum(s.kind == kind for s in lite0) for kind in ("standard", "depthwise", "pointwise", "separable")] == [1, 16, 34, 16]
    assert sum(s.residual for s in lite0) == 18 and {s.depthwise_activation for s in lite0 if s.kind == "separable"} == {"relu6"}
    assert lite0[0].padding == ((0, 1), (0, 1))
    assert sum(s.kind == "separable" for s in shapes_of("mobilenet_v1")) == 13


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        (dict(layers="lenet"), ValueError, ("model is 'lenet'", "mobilenet_v1", "efficientnet_lite0")),
        (dict(layers=[3]), TypeError, ("layers has 3",)),
        (dict(layers=None), TypeError, ("layers is None",)),
        (dict(layouts="NHWC"), TypeError, ("layouts is 'NHWC'", "NCHW")),
        (dict(layouts=["NCWH"]), ValueError, ("layouts has 'NCWH'", "NHWC")),
        (dict(dtypes=None), TypeError, ("dtypes is None", "float64")),
        (dict(dtypes=["int8"]), ValueError, ("dtypes has 'int8'", "float64")),
        (dict(threads=[0]), ValueError, ("threads is 0",)),
        (dict(threads=1.5), TypeError, ("threads is 1.5",)),
        (dict(jobs=0), ValueError, ("jobs is 0",)),
        (dict(batch=True), TypeError, ("batch is True",)),
        (dict(layers=["standard 3x4x4 k9 p0 -> 8"]), ValueError, ("kernel size 9",)),
    ],
)
def test_refusals_name_what_is_allowed(wrong: dict, error: type[Exception], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepconv.warm._all", lambda *_: pytest.fail("something was compiled"))
    with pytest.raises(error) as told:
        warm(**{"layers": ["8x9x9 k3"], **wrong})
    assert all(word in str(told.value) for word in words), told.value


@pytest.mark.parametrize(
    "line, words",
    [
        ("--model lenet", ("mobilenet_v1", "efficientnet_lite0")),
        ("--model mobilenet_v1 --layout CHWN", ("NCHW", "NHWC")),
        ("--shapes nowhere.csv", ("nowhere.csv",)),
        ("--shapes 8x9", ("8x9", "CxHxW")),
        ("", ("--model", "--shapes", "--all")),
    ],
)
def test_command_refuses_in_one_sentence(line: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["warm", *line.split()]) == 2
    said = capsys.readouterr()
    assert not said.out and len(said.err.strip().splitlines()) == 1 and all(word in said.err for word in words)


def test_command_refuses_a_folder_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("SEPCONV_CACHE_DIR", raising=False)
    assert cli.main(["warm", "--shapes", "8x9x9 k3", "--dir", str(tmp_path / "file" / "kernels")]) == 2
    assert "dir is " in capsys.readouterr().err
