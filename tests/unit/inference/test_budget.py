"""Budget that threads share: never more than there is, and in turn."""

from __future__ import annotations

import threading

from facewatchd.inference.budget import Budget
from tests.support.processes import until


def test_never_more_is_taken_than_there_is() -> None:
    room, lock, taken, most = Budget(10), threading.Lock(), 0, 0

    def work(amount: int) -> None:
        nonlocal taken, most
        for _ in range(200):
            with room.reserved(amount):
                with lock:
                    taken += amount
                    most = max(most, taken)
                with lock:
                    taken -= amount

    threads = [threading.Thread(target=work, args=(amount,)) for amount in (1, 2, 5, 9, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 10


def test_who_asks_first_is_served_first() -> None:
    room, order = Budget(10), []

    def ask(amount: int) -> None:
        with room.reserved(amount):
            order.append(amount)

    with room.reserved(6):
        large = threading.Thread(target=ask, args=(10,))
        large.start()
        until(room._turn.locked)  # it waits for its room now
        small = threading.Thread(target=ask, args=(1,))
        small.start()
        small.join(0.2)
        assert order == []
    for thread in (large, small):
        thread.join(60)
    assert order == [10, 1]


def test_more_than_there_is_takes_all_and_room_comes_back_after_an_error() -> None:
    room = Budget(10)
    try:
        with room.reserved(11):
            raise ValueError
    except ValueError:
        pass
    with room.reserved(10):
        pass
