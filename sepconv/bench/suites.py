"""What `run` can measure, a table: layers of networks and filters of images, each with its cases, its arrays and its libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import cases, image_libraries, images, libraries
from .libraries import Library


class Suite(NamedTuple):
    """`select(op, net, layers)` makes the cases, `arrays(case, epilogue)` their inputs; `ready` raises ImportError where something is missing."""

    what: str
    ops: tuple[str, ...]
    select: Callable[[Sequence[str] | None, Sequence[str] | None, Sequence[str] | None], list[Any]]
    arrays: Callable[[Any, str], Any]
    libraries: tuple[Library, ...]
    ready: Callable[[], Any] = lambda: None


LAYERS = Suite("layers", cases.OPS, cases.select, cases.Arrays, libraries.LIBRARIES)
IMAGES = Suite("images", images.OPS, images.select, images.Arrays, image_libraries.LIBRARIES, lambda: images.photograph((2, 2), 1))


def of(op: Sequence[str] | None, layout: str, epilogue: str) -> Suite:
    """The suite that these operations are of; layers if none is named. ValueError for some of each, and for options that images do not have."""
    known = {name: suite for suite in (LAYERS, IMAGES) for name in suite.ops}
    wrong = [name for name in op or () if name not in known]
    if wrong:
        raise ValueError(f"op is {wrong[0]!r}; allowed are {', '.join(LAYERS.ops)}, or of images {', '.join(IMAGES.ops)}")
    found = {known[name].what: known[name] for name in op or ()} or {"layers": LAYERS}
    if len(found) > 1:
        raise ValueError(f"op is {' '.join(op or ())}: filters of images and layers of networks are measured in runs of their own")
    (suite,) = found.values()
    if suite is IMAGES:
        for name, value, only in (("layout", layout, "both"), ("epilogue", epilogue, "none")):
            if value != only:
                raise ValueError(f"{name} is {value!r}, which filters of images do not have")
    return suite
