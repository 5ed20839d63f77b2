"""The one family of exceptions that crosses module boundaries.

The ``message`` of an error says what happened, the ``hint`` what to do next. Both are set where the cause is known and
printed in one place: the commands write ``message; hint`` on one line, the server sends ``kind`` and ``hint`` as the
``data`` of a JSON-RPC error.
"""

from typing import ClassVar


class FacewatchError(Exception):
    """What happened, and what the user can do next."""

    kind: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return one line: the message, then the hint."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(FacewatchError):
    """Wrong arguments or configuration: nothing was started."""

    exit_status = 2


class LockedError(FacewatchError):
    """Another daemon holds this data directory or answers on this socket."""

    exit_status = 3


class NoDaemonError(FacewatchError):
    """No daemon answers on the socket."""

    exit_status = 4


class WrongListenerError(NoDaemonError):
    """The process that listens on the socket is no daemon, or another user's."""


class ModelError(FacewatchError):
    """A model that cannot be found, fetched or loaded."""


class StorageError(FacewatchError):
    """The catalog or the index cannot be read or written (disk full, damage)."""


class RefusedError(StorageError):
    """A value or a row that SQLite refuses: a later try would end the same."""


class DamagedError(StorageError):
    """A file that facewatchd wrote and that no longer holds what was written."""


class UnreadablePhotoError(FacewatchError):
    """A file that cannot be read as a photo: empty, truncated, corrupt, no image, or not a regular file."""

    kind = "unreadable-photo"


class UnsupportedPhotoError(UnreadablePhotoError):
    """A file without a fault, of a kind that is not read: a raw mosaic, a film, a drawing."""


class OutOfMemoryError(UnreadablePhotoError):
    """There was not enough memory for a photo, perhaps because other programs used it."""


class TooLargeError(UnreadablePhotoError):
    """An image of more pixels, or a file of more bytes, than is decoded."""

    kind = "too-large"


class NoFaceError(FacewatchError):
    """A query photo without a face, or without the face that was asked for."""

    kind = "no-face"


class BadEmbeddingError(FacewatchError):
    """An embedding of the wrong length, of zero length, or with values that are not finite."""

    kind = "bad-embedding"


class UnknownFaceError(FacewatchError):
    """A face id that the catalog does not know."""

    kind = "unknown-face"


class UnknownPersonError(FacewatchError):
    """A name that no person has."""

    kind = "unknown-person"


class BadNameError(UsageError):
    """A name that no person can have."""


class NameTakenError(UsageError):
    """A name that another person has, where a new one is needed."""


class NotLastStepError(UsageError):
    """A change that is to be taken back is not the last one."""


class NotReadyError(FacewatchError):
    """The daemon cannot answer the request yet."""

    kind = "not-ready"


class DeadlineError(FacewatchError):
    """An operation did not end before its deadline."""

    kind = "timeout"
