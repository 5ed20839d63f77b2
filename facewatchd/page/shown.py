"""Which photos a button is about that says they were seen: those that were shown, not those that came since."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence

MOST = 50
"""Buttons whose photos are known. Those of one are digests in hexadecimal: some 100 bytes a photo."""


class Shown:
    """The photos that the last buttons are about, by the word in the form. For one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Sequence[str]] = OrderedDict()

    def keep(self, photos: Sequence[str]) -> str:
        """Keep some photos, and return the word for them; those that were kept first go."""
        word = secrets.token_urlsafe(12)
        self._kept[word] = photos
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return word

    def get(self, word: str) -> Sequence[str] | None:
        """Return the photos of a word; None where they are not kept any more."""
        return self._kept.get(word)
