"""What is to be done about one path: a pure function from the facts that are known to the next action.

`decide` performs no I/O. A worker (`facewatchd.indexing.path_examiner`) starts with what the catalog records of the
path, asks `decide` for an action, and carries it out. Actions are of two kinds:

- those in `GATHERING` add a fact that costs a query, a lock or a read, after which `decide` is asked again;
- all others end the examination.

So nothing is gathered that the decision does not need: an equal stamp needs no read, a known digest no inference.

The rules, in the order in which they are applied:

1. A path that is left alone (excluded, or in no watched directory) has no record.
2. A path that cannot be looked at (EACCES, EIO, ...) keeps its record.
3. A recorded path with nothing there is forgotten if `may_forget` says that its disk is in its place. Otherwise a walk
   decides: of the nearest directory that exists, or of the root if that is not the directory of its last good walk.
4. A directory has no record. It is walked, unless it is reached by a symbolic link.
5. At `Depth.STAMP` a file whose stamp is the recorded one is left as it is.
6. At `Depth.STAMP` a file with the stamp of another recorded file, or of one that is gone, has the content of that one
   (`facewatchd.indexing.digest_lookup`).
7. All else is read, which gives the digest. Of a file with several hard links one name is read and the others wait.
8. A file that is no photo by name and first bytes, or is one of our contact sheets, is recorded without content.
9. Below `Depth.FACES` a content that the catalog has is not embedded again. Of files with the same new content one is
   embedded and the others wait.
10. Below `Depth.FACES` a shared engine, where there is one, is asked for the content before it is embedded: another
   machine may have done that (`facewatchd.indexing.fetching`).

A lock (rules 7 and 9) makes out of date what was looked up before it: the action that takes it clears those facts, and
they are gathered once more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, auto

from facewatchd.indexing.in_flight import Digested
from facewatchd.photos.contents import Content
from facewatchd.scan.compare import is_unchanged
from facewatchd.scan.missing_disk import Surroundings, may_forget
from facewatchd.scan.seen import Absent, Directory, Excluded, File, Seen, Unreachable
from facewatchd.scan.work_queue import Depth, Item
from facewatchd.store.catalog import Outcome
from facewatchd.store.embedded import Embedded
from facewatchd.values import RootState, Stamp


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one path. None stands for a fact that was not gathered, where no other meaning is given."""

    item: Item
    recorded: Stamp | None = None
    """The stamp in the catalog; None: the path is not recorded."""
    seen: Seen | None = None
    """What was found at the path."""
    told: Stamp | None = None
    """The stamp with which another name of the file was found, where that is why this one is examined."""
    waited: Digested | None = None
    """What the file held when it began to wait for another; None: it did not wait."""
    digest_by_stamp: bytes | None = None
    """The digest of another file with the same stamp; empty where there is none."""
    has_file_lock: bool = False
    """Whether no other name of the same file is being read."""
    is_photo: bool | None = None
    """Whether name or first bytes are a photo's, and it is not one of our contact sheets."""
    content: Content | None = None
    """The open file with the digest of its bytes."""
    failure: Outcome | None = None
    """Why the file cannot be read."""
    is_known: bool | None = None
    """Whether the catalog has the content with this `digest`."""
    has_content_lock: bool = False
    """Whether no other file with this `digest` is being embedded."""
    is_asked: bool = True
    """Whether the shared engine was asked for the content, or there is none to ask."""
    fetched: Embedded | None = None
    """What another machine found on it; None also where none did."""

    @property
    def trusts_stamp(self) -> bool:
        """Whether an equal stamp means equal bytes."""
        return self.item.depth is Depth.STAMP

    @property
    def digested(self) -> Digested | None:
        """What the file held when it began to wait, if its stamp has not changed since."""
        if self.waited and self.trusts_stamp and isinstance(self.seen, File):
            return self.waited if self.seen.stamp.same_bytes(self.waited.stamp) else None
        return None

    @property
    def failed(self) -> Outcome | None:
        """Why the file cannot be read, or why an equal file that it waited for cannot be embedded."""
        return self.failure or (self.digested.failure if self.digested else None)

    @property
    def digest(self) -> bytes | None:
        """The digest of the bytes that are there now, as they were read now or before the wait."""
        if self.content:
            return self.content.digest
        return self.digested.digest if self.digested else None


class Action(Enum):
    """What is to be done next about a path."""

    LOOK = auto()
    """Look what is there (`Facts.seen`)."""
    FIND_DIGEST = auto()
    """Look for another file with the same stamp (`Facts.digest_by_stamp`)."""
    LOCK_FILE = auto()
    """Keep the other names of the file from being read, or wait for the one that is (`Facts.has_file_lock`)."""
    READ = auto()
    """See whether it is a photo, and digest it if it is (`Facts.is_photo`, and `Facts.content` or `Facts.failure`)."""
    FIND_CONTENT = auto()
    """See whether the catalog has the content (`Facts.is_known`)."""
    LOCK_CONTENT = auto()
    """Keep equal files from being embedded, or wait for the one that is (`Facts.has_content_lock`)."""
    FETCH = auto()
    """Ask the shared engine for the content (`Facts.is_asked` and `Facts.fetched`)."""

    NOTHING = auto()
    """The catalog says so already, or what is there cannot be seen."""
    FORGET = auto()
    """Delete the record."""
    WALK_BELOW = auto()
    """Walk the directory; delete the record of the path itself, if there is one."""
    WALK_AROUND = auto()
    """Walk the nearest directory that exists: the path may be on a disk that is away."""
    WALK_ROOT = auto()
    """Walk the watched directory: it is another one than at its last good walk."""
    RECORD_NO_PHOTO = auto()
    """Record the stamp alone."""
    RECORD_FAILURE = auto()
    """Record `Facts.failed`."""
    RECORD_CONTENT = auto()
    """Record `Facts.digest`, or `Facts.digest_by_stamp`, which the catalog has."""
    RECORD_FETCHED = auto()
    """Record `Facts.fetched`."""
    EMBED = auto()
    """Have `Facts.content` embedded, and record its faces."""


GATHERING = frozenset(
    {
        Action.LOOK,
        Action.FIND_DIGEST,
        Action.LOCK_FILE,
        Action.READ,
        Action.FIND_CONTENT,
        Action.LOCK_CONTENT,
        Action.FETCH,
    }
)
"""The actions after which `decide` is asked again."""


def decide(facts: Facts) -> Action:
    """Return the next action for a path. Pure: equal facts give the same action."""
    forget = Action.FORGET if facts.recorded else Action.NOTHING
    match facts.seen:
        case None:
            return Action.LOOK
        case Excluded():
            return forget
        case Unreachable():
            return Action.NOTHING
        case Absent(around):
            return _of_absent(facts.recorded, around)
        case Directory(is_link):
            return forget if is_link else Action.WALK_BELOW
        case File() as file:
            if facts.is_photo is False:
                return Action.RECORD_NO_PHOTO
            if facts.failed:
                return Action.RECORD_FAILURE
            return _of_known_digest(facts) if facts.digest else _of_file(facts, file)


def _of_absent(recorded: Stamp | None, around: Surroundings | None) -> Action:
    if recorded is None:
        return Action.NOTHING
    if may_forget(recorded, around):
        return Action.FORGET
    if around is None or around.state is not RootState.WATCHING:
        return Action.NOTHING
    return Action.WALK_AROUND if around.is_same else Action.WALK_ROOT


def _of_file(facts: Facts, file: File) -> Action:
    """Rules 5 to 7: whether the file must be read."""
    if is_unchanged(file.stamp, facts.recorded, facts.item.depth):
        return Action.NOTHING
    if facts.trusts_stamp and facts.digest_by_stamp is None:
        return Action.FIND_DIGEST
    if facts.trusts_stamp and facts.digest_by_stamp:
        return Action.RECORD_CONTENT
    if file.links > 1 and not facts.has_file_lock:
        return Action.LOCK_FILE
    return Action.READ


def _of_known_digest(facts: Facts) -> Action:
    """Rules 9 and 10: whether the content must be embedded."""
    if facts.item.depth < Depth.FACES:
        if facts.is_known is None:
            return Action.FIND_CONTENT
        if facts.is_known:
            return Action.RECORD_CONTENT
    if not facts.has_content_lock:
        return Action.LOCK_CONTENT
    if facts.item.depth < Depth.FACES:
        if not facts.is_asked:
            return Action.FETCH
        if facts.fetched:
            return Action.RECORD_FETCHED
    return Action.EMBED if facts.content else Action.READ


def inode_of_other_names(facts: Facts) -> int | None:
    """The inode whose other recorded names are to be examined as well; None where there are none to look for.

    An event tells of one name of a file, while the stamp of all its hard links has changed.
    """
    match facts.seen:
        case File(stamp, links):
            is_told = stamp.same_bytes(facts.recorded) or stamp.same_bytes(facts.told)
            return stamp.inode if links > 1 and not is_told else None
        case Absent() | Unreachable() if facts.recorded is None:
            return _nameless_inode(facts.item.path)
        case Absent() if facts.recorded and decide(facts) is Action.FORGET:
            return facts.recorded.inode
    return None


def _nameless_inode(path: bytes) -> int | None:
    """The inode in a name of the form ``#INODE``.

    The kernel reports events of a file that was opened with O_TMPFILE under such a name, also once it has a real one.
    """
    name = os.path.basename(path)
    return int(name[1:]) if name[:1] == b"#" and name[1:].isdigit() and len(name) < 20 else None
