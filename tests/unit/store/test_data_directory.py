"""The id of this machine, which outlives every catalog."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from facewatchd.errors import StorageError
from facewatchd.store.data_directory import machine_id


def test_an_id_is_made_once_and_is_private(tmp_path: Path) -> None:
    made = machine_id(tmp_path)
    assert len(bytes.fromhex(made)) == 16
    assert machine_id(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "machine").stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    assert machine_id(tmp_path / "other") != made


@pytest.mark.parametrize("damage", [b"", b"\xff" * 33, b"0" * 31, b"A" * 32, b"0" * 40])
def test_a_damaged_one_is_replaced_and_the_log_says_what_is_left(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "machine").write_bytes(damage)
    made = machine_id(tmp_path)
    assert machine_id(tmp_path) == made
    assert "facewatchd shared machines" in caplog.text


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    with pytest.raises(StorageError):
        machine_id(tmp_path)
