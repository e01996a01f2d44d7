"""Pass objects of an S3 store on to HTTP clients, piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import format_datetime
from typing import Any

import obstore
from fastapi import Request, Response
from obstore.exceptions import BaseError
from starlette.responses import StreamingResponse

from infra.errors import TransientError
from infra.storage import S3Storage

_PIECE_BYTES = 4 * 1024 * 1024
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def answer_object(store: S3Storage, path: str, request: Request, *, media_type: str) -> Response | None:
    """Answer one object, whole or one byte range of it; None when there is none.

    Several ranges in one request are answered with the whole object, as RFC 9110 allows.

    Raises:
        TransientError: the bucket does not answer.
    """
    facts = _look_at(store, path)
    if facts is None:
        return None
    size = int(facts["size"])
    headers = {"Accept-Ranges": "bytes", "ETag": str(facts["e_tag"] or f'"{size}"')}
    headers["Last-Modified"] = format_datetime(facts["last_modified"], usegmt=True)
    asked = _wanted_range(request, size, headers["ETag"])
    if asked is None:
        start, end, status = 0, size, 200
    else:
        start, end = asked
        status = 206
        if start >= end:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    pieces = _read_pieces(store, path, (start, end), facts["e_tag"])
    return StreamingResponse(pieces, status_code=status, headers=headers, media_type=media_type)


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Read a ``Range`` header that asks for one range.

    Args:
        text: The header, e.g. ``bytes=0-99``, ``bytes=100-`` or ``bytes=-100``.
        size: Bytes there are.

    Returns:
        First byte and the one after the last; equal or crossed when nothing of the range is there. None for
        everything that is not one plain range.
    """
    found = _ONE_RANGE.fullmatch(text.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _wanted_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    if request.headers.get("if-range", etag) != etag:
        return None
    return parse_range(request.headers.get("range", ""), size)


def _look_at(store: S3Storage, path: str) -> Any | None:  # noqa: ANN401 (obstore's ObjectMeta)
    try:
        return obstore.head(store.objects, path)
    except FileNotFoundError:
        return None
    except BaseError as exc:
        raise TransientError(f"{store.href(path)}: {str(exc).splitlines()[0]}") from exc


def _read_pieces(store: S3Storage, path: str, span: tuple[int, int], etag: str | None) -> Iterator[bytes]:
    """Read a range piece by piece; one replaced in between breaks the stream, which clients notice."""
    start, end = span
    for first in range(start, end, _PIECE_BYTES):
        wanted: Any = {"range": (first, min(first + _PIECE_BYTES, end))}
        options = wanted | ({"if_match": etag} if etag else {})
        yield bytes(obstore.get(store.objects, path, options=options).bytes())
