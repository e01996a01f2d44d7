"""Say which OSM file this is, and read its objects with every failure told in one line."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import osmium

from catalog.grid import BoundsLonLat
from catalog.osm.records import ExtractFacts
from infra.errors import DataError, InputError, NotFoundError

FILE_TYPES = {
    ".osm.pbf": "pbf",
    ".osm.bz2": "osm.bz2",
    ".osm.gz": "osm.gz",
    ".pbf": "pbf",
    ".osm": "osm",
}
"""Endings that are understood, and libosmium's name for what is inside."""

_UNREADABLE = (RuntimeError, ValueError, osmium.InvalidLocationError)
"""What libosmium raises for a file that is not what it should be."""
_HEADER_TEXTS = (
    "generator",
    "osmosis_replication_base_url",
    "osmosis_replication_sequence_number",
    "osmosis_replication_timestamp",
    "timestamp",
)
_HASHED_BYTES = 1 << 20
_XML_STATE = re.compile(r'<(?:osm\s[^>]*?\btimestamp|meta\s[^>]*?\bosm_base)="([0-9TZ:.+-]+)"')


def describe_extract(path: str | Path) -> ExtractFacts:
    """Read a file's header and sum; the data themselves are not read.

    Raises:
        InputError: the name ends in none of the known types, or the path is not UTF-8.
        NotFoundError: there is no such file.
        DataError: the file is empty, or its beginning is not what its name says.
    """
    absolute = Path(path).expanduser().resolve()
    _check_spelling(absolute)
    _file_type(absolute)
    if not absolute.is_file():
        raise NotFoundError(f"OSM extract {absolute} is not there, or is no file; give the path of one")
    status = absolute.stat()
    if status.st_size == 0:
        raise DataError(f"OSM extract {absolute} is empty (0 bytes); fetch it again")
    header = _read_header(absolute)
    return ExtractFacts(
        path=str(absolute),
        sha256=_hash_file(absolute),
        size=status.st_size,
        timestamp=_state_of(absolute, header),
        sequence=_whole_number(header.get("osmosis_replication_sequence_number")),
        replication_url=header.get("osmosis_replication_base_url") or None,
        generator=header.get("generator") or None,
        bounds=_bounds_of(header),
        modified=dt.datetime.fromtimestamp(int(status.st_mtime), dt.UTC),
    )


def check_unchanged(extract: ExtractFacts) -> None:
    """Refuse a file that is no longer the one described: what was read of it may be of two states.

    Raises:
        DataError: the file's content has changed, or it is gone.
    """
    try:
        found = _hash_file(Path(extract.path))
    except OSError as exc:
        raise DataError(
            f"OSM extract {extract.path} went away while it was read ({exc.strerror}); run again"
        ) from exc
    if found != extract.sha256:
        raise DataError(
            f"OSM extract {extract.path} changed while it was read (SHA-256 {extract.sha256[:12]}… before, "
            f"{found[:12]}… after); run again when it is written"
        )


def read_objects(
    path: str, entities: osmium.osm.osm_entity_bits, *handlers: osmium.BaseHandler
) -> Iterator[Any]:
    """Yield a file's objects as a stream; each is valid until the next one is asked for.

    Args:
        path: File of a known type.
        entities: ``osmium.osm`` bits of the element types to decode.
        *handlers: pyosmium handlers and filters, applied in that order before an object is yielded.

    Raises:
        DataError: the file is cut short or garbled.
    """
    try:
        with _open(Path(path), entities) as reader:
            yield from osmium.OsmFileIterator(reader, *handlers)
    except _UNREADABLE as exc:
        raise _unreadable(path, exc) from exc


@contextmanager
def telling_broken_texts(path: str) -> Iterator[None]:
    """Tell of a text that is no UTF-8 as the file's fault; it shows where the text is looked at.

    Raises:
        DataError: a tag or a role is no UTF-8.
    """
    try:
        yield
    except UnicodeDecodeError as exc:
        raise _unreadable(path, exc) from exc


def measure_bounds(path: str) -> BoundsLonLat | None:
    """Return the box of a file's nodes, degrees; None where there is none. Reads all of them.

    For extracts that do not say what they cover; one that crosses the antimeridian comes out as wide as the
    Earth.

    Raises:
        DataError: the file is cut short or garbled.
    """
    west = south = math.inf
    east = north = -math.inf
    for node in read_objects(path, osmium.osm.NODE):
        if node.location.valid():
            west, east = min(west, node.lon), max(east, node.lon)
            south, north = min(south, node.lat), max(north, node.lat)
    return (west, south, east, north) if west < east and south < north else None


def _open(path: Path, entities: osmium.osm.osm_entity_bits) -> osmium.io.Reader:
    # The type is named, and the path absolute: libosmium would take "-" and "http:…" for more than files.
    return osmium.io.Reader(osmium.io.File(str(path), _file_type(path)), entities)


def _check_spelling(path: Path) -> None:
    # The path goes into records that are JSON, and so UTF-8; a Linux file name may be any bytes.
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"path {str(path)!a} is not UTF-8; rename the file or its folder") from exc


def _file_type(path: Path) -> str:
    for ending, name in FILE_TYPES.items():
        if path.name.lower().endswith(ending):
            return name
    raise InputError(f"{path} is no OSM extract by its name; it should end in one of {', '.join(FILE_TYPES)}")


def _read_header(path: Path) -> osmium.io.Header:
    try:
        with _open(path, osmium.osm.NOTHING) as reader:
            header = reader.header()
            for name in _HEADER_TEXTS:
                header.get(name)  # what is no UTF-8 shows here
            return header
    except _UNREADABLE as exc:
        raise _unreadable(str(path), exc) from exc


def _unreadable(path: str, exc: Exception) -> DataError:
    said = " ".join(str(exc).split())
    return DataError(
        f"OSM extract {path} cannot be read: {said}; "
        "it is cut short or not what its name says, fetch it again",
        path=path,
    )


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _bounds_of(header: osmium.io.Header) -> BoundsLonLat | None:
    box = header.box()
    if not box.valid():
        return None
    low, high = box.bottom_left, box.top_right
    return low.lon, low.lat, high.lon, high.lat


def _state_of(path: Path, header: osmium.io.Header) -> dt.datetime | None:
    stated = header.get("osmosis_replication_timestamp") or header.get("timestamp")
    if not stated and _file_type(path) == "osm":
        # libosmium does not pass on what osmconvert and Overpass write at the top of their XML.
        with path.open("rb") as file:
            found = _XML_STATE.search(file.read(4096).decode("utf-8", "replace"))
        stated = found[1] if found else ""
    return _parse_time(stated)


def _parse_time(text: str) -> dt.datetime | None:
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:  # a header may hold anything; a time that is none is not known
        return None
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
