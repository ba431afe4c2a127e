"""A bounded dictionary that threads may share. Plans and calls are kept in such: ten thousand different shapes do not fill the memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import numpy as np

V = TypeVar("V")
BYTES = 2**15  # of an argument that is an array, beyond which a call is not kept


def value(given: Any) -> Any:
    """What stands for an argument in a key: equal numbers of different types (1, True, 1.0) must not meet there. TypeError: nothing does; the
    text of an object need not say all that it is, and its address may be another's later."""
    kind = type(given)
    if kind is int or kind is str or given is None or kind is bool:
        return kind, given
    if kind is float:
        return kind, given, str(given) if given == 0 else ""  # 0 and -0 are equal
    if kind is list or kind is tuple:
        return kind, *[value(each) for each in given]
    if isinstance(given, np.generic) or kind is np.ndarray:
        if given.nbytes <= BYTES and given.dtype.kind in "fiub":
            return kind, given.shape, given.dtype, given.tobytes()
    if isinstance(given, (type, np.dtype)):
        return given
    raise TypeError


class Cache(Generic[V]):
    """At most `size` entries; when it is full the older half goes. Reads take no lock: a dict's get and set are atomic."""

    def __init__(self, size: int) -> None:
        self.size, self._entries = size, dict[Hashable, V]()
        self.get = self._entries.get

    def __setitem__(self, key: Hashable, value: V) -> None:
        entries = self._entries
        if len(entries) >= self.size:
            for old in list(entries)[: self.size // 2]:
                entries.pop(old, None)
        entries[key] = value

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        self._entries.clear()
