"""A finding of a check, and its line for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from facewatchd.text import printable

_STYLES = {"ok": "32", "warn": "33", "fail": "31"}
_WIDTH = len("configuration")


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check."""

    name: str
    status: str
    """``ok``, ``warn`` or ``fail``."""
    detail: str
    hint: str = ""

    def document(self) -> dict[str, str]:
        """The finding as ``--json`` prints it."""
        return {"name": self.name, "status": self.status, "detail": self.detail, "hint": self.hint}


def line(finding: Finding, *, colour: bool) -> str:
    """The line for the terminal, with a newline at the end."""
    status = f"{finding.status:4}"
    if colour:
        status = f"\x1b[{_STYLES[finding.status]}m{status}\x1b[0m"
    hint = f"; {finding.hint}" if finding.hint else ""
    return f"{status}  {finding.name:{_WIDTH}}  {printable(finding.detail + hint)}\n"
