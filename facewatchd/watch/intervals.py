"""How often the watches are looked after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds."""

    poll: float = 15.0
    """Between two walks of a polled root; at least ten times what the last one took."""
    retry: float = 300.0
    """Before a watch is tried again that could not be set."""
    heartbeat: float = 20.0
    """Between two heartbeats."""
    deadline: float = 10.0
    """In which a heartbeat, or any other event after it, must have been heard."""
