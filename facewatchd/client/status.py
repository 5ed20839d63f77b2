"""The result of ``status`` as text: a table, a line, and lines that follow its changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from facewatchd.client.answer import REACHED, path_of, reading_answer
from facewatchd.console.progress import Progress, bars_hidden
from facewatchd.console.streams import wait_while_read, write, write_json
from facewatchd.text import counted, printable

_WHICH_FAILED = ": facewatchd photos --state failed"
INTERVAL = 0.5
"""Seconds between two requests of `follow`."""

_RED, _GREEN, _YELLOW, _BOLD = "31", "32", "33", "1"
_STYLES = {
    "starting": _YELLOW,
    "indexing": _GREEN,
    "idle": _GREEN,
    "paused": _YELLOW,
    "degraded": _RED,
    "watching": _GREEN,
    "polling": _GREEN,
    "offline": _YELLOW,
    "unreadable": _RED,
    "ok": _GREEN,
    "behind": _YELLOW,
    "unreachable": _YELLOW,
    "refused": _RED,
    "off": _RED,
}


@dataclass(frozen=True, slots=True)
class Root:
    """A watched directory."""

    path: bytes
    state: str
    photos: int


class Peer(NamedTuple):
    """A machine that sends to the shared engine."""

    name: str
    faces: int
    photos: int
    backlog: int
    pending: int
    as_of_s: float
    """Seconds since it was heard of."""
    is_self: bool

    @classmethod
    def of(cls, item: Any) -> Peer:
        """Read one."""
        faces, photos, backlog, pending = (int(item[name]) for name in ("faces", "photos", "backlog", "pending"))
        age, is_self = float(item["as_of_s"]), bool(item["is_self"])
        return cls(str(item["name"]), faces, photos, backlog, pending, age, is_self)

    @property
    def waiting(self) -> str:
        """What it has still to send, in words; empty where that is nothing."""
        return waiting(self.backlog, self.pending)

    @property
    def size(self) -> str:
        """What the engine has of it."""
        return f"{counted(self.faces, 'face')} on {counted(self.photos, 'photo')}"


def waiting(backlog: int, pending: int) -> str:
    """Word what a machine has still to send; empty where that is nothing."""
    parts = [f"{counted(backlog, 'photo')} to be sent"] if backlog else []
    parts += [f"{counted(pending, 'photo')} to be indexed"] if pending else []
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the machine stands with the shared engine."""

    state: str
    reason: str
    """Why not all is well, and what to do; empty where it is."""
    backlog: int
    """Photos that are still to be sent."""
    peers: tuple[Peer, ...]
    """All machines, as far as they were known when the engine was last reached."""
    is_well: bool = True
    """Whether there is nothing to be done: photos that are still to be sent will be."""

    @property
    def searchable(self) -> int:
        """How many faces of other machines can be found now."""
        return sum(peer.faces for peer in self.peers if not peer.is_self) if self.state in REACHED else 0

    @classmethod
    def of(cls, item: Any) -> Sharing | None:
        """None where no engine is configured."""
        if item is None:
            return None
        state, reason, hint = (str(item[name]) for name in ("state", "reason", "hint"))
        peers = tuple(map(Peer.of, item["machines"]))
        is_well = state == "ok" or (state == "behind" and not hint)
        return cls(state, "; ".join(filter(None, (reason, hint))), int(item["backlog"]), peers, is_well)


@dataclass(frozen=True, slots=True)
class Status:
    """The result of ``status``, read."""

    version: str
    pid: int
    uptime: float
    """Seconds."""
    state: str
    model: str
    dim: int
    threshold: float
    roots: tuple[Root, ...]
    photos: int
    faces: int
    pending: int
    failed: int
    in_index: int
    tombstones: int
    people: int
    """Who have names."""
    second_looks: int | None
    """Photos that are worth a second look; None where that is off."""
    second_looks_taken: int
    undated: int
    """Photos that are still to be read for the date on which they were taken."""
    examined: int
    """Photos examined since the daemon's start."""
    fetched: int
    """Photos since then of which other machines told the faces, in place of the model here."""
    rate: float
    """Photos a second that the model embeds."""
    problems: tuple[str, ...]
    waits: str
    """The reason why pending photos wait, where nothing is wrong."""
    device: str
    """What computes the model, and why where there was a choice; empty from a daemon that does not say it."""
    confinement: str
    """How far decoding is confined: "full", or "partial" or "none" with the reason."""
    sharing: Sharing | None
    """None where no shared engine is configured."""

    @classmethod
    def of(cls, document: Any) -> Status:
        """Raise `FacewatchError` for a document of another shape."""
        with reading_answer():
            model, index, rates = document["model"], document["index"], document["rates"]
            again = document.get("second_look", {})
            return cls(
                version=str(document["version"]),
                pid=int(document["pid"]),
                uptime=float(document["uptime_s"]),
                state=str(document["state"]),
                model=str(model["name"]),
                dim=int(model["dim"]),
                threshold=float(model["threshold"]),
                roots=tuple(Root(path_of(root), str(root["state"]), int(root["photos"])) for root in document["roots"]),
                photos=int(document["photos"]),
                faces=int(document["faces"]),
                pending=int(document["pending"]),
                failed=int(document["failed"]),
                in_index=int(index["faces"]),
                tombstones=int(index["tombstones"]),
                people=int(document.get("people") or 0),
                second_looks=int(again["photos"]) if again.get("on") else None,
                second_looks_taken=int(again.get("done", 0)),
                undated=int(document.get("undated", 0)),
                examined=int(rates.get("examined", 0)),
                fetched=int(rates.get("fetched", 0)),
                rate=float(rates.get("photos_per_s", 0.0)),
                problems=tuple(str(problem) for problem in document.get("problems", ())),
                waits=str(document.get("waits", "")),
                device=str(document.get("device", "")),
                confinement=str(document.get("confinement", "")),
                sharing=Sharing.of(document.get("shared")),
            )


def text(status: Status, *, colour: bool) -> str:
    """Return the table for a terminal, with a line for each directory and each problem."""

    def painted(words: str, style: str | None) -> str:
        return f"\x1b[{style}m{words}\x1b[0m" if colour and style else words

    state = painted(status.state, _STYLES.get(status.state))
    tombstones = f" and {counted(status.tombstones, 'tombstone')}" if status.tombstones else ""
    failed = painted(f"{status.failed} failed", _YELLOW if status.failed else None)
    lines = [
        f"{painted('facewatchd ' + status.version, _BOLD)}  {state}, up {duration(status.uptime)}, pid {status.pid}",
        f"model   {status.model}, {status.dim} dimensions, a match from {status.threshold:.2f}",
        f"photos  {status.photos}, {status.pending} pending, {failed}{_WHICH_FAILED if status.failed else ''}",
        f"faces   {status.faces}, {status.in_index}{tombstones} in the index",
    ]
    lines += _occasional(status)
    if status.sharing is not None:
        state = painted(printable(status.sharing.state), _STYLES.get(status.sharing.state))
        lines.append(f"shared  {state}{_sharing_words(status.sharing)}")
    width = max((len(str(root.photos)) for root in status.roots), default=0)
    for root in status.roots:
        words = painted(f"{root.state:10}", _STYLES.get(root.state))
        unit = "photo " if root.photos == 1 else "photos"
        lines.append(f"  {words}  {root.photos:{width}} {unit}  {printable(root.path)}")
    lines += [painted(f"problem: {printable(problem)}", _RED) for problem in status.problems]
    return "".join(f"{line}\n" for line in lines)


def _occasional(status: Status) -> Iterator[str]:
    """The lines of what there is not always something to say of."""
    if status.people:
        yield f"people  {status.people}, see: facewatchd people"
    if status.second_looks:
        yield f"again   second look: {status.second_looks_taken} of {counted(status.second_looks, 'photo')}"
    if status.undated:
        yield f"dates   still to be read: {counted(status.undated, 'photo')}"
    if status.fetched:
        yield f"fetched {counted(status.fetched, 'photo')} that other machines had embedded"
    if status.pending and status.state == "indexing":
        yield f"rate    {rate_words(status)}"
    if status.waits:
        yield f"waits   {printable(status.waits)}"
    if status.device:
        yield f"device  {printable(status.device)}"
    if status.confinement:
        yield f"sandbox {printable(status.confinement)}"


def line(status: Status) -> str:
    """Return the state and the numbers on one line."""
    words = (
        f"{status.state}: {counted(status.photos, 'photo')}, {status.pending} pending, {status.failed} failed, "
        f"{counted(status.faces, 'face')}"
    )
    if status.pending and status.rate:
        words += f", {rate_words(status)}"
    if status.waits:
        words += f"; {printable(status.waits)}"
    if status.sharing is not None and not status.sharing.is_well:
        words += f"; shared engine {printable(status.sharing.state)}{_sharing_words(status.sharing)}"
    elif status.sharing is not None and status.sharing.backlog:
        words += f"; {counted(status.sharing.backlog, 'photo')} to be sent"
    return words + "".join(f"; {printable(problem)}" for problem in status.problems)


def _sharing_words(sharing: Sharing) -> str:
    """What stands behind the state."""
    if sharing.reason:
        return f": {printable(sharing.reason)}"
    peers = [peer for peer in sharing.peers if not peer.is_self]
    faces = counted(sum(peer.faces for peer in peers), "face")
    others = f": {faces} on {counted(len(peers), 'other machine')}"
    return f"{others}, {counted(sharing.backlog, 'photo')} to be sent" if sharing.backlog else others


def rate_words(status: Status) -> str:
    """Word how fast photos are embedded, and how long those that are pending take."""
    if not status.rate:
        return "no photo embedded lately"
    return f"{status.rate:.1f} photos a second, about {duration(status.pending / status.rate)} left"


def duration(seconds: float) -> str:
    """Word a time span by its two largest units: ``2 h 5 min``."""
    whole = int(seconds)
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {unit} {rest} {next_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def follow(ask: Callable[[], Any], *, as_json: bool, on_terminal: bool, colour: bool) -> None:
    """Print the status whenever it changes, until the reader of standard output is gone or ``ask`` raises.

    On a terminal: the whole table first, then a line when a state or a problem changes, and a bar for the numbers.
    Otherwise a line, or with ``as_json`` a document on a line, whenever a number or a state changes.
    """
    as_table = on_terminal and not as_json
    progress = Progress(enabled=as_table)
    before: object = None
    try:
        while True:
            document = ask()
            status = Status.of(document)
            progress.show(status.examined, status.pending)
            now = _states(status) if as_table else (*_states(status), *_numbers(status))
            if now != before:
                words = text(status, colour=colour) if as_table and before is None else f"{line(status)}\n"
                with bars_hidden():
                    heard = write_json(document, indented=False) if as_json else write(words)
                if not heard:
                    return
                before = now
            if not wait_while_read(INTERVAL):
                return
    finally:
        progress.close()


def _states(status: Status) -> tuple[object, ...]:
    shared = status.sharing and not status.sharing.is_well and (status.sharing.state, status.sharing.reason)
    return (status.state, *(root.state for root in status.roots), *status.problems, status.waits, shared)


def _numbers(status: Status) -> tuple[object, ...]:
    return (status.photos, status.pending, status.failed, status.faces, status.sharing and status.sharing.backlog)
