"""Fixtures that several test modules use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_pack
from processes import Daemon


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An InsightFace root that holds the pack ``tiny``."""
    root = tmp_path_factory.mktemp("insightface")
    tiny_pack.build(root)
    return root


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start a daemon on some directories; it is killed at the end. Arguments are those of `Daemon`."""
    daemons: list[Daemon] = []

    def start(*roots: Path, **options: object) -> Daemon:
        daemon = Daemon(tmp_path / f"home {len(daemons)}", *roots, **options)  # type: ignore[arg-type]
        daemons.append(daemon)
        daemon.start()
        return daemon

    yield start
    for daemon in daemons:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
