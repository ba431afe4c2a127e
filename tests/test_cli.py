"""The command line: what each command prints, what it writes, and how it refuses."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from processes import python

import sepconv
from sepconv import cli

# Makes packages as absent as if they were never installed, then runs the command line.
BLOCKED = textwrap.dedent("""
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {blocked!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Blocker())
    from sepconv.cli import main
    sys.exit(main({arguments!r}))
""")
EXTRAS = ("matplotlib", "PIL", "rich", "scipy", "torch", "ml_dtypes", "onnx")


def without(blocked: tuple[str, ...], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-c", BLOCKED.format(blocked=blocked, arguments=list(arguments)), cwd=cwd)


# --- help, info, cost ----------------------------------------------------------------------------------------------


def test_module_help() -> None:
    done = python("-m", "sepconv", "--help")
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("demo", "info", "cost", "bench"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and sepconv.__version__ in capsys.readouterr().out


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert sepconv.__version__ in text and np.__version__ in text
    assert all(name in text for name in sepconv.backends())


def test_info_names_a_backend_that_is_broken_and_facts_it_has_not_seen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"odd": {"available": True, "a_new_fact": [1, 2], "empty": None}, "gone": {"available": False, "reason": "no such device"}}
    monkeypatch.setattr(cli, "backends", lambda: found)
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert "a new fact" in text and "[1, 2]" in text
    assert "not available, no such device" in text


def test_info_needs_no_extra() -> None:
    done = without(EXTRAS, "info")
    assert done.returncode == 0, done.stderr
    assert sepconv.__version__ in done.stdout and not done.stderr


def test_cost_counts_the_9800(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main("cost standard --in-channels 10 --out-channels 20 --kernel-size 7 7".split()) == 0
    assert "9,800" in capsys.readouterr().out


def test_cost_hands_every_option_on(capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "cost separable --in-channels 8 --out-channels 16 --kernel-size 3 5 --input-size 32 40 --stride 2 1 --padding 1,0 2,2 "
        "--dilation 1 2 --multiplier 3 --bias --dtype float64"
    )
    assert cli.main(line.split()) == 0
    counted = sepconv.conv_cost(
        "separable", in_channels=8, out_channels=16, kernel_size=(3, 5), input_size=(32, 40), stride=(2, 1), padding=((1, 0), (2, 2)),
        dilation=(1, 2), multiplier=3, bias=True, dtype="float64",
    )  # fmt: skip
    text = capsys.readouterr().out
    assert all(f"{value:,}" in text for value in (counted.params, counted.macs, counted.flops, counted.bytes))


def test_cost_groups_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    line = "cost grouped --in-channels 8 --out-channels 16 --kernel-size 3 3 --input-size 9 9 --padding same --groups 4"
    assert cli.main(line.split()) == 0
    assert f"{16 * 2 * 9:,}" in capsys.readouterr().out


BAD = [
    ["cost", "standard", "--in-channels", "0", "--out-channels", "4", "--kernel-size", "3"],
    ["cost", "nonsense", "--in-channels", "4", "--out-channels", "4", "--kernel-size", "3"],
    ["cost", "standard", "--in-channels", "4", "--out-channels", "4", "--kernel-size", "3", "3", "--input-size", "8", "8", "--padding", "much"],
    ["cost", "standard", "--in-channels", "4", "--out-channels", "4", "--kernel-size", "3", "--dtype", "float7"],
]


@pytest.mark.parametrize("arguments", BAD, ids=lambda a: " ".join(a[1:3] + a[-2:]))
def test_bad_values_are_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.strip() and "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [[], ["dance"], ["cost"], ["cost", "standard"], ["info", "--loud"]], ids=" ".join)
def test_bad_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2 and "usage" in capsys.readouterr().err


# --- bench: what it does is tested in test_bench.py ---------------------------------------------------------------


def test_bench_help_needs_no_extra() -> None:
    done = without(EXTRAS, "bench", "--help")
    assert done.returncode == 0, done.stderr
    assert all(option in done.stdout for option in ("--op", "--net", "--threads", "--libraries", "--json", "--png", "--compare"))


@pytest.mark.parametrize("missing, option", [("rich", "--threads 1"), ("matplotlib", "--png a.png")])
def test_bench_without_its_extra_says_so(missing: str, option: str, tmp_path: Path) -> None:
    done = without((missing,), "bench", *option.split(), cwd=tmp_path)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert "sepconv[bench]" in done.stderr and missing in done.stderr and "Traceback" not in done.stderr


# --- demo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["matplotlib", "rich"])
def test_demo_without_its_extra_says_so(missing: str, tmp_path: Path) -> None:
    done = without((missing,), "demo", cwd=tmp_path)
    assert done.returncode == 2
    assert "sepconv[demo]" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def picture(mode: str, path: Path) -> Path:
    """A small image in one of PIL's modes, with something in it."""
    image = pytest.importorskip("PIL.Image", reason="the demo's tests need sepconv[demo]")
    y, x = np.mgrid[:40, :32]
    grey = ((x * 5 + y * 3) % 256).astype(np.uint8)
    if mode == "I;16":
        made = image.fromarray(grey.astype(np.uint16) * 200)
    else:
        alpha = np.where(x < 16, 255, 0).astype(np.uint8)
        made = image.fromarray(np.dstack([grey, grey[::-1], grey[:, ::-1], alpha]), "RGBA").convert(mode)
    made.save(path)
    return path


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, if its extra is there, in a hurry."""
    for package in ("matplotlib", "rich"):
        pytest.importorskip(package, reason="the demo's tests need sepconv[demo]")
    from sepconv import demo, demo_baselines
    from sepconv.bench import timing

    monkeypatch.setattr(demo_baselines, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "WAKE", 0.0)
    monkeypatch.setattr(timing, "LONGEST", 0.0)  # beside other tests, threads that wait for work would be waited for until then
    return demo


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_every_kind_of_image_is_read_as_rgb(mode: str, demo: ModuleType, tmp_path: Path) -> None:
    x = demo.load(str(picture(mode, tmp_path / "a.png")))
    assert x.shape == (40, 32, 3) and x.dtype == np.float32
    assert 0 <= x.min() < x.max() <= 1
    if mode in ("L", "LA", "1", "I;16"):
        np.testing.assert_array_equal(x[..., 0], x[..., 2])
    if mode in ("RGBA", "LA"):
        assert (x[:, 16:] == 1).all()  # what is transparent is white


def test_a_large_photograph_is_made_smaller(demo: ModuleType, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (3000, 500), "red").save(tmp_path / "wide.png")
    assert demo.load(str(tmp_path / "wide.png")).shape[1] == demo.LARGEST_SIDE


def test_demo_leaves_a_table_and_a_picture(demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    output = tmp_path / "out.png"
    assert cli.main(["demo", str(picture("RGB", tmp_path / "in.png")), "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert str(output) in text.replace("\n", "")
    assert all(word in text for word in ("params", "MACs", "NumPy", "Sobel", "depthwise-separable"))
    with Image.open(output) as made:
        assert made.format == "PNG" and made.size == (1600, 1000)


def test_demo_is_right(demo: ModuleType) -> None:
    results = demo.work(np.random.default_rng(0).random((40, 32, 3), dtype=np.float32))
    assert results.identity_error < 1e-5
    assert [row.params for row in results.rows] == [147, 441, 9, 6, 2352, 195, 390, 975]
    close, off = results.rows[:5] + results.rows[-1:], results.rows[5:7]
    assert all(row.error < 2e-6 for row in close), [row.error for row in close]
    assert all(0.1 < row.error < 1 for row in off) and off[0].error > off[1].error


@pytest.mark.parametrize("case", ["absent", "not an image", "a folder", "no such output folder", "output is a folder"])
def test_demo_refuses_files_in_one_sentence(case: str, demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(picture("RGB", tmp_path / "in.png"))
    (tmp_path / "text.png").write_text("not an image")
    image, output = {
        "absent": (str(tmp_path / "nowhere.png"), "a.png"),
        "not an image": (str(tmp_path / "text.png"), "a.png"),
        "a folder": (str(tmp_path), "a.png"),
        "no such output folder": (good, "none/a.png"),
        "output is a folder": (good, "."),
    }[case]
    before = sorted(tmp_path.iterdir())
    assert cli.main(["demo", image, "--output", str(tmp_path / output)]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and "Traceback" not in said
    assert sorted(tmp_path.iterdir()) == before
