"""Read and write RFC 3339 moments as integers: microseconds since 1970-01-01T00:00:00Z."""

from __future__ import annotations

import datetime as dt
import re

from infra.errors import InputError

_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:(\d\d)(?:[.]\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_FIRST_US = (dt.datetime.min.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
_LAST_US = (dt.datetime.max.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
_DAY_US = 86_400_000_000
_OPEN = ("", "..")


def parse_moment(text: object, *, where: str) -> int:
    """Read one RFC 3339 date-time; digits beyond microseconds are cut off.

    Args:
        text: For example ``2024-05-01T10:00:00.5Z``; a UTC offset is required.
        where: What the value is, for the message.

    Returns:
        Microseconds since 1970-01-01T00:00:00Z; negative before.

    Raises:
        InputError: not a date-time, no UTC offset, or no such day.
    """
    match = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if match is None or not isinstance(text, str):
        raise _refuse(text, where)
    leap = match[1] == "60"  # RFC 3339 allows the leap second; it is read as the second after it
    spelt = text.upper() if not leap else f"{text[:17]}59{text[19:]}".upper()
    try:
        moment = dt.datetime.fromisoformat(spelt)
    except ValueError as exc:
        raise _refuse(text, where) from exc
    moment_us = (moment - _EPOCH) // _MICROSECOND + leap * 1_000_000
    if not _FIRST_US <= moment_us <= _LAST_US:
        raise _refuse(text, where)
    return moment_us


def parse_interval(text: str) -> tuple[int | None, int | None]:
    """Read a search's ``datetime``: one moment, or an interval open at one end at most.

    Returns:
        First and last microsecond, both inclusive; None at the open end.

    Raises:
        InputError: neither form, both ends open, or the end before the start.
    """
    parts = text.split("/")
    if len(parts) == 1:
        moment = parse_moment(text, where="datetime")
        return moment, moment
    if len(parts) != 2:
        raise InputError(f"datetime {text!r} has {len(parts)} parts: expected 'start/end' or one date-time")
    start, end = (None if part in _OPEN else parse_moment(part, where="datetime") for part in parts)
    if start is None and end is None:
        raise InputError(f"datetime {text!r} is open at both ends: state one, or leave datetime out")
    if start is not None and end is not None and start > end:
        raise InputError(f"datetime {text!r} ends before it starts: swap the two")
    return start, end


def format_moment(moment_us: int) -> str:
    """Spell a moment as RFC 3339 in UTC, with a fraction only where there is one."""
    return (_EPOCH + moment_us * _MICROSECOND).isoformat().removesuffix("+00:00") + "Z"


def to_days(moment_us: int) -> float:
    """Express a moment in days: the time axis of the R*Tree, whose numbers are float32."""
    return moment_us / _DAY_US


def _refuse(text: object, where: str) -> InputError:
    return InputError(
        f"{where} {str(text)[:80]!r} is not an RFC 3339 date-time: expected e.g. '2024-05-01T10:00:00Z'"
    )
