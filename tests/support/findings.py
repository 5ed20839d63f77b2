"""One check of `facewatchd doctor` at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facewatchd.doctor import checks
from facewatchd.doctor.checks import Finding, examine


def findings(name: str, path: Path | None = None, **flags: Any) -> list[Finding]:
    """What one check finds; the others are not run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_CHECKS", {name: checks._CHECKS[name]})
        return list(examine(path, **flags))[1:]  # the first is about the configuration


def statuses(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.name, each.status) for each in found]
