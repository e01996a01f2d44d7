"""Judge what an Overpass server answers, before osmnx takes it for data."""

from __future__ import annotations

import datetime as dt
import email.utils
import html
import json
import re
from typing import Any

import requests

from catalog.osm.overpass.bodies import read_page, read_whole, with_body
from infra.errors import NotFoundError, TransientError

LONGEST_PAUSE_S = 120.0
"""A server that wants a longer pause is given up for now."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_UNKNOWN_SLOT_PAUSE_S = 1  # between requests to a server that does not say when it is free
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_FREE = re.compile(r"^(\d+) slots? available now", re.MULTILINE)
_UNLIMITED = re.compile(r"^Rate limit: 0\s*$", re.MULTILINE)
_RUNNING = re.compile(r"^Currently running queries.*\n\s*\d", re.MULTILINE)
_NEXT = re.compile(r"^Slot available after: .*, in (-?\d+) seconds", re.MULTILINE)


def check_answer(response: requests.Response, **_: object) -> requests.Response:
    """Pass a good answer on and raise for any other: a response hook for ``requests``.

    Without it osmnx waits and asks again for ever when a server is busy, and takes the partial data of a
    query that ran out of time for whole.

    Raises:
        TransientError: busy, not JSON, or partial; ``retry_after_s`` in its context where the server says.
        NotFoundError: the server refuses, sends elsewhere, or sends too much.
    """
    try:
        return _judge(response)
    except BaseException:
        response.close()  # requests closes only what it hands out
        raise


def _judge(response: requests.Response) -> requests.Response:
    if response.is_redirect:
        target = _plain(response.headers["Location"])
        raise NotFoundError(f"it redirects to {target}; if that is right, give that address")
    response = read_whole(response) if response.ok and not _is_status(response) else read_page(response)
    if response.status_code in _BUSY:
        raise TransientError(
            f"HTTP {response.status_code} {_plain(response.text)}".rstrip(),
            retry_after_s=_retry_after_s(response.headers.get("Retry-After")),
        )
    if _is_status(response):
        return _settle_slot(response)
    if not response.ok:
        raise NotFoundError(f"HTTP {response.status_code} {_plain(response.text)}".rstrip())
    _check_body(response)
    return response


def _is_status(response: requests.Response) -> bool:
    return response.request.method == "GET"


def _check_body(response: requests.Response) -> None:
    body = response.content.strip()
    if not (body.startswith(b"{") and body.endswith(b"}")):
        raise TransientError(f"no JSON but {_plain(body[:10_000].decode(errors='replace')) or 'nothing'}")
    if b'"remark"' not in body:
        return  # by far the most, and parsing takes longer than looking
    content = _parse_object(body)
    if "remark" in content:
        raise TransientError(f"only part of the data came: {_plain(str(content['remark']))}")


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(body)
    except ValueError as exc:
        raise TransientError(f"broken JSON: {exc}") from exc
    return content


def _settle_slot(response: requests.Response) -> requests.Response:
    """Put a server's status into the one form that osmnx reads right.

    osmnx looks at the fifth line only, and trusts that both clocks agree. A server without limit has
    "Currently running queries" there, and osmnx would wait without end.
    """
    text = response.text if response.ok else ""
    waits = [int(seconds) for seconds in _NEXT.findall(text)]
    free = _FREE.search(text)
    if _UNLIMITED.search(text) or (free and int(free.group(1)) > 0):
        line = "1 slots available now."
    elif waits:
        line = _slot_line(max(min(waits), 1))
    elif _RUNNING.search(text):
        raise TransientError("all its slots are taken by queries of this address")
    else:
        line = _slot_line(_UNKNOWN_SLOT_PAUSE_S)
    response.status_code, response.encoding = 200, "utf-8"
    return with_body(response, f"\n\n\n\n{line}\n".encode())


def _slot_line(seconds: int) -> str:
    if seconds > LONGEST_PAUSE_S:
        raise TransientError(f"its next free slot is {seconds} s away", retry_after_s=float(seconds))
    # Whole seconds, cut off: osmnx rounds what remains up again.
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return f"Slot available after: {moment:%Y-%m-%dT%H:%M:%SZ}, in {seconds} seconds."


def _retry_after_s(header: str | None) -> float | None:
    """Read seconds, or the date from which on; None where neither can be read."""
    if not header:
        return None
    if header.isascii() and header.strip().isdigit():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


def _plain(text: str) -> str:
    """Return the beginning of a page as one line without markup or control characters."""
    words = html.unescape(_TAG.sub(" ", text[:10_000])).split()
    line = "".join(character for character in " ".join(words) if character.isprintable())
    return line if len(line) <= 160 else line[:160] + "…"
