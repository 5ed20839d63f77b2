"""Duplicate suppression: of several paths with one file or one new content, one is worked on while the others wait.

A path *claims* a file, by the numbers of its stamp, before it is read under one of several hard links, and a content,
by its digest, before it is embedded. A second path that claims the same waits until the first is released, and is then
examined with what became of that: as a rule the content is known by then.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import NamedTuple

from facewatchd.scan.work_queue import Depth, Item
from facewatchd.store.catalog import Outcome
from facewatchd.values import Stamp


class Digested(NamedTuple):
    """What a path held when it was read, before it waited."""

    stamp: Stamp
    digest: bytes
    failure: Outcome | None = None
    """What was recorded of an equal file, if that could not be embedded."""


class InFlight:
    """The claims of all paths. Any thread may call.

    A path keeps what it has claimed until it is released, also while it waits for another claim. No two paths can wait
    for each other, as each claims its file first and then a content.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[Hashable, bytes] = {}
        self._held: dict[bytes, list[Hashable]] = {}
        self._waiting: dict[Hashable, list[Item]] = {}
        self._digested: dict[bytes, Digested] = {}
        """Of paths that wait, or that waited and are not examined again yet."""

    def claim(self, key: Hashable, item: Item, stamp: Stamp | None = None) -> bool:
        """Claim a file or a content; False: another path has it, and the item waits for that.

        ``stamp``: that of the file whose digest is the key. Both are kept for the path while it waits (`digested`).
        """
        with self._lock:
            holder = self._holders.setdefault(key, item.path)
            if holder == item.path:
                if key not in self._held.setdefault(item.path, []):
                    self._held[item.path].append(key)
                return True
            if stamp is not None and isinstance(key, bytes):
                self._digested[item.path] = Digested(stamp, key)
            self._waiting.setdefault(key, []).append(item)
            return False

    def digested(self, path: bytes) -> Digested | None:
        """What a path held that waited; returned once."""
        with self._lock:
            return self._digested.pop(path, None)

    def release(self, path: bytes, outcome: Outcome | None = None) -> list[Item]:
        """Give up the claims of a path; return the items that waited for them, with the depth that is left to be done.

        ``outcome``: what was recorded of the path. It also holds for items that waited with the same bytes, at any
        depth.
        """
        with self._lock:
            waited = [item for key in self._held.pop(path, ()) for item in self._let_go(key)]
            return [self._after(item, outcome) for item in waited]

    def _let_go(self, key: Hashable) -> list[Item]:
        del self._holders[key]
        return self._waiting.pop(key, [])

    def _after(self, item: Item, outcome: Outcome | None) -> Item:
        """The item with the depth that is left to be done after the outcome of another."""
        digested = self._digested.get(item.path)
        if digested is None:
            return item
        same = outcome is not None and outcome.digest == digested.digest
        if same and outcome is not None and outcome.error is not None:
            self._digested[item.path] = digested._replace(failure=outcome)
        elif item.depth is Depth.FACES and not (same and outcome is not None and outcome.faces is not None):
            del self._digested[item.path]
            return item
        return Item(item.path, Depth.STAMP)
