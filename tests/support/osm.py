"""Write small OSM extracts, big ones out of small ones, and measure what reading one takes."""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import osmium
from osmium.osm import mutable

_ROOT = Path(__file__).parents[2]
_HEADER_BLOB = b"OSMHeader"


def node(number: int, lon: float, lat: float, **more: Any) -> mutable.Node:
    return mutable.Node(id=number, location=(lon, lat), **_stated(more))


def way(number: int, nodes: Sequence[int], **more: Any) -> mutable.Way:
    return mutable.Way(id=number, nodes=list(nodes), **_stated(more))


def relation(number: int, members: Sequence[tuple[str, int, str]], **more: Any) -> mutable.Relation:
    """An areal relation by default; members are (``n``/``w``/``r``, id, role)."""
    more.setdefault("tags", {"type": "multipolygon", "landuse": "forest"})
    return mutable.Relation(id=number, members=list(members), **_stated(more))


def write_extract(path: Path, objects: Iterable[Any]) -> Path:
    """Write objects in the order given; the file's name says the type."""
    writer = osmium.SimpleWriter(str(path), overwrite=True)
    for thing in objects:
        writer.add(thing)
    writer.close()
    return path


def write_as_xml(source: Path, path: Path) -> Path:
    """Write a file's objects as XML, the only form that osmnx reads."""
    writer = osmium.SimpleWriter(osmium.io.File(str(path), "osm"))
    for thing in osmium.FileProcessor(str(source)):
        writer.add(thing)
    writer.close()
    return path


def repeat_pbf(source: Path, path: Path, *, at_least: int) -> int:
    """Repeat a PBF's data blobs, each so often in its place that the order by type stays.

    Returns:
        How many times each blob is there.
    """
    header, *data = _blobs(source.read_bytes())
    times = max(1, -(-at_least // sum(map(len, data))))
    with path.open("wb") as file:
        file.write(header)
        for blob in data:
            for _ in range(times):
                file.write(blob)
    return times


def measure_reading(path: Path, area: Sequence[float] | None) -> dict[str, Any]:
    """Read an extract in a process of its own.

    Returns:
        ``seconds``, ``features``, ``found``, and in MiB ``peak`` (of all resident pages), ``anonymous`` (the
        most of them that the process owned, looked at every 20 ms: mapped files are not in it) and
        ``before`` (owned once everything was imported).
    """
    words = [sys.executable, "-m", "tests.support.osm", str(path)]
    words += [f"--area={','.join(map(str, area))}"] if area else []
    process = subprocess.Popen(words, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    anonymous = 0.0
    while process.poll() is None:
        anonymous = max(anonymous, _memory_mib(process.pid, "RssAnon"))
        time.sleep(0.02)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out) | {"anonymous": anonymous}


def _blobs(data: bytes) -> Iterator[bytes]:
    """Cut a PBF into its blobs, each with the length and the header before it."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        header = data[at + 4 : at + 4 + length]
        end = at + 4 + length + _blob_size(header)
        assert (_HEADER_BLOB in header) == (at == 0)
        yield data[at:end]
        at = end


def _blob_size(header: bytes) -> int:
    """Field 3 of a BlobHeader, a varint; fields 1 and 2 are strings."""
    at = 0
    while True:
        key, at = _varint(header, at)
        value, at = _varint(header, at)
        if key == 3 << 3:
            return value
        at += value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _memory_mib(process: int | str, name: str) -> float:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended between two looks
        return 0.0
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def _stated(more: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "timestamp": "2024-05-01T12:00:00Z"} | more


def _main() -> None:
    from catalog.osm.extract import describe_extract
    from catalog.osm.reading import read_features

    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--area")
    words = parser.parse_args()
    area = tuple(float(value) for value in words.area.split(",")) if words.area else None
    before = _memory_mib("self", "RssAnon")
    extract = describe_extract(words.path)
    started = time.perf_counter()
    reading = read_features(extract, area)  # type: ignore[arg-type]
    told = {
        "seconds": time.perf_counter() - started,
        "features": len(reading.features),
        "found": reading.found,
        "peak": _memory_mib("self", "VmHWM"),
        "before": before,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    _main()
