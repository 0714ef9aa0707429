"""A state as bytes, for a key-value store.

In this order, all numbers little-endian: "tdIS", a version, the fingerprint, the
dimensions, the arrays in the order of `State` without free slots, a checksum (CRC-32).
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import NamedTuple

import numpy as np

from tfrs_decay.data.times import LATEST_SECOND
from tfrs_decay.interest.formulas import COLUMNS, Formulas
from tfrs_decay.interest.state import BEFORE, State

MAGIC = b"tdIS"
VERSION = 1

_HEADER = struct.Struct("<4sB16s4IB")
_CHECKSUM = struct.Struct("<I")


class Dimensions(NamedTuple):
    """What a state's length follows from, as its header says it.

    dim: Features.
    terms: Exponentials.
    width: Log weights of each exponential: 1, or one for each feature.
    kept: Recent events.
    labels: Groups that a recent event is labelled with.
    """

    dim: int
    terms: int
    width: int
    kept: int
    labels: int

    @property
    def length(self) -> int:
        """Bytes, all told."""
        terms = self.terms * (4 * self.dim + 8 * self.width)
        kept = self.kept * (4 * self.dim + 8 + 8 + 4 * self.labels)
        clock_and_dropped = 8 + 8
        return _HEADER.size + terms + clock_and_dropped + kept + _CHECKSUM.size


class Header(NamedTuple):
    """What a state says of itself, without the decays it was written under.

    version: Of the way in which it is written.
    fingerprint: 32 hexadecimal digits, those of `InterestState.fingerprint`.
    dimensions: What its length follows from.
    """

    version: int
    fingerprint: str
    dimensions: Dimensions


def dimensions(formulas: Formulas, kept: int) -> Dimensions:
    """Those of a state with so many recent events."""
    terms, width = formulas.rates.shape
    return Dimensions(formulas.dim, terms, width, kept, len(formulas.recent_groups))


def write(state: State, formulas: Formulas) -> bytes:
    """Writes a single user's state, whose shapes are checked.

    Raises:
        ValueError: It holds numbers that no event leads to.
    """
    for field, values in impossible(state, formulas).items():
        raise ValueError(
            f"state.{field} holds {values[0]}, which no event leads to: it would be "
            "what is read ever after. Go back to the state before, or replay the "
            "user's events."
        )
    kept = state.recent_times > BEFORE
    fingerprint = bytes.fromhex(formulas.fingerprint)
    parts = [
        _HEADER.pack(
            MAGIC, VERSION, fingerprint, *dimensions(formulas, int(kept.sum()))
        )
    ]
    for field, (dtype, shape) in formulas.fields.items():
        values = np.asarray(getattr(state, field))
        if field.startswith("recent_") and shape[0]:
            values = values[kept]
        parts.append(values.astype(dtype.newbyteorder("<")).tobytes())
    body = b"".join(parts)
    return body + _CHECKSUM.pack(zlib.crc32(body))


def header(data: bytes) -> Header:
    """Reads what a state says of itself, if the bytes are sound.

    Args:
        data: What `write` wrote, perhaps, under any decays.

    Raises:
        ValueError: The bytes are something else, cut off, damaged or of another
            version.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise ValueError(
            f"data is no state of a user: it begins with {data[: len(MAGIC)]!r}, and a "
            f"state with {MAGIC!r}."
        )
    version = data[len(MAGIC)] if len(data) > len(MAGIC) else VERSION
    if version != VERSION:
        raise ValueError(
            f"data is of version {version}, and this tfrs_decay reads version "
            f"{VERSION}: read it with the one that wrote it, or replay the user's "
            "events."
        )
    if len(data) < _HEADER.size:
        raise ValueError(f"data has {len(data)} bytes only: it was cut off.")
    _, _, fingerprint, *sizes = _HEADER.unpack_from(data)
    said = Dimensions(*sizes)
    if len(data) != said.length:
        raise ValueError(
            f"data has {len(data)} bytes and says that it has {said.length}: it was "
            "cut off, or damaged."
        )
    body, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if _CHECKSUM.pack(zlib.crc32(body)) != checksum:
        raise ValueError(
            "data is damaged: its checksum does not fit. Fetch it again, or replay the "
            "user's events."
        )
    return Header(version, fingerprint.hex(), said)


def read(data: bytes, formulas: Formulas, empty: State) -> State:
    """Reads a single user's state.

    Args:
        data: What `write` wrote, perhaps.
        formulas: Those of whoever reads.
        empty: A state without events, to put the values in.

    Raises:
        ValueError: The bytes are something else, cut off, damaged, of another version,
            written under other rates, or hold numbers that no event leads to.
    """
    kept = _checked(data, formulas).kept
    place = _HEADER.size
    found = empty._asdict()
    for field, (dtype, shape) in formulas.fields.items():
        if field.startswith("recent_"):
            shape = (min(kept, shape[0]), *shape[1:])
        count = math.prod(shape)
        values = np.frombuffer(data, dtype.newbyteorder("<"), count, place)
        place += values.nbytes
        if not field.startswith("recent_"):
            found[field] = values.astype(dtype).reshape(shape)
        elif count:
            # Free slots come first.
            found[field][-kept:] = values.reshape(shape)
    state = State(**found)
    for field, values in impossible(state, formulas).items():
        raise ValueError(
            f"data holds {values[0]} in {field}, which no event leads to, though its "
            "checksum fits: it was written so. Replay the user's events."
        )
    return state


def impossible(state: State, formulas: Formulas) -> dict[str, np.ndarray]:
    """By field, the numbers in a state that no event leads to."""
    checks = {}
    for field in ("mean", "log_weight", "recent_vectors", "recent_log_weights"):
        checks[field] = np.isfinite(getattr(state, field))
    for field in ("time", "recent_times"):
        seconds = getattr(state, field)
        # The earliest stands for none.
        checks[field] = (seconds >= -LATEST_SECOND) & (seconds < LATEST_SECOND)
    for group in formulas.recent_groups:
        place = getattr(state, f"recent_{COLUMNS[group]}")
        known = len(formulas.names[group])
        checks[f"recent_{COLUMNS[group]}"] = (place >= 0) & (place <= known)
    checks["dropped"] = np.asarray(state.dropped) >= 0
    return {
        field: np.atleast_1d(getattr(state, field))[np.atleast_1d(~possible)]
        for field, possible in checks.items()
        if not np.all(possible)
    }


def _checked(data: bytes, formulas: Formulas) -> Dimensions:
    """The dimensions in the header, if these formulas wrote it."""
    _, fingerprint, said = header(data)
    if fingerprint != formulas.fingerprint:
        raise ValueError(
            "data was written under other rates: its fingerprint is "
            f"{fingerprint}, and this InterestState's is {formulas.fingerprint}. "
            "Replay the user's events, or read it with the model that wrote it."
        )
    # With that fingerprint only `kept` is left to differ; a hand-made state can lie.
    if said.kept > formulas.capacity or said != dimensions(formulas, said.kept):
        raise ValueError(f"data is damaged: it cannot hold {said}.")
    return said
