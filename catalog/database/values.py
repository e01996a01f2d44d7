"""Spell the values of item properties so that SQLite compares them as CQL2 does.

One column holds all types. SQLite sorts NULL < numbers < text < blobs, so each type has a range of its own:

=============  =========================================  ============================
JSON           stored                                     range
=============  =========================================  ============================
null, absent   NULL
number         REAL (CQL2 numbers are doubles)            ``c < ''``
text           TEXT, compared by code point               ``c >= '' AND c < x''``
boolean        ``x'00'``, ``x'01'``
moment         ``x'02'`` + 8 bytes, big-endian            ``c > x'02' AND c < x'03'``
anything else  ``x'fd'`` … ``x'ff'``: only "not null" is known of it
=============  =========================================  ============================

A *moment* is text that spells an RFC 3339 date-time, or a date (its midnight, UTC): moments are compared with
moments by time, never with other text.
"""

from __future__ import annotations

import enum
import math
import re

from catalog.database.times import parse_moment
from infra.errors import InputError

MAX_TEXT_CHARS = 160
"""Longer text is not stored beside the document; conditions on it read the document."""

_MAYBE_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([Tt].*)?", re.ASCII)
_SHIFT_US = 2**63
StoredValue = float | str | bytes | None


class Kind(enum.IntFlag):
    """Name the types that the values of one property have had; several may be set."""

    NUMBER = 1
    FRACTION = 2
    """Set beside NUMBER when a number was not whole."""
    TEXT = 4
    LONG_TEXT = 8
    MOMENT = 16
    BOOLEAN = 32
    ARRAY = 64
    OBJECT = 128
    HUGE = 256
    """A number that no double holds."""


# The same as plain numbers: an operation on enum members takes longer than all else that is done to a value.
_NUMBER, _FRACTION = int(Kind.NUMBER), int(Kind.NUMBER | Kind.FRACTION)
_TEXT, _LONG_TEXT, _MOMENT = int(Kind.TEXT), int(Kind.TEXT | Kind.LONG_TEXT), int(Kind.MOMENT)
_BOOLEAN, _HUGE, _ARRAY, _OBJECT = (int(kind) for kind in (Kind.BOOLEAN, Kind.HUGE, Kind.ARRAY, Kind.OBJECT))
LONG_TEXT, HUGE, NESTED = b"\xfe", b"\xfd", b"\xff"
FALSE, TRUE = b"\x00", b"\x01"


def encode_value(value: object) -> tuple[StoredValue, int]:
    """Spell one JSON value for its column, and tell the bits of its ``Kind`` (0 for null)."""
    if value is None:
        return None, 0
    if isinstance(value, str):
        return _encode_text(value)
    if isinstance(value, bool):
        return (TRUE if value else FALSE), _BOOLEAN
    if isinstance(value, int | float):
        return _encode_number(value)
    return NESTED, _ARRAY if isinstance(value, list | tuple) else _OBJECT


def encode_moment(moment_us: int) -> bytes:
    """Spell a moment, microseconds since 1970, so that bytes sort by time."""
    return b"\x02" + (moment_us + _SHIFT_US).to_bytes(8, "big")


def read_moment(text: str) -> int | None:
    """Read text that spells an RFC 3339 date-time or a date; None when it does neither.

    Returns:
        Microseconds since 1970-01-01T00:00:00Z; a date counts as its midnight, UTC.
    """
    if len(text) < 10 or not _MAYBE_MOMENT.fullmatch(text):
        return None
    try:
        return parse_moment(f"{text}T00:00:00Z" if len(text) == 10 else text, where="moment")
    except InputError:
        return None


def read_number(value: float) -> float | None:
    """Read a JSON number as a double; None when none holds it."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _encode_number(value: float) -> tuple[StoredValue, int]:
    number = read_number(value)
    if number is None:
        return HUGE, _HUGE
    return number, _NUMBER if number.is_integer() else _FRACTION


def _encode_text(value: str) -> tuple[StoredValue, int]:
    moment_us = read_moment(value) if value[:4].isdigit() else None
    if moment_us is not None:
        return encode_moment(moment_us), _MOMENT
    if len(value) > MAX_TEXT_CHARS or "\0" in value:  # SQLite's GLOB stops at NUL
        return LONG_TEXT, _LONG_TEXT
    return value, _TEXT
