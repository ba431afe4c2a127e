"""What every test file shares: the backends as parameters, the sweeps, and a header that says what this run covers and what it does not."""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import sepconv
from sepconv import dispatch

CHECKED = ("reference", "cpu", "cuda")  # the backends that every test of an operation runs on, where they can run
USED = {"cuda": "on_device"}  # by this one, which takes NumPy arrays
# The files that take longest, for runs with several processes: begun first, so that none is left over when the others end.
LONGEST = (
    "ops sizes cuda_filters isa memory separable signal notebooks cuda_machine_code kernel_cache cuda_tensor threads bench dots network "
    "cuda_simulated cli windows scratch fences numerics warm large_kernels bench_images runtime cuda_code ndimage_memory ndimage_cases out "
    "ndimage_properties bench_gpu sweeps edges rows entry inspect ndimage bench_report cuda layers errors"
).split()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", help="run the tests of operations on this backend alone")
    parser.addoption("--sweep", action="store_true", help="also run the tests marked sweep, and hypothesis for longer")
    parser.addoption("--sweep-minutes", type=float, default=math.inf, help="begin no test marked sweep so long after the start")


def pytest_configure(config: pytest.Config) -> None:
    shared: dict[str, Any] = dict(
        deadline=None,  # the first call of a kernel compiles it
        derandomize="CI" in os.environ,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    settings.register_profile("normal", max_examples=40, **shared)
    settings.register_profile("sweep", max_examples=200, **shared)
    settings.register_profile("simulator", max_examples=4, **shared)
    settings.load_profile("simulator" if SIMULATOR else "sweep" if config.getoption("--sweep") else "normal")
    sepconv.register_backend("on_device", "on_device", ["numpy.ndarray"])
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist's own order is by numbers of tests
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: LONGEST.index(name) if (name := item.path.stem.removeprefix("test_")) in LONGEST else len(LONGEST))
    if not config.getoption("--sweep"):
        longer = [item for item in items if item.get_closest_marker("sweep")]
        config.hook.pytest_deselected(items=longer)
        items[:] = [item for item in items if not item.get_closest_marker("sweep")]
    if SIMULATOR:
        for item in items:
            if item.get_closest_marker("large"):
                item.add_marker(pytest.mark.skip(reason="too large for Numba's simulator of CUDA; run where there is a GPU"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    most = item.config.getoption("--sweep-minutes")
    if item.get_closest_marker("sweep") and time.monotonic() - STARTED > 60 * most:
        pytest.skip(f"a longer test, and the {most:g} minutes in which these may begin are over")


STARTED = time.monotonic()
SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def unavailable(name: str) -> str | None:
    """Why a backend cannot run here, or None if it can."""
    facts = dispatch.backends()[name]
    return None if facts["available"] else str(facts["reason"])


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.import_module(package).__version__}"
    except ImportError as error:
        return f"{package} absent ({error})"


def pytest_report_header(config: pytest.Config) -> list[str]:
    reasons = {name: unavailable(name) for name in dispatch.backends() if name not in USED.values()}
    covered = ", ".join(name for name in CHECKED if reasons[name] is None)
    others = {name: reason or "tested in its own file" for name, reason in reasons.items() if reason or name not in CHECKED}
    missing = [f"backend {name} is not covered: {reason}" for name, reason in others.items()]
    if not config.getoption("--sweep"):
        missing.append("tests marked sweep are left out: --sweep runs them too")
    versions = ", ".join(_version(package) for package in ("numpy", "numba", "torch"))
    return [f"sepconv {sepconv.__version__}, backends covered: {covered}", *missing, f"with {versions}"]


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> bool:
    """Whether this run has the longer sweeps."""
    return bool(request.config.getoption("--sweep"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A backend that cannot run here is not a parameter: the header has said why."""
    if "backend" in metafunc.fixturenames:
        only = metafunc.config.getoption("--backend")
        names = [name for name in CHECKED if only in (None, name) and unavailable(name) is None]
        metafunc.parametrize("backend", names, indirect=True, scope="function")


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a backend; inside the test, calls run on it."""
    with sepconv.use_backend(USED.get(request.param, request.param)):
        yield request.param


@pytest.fixture
def machine_code() -> Any:
    """The module that reads machine code, where NVIDIA's compiler is installed. In CI its absence is a failure: nothing is skipped unseen."""
    from sepconv.backends.cuda import machine_code

    reason = machine_code.missing()
    if reason:
        (pytest.fail if "CI" in os.environ and sys.platform == "linux" and not SIMULATOR else pytest.skip)(reason)
    return machine_code


@pytest.fixture
def quick_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sepconv bench` in an empty folder, on a machine whose roofs need no measuring."""
    pytest.importorskip("rich", reason="the tables need sepconv[bench]")
    from sepconv.bench import machine

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "measure", lambda threads: machine.Roofs(100.0, dict.fromkeys(machine.SIZES, 50.0)))
