"""What a kernel's assembly says about its speed: the innermost loops that multiply and add, their registers, and what goes over the stack.

A loop of one block is a tile's loop over taps or depth. Where a tile's taps are written out, the loop goes over places instead and holds the
tile several times, a block for what is inside the image and others for its border.

LLVM writes into the comments which block belongs to which loop, and what is a spill: nothing has to be guessed here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

BLOCK = re.compile(r"\.?L(BB\d+_\d+):|(?:#|//|;) %bb\.\d+:")  # a label, or a block that is only fallen into
NESTING = re.compile(r"in Loop: Header=(BB\d+_\d+)|=>\s*This( Inner)? Loop Header")
COMMENT = re.compile(r"(?:^|\s)(?:# |#(?:NO_)?APP$|//|;)")  # on ARM `#4` is a number; #APP is before an instruction of ours, an empty one mostly
# Multiplications of whole vectors: fused ones, and SSE2's, each followed by an addition.
FMA = re.compile(r"vfn?m(?:add|sub)\d+p[sd]\b|mulp[sd]\b|fml[as] v\d+\.(?:4s|2d)")
ADD = re.compile(r"addp[sd]\b")
VECTOR = re.compile(r"%([xyz])mm\d+|\b(?:v\d+\.\d+[bhsd]|q\d+)")
BRANCH = re.compile(r"j(?!mp)[a-z]+\b|b\.|cbn?z\b|tbn?z\b")
GUARD = re.compile(r"v?p?(?:cmov|maskmov)|csel\b|.*\{%k\d\}")
APPLE = re.compile(r"(\w+)\.(\d*[bhsd]) (.*\bv\d.*)")  # writes `fmla.4s v0, v1, v2` for `fmla v0.4s, v1.4s, v2.4s`
BYTES = {"x": 16, "y": 32, "z": 64, None: 16}
ONE_ELEMENT = {"ss": 4, "sd": 8, "vmovd": 4, "vpbroadcastd": 4, "movd": 4}


@dataclass(frozen=True)
class Code:
    """An innermost loop, or a block of one: labels, instructions, and after ` # ` or ` // ` LLVM's remarks, as LLVM laid them out."""

    lines: tuple[str, ...]

    @cached_property
    def instructions(self) -> tuple[str, ...]:
        return tuple(COMMENT.split(line)[0] for line in self.lines if not BLOCK.match(line))

    def _count(self, pattern: re.Pattern[str]) -> int:
        return sum(bool(pattern.match(line)) for line in self.instructions)

    @cached_property
    def fmas(self) -> int:
        """Multiply-adds of whole vectors."""
        return self._count(FMA)

    @property
    def share(self) -> float:
        """The part of the instructions that multiply or add; SSE2 needs two for one multiply-add."""
        return (self.fmas + min(self._count(ADD), self.fmas)) / len(self.instructions)

    @property
    def registers(self) -> str:
        """What the multiply-adds work on: "zmm", "ymm", "xmm", or "v" on ARM; several if they differ."""
        found = (each for line in self.instructions if FMA.match(line) for each in VECTOR.finditer(line))
        return ", ".join(sorted({f"{each[1]}mm" if each[1] else "v" for each in found}))

    @property
    def distinct(self) -> int:
        """How many different vector registers the loop uses."""
        return len({re.sub(r"\D+", " ", each[0]).split()[0] for line in self.instructions for each in VECTOR.finditer(line)})

    @cached_property
    def spills(self) -> tuple[str, ...]:
        """Lines that write a vector to the stack or read one back: what the registers could not hold."""
        return tuple(line for line in self._stack() if VECTOR.search(line))

    @property
    def scalars(self) -> int:
        """How many times an address, a counter or a flag goes over the stack."""
        return sum(1 for _ in self._stack()) - len(self.spills)

    def _stack(self) -> Iterator[str]:
        return (line for line in self.lines if line.endswith(("Spill", "Reload")))

    @property
    def guarded(self) -> bool:
        """Whether it looks where the border is: it masks loads, selects addresses or branches."""
        return self._count(GUARD) > 0 or self._count(BRANCH) > 1

    @property
    def blocks(self) -> list[Code]:
        """Its basic blocks, as far as they multiply and add."""
        starts = [at for at, line in enumerate(self.lines) if BLOCK.match(line)]
        found = (Code(self.lines[begin:end]) for begin, end in zip(starts, [*starts[1:], len(self.lines)]))
        return [block for block in found if block.fmas]

    @property
    def loads(self) -> Counter[int]:
        """How many loads of how many bytes go to vector registers; a splat is one element."""
        found: Counter[int] = Counter()
        for line in self.instructions:
            for size in _loaded(line):
                found[size] += 1
        return found

    @property
    def counts(self) -> Counter[str]:
        return Counter(line.split()[0] for line in self.instructions)


def _loaded(line: str) -> list[int]:
    """The sizes of the vector loads that an instruction makes."""
    name, _, operands = line.partition(" ")
    if name.startswith(("ld1", "ldr ", "ldr", "ldp")):  # ARM
        one = re.search(r"\b(?:s\d+|v\d+\.s\b|v\d+\.4s)", operands) if name.startswith("ld1") else re.match(r"s\d+", operands)
        whole = re.findall(r"\bq\d+", operands)
        return [4] if one else [8] if re.search(r"\b(?:d\d+|v\d+\.d\b|v\d+\.2d)", operands) else [16] * len(whole)
    if "{1to" in operands:  # an operand in memory that is one element, splat on the way
        return [8 if name.endswith("pd") else 4]
    vector = VECTOR.search(operands)
    if vector is None or "(" not in operands or operands.endswith(")"):  # no vector, no memory, or a store
        return []
    return [next((size for end, size in ONE_ELEMENT.items() if name.endswith(end)), BYTES[vector[1]])]


def _blocks(text: str) -> Iterator[tuple[str, bool, list[str]]]:
    """Each basic block with the header of the innermost loop around it ("" for none) and whether it is itself the header of an innermost loop."""
    lines: list[str] = []
    for raw in [*text.splitlines(), ".LBB0_0:"]:
        line = " ".join(raw.split())
        apple = APPLE.match(line)
        if apple:
            line = f"{apple[1]} " + re.sub(r"\bv\d+", rf"\g<0>.{apple[2]}", apple[3])
        if BLOCK.match(line):
            if lines:
                yield (*_nesting(lines), lines)
            lines = [line]
        elif lines:
            lines.append(line)


def _nesting(lines: list[str]) -> tuple[str, bool]:
    label = BLOCK.match(lines[0])
    assert label is not None
    for line in lines:
        found = NESTING.search(line)
        if found:
            return (found[1], False) if found[1] else (label[1] or "", bool(found[2]))
        if not COMMENT.match(line) and not BLOCK.match(line):
            break
    return "", False


def hot_loops(text: str) -> list[Code]:
    """The innermost loops with multiply-adds of vectors, in the order of LLVM's verbose assembly."""
    blocks = list(_blocks(text))
    inner: dict[str, list[str]] = {header: [] for header, innermost, _ in blocks if innermost}
    for header, _, lines in blocks:  # not all of a loop's blocks follow its header
        if header in inner:
            inner[header] += (line for line in lines if BLOCK.match(line) or not (COMMENT.match(line) or line.startswith(".") or not line))
    loops = (Code(tuple(lines)) for lines in inner.values())
    return [loop for loop in loops if loop.fmas]


def _plain(loops: list[Code]) -> list[Code]:
    return [block for loop in loops if not loop.guarded and len(loop.blocks) == 1 for block in loop.blocks]


def _written_out(loops: list[Code]) -> list[Code]:
    """The largest block, unguarded if there is one, unless it is a plain loop."""
    blocks = [block for loop in loops for block in loop.blocks]
    largest = max(blocks, key=lambda block: (not block.guarded, block.fmas), default=None)
    return [] if largest is None or any(block.fmas >= largest.fmas for block in _plain(loops)) else [largest]


def interior(loops: list[Code]) -> list[Code]:
    """The code that runs away from the border: loops of one unguarded block, and the largest unguarded block of all if it is none of them; if
    everything is guarded, the largest block."""
    return _plain(loops) + _written_out(loops)


def main_tiles(loops: list[Code]) -> list[Code]:
    """Of `interior`, what does most of the work: not the narrower tiles for what is left over. A kernel that does two things has two."""
    plain = _plain(loops)
    most = max((code.fmas for code in plain), default=0)
    widest = max((code.registers for code in plain if code.fmas == most), default="")
    return [code for code in plain if 2 * code.fmas > most and code.registers == widest] + _written_out(loops)
