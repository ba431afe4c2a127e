"""Forks and other children, before and after threads ran (R11, R12)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from processes import POSIX, PRELUDE, ROOT, THREADED, run


@POSIX
@pytest.mark.parametrize("layer", ["default", "workqueue", pytest.param("omp", marks=pytest.mark.sweep)])
def test_fork_after_a_parallel_call(layer):
    """R11: the OpenMP of GNU kills a forked child at its first parallel call."""
    script = """
    want = call()
    pid = os.fork()
    if pid == 0:
        ok = np.array_equal(call(), want) and right(sepconv.conv2d(x, v, padding=1, stride=1))
        os._exit(0 if ok and facts()["available"] else 3)
    status = os.waitpid(pid, 0)[1]
    tell(status=status, right=right(want) and np.array_equal(call(), want))
    """
    env = {} if layer == "default" else {"NUMBA_THREADING_LAYER": layer}
    assert run(script, env=env) == {"status": 0, "right": True, "stderr": ""}


FORK = """
import time
def in_a_child(work):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if work() else 3)
    deadline = time.time() + 25
    while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.time() < deadline:
        time.sleep(0.1)
    if done == (0, 0):
        os.kill(pid, 9)
    return "hangs" if done == (0, 0) else done[1]
"""


@POSIX
@pytest.mark.parametrize("seconds", (0.05, 0.4, 2.0))
def test_fork_while_another_thread_imports_or_compiles(seconds, tmp_path):
    """R11: a lock that was held at the fork is not held in the child for ever."""
    script = f"""
    import threading
    want = reference()
    busy = threading.Thread(target=call); busy.start()
    time.sleep({seconds})  # in the midst of an import of Numba's, or of ours, or of a compilation
    done = in_a_child(lambda: right(call(), want))
    busy.join()
    tell(done=done)
    """
    assert run(script, prelude=PRELUDE + FORK, env={"SEPCONV_CACHE_DIR": str(tmp_path)})["done"] == 0


@POSIX
def test_fork_while_what_was_imported_by_itself_compiles(tmp_path):
    """R11: the same where nobody asked the dispatcher for the backend before."""
    script = """
    import threading
    from sepconv.backends.cpu import direct, runtime
    busy = threading.Thread(target=runtime.kernel, args=(direct.rows, "float32", "float32", np.float32, 0)); busy.start()
    time.sleep(0.3)
    done = in_a_child(lambda: runtime.lock.acquire(timeout=10))
    busy.join()
    tell(done=done)
    """
    assert run(script, prelude=PRELUDE + FORK, env={"SEPCONV_CACHE_DIR": str(tmp_path)})["done"] == 0


@POSIX
@THREADED
@pytest.mark.parametrize("first", ["the user's loop", "a call"])
def test_fork_beside_a_parallel_loop(first):
    """R11: a parallel loop of the user's own in the parent and our first call in the child, or the other way round."""
    script = f"""
    import numba
    @numba.njit(parallel=True)
    def loop(n):
        total = 0
        for i in numba.prange(n):
            total += i
        return total
    want, ways = reference(), [lambda: loop(1000) == 499500, lambda: right(call(), want)]
    ours = {first == "a call"}
    good = [ways[ours](), in_a_child(ways[not ours]), ways[ours]()]
    from sepconv.backends.cpu import team
    tell(good=good, able=hasattr(team._openmp(), "omp_pause_resource_all"))
    """
    found = run(script, prelude=PRELUDE + FORK)
    if not found["able"]:
        pytest.skip("no OpenMP here that can end its threads")
    assert found["good"] == [True, 0, True]


@pytest.mark.parametrize("method", ["spawn", "fork", pytest.param("forkserver", marks=pytest.mark.sweep)])
def test_multiprocessing(tmp_path, method):
    """R12: workers of each kind, after a parallel call of the parent."""
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {method}")
    file = tmp_path / "script.py"
    file.write_text(PRELUDE + textwrap.dedent(f"""
    def work(i):
        return right(call())
    if __name__ == "__main__":
        import multiprocessing
        good = [right(call())]
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            good += pool.map(work, range(4))
        tell(good=good)
    """))  # fmt: skip
    done = subprocess.run([sys.executable, str(file)], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["good"] == [True] * 5
