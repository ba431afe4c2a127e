"""Compiled kernels on disk: found by the next process, by many at once, and done without where there is no folder."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from processes import ONE_CALL, POSIX, PRELUDE, ROOT, run, start, told

from sepconv.backends import cpu
from sepconv.backends.cpu import kernel_cache, runtime, tiles
from sepconv.problem import resolve


@pytest.fixture(scope="module")
def warm() -> Iterator[pathlib.Path]:
    """A cache folder that holds the kernels of ONE_CALL; readable by every user, as those of pytest are not."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sepconv-test-"))
    folder.chmod(0o755)
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(folder)})
    assert found["right"] and found["cache_misses"] > 0
    assert found["cache_folder"].startswith(str(folder))
    yield folder
    shutil.rmtree(folder)


def cached(folder: pathlib.Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_second_process_compiles_nothing(warm):
    """R3: no file is added either."""
    before = cached(warm)
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(warm)})
    assert found["right"] and found["cache_misses"] == 0 and found["cache_hits"] > 0
    assert found["compile_seconds"] < 0.5
    assert cached(warm) == before
    assert found["cache_bytes"] == sum((warm / f).stat().st_size for f in before)


def test_sepconv_folder_before_numbas(tmp_path, warm):
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(warm), "NUMBA_CACHE_DIR": str(tmp_path)})
    assert found["cache_folder"].startswith(str(warm)) and cached(tmp_path) == []


@pytest.mark.parametrize("count", [2])
def test_processes_fill_an_empty_cache(tmp_path, count):
    """R6: at once; then a third has nothing to compile."""
    env = {"SEPCONV_CACHE_DIR": str(tmp_path)}
    children = [start(ONE_CALL, env=env) for _ in range(count)]
    found = [told(child) for child in children]
    assert all(f["right"] for f in found) and len({f["bits"] for f in found}) == 1
    assert run(ONE_CALL, env=env)["cache_misses"] == 0


@pytest.mark.parametrize("damage", ["halved", pytest.param("foreign", marks=pytest.mark.sweep), "index only"])
def test_damaged_cache(tmp_path, warm, damage):
    """R6: a file that cannot be read is as good as none, and is counted so; the next process finds a whole one."""
    shutil.copytree(warm, tmp_path / "c")
    files = [tmp_path / "c" / name for name in cached(tmp_path / "c")]
    for file in files:
        if damage == "index only":
            if file.suffix != ".nbi":
                file.unlink()
        else:
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2] if damage == "halved" else b"\x80\x05not a kernel")
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(tmp_path / "c")})
    assert found["right"]
    assert found["cache_misses"] > 0, "what was compiled is not counted as a miss"
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(tmp_path / "c")})
    assert found["right"] and found["cache_misses"] == 0


def _without_override() -> None:
    """Takes from root the right to write what is read-only; others have none to take."""
    import ctypes

    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0):  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
        raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.skipif(sys.platform != "linux", reason="root's right to write anywhere is dropped by a call of Linux")
def test_read_only_cache(warm):
    """A folder of kernels that somebody else wrote, or that is mounted read-only, is read."""
    before, modes = cached(warm), [(f, f.stat().st_mode) for f in (warm, *warm.iterdir())]
    for folder, _ in modes:
        folder.chmod(0o555)
    try:
        found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(warm), "HOME": "/dev/null"}, preexec_fn=_without_override)
    finally:
        for folder, mode in modes:
            folder.chmod(mode)
    assert found["right"] and found["cache_misses"] == 0 and cached(warm) == before
    assert found["cache_folder"].startswith(str(warm))


@POSIX
@pytest.mark.parametrize("temporary", [True, False])
def test_no_folder_to_write(tmp_path, temporary):
    """R5: no home, or another user's, no folder: the temporary one, or none at all, and a sentence that says so."""
    (tmp_path / "locked").mkdir(mode=0)
    env = {"HOME": "/dev/null", "XDG_CACHE_HOME": str(tmp_path / "locked"), "SEPCONV_CACHE_DIR": "/dev/null/b", "TMPDIR": str(tmp_path)}
    script = ONE_CALL
    if not temporary:
        script = "import tempfile\ndef none():\n    raise FileNotFoundError(2, 'no temporary folder')\ntempfile.gettempdir = none\n" + script
    found = run(script, env=env, preexec_fn=_without_override if sys.platform == "linux" else None)
    assert found["right"] and found["stderr"] == ""
    if temporary:
        assert found["cache_folder"].startswith(str(tmp_path / "sepconv-"))
    else:
        assert found["cache_folder"].startswith("none")


@POSIX
def test_a_temporary_folder_of_somebody_else(tmp_path, monkeypatch):
    """Its name is known, and whoever makes it first could put code there: it is not even read."""
    for name in ("SEPCONV_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/dev/null/a")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found, user = kernel_cache.cache_folder.__wrapped__(), os.getuid()
    assert tmp_path in found.parents and found.is_dir()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    (tmp_path / f"sepconv-{user}").rename(tmp_path / f"sepconv-{user + 1}")
    assert kernel_cache.cache_folder.__wrapped__() is None


def test_cache_folder_vanishes(tmp_path):
    """R5: between the look at the folder and the first compilation."""
    script = "facts()\nimport shutil; shutil.rmtree(os.environ['SEPCONV_CACHE_DIR']); open(os.environ['SEPCONV_CACHE_DIR'], 'w').close()\n"
    found = run(script + ONE_CALL, env={"SEPCONV_CACHE_DIR": str(tmp_path / "gone")})
    assert found["right"] and found["available"]


def test_script_from_stdin(warm):
    """R5: `python -` has no source file, at which Numba's own cache raises."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SEPCONV_CACHE_DIR": str(warm)}
    done = subprocess.run([sys.executable, "-"], input=PRELUDE + ONE_CALL, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["right"] and found["cache_misses"] == 0


def test_zipped_install(tmp_path):
    """R5, R1: no sources can be read there, so that no digest tells the versions apart: no kernel may be kept."""
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        for file in (ROOT / "sepconv").rglob("*.py"):
            archive.write(file, file.relative_to(ROOT))
    env = {"PYTHONPATH": str(tmp_path / "site.zip"), "SEPCONV_CACHE_DIR": str(tmp_path / "c")}
    found = run(ONE_CALL.replace("tell(", "tell(file=sepconv.__file__, "), env=env, cwd=str(tmp_path))
    assert "site.zip" in found["file"]
    assert found["right"]
    assert found["cache_folder"].startswith("none"), "kernels of one version would be taken by the next"


def test_changed_source_is_a_miss(tmp_path):
    """R1, R2: Numba's key does not see a change in what a kernel calls. Here a constant of another file, which the result shows."""
    shutil.copytree(ROOT / "sepconv", tmp_path / "sepconv", ignore=shutil.ignore_patterns("__pycache__"))
    env = {"PYTHONPATH": str(tmp_path), "SEPCONV_CACHE_DIR": str(tmp_path / "c"), "PYTHONDONTWRITEBYTECODE": "1"}
    script = """
    y = sepconv.conv1d(-np.ones((1, 8), np.float32), np.ones((1, 1, 1), np.float32), activation="leaky_relu")
    tell(y=y.tolist(), misses=facts()["cache_misses"], file=sepconv.__file__)
    """
    first = run(script, env=env, cwd=str(tmp_path))
    assert first["file"].startswith(str(tmp_path)) and first["y"] == [[float(np.float32(-0.01))] * 8] and first["misses"] > 0
    assert run(script, env=env, cwd=str(tmp_path))["misses"] == 0
    file = tmp_path / "sepconv" / "activations.py"
    text = file.read_text()
    assert "LEAKY_SLOPE = 0.01" in text
    file.write_text(text.replace("LEAKY_SLOPE = 0.01", "LEAKY_SLOPE = 0.25"))
    again = run(script, env=env, cwd=str(tmp_path))
    assert again["y"] == [[-0.25] * 8] and again["misses"] > 0


def test_what_compiles_nothing_new():
    """R23: a second shape, activation, bias, read-only or strided arrays, byte order. R4: two kernel sizes in turns never share code."""
    script = """
    x = rng.standard_normal((2, 16, 64, 64), np.float32)
    w5 = rng.standard_normal((16, 5, 5), np.float32)
    def count():
        f = facts()
        return f["cache_hits"] + f["cache_misses"]
    for _ in range(2):  # the second one goes through what all calls that are made again go through
        sepconv.depthwise_conv2d(x, w, padding=1)
    before = count()
    good = []
    def both(f):
        y = f()
        with sepconv.use_backend("reference"):
            good.append(right(y, f()))
    frozen = x.copy(); frozen.flags.writeable = False
    both(lambda: sepconv.depthwise_conv2d(frozen, w, padding=1))
    both(lambda: sepconv.depthwise_conv2d(x, w, np.ones(16, np.float32), padding=1, activation="silu"))
    both(lambda: sepconv.depthwise_conv2d(x[:, :, 1:33, :61], w, padding=1, activation="gelu"))
    both(lambda: sepconv.depthwise_conv2d(x.astype(">f4"), w.astype(">f4"), padding=1))
    both(lambda: sepconv.depthwise_conv2d(np.frombuffer(b"-" + x.tobytes(), np.float32, x.size, 1).reshape(x.shape), w, padding=1))
    same = count() - before
    for _ in range(3):
        both(lambda: sepconv.depthwise_conv2d(x, w)); both(lambda: sepconv.depthwise_conv2d(x, w5))
    tell(same=same, good=good)
    """
    found = run(script)
    assert found["same"] == 0 and all(found["good"])


def test_sizes_share_few_kernels():
    """R23: over all sizes of a map a kernel size, a stride and a dtype have at most twice as many kernels as the table has tiles: on vectors of
    a few lengths, with planes that lie apart or not."""
    found = {}
    for height in range(1, 130, 3):
        for width in (1, 3, 7, 14, 20, 28, 33, 56, 61, 112, 130):
            x = ((1, 32, height, width), np.dtype("float32"))
            for k, stride in ((3, 1), (3, 2), (7, 1)):
                problem = resolve("depthwise", 2, x, ((32, 1, k, k), x[1]), padding=k // 2, stride=stride)
                arrays = [np.empty(x[0], x[1]), np.empty((32, 1, k, k), x[1]), None, None]
                found.setdefault((k, stride), set()).update(cpu.kernels([problem], arrays, None))
    most = len(tiles.ROWS_FIRST[runtime.machine().registers]) + len(tiles.HALVES) * runtime.machine().halved
    assert all(2 < len(kernels) <= 2 * most for kernels in found.values()), {key: len(kernels) for key, kernels in found.items()}
