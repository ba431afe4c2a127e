"""`sepconv bench` of image filters, on tiny pictures with a tiny budget: cases, libraries, what is shown. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benches import operations_of

from sepconv import bench, cli
from sepconv.bench import cases, image_libraries, images, machine, report, suites
from sepconv.bench.graphs import Prepared
from sepconv.bench.images import Arrays, Case
from sepconv.bench.libraries import Library
from sepconv.bench.results import Report

BUDGET = dict(seconds=0.01, threads=1)
REAL = images.photograph  # before the tests put a smaller one in its place


def picture(size: tuple[int, int], channels: int) -> np.ndarray:
    """In place of a photograph: smooth, with noise."""
    rng, (height, width) = np.random.default_rng(0), size
    y, x = np.mgrid[:height, :width]
    grey = 120 + 90 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 9, size)
    return (grey if channels == 1 else np.stack([grey, grey[::-1], grey[:, ::-1]], -1)).clip(0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SIZES", {"tiny": (90, 117), "square": (64, 64)})
    monkeypatch.setattr(images, "photograph", picture)


CASES = [
    Case("gaussian", "tiny", 1, "float32", 9), Case("gaussian", "tiny", 3, "uint8", 5), Case("box", "tiny", 3, "float32", 31),
    Case("box", "square", 1, "uint8", 7), Case("sobel", "tiny", 1, "uint8", 3), Case("sobel", "square", 1, "float32", 3),
    Case("dense", "tiny", 1, "uint8", 5), Case("dense", "square", 3, "float32", 3), Case("outer", "tiny", 1, "float32", 15),
]  # fmt: skip


@pytest.mark.parametrize("library", image_libraries.LIBRARIES, ids=lambda library: library.name)
def test_every_library_is_right(library: Library) -> None:
    able = operations_of(library, CASES, Arrays)
    assert able == (set(images.OPS) if library.package in ("sepconv", "scipy") else set(library.note.partition(";")[0].split(" and ")))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op} {case.name}")
def test_expected_is_what_numpy_says(case: Case) -> None:
    arrays, half = Arrays(case), case.taps // 2
    wide = np.pad(arrays.x.reshape(*case.size, -1).astype(float), ((half, half), (half, half), (0, 0)), "symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(wide, arrays.kernel.shape, (0, 1))
    want = np.tensordot(windows, arrays.kernel, 2)
    np.testing.assert_allclose(arrays.expected(), arrays.patches(want), rtol=1e-12, atol=1e-10)
    assert arrays.x.ctypes.data % 64 == 0 and arrays.out().ctypes.data % 64 == 0 and arrays.out().dtype == case.result


def test_a_wrong_border_is_noticed() -> None:
    """A pixel that another border would give, in float32 and in bytes; a grey level is rounding."""
    for case in (Case("gaussian", "tiny", 1, "float32", 9), Case("gaussian", "tiny", 1, "uint8", 9)):
        arrays = Arrays(case)
        right = arrays.expected()
        off = right.copy()
        off[-1, -1, -1] += 3
        assert cases.error_of(right, right, arrays.rounding) is None and "off by 3" in cases.error_of(off, right, arrays.rounding)
        assert (cases.error_of(right + 1, right, arrays.rounding) is None) == (case.dtype == "uint8")


def test_what_is_counted() -> None:
    grey, colour = Case("gaussian", "tiny", 1, "uint8", 9), Case("dense", "tiny", 3, "float32", 5)
    assert grey.cost.macs == 90 * 117 * 18 and grey.cost.bytes == 90 * 117 * 2 and grey.limits == (0, 90 * 117 * 2)
    assert colour.cost.macs == 90 * 117 * 3 * 25 and colour.cost.bytes == 90 * 117 * 3 * 8
    assert Case("sobel", "tiny", 1, "uint8", 3).cost.bytes == 90 * 117 * 3  # bytes in, two bytes out


def test_what_is_chosen() -> None:
    every = images.select()
    assert {case.op for case in every} == set(images.OPS) and len({case.key for case in every}) == len(every)
    assert {case.channels for case in every if case.op == "sobel"} == {1} and {case.dtype for case in every if case.op == "outer"} == {"float32"}
    assert [case.taps for case in images.select(["box"], ["tiny"], ["grey uint8"])] == list(images.TAPS["box"])
    for wrong, words in (({"nets": ["720p"]}, "net is '720p'; allowed are tiny"), ({"layers": ["sepia"]}, "no filter is left")):
        with pytest.raises(ValueError, match=words):
            images.select(**wrong)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(op=["median"]), "op is 'median'; allowed are depthwise.*or of images gaussian"),
        (dict(op=["box", "depthwise"]), "op is box depthwise: filters of images and layers of networks are measured in runs of their own"),
        (dict(op=["box"], layout="NHWC"), "layout is 'NHWC', which filters of images do not have"),
        (dict(op=["box"], epilogue="relu"), "epilogue is 'relu', which"),
        (dict(op=["box"], libraries=["torch"]), "libraries has 'torch'; allowed are sepconv, OpenCV GaussianBlur"),
    ],
)
def test_refusals_name_what_is_allowed(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bench.run(**wrong)


def peer(name: str, change: float) -> Library:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        return Prepared(lambda: arrays.expected() + change, lambda y: y)

    return Library(name, "numpy", "image", make)


@pytest.fixture(scope="module")
def found() -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "SIZES", {"tiny": (90, 117)})
        patch.setattr(images, "photograph", picture)
        patch.setattr(machine, "measure", lambda threads: machine.Roofs(100.0, dict.fromkeys(machine.SIZES, 50.0)))
        names = ["sepconv", "scipy", peer("Other one", 0.0), peer("Other two", 0.0), peer("Wrong", 4.0)]
        return bench.run(["gaussian", "sobel"], None, ["grey float32 k3", "grey uint8 k3"], **BUDGET, libraries=names)


def test_rows_and_families(found: Report) -> None:
    assert [row.name for row in found.rows if row.op == "sobel"] == ["grey float32 k3", "grey uint8 k3"] and found.what == "images"
    for row in found.rows:
        assert set(row.least_ms) == {"sepconv", "SciPy", "Other one", "Other two"} and set(row.wrong) == {"Wrong"}
        assert row.against("Other") == min(row.least_ms["Other one"], row.least_ms["Other two"]) / row.least_ms["sepconv"]
        assert row.share() == pytest.approx(row.bytes / 50e9 * 1e3 / row.least_ms["sepconv"])
    assert found.families() == ["SciPy", "Other"]
    groups = found.groups()
    assert len(groups["all"]) == len(found.rows) and {row.op for row in groups["uint8"]} == {"gaussian", "sobel"} and len(groups["sobel"]) == 2
    assert Report.from_json(found.to_json()) == found


def test_tables(found: Report) -> None:
    grid = report.families(found)
    cells = {row[0]: dict(zip(grid.headings, row)) for row in grid.rows}
    least = min(row.against("SciPy") for row in found.rows)
    assert cells["all"]["rows"] == str(len(found.rows)) and cells["all"]["SciPy / sepconv"] and cells["all"]["of copy"].endswith("%")
    assert any(f"{least:.2f}" in row for row in grid.rows)
    text = report.markdown(found)
    for words in ("| image | shape |", "90x117 uint8 k3 -> int16", "tiny grey uint8 k3", "WRONG, not timed: Wrong", "speed of a copy", "Other two"):
        assert words in text, words
    assert "layers of the tables" not in text and "epilogue" not in text


def test_picture_of_images(found: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs sepconv[bench]")
    from sepconv.bench import picture as drawn

    drawn.draw(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.usefixtures("quick_command")
def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    line = "bench --op sobel --net tiny --threads 1 --seconds 0.01 --libraries sepconv scipy --json a.json"
    assert cli.main(line.split()) == 0
    text = capsys.readouterr().out
    assert "90x117 float32 k3" in text and "SciPy / sepconv" in text and len(Report.load("a.json").rows) == 2
    assert cli.main([*line.split(), "--compare", "a.json"]) == 0
    assert "Beside the earlier run" in capsys.readouterr().out


def test_photographs() -> None:
    pytest.importorskip("skimage", reason="the photographs need sepconv[bench]")
    for shape in ((108, 192, 3), (64, 64)):
        made = REAL(shape[:2], 3 if len(shape) == 3 else 1)
        assert made.shape == shape and made.dtype == np.uint8 and made.std() > 20


def test_without_photographs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich", reason="the tables need sepconv[bench]")

    def absent(size: tuple[int, int], channels: int) -> np.ndarray:
        raise ImportError("No module named 'skimage'", name="skimage")

    monkeypatch.setattr(images, "photograph", absent)
    assert cli.main(["bench", "--op", "box"]) == 2
    assert "bench needs skimage, which is not installed: install sepconv[bench]" in capsys.readouterr().err


def test_layers_are_the_default() -> None:
    assert suites.of(None, "both", "none") is suites.LAYERS and suites.of(["outer"], "both", "none") is suites.IMAGES
