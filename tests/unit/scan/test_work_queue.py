"""The queue of paths: coalescing, settling, order, barriers. Time is a number that the tests move."""

from __future__ import annotations

import threading
from queue import Queue

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facewatchd.scan import work_queue
from facewatchd.scan.work_queue import SLICE, Barrier, Depth, Item, WorkQueue


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(settle=1.0, cap=10.0, clock=clock)


def taken(queue: WorkQueue, limit: int = 100) -> list[bytes]:
    return [item.path for item in queue.take(limit, timeout=0)]


def test_a_path_is_ready_once_it_settled(queue: WorkQueue, clock: Clock) -> None:
    queue.touch(b"/a")
    assert taken(queue) == []
    clock.now += 0.9
    queue.touch(b"/a")
    clock.now += 0.9
    assert taken(queue) == []
    clock.now += 0.1
    assert taken(queue) == [b"/a"]


def test_what_is_at_rest_is_ready_at_once(queue: WorkQueue) -> None:
    queue.touch(b"/moved", settle=False)
    assert taken(queue) == [b"/moved"]


def test_a_file_that_never_rests_is_ready_after_the_cap(queue: WorkQueue, clock: Clock) -> None:
    for _ in range(20):
        queue.touch(b"/log")
        assert taken(queue) == []
        clock.now += 0.5
    assert taken(queue) == [b"/log"]


def test_many_touches_are_one(queue: WorkQueue, clock: Clock) -> None:
    for _ in range(1000):
        queue.touch(b"/a")
    assert len(queue) == 1
    clock.now += 1
    assert taken(queue) == [b"/a"]
    queue.done(b"/a")
    assert len(queue) == 0
    clock.now += 10
    assert taken(queue) == []


def test_live_before_backlog_and_newest_first(queue: WorkQueue, clock: Clock) -> None:
    queue.add_found([(b"/old", 100.0, 1.0), (b"/new", 100.0, 3.0), (b"/middle", 100.0, 2.0)])
    queue.touch(b"/event 1")
    clock.now += 0.1
    queue.touch(b"/event 2")
    clock.now += 1
    queue.add_found([(b"/moved in", 100.0, 0.0)], live=True)
    assert taken(queue) == [b"/moved in", b"/event 2", b"/event 1", b"/new", b"/middle", b"/old"]


def test_found_files_that_changed_just_now_settle(queue: WorkQueue, clock: Clock) -> None:
    queue.add_found([(b"/resting", 2.0, 1.0), (b"/fresh", 0.25, 1.0), (b"/from the future", -100.0, 1.0)])
    assert taken(queue) == [b"/resting"]
    clock.now += 0.75
    assert taken(queue) == [b"/fresh"]
    clock.now += 0.25
    assert taken(queue) == [b"/from the future"]


def test_a_found_file_does_not_put_off_a_live_one(queue: WorkQueue, clock: Clock) -> None:
    queue.touch(b"/a")
    assert queue.add_found([(b"/a", 0.0, 0.0), (b"/b", 50.0, 0.0)]) == 1
    clock.now += 1
    assert taken(queue) == [b"/a", b"/b"]


def test_a_path_touched_while_it_is_taken_comes_again(queue: WorkQueue, clock: Clock) -> None:
    queue.touch(b"/a", settle=False)
    assert taken(queue) == [b"/a"]
    queue.touch(b"/a", settle=False)
    assert taken(queue) == [], "two workers must not hold one path"
    assert len(queue) == 1
    queue.done(b"/a")
    assert taken(queue) == [b"/a"]
    queue.done(b"/a")
    assert b"/a" not in queue


def test_depth_is_kept_through_later_touches(queue: WorkQueue) -> None:
    queue.touch(b"/a", depth=Depth.FACES, settle=False)
    queue.touch(b"/a", settle=False)
    queue.add_found([(b"/b", 9.0, 0.0)])
    queue.add_found([(b"/b", 9.0, 0.0)], depth=Depth.FACES)
    assert sorted(queue.take(9, timeout=0)) == [Item(b"/a", Depth.FACES), Item(b"/b", Depth.FACES)]


def test_put_back_comes_again_after_its_delay(queue: WorkQueue, clock: Clock) -> None:
    queue.touch(b"/a", settle=False, depth=Depth.FACES)
    (item,) = queue.take(1, timeout=0)
    queue.put_back(item, delay=5)
    assert len(queue) == 1
    assert taken(queue) == []
    clock.now += 5
    assert queue.take(1, timeout=0) == [item]


def test_paused_hands_out_nothing_and_forgets_nothing(queue: WorkQueue) -> None:
    queue.touch(b"/a", settle=False)
    queue.pause()
    assert taken(queue) == []
    queue.resume()
    assert taken(queue) == [b"/a"]


def test_a_barrier_waits_for_what_was_there(queue: WorkQueue) -> None:
    queue.touch(b"/a", settle=False)
    queue.touch(b"/b", settle=False)
    (first,) = queue.take(1, timeout=0)
    barrier = queue.barrier()
    queue.touch(b"/later", settle=False)
    assert barrier.remaining == 2
    queue.touch(first.path, settle=False)
    queue.done(first.path)
    assert barrier.remaining == 2, "it was touched again: it is not dealt with"
    for _ in range(3):
        for item in queue.take(1, timeout=0):
            if item.path != b"/later":
                queue.done(item.path)
    assert barrier.wait(0) == 0
    assert len(queue) == 1


def test_a_barrier_that_nobody_waits_for_any_more_is_let_go(queue: WorkQueue) -> None:
    queue.touch(b"/a", settle=False)
    for _ in range(100):
        assert queue.barrier().wait(0) == 1
    assert queue._barriers == []


def test_a_barrier_ends_with_the_inbox(queue: WorkQueue) -> None:
    queue.touch(b"/a", settle=False)
    queue.close()
    assert queue.barrier().wait(60) == 1


def test_put_back_keeps_the_depth_when_the_path_was_touched_meanwhile(queue: WorkQueue) -> None:
    queue.touch(b"/a", settle=False, depth=Depth.FACES)
    (item,) = queue.take(1, timeout=0)
    queue.touch(b"/a", settle=False)
    queue.put_back(item)
    assert queue.take(1, timeout=0) == [Item(b"/a", Depth.FACES)]


def test_what_is_in_hand_is_looked_at_again_and_a_barrier_waits_for_that(queue: WorkQueue, clock: Clock) -> None:
    queue.touch(b"/in hand", settle=False)
    assert taken(queue) == [b"/in hand"]
    queue.touch(b"/waiting")
    queue.look_again()
    barrier = queue.barrier()
    assert taken(queue) == []
    queue.done(b"/in hand")
    assert barrier.remaining == 2
    assert taken(queue) == [b"/in hand"]
    queue.done(b"/in hand")
    assert barrier.remaining == 1
    clock.now += 1
    assert taken(queue) == [b"/waiting"]


def test_take_wakes_up_for_a_touch_and_for_the_end() -> None:
    queue = WorkQueue(settle=0.01)
    got: Queue[list[Item]] = Queue()

    def take_until_the_end() -> None:
        while items := queue.take(1):
            got.put(items)
        got.put([])

    thread = threading.Thread(target=take_until_the_end)
    thread.start()
    for path in (b"/a", b"/b"):
        queue.touch(path)
        assert got.get(timeout=10) == [Item(path, Depth.STAMP)]
    queue.close()
    assert got.get(timeout=10) == []
    thread.join(10)
    assert not thread.is_alive()


# At length


def test_touches_while_paused_leave_nothing_behind(queue: WorkQueue, clock: Clock) -> None:
    queue.pause()
    for number in range(10_000):
        queue.touch(b"/a", settle=number % 3 != 0)
        clock.now += 0.01
    assert sum(map(len, (queue._settling, queue._live, queue._backlog))) <= 2
    queue.resume()
    clock.now += 1
    assert taken(queue) == [b"/a"]


@pytest.mark.parametrize("live", [True, False])
def test_nobody_waits_long_for_the_lock(queue: WorkQueue, clock: Clock, live: bool) -> None:
    """The first take after a pause, and a walk that finds all in one directory, let others in between."""
    count = 50_000
    holds: list[int] = []
    queue._condition = counted(queue, holds)
    queue.pause()
    queue.add_found(((b"/%d" % number, 0.0, float(number)) for number in range(count)), live=live)
    clock.now += 10
    queue.resume()
    (first,) = taken(queue, limit=1)
    assert live or first == b"/%d" % (count - 1)
    assert len(queue) == count
    assert max(holds) <= 3 * SLICE


def counted(queue: WorkQueue, holds: list[int]) -> threading.Condition:
    """A condition that notes how far the queue's three heaps and its entries moved on while its lock was held."""

    class Noting(threading.Condition):
        def __enter__(self) -> bool:
            entered = super().__enter__()
            self.before = self.sizes()
            return entered

        def __exit__(self, *error: object) -> None:
            holds.append(sum(abs(now - then) for now, then in zip(self.sizes(), self.before, strict=True)))
            super().__exit__(*error)  # type: ignore[arg-type]

        def sizes(self) -> list[int]:
            return [len(each) for each in (queue._entries, queue._settling, queue._live, queue._backlog)]

    return Noting(threading.Lock())


class Pending:
    """What the model knows of a path that waits."""

    def __init__(self, now: float, depth: Depth) -> None:
        self.first = self.touched = self.due = now
        self.depth = depth
        self.live = True
        self.touches = 0


class InboxMachine(RuleBasedStateMachine):
    """The queue against dicts and sets that are looked through each time."""

    SETTLE, CAP = 1.0, 3.0
    paths = st.sampled_from([b"/%d" % number for number in range(6)])
    depths = st.sampled_from(Depth)

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(work_queue, "SLICE", 2)  # so that nearly everything takes several
        self.patch.setattr(work_queue, "BREATH", 0.0)
        self.clock = Clock()
        self.queue = WorkQueue(self.SETTLE, self.CAP, self.clock)
        self.waiting: dict[bytes, Pending] = {}
        self.in_hand: dict[bytes, Item] = {}
        self.again: set[bytes] = set()
        self.barriers: list[tuple[Barrier, set[bytes]]] = []
        self.paused = False
        self.taken = 0

    def teardown(self) -> None:
        self.patch.undo()

    def pending(self) -> set[bytes]:
        return self.waiting.keys() | self.in_hand.keys()

    @rule(path=paths, settle=st.booleans(), depth=depths)
    def touch(self, path: bytes, settle: bool, depth: Depth) -> None:
        self.queue.touch(path, settle=settle, depth=depth)
        now = self.clock.now
        entry = self.waiting.setdefault(path, Pending(now, depth))
        entry.due = min(now + self.SETTLE, entry.first + self.CAP) if settle else now
        entry.touched, entry.live, entry.depth = now, True, max(entry.depth, depth)
        entry.touches += 1

    @rule(path=paths, age=st.sampled_from([0.0, 0.5, 9.0]), mtime=st.integers(0, 5), live=st.booleans(), depth=depths)
    def find(self, path: bytes, age: float, mtime: int, live: bool, depth: Depth) -> None:
        added = self.queue.add_found([(path, age, float(mtime))], depth=depth, live=live)
        assert added == (path not in self.waiting)
        now = self.clock.now
        if path in self.waiting:
            self.waiting[path].depth = max(self.waiting[path].depth, depth)
            return
        entry = self.waiting[path] = Pending(now, depth)
        entry.due = now + max(0.0, self.SETTLE - age)
        entry.live, entry.touched, entry.touches = live, now if live else float(mtime), 1

    @rule(seconds=st.sampled_from([0.25, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(limit=st.integers(1, 4))
    def take(self, limit: int) -> None:
        items = self.queue.take(limit, timeout=0)
        ready = {path: entry for path, entry in self.waiting.items() if path not in self.in_hand}
        ready = {path: entry for path, entry in ready.items() if entry.due <= self.clock.now and not self.paused}
        assert {item.path for item in items} <= ready.keys()
        assert len(items) <= limit
        assert bool(items) == bool(ready)  # fewer than there are only where the next one is more than a slice away
        live = [ready[item.path].live for item in items]
        assert live == sorted(live, reverse=True)
        assert sum(live) == min(len(items), sum(entry.live for entry in ready.values()))
        for kind in (True, False):  # one that is touched again while it is ready keeps its place, wherever that is
            once = {path: -entry.touched for path, entry in ready.items() if (entry.live, entry.touches) == (kind, 1)}
            got = [once[item.path] for item in items if item.path in once]
            assert got == sorted(once.values())[: len(got)]
        for item in items:
            assert item.depth is self.waiting.pop(item.path).depth
            self.in_hand[item.path] = item
        self.taken += len(items)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.in_hand)))
        self.queue.done(path)
        del self.in_hand[path]
        if path in self.again and path not in self.waiting:
            self.waiting[path] = Pending(self.clock.now, Depth.STAMP)
            self.waiting[path].touches = 1
        self.again.discard(path)
        for _, paths in self.barriers:
            paths &= self.pending() | (paths - {path})

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 2.0]))
    def put_back(self, data: st.DataObject, delay: float) -> None:
        path = data.draw(st.sampled_from(sorted(self.in_hand)))
        item = self.in_hand.pop(path)
        self.again.discard(path)
        self.queue.put_back(item, delay)
        if path in self.waiting:
            self.waiting[path].depth = max(self.waiting[path].depth, item.depth)
            return
        self.waiting[path] = Pending(self.clock.now, item.depth)
        self.waiting[path].due += delay
        self.waiting[path].touches = 1

    @rule()
    def look_again(self) -> None:
        self.queue.look_again()
        self.again = set(self.in_hand)

    @precondition(lambda self: len(self.barriers) < 3)
    @rule()
    def barrier(self) -> None:
        self.barriers.append((self.queue.barrier(), set(self.pending())))

    @precondition(lambda self: self.barriers)
    @rule()
    def wait(self) -> None:
        barrier, paths = self.barriers.pop(0)
        assert barrier.wait(0) == len(paths)

    @rule()
    def pause_or_resume(self) -> None:
        self.paused = not self.paused
        (self.queue.pause if self.paused else self.queue.resume)()

    @invariant()
    def they_agree(self) -> None:
        assert len(self.queue) == len(self.pending())
        assert [barrier.remaining for barrier, _ in self.barriers] == [len(paths) for _, paths in self.barriers]
        assert {path for path in (b"/%d" % number for number in range(6)) if path in self.queue} == self.pending()
        listed = sorted(self.pending())
        assert self.queue.page(b"", 6) == listed
        assert self.queue.page(b"/2", 2) == [path for path in listed if path > b"/2"][:2]
        items = sum(map(len, (self.queue._settling, self.queue._live, self.queue._backlog)))
        assert items <= 3 * len(self.waiting) + 2 * self.taken


InboxMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestInbox = InboxMachine.TestCase
