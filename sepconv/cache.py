"""A bounded dictionary that threads may share. Plans and calls are kept in such: ten thousand different shapes do not fill the memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


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
