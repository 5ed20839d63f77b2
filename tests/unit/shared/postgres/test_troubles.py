"""What servers and libraries say, and what that means: those that no server here can be made to say."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from facewatchd.shared.engine import Trouble
from facewatchd.shared.postgres.troubles import Server, engine_error

SERVER = Server("nas.lan", "anna", "faces", "s3cret")
FAILED = 'connection failed: connection to server at "10.0.0.2", port 5432 failed: '


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (FAILED + 'FATAL:  password authentication failed for user "anna"', Trouble.REFUSED),
        (FAILED + 'FATAL:  no pg_hba.conf entry for host "10.0.0.3", user "anna", no encryption', Trouble.REFUSED),
        (FAILED + 'FATAL:  role "anna" is not permitted to log in', Trouble.REFUSED),
        (FAILED + 'FATAL:  permission denied for database "faces"', Trouble.REFUSED),
        (FAILED + "FATAL:  Passwort-Authentifizierung für Benutzer »anna« fehlgeschlagen", Trouble.REFUSED),
        (FAILED + "FATAL:  the database system is starting up", Trouble.BUSY),
        (FAILED + "FATAL:  the database system is not yet accepting connections", Trouble.BUSY),
        (FAILED + "FATAL:  sorry, too many clients already", Trouble.BUSY),
        (FAILED + "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER", Trouble.BUSY),
        (FAILED + "SSL error: certificate verify failed", Trouble.CERTIFICATE),
        (FAILED + "SSL error: certificate has expired", Trouble.CERTIFICATE),
        (FAILED + "server does not support SSL, but SSL was required", Trouble.CERTIFICATE),
        (FAILED + "channel binding required, but server authenticated client without it", Trouble.CERTIFICATE),
        (FAILED + "Connection refused\n\tIs the server running on that host?", Trouble.UNREACHABLE),
        (FAILED + "No route to host", Trouble.UNREACHABLE),
        (FAILED + "server closed the connection unexpectedly", Trouble.UNREACHABLE),
        (FAILED + "SSL SYSCALL error: EOF detected", Trouble.UNREACHABLE),
        ("failed to resolve host 'nas.lan': [Errno -2] Name or service not known", Trouble.UNREACHABLE),
        ("connection timeout expired", Trouble.LATE),
        ("something new", Trouble.FAILED),
    ],
)
def test_a_connection_that_failed(said: str, trouble: Trouble) -> None:
    error = engine_error(psycopg.OperationalError(said), SERVER)
    assert error.trouble is trouble
    assert str(error).startswith("the shared engine at nas.lan ")
    assert "\n" not in str(error)
    assert "10.0.0.2" not in str(error), "the name that the user wrote is enough"


@pytest.mark.parametrize(
    ("exc", "trouble"),
    [
        (errors.DiskFull, Trouble.FULL),
        (errors.OutOfMemory, Trouble.FULL),
        (errors.TooManyConnections, Trouble.BUSY),
        (errors.CannotConnectNow, Trouble.BUSY),
        (errors.AdminShutdown, Trouble.BUSY),
        (errors.DeadlockDetected, Trouble.BUSY),
        (errors.SerializationFailure, Trouble.BUSY),
        (errors.LockNotAvailable, Trouble.BUSY),
        (errors.QueryCanceled, Trouble.LATE),
        (errors.ReadOnlySqlTransaction, Trouble.READ_ONLY),
        (errors.InsufficientPrivilege, Trouble.REFUSED),
        (errors.UndefinedTable, Trouble.UNREACHABLE),
        (errors.IoError, Trouble.FAILED),
        (errors.DataCorrupted, Trouble.FAILED),
        (errors.CheckViolation, Trouble.NOT_TAKEN),
        (errors.NumericValueOutOfRange, Trouble.NOT_TAKEN),
        (errors.ProgramLimitExceeded, Trouble.NOT_TAKEN),
        (errors.RaiseException, Trouble.NOT_TAKEN),
    ],
)
def test_a_statement_that_failed(exc: type[psycopg.Error], trouble: Trouble) -> None:
    assert engine_error(exc("what it says"), SERVER).trouble is trouble


def test_shared_memory_of_a_container() -> None:
    error = engine_error(errors.DiskFull("could not resize shared memory segment: No space left on device"), SERVER)
    assert "--shm-size" in error.hint


def test_a_password_in_a_library_s_text_is_not_shown() -> None:
    error = engine_error(psycopg.OperationalError('bad: "postgresql://anna:s3cret@nas.lan/faces"'), SERVER)
    assert "s3cret" not in str(error)
    assert "***" in str(error)
