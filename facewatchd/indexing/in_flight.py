"""Which files are being read and which new contents embedded, and which paths wait for the outcome."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import NamedTuple

from facewatchd.scan.work_queue import Depth, Item
from facewatchd.store.catalog import Outcome
from facewatchd.values import Stamp


class Digested(NamedTuple):
    """What a path held when it was read."""

    stamp: Stamp
    digest: bytes
    failure: Outcome | None = None
    """What was recorded of another file with the same bytes, where these cannot be embedded."""


class InFlight:
    """What is claimed is a file, by the numbers of its stamp, or a content, by its digest. Any thread may ask.

    A path holds what it claims until it is released, also while it waits for another claim.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[Hashable, bytes] = {}
        self._held: dict[bytes, list[Hashable]] = {}
        self._waiting: dict[Hashable, list[Item]] = {}
        self._digested: dict[bytes, Digested] = {}
        """Of paths that wait, or waited and have yet to be looked at again."""

    def claim(self, key: Hashable, item: Item, stamp: Stamp | None = None) -> bool:
        """Claim a file or a content, or line up behind the path that holds it (False).

        With a ``stamp`` the key is a digest, which is kept for the path while it waits.
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
        """What a path that waited held; it is told once."""
        with self._lock:
            return self._digested.pop(path, None)

    def release(self, path: bytes, outcome: Outcome | None = None) -> list[Item]:
        """Give up what a path holds; return those that waited for it, as they are to be looked at now.

        ``outcome``: what was recorded of the path. What it says of the bytes counts for those that waited with the
        same ones, whatever they were to be looked at for.
        """
        with self._lock:
            waited = [item for key in self._held.pop(path, ()) for item in self._let_go(key)]
            return [self._after(item, outcome) for item in waited]

    def _let_go(self, key: Hashable) -> list[Item]:
        del self._holders[key]
        return self._waiting.pop(key, [])

    def _after(self, item: Item, outcome: Outcome | None) -> Item:
        """What is left to be done of an item that waited."""
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
