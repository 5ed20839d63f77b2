"""``facewatchd page``: a local web page to ask, look, name and confirm."""

from __future__ import annotations

import argparse

from facewatchd.errors import FacewatchError

_HIGHEST = 65535


def page(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, SIGTERM, or half an hour without use."""
    require()
    from facewatchd.page import server

    return server.run(options.socket, options.port, opens=not options.no_open)


def require() -> None:
    """Raise `FacewatchError` where the packages that the page needs are not installed."""
    try:
        from facewatchd.page import server  # noqa: F401
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "facewatchd":
            raise
        from facewatchd.system import installation

        raise FacewatchError("the page needs more packages", f"install them: {installation.extra('page')}") from exc


def port(text: str) -> int:
    """Return the number of a port; 0 stands for any that is free."""
    if not text.isascii() or not text.isdecimal() or int(text) > _HIGHEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to {_HIGHEST}")
    return int(text)
