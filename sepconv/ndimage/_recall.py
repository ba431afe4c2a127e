"""Calls that are made again: what a filter ran is kept, by the values of its arguments and how its arrays lie, and run on other arrays like them."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from .. import dispatch, threads
from ..backends import filters
from ..cache import Cache, value

_made: Cache[tuple[Any, tuple[int, ...], np.dtype]] = Cache(512)
_tape: ContextVar[list[tuple[Any, Any, Any]] | None] = ContextVar("sepconv_ndimage_tape", default=None)
clear = _made.clear


def note(input: np.ndarray, output: np.ndarray, program: Any) -> None:
    """That the engine has run `program` from input to output, for the call that is being made."""
    tape = _tape.get()
    if tape is not None:
        tape.append((input, output, program))


def _lies(x: np.ndarray) -> tuple[Any, ...]:
    return x.shape, x.strides, x.dtype, x.flags.aligned


def _key(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: int) -> tuple[Any, Any] | None:
    """(key, the array to write or None); `place` is where `output` stands. None: the call is not one to keep."""
    if not args or type(args[0]) is not np.ndarray or not dispatch.ordinary():
        return None
    output = kwargs.get("output", args[place] if len(args) > place else None)
    target = output if type(output) is np.ndarray else None
    try:
        given = [_lies(each) if each is target and each is not None else value(each) for each in args[1:]]
        named = [(name, _lies(each) if each is target and each is not None else value(each)) for name, each in kwargs.items()]
    except TypeError:
        return None
    if target is not None and (not target.flags.writeable or np.may_share_memory(args[0], target)):
        return None
    exact, workers = filters.exact.get(), threads.get_num_threads()
    return (fn, dispatch.find(args[0]), exact, workers, _lies(args[0]), tuple(given), tuple(named)), target


def called(fn: Callable[..., Any], place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """fn(*args, **kwargs), from what a call before it has left if there is such."""
    asked = _key(fn, args, kwargs, place)
    if asked is None:
        return fn(*args, **kwargs)
    key, target = asked
    known = _made.get(key)
    if known is not None:
        program, shape, dtype = known
        y = np.empty(shape, dtype) if target is None else target
        if program(args[0], y):
            return y
    token = _tape.set([])
    try:
        made = fn(*args, **kwargs)
        tape = _tape.get()
    finally:
        _tape.reset(token)
    if tape and len(tape) == 1:
        x, y, program = tape[0]
        if program is not None and x is args[0] and y is made and (target is None or target is y):
            _made[key] = program, y.shape, y.dtype
    return made
