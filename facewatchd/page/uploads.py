"""Photos that a browser sent, kept in memory by a random id until others take their place or the process ends.

Only while an answer to one is saved as an album is it a file, in a private temporary directory (`page.album`).
"""

from __future__ import annotations

import base64
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

MOST = 32
"""Photos."""
MOST_BYTES = 256 << 20
"""Bytes of them together."""


@dataclass(slots=True)
class Upload:
    """A photo that was sent, with what is known of it."""

    data: bytes
    name: str
    """Of the file, as the browser gave it."""
    faces: list[dict[str, Any]]
    """As ``faces`` returns them."""
    width: int
    height: int
    pictures: dict[int, bytes] = field(default_factory=dict)
    """The whole photo as JPEG, by the size that was asked for."""
    said: int = 0
    """The `Uploads.said` that the names of the faces are from."""

    def encoded(self) -> str:
        """Return the bytes for a request."""
        return base64.b64encode(self.data).decode("ascii")


class Uploads:
    """For one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self.said = 0
        """How often something was said of people: faces of photos that were sent may have other names since."""

    def keep(self, upload: Upload) -> str:
        """Keep a photo, and return its id; those that were not used for longest go."""
        key = secrets.token_urlsafe(16)
        self._kept[key] = upload
        upload.said = self.said
        while len(self._kept) > MOST or (
            len(self._kept) > 1 and sum(len(each.data) for each in self._kept.values()) > MOST_BYTES
        ):
            self._kept.popitem(last=False)
        return key

    def get(self, key: str) -> Upload | None:
        """Return a photo by its id; None where it is not kept any more."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)
