"""Spell the place where a page ended as a token; refuse tokens that are damaged or of another search."""

from __future__ import annotations

import base64
import binascii
import json

from catalog.server.filters import Key
from infra.digests import sha256_of_json
from infra.errors import InputError

_CHECK_CHARS = 12
_MAX_CHARS = 4096


def write_token(key: Key, *, search_digest: str) -> str:
    """Pack the last item's key; the check digits tie it to its search (they keep no secret)."""
    payload = json.dumps([_check(key, search_digest), *key], separators=(",", ":"))
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
        check, start_us, collection, item_id = json.loads(
            base64.b64decode(padded, altchars=b"-_", validate=True)
        )
    except (binascii.Error, ValueError, TypeError, RecursionError) as exc:
        raise refusal from exc
    if type(start_us) is not int or not isinstance(collection, str) or not isinstance(item_id, str):
        raise refusal
    key = (start_us, collection, item_id)
    try:
        sound = check == _check(key, search_digest) and abs(start_us) < 2**63
    except UnicodeEncodeError as exc:
        raise refusal from exc
    if not sound:
        raise refusal
    return key


def _check(key: Key, search_digest: str) -> str:
    return sha256_of_json([search_digest, *key])[:_CHECK_CHARS]
