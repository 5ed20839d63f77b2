"""Has contents embedded by the inference processes, and separates a photo's own failures from those that may pass."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from facewatchd.errors import FacewatchError, ModelError, UnsupportedPhotoError
from facewatchd.indexing.backoff import Backoff, RetryError
from facewatchd.indexing.counters import Counters
from facewatchd.inference.failures import ClosedError, NoModelError, SetbackError
from facewatchd.inference.hedge import Hedge
from facewatchd.inference.wire import Analysis
from facewatchd.photos.contents import Content
from facewatchd.photos.files import DiskError
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.text import printable
from facewatchd.values import Stamp

log = logging.getLogger(__name__)

WAITS = (
    "other programs use the processors, and indexing takes what they leave; `idle_priority = false` under "
    "`[resources]` of the configuration gives it a share like theirs"
)

WAITS_BRIEFLY = "other programs use the processors (see idle_priority)"


def outcome(path: bytes, stamp: Stamp | None, digest: bytes, seen: Analysis) -> Outcome:
    """Return what records that a file has this content, on which a process found this. An empty path: no file has."""
    return Outcome(
        path,
        stamp,
        digest,
        seen.width,
        seen.height,
        seen.faces,
        worth=seen.worth,
        taken=seen.taken,
        picture=seen.picture,
    )


class Embedder:
    """Any thread may call."""

    def __init__(
        self,
        gallery: Gallery,
        inference: Hedge,
        backoff: Backoff,
        counters: Counters,
        took: Callable[[float], object],
    ) -> None:
        """``took`` is called with the seconds that it took to embed a content."""
        self._gallery = gallery
        self._inference = inference
        self._backoff = backoff
        self._counters = counters
        self._took = took
        self.trouble = ""
        """Why nothing can be embedded; empty when all is well."""

    def embed(self, path: bytes, stamp: Stamp, content: Content) -> Outcome:
        """Return what is to be recorded of a file with this open content: its faces, or why it cannot be embedded.

        Raises `RetryError` where a later try may succeed, `ChangedWhileReadError` where the file was written to
        meanwhile, `NoModelError`, and `ClosedError` when the daemon ends.
        """
        began = time.monotonic()
        try:
            seen = self._inference.analyse(content.descriptor, alone=self._backoff.is_set_back(path))
        except NoModelError as exc:
            self._note_trouble(str(exc))
            raise
        except ClosedError:
            raise
        except DiskError as exc:
            self.try_again(path, exc)
            return Outcome(path, stamp, error=exc.message)
        except FacewatchError as exc:
            self._note_trouble("")
            return self._failure(path, stamp, content, exc)
        self._note_trouble("")
        self._took(time.monotonic() - began)
        content.confirm()
        self._counters.count("embedded")
        self._gallery.keep_thumbnails(content.digest, seen.faces, seen.thumbnails)
        return outcome(path, stamp, content.digest, seen)

    def _failure(self, path: bytes, stamp: Stamp, content: Content, error: FacewatchError) -> Outcome:
        if isinstance(error, SetbackError):
            delay = self._backoff.set_back(path, error.message, counts=error.counts)
            if delay is not None:
                raise RetryError(delay) from error
        content.confirm()
        if isinstance(error, ModelError):
            self.try_again(path, error)
        log.warning("%s: %s", printable(path), error.message)
        unsupported = isinstance(error, UnsupportedPhotoError)
        return Outcome(path, stamp, content.digest, error=error.message, unsupported=unsupported)

    def try_again(self, path: bytes, cause: FacewatchError) -> None:
        """Raise `RetryError`; return after the last try."""
        delay = self._backoff.try_again(path)
        if delay is not None:
            raise RetryError(delay) from cause

    def waits(self) -> str:
        """What keeps photos waiting though nothing is wrong, and what changes that; empty where nothing does."""
        return WAITS if self._inference.waits() else ""

    def waits_briefly(self) -> str:
        """The same, in a few words."""
        return WAITS_BRIEFLY if self._inference.waits() else ""

    def close(self, grace: float) -> None:
        """Give what is being embedded ``grace`` seconds to end, and refuse all else with `ClosedError`."""
        self._inference.close(grace)

    def _note_trouble(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.error("%s", trouble)
        self.trouble = trouble
