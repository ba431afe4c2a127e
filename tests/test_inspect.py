"""`sepconv inspect`: what it prints, what it refuses; and the reader of assembly, on lines written by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

import sepconv
from sepconv import cli, inspect_kernel
from sepconv.backends.cpu import assembly, cross

# --- the reader ----------------------------------------------------------------------------------------------------

# A loop over taps; around it another one; after it a loop that masks, of which LLVM has put a block before the header.
X86 = """
kernel:
# %bb.0:
\tvmovups\t%ymm7, 64(%rsp)                # 32-byte Spill
.LBB0_1:                                # %outer
                                        # =>This Loop Header: Depth=1
                                        #     Child Loop BB0_2 Depth 2
\taddq\t$8, %rdi
.LBB0_2:                                # %inner
                                        #   Parent Loop BB0_1 Depth=1
                                        # =>  This Inner Loop Header: Depth=2
\tvbroadcastss\t(%rdi), %ymm0
\tvmovups\t(%rsi), %ymm1
\tvfmadd231ps\t%ymm1, %ymm0, %ymm2      # ymm2 = (ymm0 * ymm1) + ymm2
\tvfmadd231ps\t32(%rsi), %ymm0, %ymm3   # ymm3 = (ymm0 * mem) + ymm3
\tdecq\t%rcx
\tjne\t.LBB0_2
# %bb.3:                                #   in Loop: Header=BB0_1 Depth=1
\tdecq\t%rdx
\tjne\t.LBB0_1
.LBB0_4:                                #   in Loop: Header=BB0_5 Depth=1
\tvfmadd213ps\t96(%rsp), %ymm0, %ymm4   # 32-byte Folded Reload
                                        # ymm4 = (ymm0 * ymm4) + mem
\tmovq\t8(%rsp), %rax                   # 8-byte Reload
.LBB0_5:                                # %masked
                                        # =>This Inner Loop Header: Depth=1
\tvmaskmovps\t(%rsi), %ymm6, %ymm4
\tvmovups\t%ymm4, 64(%rsp)              # 32-byte Spill
\tjne\t.LBB0_4
# %bb.6:
\tretq
"""

ARM = """
.LBB0_1:                                // %taps
                                        // =>This Inner Loop Header: Depth=1
\tldp\tq0, q1, [x0, #16]
\tld1r\t{ v2.4s }, [x1]
\tfmla\tv3.4s, v0.4s, v2.4s
\tfmla\tv4.4s, v1.4s, v2.s[0]
\tstr\tq4, [sp, #32]                    // 16-byte Spill
\tsubs\tx2, x2, #1
\tb.ne\t.LBB0_1
// %bb.2:
\tret
"""


def test_loops_of_x86() -> None:
    plain, masked = assembly.hot_loops(X86)
    assert (plain.fmas, plain.registers, plain.distinct, plain.guarded, plain.scalars) == (2, "ymm", 4, False, 0)
    assert plain.spills == () and plain.loads == {32: 2, 4: 1} and plain.share == 2 / 6
    assert (masked.fmas, masked.guarded, masked.scalars) == (1, True, 1)
    assert [line.split()[0] for line in masked.spills] == ["vfmadd213ps", "vmovups"]
    assert assembly.interior([plain, masked]) == [plain]


APPLE = """
LBB0_1:                                 ; %taps
                                        ; =>This Inner Loop Header: Depth=1
\tldp\tq0, q1, [x0, #16]
\tld1r.4s\t{ v2 }, [x1]
\tfmla.4s\tv3, v0, v2
\tfmla.4s\tv4, v1, v2[0]
\tstr\tq4, [sp, #32]                    ; 16-byte Spill
\tsubs\tx2, x2, #1
\tb.ne\tLBB0_1
; %bb.2:
\tret
"""


@pytest.mark.parametrize("text", [ARM, APPLE])
def test_loops_of_arm(text: str) -> None:
    (loop,) = assembly.hot_loops(text)
    assert (loop.fmas, loop.registers, loop.distinct, loop.guarded) == (2, "v", 5, False)
    assert loop.loads == {16: 2, 4: 1} and len(loop.spills) == 1 and loop.instructions[-2] == "subs x2, x2, #1"


def test_interior_of_a_loop_over_places() -> None:
    """Taps written out: the largest block without masks is the tile away from the border."""
    fma, within = "\tvfmadd231ps\t%zmm1, %zmm0, %zmm2\n", "   #   in Loop: Header=BB0_1 Depth=1\n"
    text = ".LBB0_1:   # %places\n   # =>This Inner Loop Header: Depth=1\n\tcmpq\t$0, %rax\n\tje\t.LBB0_2\n"
    text += "# %bb.3:" + within + 3 * fma + "\tjmp\t.LBB0_1\n"
    text += ".LBB0_2:" + within + "\tvmovups\t(%rsi), %zmm1 {%k1} {z}\n" + 4 * fma + "\tjne\t.LBB0_1\n"
    (loop,) = assembly.hot_loops(text)
    assert loop.fmas == 7 and loop.guarded
    (block,) = assembly.interior([loop])
    assert block.fmas == 3 and not block.guarded


def test_main_tiles() -> None:
    """A depthwise and a pointwise tile of one kernel, and narrower ones for what is left over."""

    def code(fmas: int, register: str) -> assembly.Code:
        return assembly.Code((".LBB0_1:", *(f"vfmadd231ps (%rax){{1to16}}, %{register}1, %{register}2",) * fmas))

    tiles = [code(42, "zmm"), code(24, "zmm"), code(24, "ymm"), code(21, "zmm")]
    assert assembly.main_tiles(tiles) == tiles[:2] and tiles[1].loads == {4: 24}


def test_nothing_hot() -> None:
    assert assembly.hot_loops(".LBB0_1:  # =>This Inner Loop Header: Depth=1\n\taddq\t$1, %rax\n\tjne\t.LBB0_1\n") == []
    assert assembly.interior([]) == [] == assembly.main_tiles([])


# --- the report ----------------------------------------------------------------------------------------------------


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Here, whatever this machine is, in a process that has compiled for it."""
    assert cli.main(["inspect", "depthwise", "--taps", "3", "--target", "cpu"]) == 0
    text = capsys.readouterr().out
    facts = sepconv.backends()["cpu"]
    assert f"tuned kernel depthwise.channels_first for {facts['isa']}" in text and "1 x 128 channels of 56x56, kernel 3x3" in text
    found = re.search(r"hot loop: (\d+) instructions, (\d+) multiply-adds of vectors, (\d+)% of the instructions", text)
    assert found and 0 < int(found[2]) < int(found[1]) and 20 < int(found[3]) < 100
    assert re.search(rf"registers +\d+ of {facts['registers']}, ", text)
    assert re.search(r"spills +(no|\d+) vectors over the stack", text) and re.search(r"vector loads +\d+ of \d+ bytes", text)
    assert text.count("LBB0") > 0 and "loop that meets the border:" not in text


def test_another_machine_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--isa", "neon", "--full", "--channels", "20", "--out-channels", "24", "--size", "9", "--layout", "NHWC", "--dtype", "float64"]
    assert cli.main(["inspect", "pointwise", *options]) == 0
    text = capsys.readouterr().out
    assert "pointwise.channels_last for NEON" in text and "1 x 20 channels of 9x9, kernel 1x1 -> 24 channels of 9x9, float64" in text
    assert "lanes 2" in text and re.search(r"fmla v\d+\.2d, v\d+\.2d", text) and "of 32, v" in text
    assert "loop that meets the border:" in text and "which --full shows" not in text


def test_plain_loops() -> None:
    text = inspect_kernel.report("standard", dtype="int8", channels=4, size=8)
    assert "direct.rows" in text and "plain loops" in text and "hot loop" not in text


@pytest.mark.parametrize("op", inspect_kernel.FUNCTIONS)
def test_every_op_is_a_call(op: str) -> None:
    """The shapes that `inspect` makes up are those that the public function takes."""
    import numpy as np

    for layout in inspect_kernel.LAYOUTS:
        call = inspect_kernel._call(op, None, 4, 8, 6, 1, layout, "float32", "cpu", "host")
        with sepconv.use_backend("reference"):
            y = getattr(sepconv, call.function)(*(np.zeros(shape, call.dtype) for shape in call.shapes), **call.options)
        assert y.shape == ((1, 8, 6, 6) if layout == "NCHW" else (1, 6, 6, 8))


@pytest.mark.parametrize(
    "options, error, says",
    [
        (dict(op="conv"), ValueError, "op is 'conv'; allowed are depthwise, pointwise, separable, standard"),
        (dict(target="tpu"), ValueError, "target is 'tpu'; allowed are cpu, cuda"),
        (dict(target="cuda", cc="3.0"), ValueError, "cc is '3.0'; allowed are 7.5"),
        (dict(isa="sse4"), ValueError, "isa is 'sse4'; allowed are host, avx512, avx2, zen3, sse2, neon"),
        (dict(layout="NCW"), ValueError, "layout is 'NCW'; allowed are NCHW, NHWC"),
        (dict(dtype="quad"), ValueError, "dtype is 'quad'; allowed are float16, float32, float64"),
        (dict(taps=0), ValueError, "taps is 0; allowed is a positive int"),
        (dict(stride=1.5), TypeError, "stride is 1.5; allowed is a positive int"),
        (dict(out_channels=130), ValueError, "out_channels is 130"),
        (dict(op="pointwise", taps=3), ValueError, "taps is 3; allowed is 1 for a pointwise convolution"),
        (dict(op="pointwise", stride=2), ValueError, "stride is 2; allowed is 1 for a pointwise convolution"),
    ],
)
def test_refusals(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        inspect_kernel.report(**{"op": "depthwise", **options})


def test_command_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "depthwise", "--target", "tpu"]) == 2
    assert "sepconv inspect: target is 'tpu'" in capsys.readouterr().err


def test_child_fails_loudly() -> None:
    """A call that the functions refuse is told, with their words."""
    call = cross.Call("depthwise_conv2d", ((1, 4, 3, 3), (4, 5, 5)), "float32", {})
    with pytest.raises(RuntimeError, match="compiling for host failed: (.|\n)*kernel size 5"):
        cross.compiled("host", [call])
    with pytest.raises(ValueError, match="isa is 'mmx'; allowed are host, avx512"):
        cross.compiled("mmx", [call])
