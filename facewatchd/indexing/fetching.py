"""Takes over what another machine found on a photo with the same bytes, in place of embedding it here.

The shared engine is asked for a content when its digest is known and nothing else is: so a photo that another machine
has embedded costs a read and no inference. Whatever goes wrong, the content is embedded as if nobody had been asked.

**It must pay.** An answer takes a round trip, and most libraries hold photos that no other machine has. Means of the
last contents, some 16 of them, say what an answer takes, what embedding takes, and how often an answer brings
something. The engine is asked while that saves time on the average (`Means.is_worth_it`). Otherwise it is asked so
rarely that the answers take a twentieth of the time of one worker, which is how it is found that it pays again. An
engine that gives no answer is left alone for at least `AFTER_FAILURE` seconds.

**One question at a time.** While one is on its way, the workers that come next gather, and the one after it is for all
of them: a slow engine is asked for more contents at once.

**What counts.** Boxes, sizes, numbers and embeddings were checked as those of a decoding process are
(`shared.forms.read_content`), and the embeddings are of the same model, for each model has tables of its own. Faces
that are smaller than ``min_size``, or score less than ``min_score``, of this machine are left out. Of the findings of
several machines the engine gives the one with most faces. What the settings of the only one left out cannot be known;
they count for its photos as earlier settings of this machine do for what was embedded under them, until `facewatchd
scan --force`. Where this machine is to find more than the usual settings find, it takes nothing over
(`Wanted.takes_over`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from facewatchd.errors import FacewatchError
from facewatchd.store.embedded import Embedded

log = logging.getLogger(__name__)

SECONDS = 1.0
"""For an answer, at most."""
AFTER_FAILURE = 5.0
"""Seconds without a question after one that was not answered."""
REST = 20.0
"""Times as long as an answer took the engine is left alone while it does not pay."""
MOST = 64
"""Contents of one question."""
_WEIGHT = 1 / 16
"""Of the newest number in a mean."""
_LEAST_EMBEDDING = 0.04
"""Seconds, until one was embedded: the least that a photo took with any pack. While every answer brings something, no
content is embedded, so a higher number would never be put right."""

Ask = Callable[[Sequence[bytes], float], Iterable[Embedded]]
"""Asks for contents by their digests within so many seconds, and returns those that some machine has."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which faces this machine is to find."""

    min_size: int
    min_score: float
    takes_over: bool
    """Whether the usual settings find no fewer faces than these."""

    def of(self, content: Embedded) -> Embedded:
        """A content with the faces that this machine would have kept."""
        faces = [face for face in content.faces if min(face.box.w, face.box.h) >= self.min_size]
        return replace(content, faces=[face for face in faces if face.score >= self.min_score])


@dataclass(slots=True)
class Means:
    """What answers and embedding take, in seconds a content, and the share of contents that an answer brings."""

    asking: float = 0.0
    embedding: float = _LEAST_EMBEDDING
    brought: float = 1.0

    @property
    def is_worth_it(self) -> bool:
        """Whether asking saves time on the average."""
        return self.brought * self.embedding >= self.asking

    def answered(self, seconds: float, asked: int, brought: int) -> None:
        """Note an answer, or that none came."""
        self.asking += _WEIGHT * (seconds / asked - self.asking)
        for number in range(asked):
            self.brought += _WEIGHT * ((number < brought) - self.brought)

    def embedded(self, seconds: float) -> None:
        """Note how long it took to embed a content."""
        self.embedding += _WEIGHT * (seconds - self.embedding)


@dataclass(slots=True)
class _Question:
    """Of one or more workers."""

    digests: list[bytes] = field(default_factory=list)
    found: dict[bytes, Embedded] = field(default_factory=dict)
    is_answered: bool = False


class Fetcher:
    """Any thread may call."""

    def __init__(self, ask: Ask, wanted: Wanted, clock: Callable[[], float] = time.monotonic) -> None:
        """``ask`` raises `FacewatchError` where the engine gives no answer."""
        self._ask = ask
        self._wanted = wanted
        self._clock = clock
        self._changed = threading.Condition()
        self._gathering = _Question()
        self._is_asking = False
        self._means = Means()
        self._rests_until = -1.0
        """Before then, the engine is not asked where that does not pay,"""
        self._silent_until = -1.0
        """or at all."""
        self._trouble = ""

    def find(self, digest: bytes) -> Embedded | None:
        """What another machine found on a content; None where the content is to be embedded."""
        with self._changed:
            if not self._is_due() or len(self._gathering.digests) >= MOST:
                return None
            question = self._gathering
            question.digests.append(digest)
            self._changed.wait_for(lambda: question is not self._gathering or not self._is_asking)
            if question is not self._gathering:  # another worker of those that gathered asks, or has asked
                self._changed.wait_for(lambda: question.is_answered)
                return question.found.get(digest)
            self._gathering, self._is_asking = _Question(), True
        try:
            self._answer(question)
        finally:
            with self._changed:
                self._is_asking, question.is_answered = False, True
                self._changed.notify_all()
        return question.found.get(digest)

    def embedded(self, seconds: float) -> None:
        """Note how long it took to embed a content."""
        with self._changed:
            self._means.embedded(seconds)

    def _is_due(self) -> bool:
        now = self._clock()
        if not self._wanted.takes_over or now < self._silent_until:
            return False
        return self._means.is_worth_it or (now >= self._rests_until and not self._is_asking)

    def _answer(self, question: _Question) -> None:
        began = self._clock()
        trouble = ""
        try:
            contents = list(self._ask(question.digests, SECONDS))
        except FacewatchError as exc:
            contents, trouble = [], exc.message
        except Exception as exc:  # whatever it is, the contents are embedded here
            log.exception("another machine's faces cannot be read")
            contents, trouble = [], f"internal error ({exc})"
        seconds = self._clock() - began
        asked = set(question.digests)
        question.found = {each.digest: self._wanted.of(each) for each in contents if each.digest in asked}
        with self._changed:
            self._means.answered(seconds, len(question.digests), len(question.found))
            self._rests_until = self._clock() + REST * seconds
            if trouble:
                self._silent_until = self._clock() + max(AFTER_FAILURE, REST * seconds)
        if trouble and not self._trouble:
            log.info("what other machines found is not asked for now: %s", trouble)
        self._trouble = trouble
