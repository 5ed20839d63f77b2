"""The password of a credential; and variables of libpq, which lead nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facewatchd.errors import UsageError
from facewatchd.shared import credentials

SECRET = "s3cret with spaces "


@pytest.fixture
def credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path / "facewatch-password"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_credential_is_the_password(credential: Path, end: str) -> None:
    credential.write_bytes((SECRET + end).encode())
    assert credentials.password() == SECRET


def test_without_a_credential_libpq_looks_for_one(credential: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials.password() == ""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert credentials.password() == ""


@pytest.mark.parametrize("data", [b"", b"\n", b"s3cret\ntwo\n", b"s3\0cret", b"s3cret\xff", b"s3cret" * 200])
def test_what_cannot_be_a_password_is_told_without_it(credential: Path, data: bytes) -> None:
    credential.write_bytes(data)
    with pytest.raises(UsageError, match=r"^the credential facewatch-password is not .*; give it") as caught:
        credentials.password()
    assert "s3" not in str(caught.value)


def test_a_credential_that_cannot_be_read_is_told(credential: Path) -> None:
    credential.mkdir()
    with pytest.raises(UsageError, match=r"^the credential facewatch-password cannot be read: "):
        credentials.password()


CHILD = """
import os, psycopg
from facewatchd.shared import credentials
def told(): return [each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults() if each.val == b"5"]
print(*told())
credentials.forget_environment()
print(*told())
print(*sorted(name for name in os.environ if name.startswith("PG")))
"""


def test_no_variable_of_libpq_counts() -> None:
    psycopg = pytest.importorskip("psycopg")
    names = [each.envvar.decode() for each in psycopg.pq.Conninfo.get_defaults() if each.envvar]
    names += ["PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL"]
    names.remove("PGSERVICE")  # with a service that is not there libpq tells no defaults at all
    environment = {**os.environ, **dict.fromkeys(names, "5")}
    result = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True)
    before, after, left = result.stdout.splitlines()
    assert {"host", "hostaddr", "password", "sslmode", "options"} <= set(before.split())
    assert set(after.split()) == {"passfile", "sslrootcert"}
    assert left == "PGPASSFILE PGSSLROOTCERT"
