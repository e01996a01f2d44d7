"""Read what a server sends within bounds of size and time: ``requests`` alone would read without end."""

from __future__ import annotations

import io
import time

import requests
import urllib3

from infra.errors import NotFoundError, TransientError

MAX_ANSWER_BYTES = 1 << 30
"""Of one answer, unpacked: some 800 km² of a dense city. A few packed bytes can stand for any number."""
MAX_PAGE_BYTES = 1 << 16
"""Of a status or an error page; the rest is not read."""
LONGEST_ANSWER_S = 3600.0
"""From the first byte to the last: a server that sends a byte now and then never falls silent."""
_BLOCK_BYTES = 1 << 18


def read_whole(response: requests.Response) -> requests.Response:
    """Read an answer to its end and return it with the body at hand.

    Raises:
        NotFoundError: it is longer than ``MAX_ANSWER_BYTES``.
        TransientError: it takes longer than ``LONGEST_ANSWER_S``, or breaks off.
    """
    body = _read(response, MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise NotFoundError(
            f"it sends more than {MAX_ANSWER_BYTES >> 20} MiB for one request; ask for smaller parts "
            "(setting osm.overpass_max_area_km2)"
        )
    return with_body(response, body)


def read_page(response: requests.Response) -> requests.Response:
    """Read the beginning of a page and return the response with it as its body.

    Raises:
        TransientError: as ``read_whole``.
    """
    return with_body(response, _read(response, MAX_PAGE_BYTES))


def with_body(response: requests.Response, body: bytes) -> requests.Response:
    """Return a response as it is but for its body, which is plain bytes; the connection is closed."""
    answer = requests.Response()
    for name in ("status_code", "reason", "headers", "url", "request", "encoding"):
        setattr(answer, name, getattr(response, name))
    answer.raw = io.BytesIO(body)
    response.close()
    return answer


def _read(response: requests.Response, limit: int) -> bytes:
    """Read at most ``limit`` bytes, as they come: a larger block would be waited for."""
    body, until = bytearray(), time.monotonic() + LONGEST_ANSWER_S
    try:
        while len(body) < limit:
            block = response.raw.read1(min(_BLOCK_BYTES, limit - len(body)), decode_content=True)
            if not block:
                break
            body += block
            if time.monotonic() > until:
                raise TransientError(f"its answer was not over after {LONGEST_ANSWER_S:.0f} s")
    except urllib3.exceptions.HTTPError as exc:
        raise TransientError(f"its answer breaks off: {' '.join(str(exc).split())[:160]}") from exc
    return bytes(body)
