"""Spell the place where a page ended as a token; refuse tokens that are damaged or of another search."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from catalog.database.ordering import Key, KeyValue
from infra.digests import sha256_of_json
from infra.errors import InputError

_CHECK_CHARS = 12
_MAX_CHARS = 32_768
_MAX_VALUES = 16


def write_token(key: Key, *, search_digest: str) -> str:
    """Pack the last item's key; the check digits tie it to its search (they keep no secret)."""
    values = [{"hex": value.hex()} if isinstance(value, bytes) else value for value in key]
    payload = json.dumps([_check(values, search_digest), *values], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(payload.encode()).decode().rstrip("=")


def read_token(token: str, *, search_digest: str) -> Key:
    """Unpack a token.

    Raises:
        InputError: damaged, made up, or of a search with other conditions.
    """
    refusal = InputError("token does not belong to this search: follow the 'next' link as the server gave it")
    if len(token) > _MAX_CHARS:
        raise refusal
    try:
        padded = token.encode() + b"=" * (-len(token) % 4)
        check, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        key = tuple(_read_value(value) for value in values)
        sound = check == _check(values, search_digest) and 0 < len(key) <= _MAX_VALUES
    except (binascii.Error, ValueError, TypeError, RecursionError) as exc:
        raise refusal from exc
    if not sound:
        raise refusal
    return key


def _read_value(value: object) -> KeyValue:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else _refuse()
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        return _refuse()
    if isinstance(value, int) and abs(value) >= 2**63:
        return _refuse()
    return value


def _refuse() -> KeyValue:
    raise ValueError("no value of a key")


def _check(values: list[Any], search_digest: str) -> str:
    return sha256_of_json([search_digest, *values])[:_CHECK_CHARS]
