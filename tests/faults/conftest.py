"""Fixtures of the fault tests."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import library as libraries
from tests.support.library import Library
from tests.support.processes import Daemon


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Library:
    """Photos that no test changes, and data directories on which no test starts a daemon."""
    return libraries.build(tmp_path_factory.mktemp("library"), tiny_root)


@pytest.fixture
def resumed(library: Library, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """``resumed(library.late, *more_roots)``: a daemon on a copy of a state, not started. It counts what it embeds."""
    with contextlib.ExitStack() as daemons:

        def resumed(state: Path, *more_roots: Path) -> Daemon:
            roots = (library.root, *more_roots)
            daemon = Daemon(tmp_path / "home", *roots, model="tiny", model_root=library.model_root)
            shutil.copytree(state, daemon.data)
            daemon.count_embeddings()
            return daemons.enter_context(daemon)

        yield resumed


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers; the report of a failure says how to have the same again."""
    seed = int(os.environ.get("FACEWATCHD_SEED") or random.SystemRandom().getrandbits(32))
    request.node.add_report_section("call", "seed", f"have it again with FACEWATCHD_SEED={seed}")
    return random.Random(seed)
