"""How a request to an inference process fails, other than by an error that the process itself reports."""

from __future__ import annotations

from facewatchd.errors import FacewatchError, ModelError


class NoModelError(ModelError):
    """The model cannot be loaded; the photo is not the reason."""


class ClosedError(FacewatchError):
    """The daemon is stopping."""

    kind = "not-ready"

    def __init__(self) -> None:
        super().__init__("the daemon is stopping", "try again when it runs")


class SetbackError(FacewatchError):
    """A photo could not be analysed for a reason that need not be its own: it is to be tried again later, alone."""

    kind = "not-ready"

    def __init__(self, message: str, hint: str, *, counts: bool = False) -> None:
        """``counts``: the photo was alone in its process, and there was memory to spare."""
        super().__init__(message, hint)
        self.counts = counts


class WaitEndedError(Exception):
    """Raised by the ``waiting`` callable to abandon the photo."""


class DiedError(Exception):
    """The process ended, or was ended because of another photo, with this photo in hand."""

    def __init__(self, fate: str, *, by_signal: bool = False, from_outside: bool = False) -> None:
        """``by_signal``: by one that this daemon did not send; ``from_outside``: nor the process itself."""
        super().__init__(fate)
        self.by_signal = by_signal
        self.from_outside = from_outside
