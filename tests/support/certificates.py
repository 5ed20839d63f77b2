"""Certificates for a server of the tests: an authority of its own, and what it signs. Made by the command openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

NAMES = "DNS:localhost,IP:127.0.0.1"


def problem() -> str:
    """Say why none can be made here; empty where they can."""
    return "" if shutil.which("openssl") else "there is no openssl, which makes the certificates of the tests"


def make(place: Path, names: str = NAMES) -> None:
    """Write ``ca.crt``, and ``server.crt`` with ``server.key`` that it signed for these names, into a directory.

    The keys are of an elliptic curve, which takes 10 ms; the certificates hold for a month.
    """
    _authority(place, "ca")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
        *("-subj", "/CN=server", "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=CA:FALSE"),
        *("-CA", place / "ca.crt", "-CAkey", place / "ca.key"),
        *("-keyout", place / "server.key", "-out", place / "server.crt"),
    )
    _authority(place, "stranger")


def _authority(place: Path, name: str) -> None:
    """Write the certificate and the key of an authority; that of the stranger has signed nothing."""
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
        *("-subj", f"/CN={name} of the tests", "-keyout", place / f"{name}.key", "-out", place / f"{name}.crt"),
    )


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
