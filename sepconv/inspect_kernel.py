"""`sepconv inspect`: which kernel and tile a convolution would run here or on another machine, and its hot loops in assembly.

The work is done by `backends.cpu.cross`, which compiles in a child process, and `backends.cpu.assembly`, which reads the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import dtypes
from .backends.cpu import assembly, cross
from .problem import integer, one_of

FUNCTIONS = {
    "depthwise": "depthwise_conv2d", "pointwise": "pointwise_conv2d", "separable": "separable_conv2d", "standard": "conv2d",
}  # fmt: skip
TARGETS = ("cpu", "cuda")
LAYOUTS = ("NCHW", "NHWC")
DTYPES = tuple(name for name in dtypes.KINDS if name != "bfloat16")  # which NumPy alone does not know


def report(
    op: str,
    *,
    taps: int | None = None,
    channels: int = 128,
    out_channels: int | None = None,
    size: int = 56,
    stride: int = 1,
    layout: str = "NCHW",
    dtype: str = "float32",
    target: str = "cpu",
    isa: str = "host",
    cc: str = "9.0",
    full: bool = False,
) -> str:
    """What `op`, one of "depthwise", "pointwise", "separable" and "standard", runs on one image with padding "same", as text for people.

    Parameters
    ----------
    taps : the kernel size, on each side; None: 3, or 1 of a pointwise one, which has no other.
    channels, out_channels : C and C_out; None: as many out as in.
    size : of the image, on each side, in pixels.
    stride, layout, dtype : as of `sepconv.conv2d`.
    target : "cpu" or "cuda".
    isa : "host", or the instruction set of another machine: "avx512", "avx2", "zen3" (AVX2 as LLVM schedules it for that), "sse2", "neon".
        Nothing runs: LLVM compiles for all of them.
    cc : for "cuda" the compute capability, "7.5" to "12.0"; no GPU is needed, but numba-cuda and NVIDIA's assembler: sepconv[cuda-test].
    full : the whole machine code of a CUDA kernel; of a CPU's also the loops of narrower tiles, for what is left over, and those that meet the
        border of the image.

    Returns
    -------
    The lines of `sepconv.explain`; then for each kernel its tile, and of its hot loop the registers, the spills, the part of the instructions
    that multiply and add, the loads, and the assembly.

    Raises
    ------
    ValueError, TypeError : before any work, naming the argument, its value and what is allowed.

    >>> print(sepconv.inspect_kernel.report("depthwise", taps=5, isa="neon"))
    """
    call = _call(op, taps, channels, out_channels, size, stride, layout, dtype, target, isa)
    if target == "cuda":
        from .backends.cuda import look

        x, *weights = call.shapes
        found = look.problems(op, x, tuple(weights), dtype, call.options)
        return "\n".join(look.lines(found, look.capability(cc), full))
    (found,) = cross.compiled(isa, [call])
    return "\n".join(_lines(found, full))


def _call(
    op: str, taps: Any, channels: Any, out_channels: Any, size: Any, stride: Any, layout: Any, dtype: Any, target: Any, isa: Any
) -> cross.Call:  # fmt: skip
    """The arguments, checked, as a call."""
    one_of("op", op, FUNCTIONS)
    one_of("layout", layout, LAYOUTS)
    one_of("dtype", dtype, DTYPES)
    one_of("isa", isa, cross.ISAS)
    one_of("target", target, TARGETS)
    positive = "a positive int"
    k = integer("taps", (1 if op == "pointwise" else 3) if taps is None else taps, 1, positive)
    c, n = integer("channels", channels, 1, positive), integer("size", size, 1, positive)
    out = c if out_channels is None else integer("out_channels", out_channels, 1, positive)
    options = {"layout": layout, "padding": "same", "stride": integer("stride", stride, 1, positive)}
    if op == "depthwise" and out % c:
        raise ValueError(f"out_channels is {out}; a depthwise convolution has a multiple of its {c} channels")
    if op == "pointwise":
        for name, value in (("taps", k), ("stride", options.pop("stride"))):
            if value != 1:
                raise ValueError(f"{name} is {value}; allowed is 1 for a pointwise convolution")
        del options["padding"]
    x = (1, c, n, n) if layout == "NCHW" else (1, n, n, c)
    weights: dict[str, tuple[tuple[int, ...], ...]] = {
        "depthwise": ((out, 1, k, k),), "pointwise": ((out, c),), "separable": ((c, k, k), (out, c)), "standard": ((out, c, k, k),),
    }  # fmt: skip
    return cross.Call(FUNCTIONS[op], (x, *weights[op]), dtype, options)


def _lines(found: cross.Compiled, full: bool) -> Iterator[str]:
    yield found.explanation
    for kernel in found.kernels:
        yield ""
        yield f"{kernel.name}: " + ", ".join(f"{name} {cell}" for name, cell in kernel.cells.items())
        loops = assembly.hot_loops(kernel.assembly)
        inside = assembly.interior(loops)
        hot = assembly.main_tiles(loops)
        narrow = [code for code in inside if code not in hot]
        border = [loop for loop in loops if loop not in inside]
        shown = [("hot loop", code) for code in hot]
        if full:
            shown += [("loop of a narrower tile", code) for code in narrow] + [("loop that meets the border", code) for code in border]
        for title, code in shown:
            yield from _described(title, code, found.machine.registers)
        if not loops:
            calls = kernel.name.startswith(("separable.", "copied."))
            called = "calls of the kernels above" if calls else "plain loops, of which LLVM makes what it can"
            yield f"  {called}: none multiplies and adds whole vectors"
        elif not full and narrow + border:
            yield f"  loops besides, which --full shows: {len(narrow)} of narrower tiles, {len(border)} at the border"


def _described(title: str, code: assembly.Code, registers: int) -> Iterator[str]:
    scalars = f"; {code.scalars} times an address, a counter or a flag" if code.scalars else ""
    loads = ", ".join(f"{count} of {size} bytes" for size, count in sorted(code.loads.items(), reverse=True))
    yield f"  {title}: {len(code.instructions)} instructions, {code.fmas} multiply-adds of vectors, {code.share:.0%} of the instructions"
    yield f"    registers     {code.distinct} of {registers}, {code.registers}"
    yield f"    spills        {len(code.spills) or 'no'} vectors over the stack{scalars}"
    yield f"    vector loads  {loads or 'none'}"
    yield from (f"      {line}" for line in code.lines)
