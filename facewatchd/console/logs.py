"""Log lines: to standard error, as a terminal or as systemd's journal takes them.

The journal records times and names itself, and reads a level from the front of each line (sd-daemon(3)). Elsewhere a
line begins with the name of the program. At the default level a line names a photo only where it reports an error of
that photo.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from facewatchd.console.progress import TerminalHandler
from facewatchd.console.streams import STDERR
from facewatchd.system import systemd

PLAIN: Final = "{program}: %(message)s"
DEBUG: Final = "%(asctime)s %(threadName)s %(levelname)s %(name)s: %(message)s"
JOURNAL_DEBUG: Final = "%(threadName)s %(name)s: %(message)s"
_PRIORITIES: Final = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
)


def to_stderr(level: int, program: str = "facewatchd") -> None:
    """Set logging up for a process: lines of this package from ``level`` on, those of others from warnings on."""
    handler = TerminalHandler() if sys.stderr and sys.stderr.isatty() else logging.StreamHandler()
    verbose = level <= logging.DEBUG
    if systemd.is_journal(STDERR):
        handler.setFormatter(_JournalFormatter(JOURNAL_DEBUG if verbose else "%(message)s"))
    else:
        handler.setFormatter(logging.Formatter(DEBUG if verbose else PLAIN.replace("{program}", program)))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("facewatchd").setLevel(level)


class _JournalFormatter(logging.Formatter):
    """Puts the level in front of every line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((text for level, text in _PRIORITIES if record.levelno >= level), "<7>")
        return "\n".join(priority + line for line in super().format(record).splitlines())
