"""The kernels that calls would run on this machine or another, as assembly: compiled in a child process, and run nowhere.

LLVM holds the code generators of all machines, and a kernel's vectors are cells of it, which `tiles.py` chooses from `runtime.machine()`. So
a child puts another target under Numba, from which everything else follows, and keeps what `runtime.kernel` compiles instead of running it.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import codegen, config
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from . import jit, plans, runtime, team


class Target(NamedTuple):
    """A machine by LLVM's names; the features follow from the CPU."""

    triple: str
    cpu: str


TARGETS = {
    "avx512": Target("x86_64-unknown-linux-gnu", "x86-64-v4"),
    "avx2": Target("x86_64-unknown-linux-gnu", "x86-64-v3"),
    "zen3": Target("x86_64-unknown-linux-gnu", "znver3"),  # AVX2 too, for which LLVM unrolls more than for all others
    "sse2": Target("x86_64-unknown-linux-gnu", "x86-64"),
    "neon": Target("aarch64-unknown-linux-gnu", "generic"),
}
ISAS = ("host", *TARGETS)


class Call(NamedTuple):
    """A call of a public function on arrays of these shapes, in the order of its arguments."""

    function: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    options: dict[str, Any]


class Kernel(NamedTuple):
    """A kernel that a call needs: module.factory, its cells by name, and LLVM's verbose assembly."""

    name: str
    cells: dict[str, Any]
    assembly: str


class Compiled(NamedTuple):
    """What a call would run there: the machine, what `explain` says, and the kernels."""

    machine: runtime.Machine
    explanation: str
    kernels: list[Kernel]


def compiled(isa: str, calls: Iterable[Call], timeout: float | None = None) -> list[Compiled]:
    """What each call would run on a machine with `isa`, one of ISAS; "host" is what Numba compiles for in this process.

    ValueError for an unknown isa; RuntimeError, with the child's last words, if a call or a compilation fails.
    """
    if isa not in ISAS:
        raise ValueError(f"isa is {isa!r}; allowed are {', '.join(ISAS)}")
    root = Path(__file__).resolve().parents[3]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, isa], input=json.dumps(list(calls)), env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"compiling for {isa} failed: {done.stderr.strip()[-2000:]}")
    found = json.loads(done.stdout)
    return [Compiled(runtime.Machine(*machine), lines, [Kernel(*k) for k in kernels]) for machine, lines, kernels in found]


# --- in the child --------------------------------------------------------------------------------------------------


class _NoEngine:
    """Stands where Numba keeps its loader of machine code: nothing is loaded."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *args: 0


class _Codegen(codegen.JITCPUCodegen):
    """Numba's code generator with the target of our choice: the same passes at the same levels, and no loader at the end."""

    def __init__(self, target: Target) -> None:
        self._target = target
        super().__init__("sepconv.cross")

    def _init(self, llvm_module: Any) -> None:
        reloc = "static" if self._target.triple.startswith("x86") else "default"
        self._tm_features = ""
        self._tm = llvm.Target.from_triple(self._target.triple).create_target_machine(
            cpu=self._target.cpu, features="", opt=config.OPT, reloc=reloc, codemodel="jitdefault", jit=True
        )
        self._engine, self._target_data = _NoEngine(), self._tm.target_data
        self._data_layout = str(self._target_data)
        self._loopvect, self._opt_level = (True, 3) if config.OPT.is_opt_max else (False, 0)

    def _create_empty_module(self, name: str) -> Any:
        module = super()._create_empty_module(name)
        module.triple = self._target.triple
        return module

    def _add_module(self, module: Any) -> None:
        pass

    def _scan_and_fix_unresolved_refs(self, module: Any) -> None:
        pass

    def set_env(self, env_name: str, env: Any) -> None:
        pass

    def _get_host_cpu_name(self) -> str:
        return self._target.cpu


def _pretend(isa: str) -> None:
    """From now on Numba compiles for `isa`; nothing may have been compiled before."""
    if rtsys._init:
        raise RuntimeError("this process has compiled for its own machine already")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    cpu_target.target_context._internal_codegen = _Codegen(TARGETS[isa])
    runtime.machine.cache_clear()
    runtime.has.cache_clear()


def _assembly(function: Callable[..., None]) -> str:
    made = numba.njit(function, no_cpython_wrapper=True, **jit.OPTIONS)
    with jit.uncollected(), jit.lighter(function):
        made.compile(runtime.SIGNATURE)
    cpu_target.target_context.codegen()._tm.set_asm_verbosity(True)  # `assembly.py` reads the comments
    (text,) = made.inspect_asm().values()
    return text


def _record() -> list[Kernel]:
    """The list to which each kernel is added that would run from now on; what the calls return is whatever memory held."""
    known: dict[Any, Kernel] = {}
    ran: list[Kernel] = []

    def kernel(factory: Callable[..., Any], *cells: Any) -> Callable[..., None]:
        key = factory, cells
        if key not in known:
            names = list(inspect.signature(factory).parameters)
            name = f"{factory.__module__.rpartition('.')[2]}.{factory.__name__}"
            plain = {n: cell if isinstance(cell, (int, str)) else repr(cell) for n, cell in zip(names, cells)}
            known[key] = Kernel(name, plain, _assembly(factory(*cells)))

        if known[key] not in ran:
            ran.append(known[key])
        run = lambda record, chunk: None
        run.entry = 0
        return run

    plans.PEEK = False  # what is compiled here cannot be entered
    runtime.kernel = kernel
    team.launch = lambda kernel, record, count: kernel(record, 0)
    return ran


def _main(isa: str) -> None:
    import sepconv

    if isa != "host":
        _pretend(isa)
    ran, found = _record(), []
    for name, shapes, dtype, options in json.load(sys.stdin):
        function, arrays = getattr(sepconv, name), [np.zeros(shape, dtype) for shape in shapes]
        explanation = sepconv.explain(function, *arrays, **options)
        ran.clear()
        function(*arrays, **options)
        found.append((runtime.machine(), str(explanation), list(ran)))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1])
