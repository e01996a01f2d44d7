"""Offer scenes to the command line in every form a source can have, whole or spoilt."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from catalog.client import EmbeddedClient
from catalog.sample.publish import SampleWorldConfig, write_sample_world
from catalog.server.app import create_app, serving

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class World:
    """A request that a source can answer."""

    source: str
    collections: tuple[str, ...]
    bbox: tuple[float, float, float, float]
    datetime: str
    extra: tuple[str, ...] = ()
    """Further words of the command line."""

    @classmethod
    def of_json(cls, told: Json) -> World:
        """Return the request that ``dataclasses.asdict`` and JSON have carried."""
        lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
        return cls(**(told | lists))

    def words(self, store: Path, *more: str) -> tuple[str, ...]:
        """Spell the request as options of ``map``, ``ingest`` or ``plan``."""
        bbox = ",".join(str(number) for number in self.bbox)
        return (
            *("--source", self.source, "--collections", ",".join(self.collections)),
            *("--bbox", bbox, "--datetime", self.datetime, "--store", str(store)),
            *self.extra,
            *more,
        )

    def mapping(self, store: Path, *more: str) -> tuple[str, ...]:
        """Spell the request as the command ``map`` that makes cubes and registers none of them."""
        return ("map", *self.words(store, "--steps", "ingest"), *more)

    def at(self, source: object) -> World:
        """Return the same request to another source."""
        return replace(self, source=str(source))

    def only(self, *collections: str) -> World:
        """Return the request for some collections."""
        return replace(self, collections=collections)

    @property
    def folder(self) -> Path:
        """Folder of a static catalogue."""
        return Path(self.source).parent


def draw_world(folder: Path, *, size_px: int) -> World:
    """Write a sample world and the request that covers it."""
    world = write_sample_world(folder, SampleWorldConfig(size_px=size_px))
    return World(
        source=str(world.catalog), collections=world.collections, bbox=world.bbox, datetime=world.datetime
    )


def copy_world(world: World, folder: Path) -> World:
    """Copy a static catalogue with its files, to spoil the copy."""
    shutil.copytree(world.folder, folder)
    return world.at(folder / Path(world.source).name)


def item_files(world: World) -> list[Path]:
    """Return the items of a static catalogue, sorted."""
    return sorted(
        path for path in world.folder.rglob("*.json") if json.loads(path.read_text()).get("type") == "Feature"
    )


def change_item(path: Path, change: Callable[[Json], object]) -> None:
    """Rewrite an item of a static catalogue."""
    item = json.loads(path.read_text())
    change(item)
    path.write_text(json.dumps(item))


def cut_file(path: Path) -> None:
    """Leave the first two thirds of a file, as a broken download does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def spoil_middle(path: Path) -> None:
    """Overwrite the middle third of a file with noise; header and length stay."""
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes((index * 197 + 13) % 251 for index in range(third))
    path.write_bytes(data)


@contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP with byte ranges; give its URL."""
    server = _QuietServer(("127.0.0.1", 0), partial(_RangeHandler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving_api(world: World, scratch: Path, *, file_root: Path | None = None) -> Iterator[World]:
    """Serve a static catalogue as a STAC API whose assets are read by HTTP byte ranges.

    Args:
        world: A request to a static catalogue.
        scratch: Folder for the API's catalogue file.
        file_root: Folder above all files that the items name; the catalogue's own when None.
    """
    root = file_root or world.folder
    with serving_files(root) as files:
        database = scratch / "api.sqlite"
        with EmbeddedClient(database) as client:
            for path in sorted(world.folder.rglob("collection.json")):
                client.upsert_collection(_without_links(json.loads(path.read_text())))
            client.upsert_items(_remote_item(path, root, files) for path in item_files(world))
        with serving(create_app(database, token=None)) as url:
            yield world.at(url)


def _remote_item(path: Path, root: Path, files: str) -> Json:
    item = _without_links(json.loads(path.read_text()))
    for asset in item["assets"].values():
        place = (path.parent / asset["href"].removeprefix("file://")).resolve()
        asset["href"] = f"{files}/{place.relative_to(root.resolve()).as_posix()}"
    return item


def _without_links(document: Json) -> Json:
    return document | {"links": []}


class _QuietServer(ThreadingHTTPServer):
    """Say nothing of readers that hang up: GDAL does."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _RangeHandler(SimpleHTTPRequestHandler):
    """Serve files, whole or one range of bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(HTTPStatus.OK, data)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if first > last:
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", f"bytes */{len(data)}")
            return
        self._answer(HTTPStatus.PARTIAL_CONTENT, data[first : last + 1], f"bytes {first}-{last}/{len(data)}")

    def _answer(self, status: HTTPStatus, data: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
