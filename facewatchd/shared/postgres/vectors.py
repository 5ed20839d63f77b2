"""Embeddings as pgvector's ``halfvec`` sends them: two numbers of 16 bits (how many, and 0), then floats of 16 bits,
the greatest byte first. pgvector's own package for Python does no more, and is not needed."""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

if TYPE_CHECKING:
    from facewatchd.values import Embedding


TOLERANCE: Final = 2e-3
"""How far the length of an embedding of half precision may be from 1: rounding takes it by up to 0.0005."""


class HalfVector(NamedTuple):
    """An embedding on its way to the server."""

    numbers: Embedding


class _HalfVectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: HalfVector) -> bytes:
        return encoded(obj.numbers)


def encoded(embedding: Embedding) -> bytes:
    return struct.pack(">HH", len(embedding), 0) + np.asarray(embedding, ">f2").tobytes()


def hash_of(embedding: Embedding) -> bytes:
    """The same for embeddings that are equal on the server; 16 bytes."""
    return blake2b(encoded(embedding), digest_size=16).digest()


def decoded(data: object, dim: int) -> Embedding | None:
    """The embedding in what the server sent, scaled to unit length, from which rounding took it by up to 0.0002.

    None where it is none: another length, numbers that are not finite, or another length of the vector.
    """
    if not isinstance(data, bytes) or len(data) != 4 + 2 * dim or data[:4] != struct.pack(">HH", dim, 0):
        return None
    numbers = np.frombuffer(data, ">f2", offset=4).astype(np.float32)
    length = float(np.linalg.norm(numbers))
    return numbers / np.float32(length) if abs(length - 1) <= TOLERANCE else None  # not for a NaN


def teach(db: psycopg.Connection, info: TypeInfo) -> None:
    """Have a connection send `HalfVector` as the server's type."""
    info.register(db)
    dumper = type("HalfVectorDumper", (_HalfVectorDumper,), {"oid": info.oid})
    db.adapters.register_dumper(HalfVector, dumper)
