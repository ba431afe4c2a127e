"""Children that run a short script: what a process can do only once, or differently with other variables, is done in one."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import sepconv
from sepconv.threads import LIMIT

ROOT = pathlib.Path(sepconv.__file__).resolve().parents[1]
THREADED = pytest.mark.skipif(LIMIT < 2, reason="this process may use one core only: nothing runs in parallel")
POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
Child = subprocess.Popen
SILENT = ("SEPCONV_CACHE_DIR", "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "OMP_NUM_THREADS", "NUMBA_DISABLE_JIT")

# What every child starts with: arrays large enough for all threads, and what must come out. Of all tuned kernels that of a standard convolution
# takes least to compile.
PRELUDE = """
import hashlib, json, os, sys
import numpy as np
import sepconv
rng = np.random.default_rng(1)
x, w, v = (rng.standard_normal(shape, np.float32) for shape in ((2, 16, 40, 40), (16, 3, 3), (4, 16, 3, 3)))
def call():
    return sepconv.conv2d(x, v, padding=1)
def bits(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
def reference():
    with sepconv.use_backend("reference"):
        return call()
def right(y, want=None):
    return bool(np.allclose(y, reference() if want is None else want, atol=1e-4))
def facts():
    return sepconv.backends()["cpu"]
def tell(**found):
    print(json.dumps(found), flush=True)
"""
ONE_CALL = "y = call(); f = facts(); tell(right=right(y), bits=bits(y), **{k: f[k] for k in f if k != 'arrays'})"


def python(*arguments: str, cwd: pathlib.Path | None = None, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    """A new Python with these arguments, which finds the same sepconv and helpers as this one."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path} | variables
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=timeout, cwd=cwd, env=environment)


def start(
    script: str, *, prelude: str = PRELUDE, flags: tuple[str, ...] = (), env: dict[str, str] | None = None, **more: Any
) -> subprocess.Popen[str]:
    """A child that runs a script with our package first on its path; variables that steer Numba are not inherited unless given."""
    surroundings = {k: v for k, v in os.environ.items() if k not in SILENT or k in ("SEPCONV_CACHE_DIR", "NUMBA_CACHE_DIR")}
    surroundings |= {"PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, *flags, "-c", prelude + textwrap.dedent(script)]
    return subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def told(child: Child, timeout: float = 120) -> dict[str, Any]:
    """What the child told in its last line; it must have ended well."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        pytest.fail(f"the child hangs:\n{out}\n{err}")
    assert child.returncode == 0, f"the child ended with {child.returncode}:\n{out}\n{err[-3000:]}"
    return json.loads(out.strip().splitlines()[-1]) | {"stderr": err}


def run(script: str, **options: Any) -> dict[str, Any]:
    return told(start(script, **options))
