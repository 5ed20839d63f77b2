"""The table of the protocol's methods. No socket here.

A method takes named parameters and returns a value that can be sent as JSON. What only reads is read on the calling
thread; what changes something is handed to the work queue, the scanner or the writer. No method waits for a disk that
does not answer: `DiskCalls` looks at the disk, and where that takes too long, the answer says what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from facewatchd.api.control import Control
from facewatchd.api.exchange import Exchange
from facewatchd.api.outbox import Sending
from facewatchd.api.parameters import METHODS
from facewatchd.api.people import People
from facewatchd.api.photos import Photos
from facewatchd.api.query import Queries
from facewatchd.api.regions import RegionReader
from facewatchd.api.status import Status
from facewatchd.api.subscribe import Subscriptions
from facewatchd.api.suggestions import Suggestions
from facewatchd.api.thumbnail import Thumbnails
from facewatchd.api.unknown import Unknown
from facewatchd.api.verify import Verifier
from facewatchd.server.jsonrpc import MethodNotFoundError
from facewatchd.server.params import read


class Methods:
    """`call` carries out one method; any thread may call it."""

    def __init__(
        self,
        status: Status,
        queries: Queries,
        photos: Photos,
        thumbnails: Thumbnails,
        control: Control,
        verifier: Verifier,
        people: People,
        unknown: Unknown,
        suggestions: Suggestions,
        regions: RegionReader,
        exchange: Exchange,
        subscriptions: Subscriptions,
        sending: Sending,
    ) -> None:
        self.table: dict[str, Callable[[Any], object]] = {
            "status": status.status,
            "query": queries.query,
            "subscribe": subscriptions.subscribe,
            "seen": subscriptions.seen,
            "faces": queries.faces,
            "why": photos.why,
            "photos": photos.photos,
            "thumbnail": thumbnails.thumbnail,
            "scan": control.scan,
            "wait": control.wait,
            "pause": control.pause,
            "resume": control.resume,
            "verify": verifier.verify,
            "people": people.people,
            "person": people.person,
            "assign": people.assign,
            "unknown": unknown.unknown,
            "group": unknown.group,
            "suggestions": suggestions.suggestions,
            "rename_person": people.rename,
            "describe_person": people.describe,
            "merge_people": people.merge,
            "forget_person": people.forget,
            "ignore": people.ignore,
            "undo": people.undo,
            "regions": regions.regions,
            "export": exchange.export,
            "import_people": exchange.import_people,
            "import_contents": exchange.import_contents,
            "outbox": sending.outbox,
            "outbox_sending": sending.outbox_sending,
            "outbox_sent": sending.outbox_sent,
            "outbox_mark": sending.outbox_mark,
        }

    def call(self, method: str, params: Mapping[str, object]) -> object:
        """Return the method's result. Raises `FacewatchError`, with those of the protocol."""
        if method not in METHODS:
            raise MethodNotFoundError(method)
        return self.table[method](read(METHODS[method].parameters, params))
