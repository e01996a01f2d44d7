"""Answer the files of a store's products over HTTP, by byte ranges, and nothing else the store holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse

from catalog.items.collections import COG_TYPE
from catalog.server.addresses import FILES, is_served
from catalog.server.remote_files import answer_object
from infra.errors import NotFoundError
from infra.storage import S3Storage, Storage

EXPOSED_HEADERS = ("Accept-Ranges", "Content-Length", "Content-Range", "ETag", "Last-Modified")
"""What a page of another origin must be able to read to go by byte ranges."""

RANGE_HEADERS = ("Range", "If-Range", "If-None-Match", "If-Modified-Since")
"""What such a page must be able to send."""

_MEDIA_TYPES = {
    ".tif": COG_TYPE,
    ".png": "image/png",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".html": "text/html; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".npz": "application/octet-stream",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".jsonl": "application/jsonl",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    # A product keeps its name when it is made again: ask each time, and be told 304.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    # A report shows words of foreign catalogues: whatever slips through must not act as this API's page.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups"
    ),
}
_Answer = Callable[[str, Request], Response]


def add_files_route(app: FastAPI, store: Storage) -> None:
    """Add ``GET`` and ``HEAD /files/{path}``.

    Args:
        app: The API.
        store: Whose files; a local one is read from disk, one in S3 is passed through.
    """
    answer = _from_bucket(store) if isinstance(store, S3Storage) else _from_disk(Path(store.uri))

    def get_file(path: str, request: Request) -> Response:
        """One file of a product, as an item's assets name it; byte ranges are answered."""
        if not is_served(path):
            raise _not_here(path)
        return answer(path, request)

    route = f"/{FILES}/{{path:path}}"
    app.add_api_route(route, get_file, methods=["GET"], response_class=Response, tags=["Files"])
    app.add_api_route(route, get_file, methods=["HEAD"], include_in_schema=False)


def media_type_of(path: str) -> str:
    """Name a file's media type by its ending; Zarr chunks have none and are bytes."""
    return _MEDIA_TYPES.get(Path(path).suffix.lower(), "application/octet-stream")


def _from_disk(root: Path) -> _Answer:
    real_root = root.resolve()

    def answer(path: str, request: Request) -> Response:
        # A link may lead on inside the store, never out of it.
        try:
            file = (real_root / path).resolve(strict=True)
            facts = file.stat()
        except (OSError, ValueError, RuntimeError) as exc:
            raise _not_here(path) from exc
        if not file.is_relative_to(real_root) or not is_served(file.relative_to(real_root).as_posix()):
            raise _not_here(path)
        if not file.is_file():
            raise _is_group(path) if (file / "zarr.json").is_file() else _not_here(path)
        response = FileResponse(file, stat_result=facts, media_type=media_type_of(path), headers=_HEADERS)
        return NotModifiedResponse(response.headers) if _is_current(response, request) else response

    return answer


def _from_bucket(store: S3Storage) -> _Answer:
    def answer(path: str, request: Request) -> Response:
        response = answer_object(store, path, request, media_type=media_type_of(path))
        if response is None:
            raise _not_here(path)
        response.headers.update(_HEADERS)
        return NotModifiedResponse(response.headers) if _is_current(response, request) else response

    return answer


def _is_current(response: Response, request: Request) -> bool:
    """Say whether the client holds these very bytes (RFC 9110, If-None-Match)."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return response.headers.get("etag", "-") in known


def _is_group(path: str) -> NotFoundError:
    return NotFoundError(
        f"{path[:200]!r} is a Zarr group, a folder of many files: open this address with xarray.open_zarr"
    )


def _not_here(path: str) -> NotFoundError:
    return NotFoundError(f"no file {path[:200]!r} is served here: see the assets of an item")
