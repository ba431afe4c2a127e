"""What a run found: means, JSON, tables, picture, and the command that writes them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from benches import one_run

from sepconv import cli
from sepconv.bench import machine, report, results
from sepconv.bench.results import Report, Row


@pytest.fixture(scope="module")
def found() -> Report:
    """One real run: sepconv, a right peer, wrong ones, and one that does not do it."""
    return one_run()


# --- means, JSON, comparison ---------------------------------------------------------------------------------------


def row(name: str, stands_for: int, nchw: float, nhwc: float, other: float, stride: int = 1, op: str = "depthwise") -> Row:
    times = {"sepconv NCHW": nchw, "sepconv NHWC": nhwc, "other": other}
    names = [f"net {name}"] * stands_for
    return Row(op, "net", name, f"{name} k3", name, stride, names, 10**6, 10**5, 20.0, times, times, dict.fromkeys(times, 5), bound_ms=0.5)


def made_up(*rows: Row) -> Report:
    facts = dict(
        cpu="a CPU", llvm_cpu="cpu", isa="ISA", vector_bits=256, cores=2, threads=1, platform="here", python="3", numba="0", numpy="2",
        load_average=0.0, libraries={"sepconv": "0"}, gflops=50.0, copy_gbytes={str(size): 30.0 for size in machine.SIZES},
    )  # fmt: skip
    options = dict(op=None, net=None, layers=None, layout="both", threads=1, seconds=1.0, epilogue="none")
    return Report(facts, options, {"sepconv NCHW": "", "sepconv NHWC": "", "other": "a note"}, {"gone": "it is not here"}, ["a warning"], list(rows))


def test_means_count_rows_and_layers() -> None:
    whole = made_up(row("a", 1, 1.0, 2.0, 4.0), row("b", 3, 2.0, 1.0, 1.0, stride=2), row("c", 1, 1.0, 4.0, 0.5, op="pointwise"))
    means = {mean.name: mean for mean in whole.means()}
    assert list(means) == ["depthwise", "depthwise, stride 1", "depthwise, stride 2", "pointwise"]
    both = means["depthwise"]
    assert (both.unique, both.layers, both.behind, both.worst.name) == (2, 4, 0, "b")
    assert both.ratio["best"] == (pytest.approx(2.0), pytest.approx(4**0.25))
    assert both.ratio["NCHW"] == (pytest.approx(2**0.5), pytest.approx((4 * 0.5**3) ** 0.25))
    assert means["pointwise"].behind == 1 and means["pointwise"].ratio["best"][0] == pytest.approx(0.5)
    assert both.share == pytest.approx(0.5)


def test_json_there_and_back(found: Report) -> None:
    text = found.to_json()
    assert Report.from_json(text) == found
    written = json.loads(text)
    assert written["rows"][0]["ratio"] == found.rows[0].ratio() and written["means"][0]["unique"] == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "rows": [{}]}'])
def test_json_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="a.json"):
        Report.load(tmp_path / "a.json")


def test_comparison() -> None:
    old, new = made_up(row("a", 1, 1.0, 2.0, 4.0), row("gone", 1, 1, 1, 1)), made_up(row("a", 1, 2.0, 1.0, 2.0), row("new", 1, 1, 1, 1))
    (pair,) = results.compared(new, old)
    assert pair[0].name == pair[1].name == "a"
    grid = report.comparison(new, old)
    cells = dict(zip(grid.headings, grid.rows[0]))
    assert cells["peer, now / before"] == "0.50"
    assert grid.rows[0][3:12] == ["1.000", "2.000", "2.00", "2.000", "1.000", "0.50", "1.000", "1.000", "1.00"]
    assert not grid.behind
    assert "none of these" in report.comparison(new, made_up(row("gone", 1, 1, 1, 1))).title
    new.options["threads"] = 2
    assert "threads was 1 and is 2" in report.comparison(new, old).title


# --- tables, picture, command --------------------------------------------------------------------------------------


def test_markdown_says_everything(found: Report) -> None:
    text = report.markdown(found, old=found)
    for words in ("inceptionnext_t 3x3", "12x56x56 k3", "wrong", "WRONG, not timed: wrong for depthwise", "made up", "GFLOP/s", "Beside the earlier"):
        assert words in text, words
    assert f"{found.rows[0].ratio():.2f}" in text


def test_all_rows_repeat_the_repeated() -> None:
    whole = made_up(row("a", 3, 1.0, 2.0, 4.0))
    assert len(report.layers(whole, "depthwise").rows) == 1 and len(report.layers(whole, "depthwise", all_rows=True).rows) == 3
    slow = made_up(row("a", 1, 1.0, 1.0, 0.9))
    assert report.layers(slow, "depthwise").behind == {0}


@pytest.mark.parametrize("width, every", [(100, False), (240, True)])
def test_a_narrow_screen_gets_short_tables(width: int, every: bool) -> None:
    rich = pytest.importorskip("rich.console", reason="the tables need sepconv[bench]")
    whole = made_up(row("a", 1, 1.0, 2.0, 4.0), row("b", 1, 2.0, 4.0, 1.0))
    whole.libraries |= {f"another library {i}": "" for i in range(9)}
    for each in whole.rows:
        each.least_ms |= {f"another library {i}": 5.0 + i for i in range(9)}
    console = rich.Console(width=width, record=True, file=io.StringIO())
    report.show(console, whole, old=whole)
    text = console.export_text()
    assert ("13.0" in text) == every
    assert all(words in text for words in ("net a", "a k3", "other", "4.00", "geometric mean"))
    assert max(map(len, text.splitlines())) <= width


def test_doubtful_times_are_named() -> None:
    whole = made_up(row("a", 1, 1.0, 2.0, 4.0))
    assert not any("others took" in line for line in report.notes(whole))
    whole.rows[0].others = 0.4
    assert any("others took" in line and "40 %" in line for line in report.notes(whole))
    assert not any("roofs" in line for line in report.notes(whole))
    whole.rows[0].bound_ms = 2 * min(whole.rows[0].least_ms.values())
    assert any("above their bound" in line and "roofs" in line for line in report.notes(whole))


@pytest.mark.parametrize("count", [1, 100])
def test_picture(count: int, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs sepconv[bench]")
    from PIL import Image

    from sepconv.bench import picture

    whole = made_up(*(row(str(i), 1, 1.0, 2.0, 1 + i / 40) for i in range(count)), row("p", 2, 1.0, 1.5, 1.0, op="pointwise"))
    picture.draw(whole, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG" and image.size[0] == 1600
        assert len(image.convert("RGB").getcolors(2**24)) > 50


def test_picture_without_peers_and_roofs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs sepconv[bench]")
    from sepconv.bench import picture

    whole = made_up(row("a", 1, 1.0, 2.0, 4.0))
    del whole.rows[0].least_ms["other"], whole.machine["gflops"], whole.rows[0].least_ms["sepconv NHWC"]
    picture.draw(whole, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000 and report.means(whole) is None


@pytest.mark.usefixtures("quick_command")
def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    line = "bench --op depthwise --net inceptionnext_t --layers 3x3 --threads 1 --seconds 0.01 --libraries sepconv --json a.json --markdown a.md"
    assert cli.main(line.split()) == 0
    text = capsys.readouterr().out
    assert text.index("load average") < text.index("12x56x56 k3") and "sepconv NHWC" in text
    assert text.count("12x56x56 k3") == 1 and "12x56x56 k3" in Path("a.md").read_text() and Report.load("a.json").rows[0].calls["sepconv NCHW"] >= 1
    assert (
        cli.main([*line.replace("inceptionnext_t --layers 3x3", "mobilenet_v1 --layers s3.").replace("a.json", "b.json").split(), "--all-rows"]) == 0
    )
    assert capsys.readouterr().out.count("512x14x14 k3") == 5
    assert cli.main([*line.split(), "--compare", "a.json", "--layout", "NCHW"]) == 0
    text = capsys.readouterr().out
    assert "Beside the earlier run" in text and "sepconv NHWC" not in text


@pytest.mark.parametrize("wrong", ["--op dw", "--threads 0", "--json none/a.json", "--png .", "--compare none.json", "--seconds -1"])
def test_command_refuses_before_any_work(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the tables need sepconv[bench]")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *wrong.split()]) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1 and "Traceback" not in said.err and not said.out
    assert not list(tmp_path.iterdir())
