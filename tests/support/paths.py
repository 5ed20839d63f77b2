"""Where the project's files are, and the directory beside it that may hold more photos and packs."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared"
"""Labelled photos, packs and files; a test that needs one of them is skipped where it is missing."""
