"""What is to be done about one path: every rule as a table, and what holds whatever the facts are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.indexing.examine import GATHERING, Action, Facts, decide, inode_of_other_names
from facewatchd.indexing.in_flight import Digested
from facewatchd.photos.contents import Content
from facewatchd.scan.missing_disk import Surroundings
from facewatchd.scan.seen import Absent, Directory, Excluded, File, Seen, Unreachable
from facewatchd.scan.work_queue import Depth, Item
from facewatchd.store.catalog import Outcome
from facewatchd.store.embedded import Embedded
from facewatchd.values import RootState, Stamp

NOW = Stamp(1, 5, 100, 7, 7)
OLD = Stamp(1, 5, 90, 6, 6)
ALONE, LINKED = File(NOW, 1), File(NOW, 2)
DIGEST = b"d" * 32
READ = Content(-1, NOW, DIGEST, is_fresh=False)
FAILURE = Outcome(b"/r/other", NOW, DIGEST, error="damaged")
THERE = Surroundings(b"/r", RootState.WATCHING, is_same=True, device=1)


def item(depth: Depth = Depth.STAMP) -> Item:
    return Item(b"/r/a.jpg", depth)


NEW = Facts(item(), seen=ALONE)
"""A file that is not recorded."""
TO_EMBED = replace(NEW, content=READ, has_content_lock=True, is_known=False)
FETCHED = Embedded(DIGEST, 640, 480, 0, None, True, None, [])


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        # 1: what is left alone
        (Facts(item()), Action.LOOK),
        (Facts(item(), seen=Excluded()), Action.NOTHING),
        (Facts(item(), OLD, seen=Excluded()), Action.FORGET),
        # 2: what cannot be looked at
        (Facts(item(), OLD, seen=Unreachable()), Action.NOTHING),
        (Facts(item(), seen=Unreachable()), Action.NOTHING),
        # 3: what is not there
        (Facts(item(), seen=Absent(None)), Action.NOTHING),
        (Facts(item(), OLD, seen=Absent(None)), Action.FORGET),
        (Facts(item(), OLD, seen=Absent(THERE)), Action.FORGET),
        (Facts(item(), OLD, seen=Absent(THERE._replace(state=None))), Action.FORGET),
        (Facts(item(), OLD, seen=Absent(THERE._replace(device=2))), Action.WALK_AROUND),
        (Facts(item(), OLD, seen=Absent(THERE._replace(device=2, state=None))), Action.NOTHING),
        (Facts(item(), OLD, seen=Absent(THERE._replace(is_same=False))), Action.WALK_ROOT),
        (Facts(item(), OLD, seen=Absent(THERE._replace(state=RootState.OFFLINE))), Action.NOTHING),
        (Facts(item(), OLD, seen=Absent(THERE._replace(state=RootState.UNREADABLE))), Action.NOTHING),
        # 4: directories
        (Facts(item(), seen=Directory(is_link=False)), Action.WALK_BELOW),
        (Facts(item(), OLD, seen=Directory(is_link=False)), Action.WALK_BELOW),
        (Facts(item(), seen=Directory(is_link=True)), Action.NOTHING),
        (Facts(item(), OLD, seen=Directory(is_link=True)), Action.FORGET),
        # 5: the stamp
        (Facts(item(), NOW, seen=ALONE), Action.NOTHING),
        (Facts(item(), NOW._replace(device=9), seen=ALONE), Action.NOTHING),
        (Facts(item(), OLD, seen=ALONE), Action.FIND_DIGEST),
        (Facts(item(Depth.BYTES), NOW, seen=ALONE), Action.READ),
        (Facts(item(Depth.FACES), NOW, seen=ALONE), Action.READ),
        # 6: another file with the same stamp
        (NEW, Action.FIND_DIGEST),
        (replace(NEW, digest_by_stamp=DIGEST), Action.RECORD_CONTENT),
        (replace(NEW, digest_by_stamp=b""), Action.READ),
        (replace(NEW, item=item(Depth.BYTES), digest_by_stamp=DIGEST), Action.READ),
        # 7: reading
        (replace(NEW, digest_by_stamp=b"", seen=LINKED), Action.LOCK_FILE),
        (replace(NEW, seen=LINKED, has_file_lock=True), Action.FIND_DIGEST),
        (replace(NEW, digest_by_stamp=b"", seen=LINKED, has_file_lock=True), Action.READ),
        # 8: what was read is no photo, or cannot be read
        (replace(NEW, digest_by_stamp=b"", is_photo=False), Action.RECORD_NO_PHOTO),
        (replace(NEW, waited=Digested(NOW, DIGEST), is_photo=False), Action.RECORD_NO_PHOTO),
        (replace(NEW, failure=Outcome(b"/r/a.jpg", NOW, error="empty")), Action.RECORD_FAILURE),
        # 9: embedding
        (replace(NEW, content=READ), Action.FIND_CONTENT),
        (replace(NEW, content=READ, is_known=True), Action.RECORD_CONTENT),
        (replace(NEW, content=READ, is_known=False), Action.LOCK_CONTENT),
        (replace(NEW, content=READ, has_content_lock=True), Action.FIND_CONTENT),
        (replace(NEW, content=READ, has_content_lock=True, is_known=True), Action.RECORD_CONTENT),
        (replace(NEW, content=READ, has_content_lock=True, is_known=False), Action.EMBED),
        (replace(NEW, item=item(Depth.FACES), content=READ, is_known=True), Action.LOCK_CONTENT),
        (replace(NEW, item=item(Depth.FACES), content=READ, has_content_lock=True), Action.EMBED),
        # after a wait for an equal file
        (replace(NEW, waited=Digested(NOW, DIGEST)), Action.FIND_CONTENT),
        (replace(NEW, waited=Digested(NOW, DIGEST), recorded=NOW), Action.FIND_CONTENT),
        (replace(NEW, waited=Digested(NOW, DIGEST), is_known=True), Action.RECORD_CONTENT),
        (replace(NEW, waited=Digested(NOW, DIGEST), is_known=False), Action.LOCK_CONTENT),
        (replace(NEW, waited=Digested(NOW, DIGEST), is_known=False, has_content_lock=True), Action.READ),
        (replace(NEW, waited=Digested(NOW, DIGEST, FAILURE)), Action.RECORD_FAILURE),
        (replace(NEW, waited=Digested(OLD, DIGEST, FAILURE)), Action.FIND_DIGEST),
        (replace(NEW, waited=Digested(NOW, DIGEST), item=item(Depth.FACES)), Action.READ),
        # 10: what another machine found
        (replace(NEW, content=READ, is_known=False, is_asked=False), Action.LOCK_CONTENT),
        (replace(TO_EMBED, is_asked=False), Action.FETCH),
        (replace(TO_EMBED, item=item(Depth.BYTES), is_asked=False), Action.FETCH),
        (replace(TO_EMBED, item=item(Depth.FACES), is_asked=False), Action.EMBED),
        (replace(TO_EMBED, is_known=True, is_asked=False), Action.RECORD_CONTENT),
        (replace(TO_EMBED, fetched=FETCHED), Action.RECORD_FETCHED),
        (replace(TO_EMBED, content=None, waited=Digested(NOW, DIGEST), is_asked=False), Action.FETCH),
        (replace(TO_EMBED, content=None, waited=Digested(NOW, DIGEST), fetched=FETCHED), Action.RECORD_FETCHED),
        (replace(TO_EMBED, content=None, waited=Digested(NOW, DIGEST)), Action.READ),
    ],
)
def test_the_rules(facts: Facts, action: Action) -> None:
    assert decide(facts) is action


SURROUNDINGS = [
    None,
    *itertools.starmap(
        Surroundings,
        itertools.product(
            [b"/r"], [None, RootState.WATCHING, RootState.OFFLINE, RootState.UNREADABLE], [False, True], [1, 2]
        ),
    ),
]
SEEN = [None, Excluded(), Unreachable(), Directory(False), Directory(True), ALONE, LINKED, *map(Absent, SURROUNDINGS)]


def every_fact() -> Iterator[Facts]:
    """Every combination of facts, 60,480; and with each of them an engine that is to be asked, or found something."""
    for facts in _every_local_fact():
        yield facts
        if facts.has_content_lock:
            yield replace(facts, is_asked=False)
            yield replace(facts, fetched=FETCHED)


def _every_local_fact() -> Iterator[Facts]:
    yield from itertools.starmap(
        Facts,
        itertools.product(
            map(item, Depth),
            [None, NOW, OLD],
            SEEN,
            [None],
            [None, Digested(NOW, DIGEST), Digested(OLD, DIGEST), Digested(NOW, DIGEST, FAILURE)],
            [None, b"", DIGEST],
            [False, True],
            [None, False, True],
            [None, READ],
            [None],
            [None, False, True],
            [False, True],
        ),
    )


def is_reached(around: Surroundings | None) -> bool:
    return around is None or (around.is_same and around.device == 1 and around.state in (None, RootState.WATCHING))


def check(facts: Facts, action: Action) -> None:
    """What holds for each decision."""
    seen, depth = facts.seen, facts.item.depth
    if action is Action.FORGET:
        assert facts.recorded
        assert seen in (Excluded(), Directory(is_link=True)) or (isinstance(seen, Absent) and is_reached(seen.around))
    if action in (Action.WALK_AROUND, Action.WALK_ROOT):
        assert isinstance(seen, Absent)
        assert seen.around
        assert seen.around.state is RootState.WATCHING
    if action is Action.READ or action.name.startswith(("RECORD", "EMBED")):
        assert isinstance(seen, File), "only a file is read or recorded"
    if depth is Depth.STAMP and isinstance(seen, File) and seen.stamp == facts.recorded and not facts.content:
        assert facts.waited or action is Action.NOTHING or facts.is_photo is False, "an equal stamp needs no read"
    if action is Action.READ:
        assert not facts.content
        assert facts.is_photo is not False
    if action is Action.RECORD_CONTENT:
        assert facts.digest or facts.digest_by_stamp
        assert depth < Depth.FACES, "what is to be embedded again is not taken for known"
    if action is Action.EMBED:
        assert facts.content
        assert facts.has_content_lock
        assert depth is Depth.FACES or facts.is_known is False, "a known content is not embedded"
    if action in (Action.FETCH, Action.RECORD_FETCHED):
        assert facts.has_content_lock
        assert facts.is_known is False, "a known content is not asked for"
        assert depth < Depth.FACES, "what is to be embedded again is not taken from others"
    if depth is Depth.BYTES and action is Action.RECORD_CONTENT:
        assert facts.content, "a file that was written to is read, whatever its stamp"


def test_what_holds_for_every_combination_of_facts() -> None:
    taken = set()
    for facts in every_fact():
        action = decide(facts)
        check(facts, action)
        taken.add(action)
    assert taken == set(Action), "each action is the answer to some facts"


FOUND = st.sampled_from(SEEN[1:])


@given(
    seen=FOUND,
    depth=st.sampled_from(list(Depth)),
    recorded=st.sampled_from([None, NOW, OLD]),
    waited=st.sampled_from([None, Digested(NOW, DIGEST), Digested(OLD, DIGEST), Digested(NOW, DIGEST, FAILURE)]),
    is_photo=st.booleans(),
    is_readable=st.booleans(),
    answers=st.lists(st.sampled_from([b"", DIGEST]), min_size=2, max_size=2),
    known=st.lists(st.booleans(), min_size=2, max_size=2),
    has_engine=st.booleans(),
    fetched=st.sampled_from([None, FETCHED]),
)
def test_it_ends_and_gathers_nothing_twice_but_after_a_lock(
    seen: Seen,
    depth: Depth,
    recorded: Stamp | None,
    waited: Digested | None,
    is_photo: bool,
    is_readable: bool,
    answers: list[bytes],
    known: list[bool],
    has_engine: bool,
    fetched: Embedded | None,
) -> None:
    """The other side of the conversation: each action is answered by some world, which may change while one waits."""
    facts = Facts(item(depth), recorded, waited=waited, is_asked=not has_engine)
    actions: list[Action] = []
    while (action := decide(facts)) in GATHERING:
        actions.append(action)
        check(facts, action)
        found: dict[Action, dict[str, Any]] = {
            Action.LOOK: {"seen": seen},
            Action.FIND_DIGEST: {"digest_by_stamp": answers[facts.has_file_lock]},
            Action.LOCK_FILE: {"has_file_lock": True, "digest_by_stamp": None},
            Action.READ: {"is_photo": is_photo}
            | ({} if not is_photo else {"content": READ} if is_readable else {"failure": FAILURE}),
            Action.FIND_CONTENT: {"is_known": known[facts.has_content_lock]},
            Action.LOCK_CONTENT: {"has_content_lock": True, "is_known": None},
            Action.FETCH: {"is_asked": True, "fetched": fetched},
        }
        facts = replace(facts, **found[action])
    check(facts, action)
    for each in GATHERING:
        most = 2 if each in (Action.FIND_DIGEST, Action.FIND_CONTENT) else 1
        assert actions.count(each) <= most, actions
    if recorded == NOW and depth is Depth.STAMP and not waited:
        assert Action.READ not in actions
    assert has_engine or Action.FETCH not in actions
    if Action.FETCH in actions and fetched:
        assert action is Action.RECORD_FETCHED
    if isinstance(seen, Absent) and not is_reached(seen.around):
        assert action is not Action.FORGET


@pytest.mark.parametrize(
    ("facts", "inode"),
    [
        (Facts(item(), seen=LINKED), 5),
        (Facts(item(), OLD, seen=LINKED), 5),
        (Facts(item(), NOW, seen=LINKED), None),
        (Facts(item(), OLD, seen=LINKED, told=NOW), None),
        (Facts(item(), OLD, seen=LINKED, told=OLD), 5),
        (Facts(item(), OLD, seen=ALONE), None),
        (Facts(item(), OLD, seen=Absent(THERE)), 5),
        (Facts(item(), OLD, seen=Absent(THERE._replace(device=2))), None),
        (Facts(item(), OLD, seen=Unreachable()), None),
        (Facts(item(), seen=Absent(None)), None),
        (Facts(Item(b"/r/#77", Depth.STAMP), seen=Absent(None)), 77),
        (Facts(Item(b"/r/#77", Depth.STAMP), seen=Unreachable()), 77),
        (Facts(Item(b"/r/#77x", Depth.STAMP), seen=Absent(None)), None),
        (Facts(item(), seen=Directory(is_link=False)), None),
    ],
)
def test_which_other_names_of_a_file_are_examined_as_well(facts: Facts, inode: int | None) -> None:
    assert inode_of_other_names(facts) == inode
