"""What a search makes beside the answer that it prints: a contact sheet, an album, a directory of links or copies.

Each is checked before the daemon is asked, so that no search is made in vain.
"""

from __future__ import annotations

import argparse

from facewatchd.client import drawing, filling
from facewatchd.client.answer import Answer
from facewatchd.client.request import Everyone, draws
from facewatchd.matches import Match


def check(options: argparse.Namespace) -> None:
    """Raise `UsageError` where something that is asked for could not be made."""
    drawing.check(options)
    if options.html is not None:
        from facewatchd.client import album  # here, because it imports Jinja

        album.check(options)
    if options.link_to or options.copy_to:
        filling.check(options)


def make(options: argparse.Namespace, everyone: Everyone, answer: Answer) -> None:
    """Make all that is asked for. Raises `UsageError` where something cannot be written."""
    if options.link_to or options.copy_to:
        filling.fill(options, everyone, answer)
    drawn = drawing.draw_sheet(options, answer) if draws(options) else None
    if options.html is not None:
        from facewatchd.client import album

        album.write(options, answer)
        drawn = options.html
    if options.show:
        from facewatchd.client import showing

        showing.show(options, answer)
    if options.open and drawn is not None:
        from facewatchd.client import opening

        opening.show(drawn)


def add(options: argparse.Namespace, everyone: Everyone, match: Match) -> None:
    """Take up a match that came after the answer, with ``--follow``."""
    if options.link_to or options.copy_to:
        filling.add(options, everyone, match)
