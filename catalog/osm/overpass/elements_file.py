"""Write the elements of Overpass answers as one sorted OSM file."""

from __future__ import annotations

import datetime as dt
import heapq
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import osmium
from osmium.osm import mutable

from catalog.grid import BoundsLonLat
from catalog.osm.records import ELEMENTS
from infra.errors import ConfigError, DataError

_FORMAT = "pbf,add_metadata=none"  # Overpass sends no versions, and none is told from version 0
_ORDER = {name: rank for rank, name in enumerate(ELEMENTS)}
_LETTERS = "nwr"
_MAX_TEXT_BYTES = 1020  # 255 characters of UTF-8, OSM's own limit and the file format's
_MAX_ID = (1 << 63) - 1

_Element = dict[str, Any]


def write_elements_file(
    answers: Sequence[Path], target: Path, *, bounds: BoundsLonLat, state: dt.datetime | None
) -> None:
    """Merge Overpass answers into one PBF, sorted by type and id, each element once.

    Where answers differ on an element, the younger answer has it. The header's timestamp is that of the
    oldest answer: nothing in the file is missing what happened before. Bytes depend on the answers alone.

    Args:
        answers: JSON files; PBF parts are put beside them.
        target: Must not exist, or may be replaced.
        bounds: Box that was asked for, degrees.
        state: Moment whose state was asked for; None for the newest.

    Raises:
        DataError: an answer is no Overpass answer, or holds an element that cannot be one.
        ConfigError: no room on the disk.
    """
    _check_room(answers, target)
    parts = [_write_part(answer) for answer in answers]
    # Youngest first: of equal elements the merge takes the first. The name only settles ties.
    parts.sort(
        key=lambda part: (part[0] or dt.datetime.min.replace(tzinfo=dt.UTC), part[1].name), reverse=True
    )
    states = [timestamp for timestamp, _ in parts if timestamp is not None]
    header = _header(bounds, min([*states, state] if state else states, default=None))
    with osmium.SimpleWriter(osmium.io.File(target, _FORMAT), header=header, overwrite=True) as writer:
        for element in _merge([path for _, path in parts]):
            writer.add(element)


def read_answer(path: Path) -> tuple[dt.datetime | None, list[_Element]]:
    """Read one Overpass answer: the state of its database (UTC), and its elements.

    Raises:
        DataError: it is not JSON, or not of Overpass's form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as exc:
        raise DataError(f"{path} is not JSON: {exc}; remove it, and it is asked for again") from exc
    elements = content.get("elements") if isinstance(content, dict) else None
    if not isinstance(elements, list):
        raise DataError("the answer is JSON without a list of elements; is it an Overpass server?")
    return _read_state(content.get("osm3s")), elements


def _read_state(about: object) -> dt.datetime | None:
    text = about.get("timestamp_osm_base") if isinstance(about, dict) else None
    if not isinstance(text, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _check_room(answers: Sequence[Path], target: Path) -> None:
    # libosmium ends the whole process when a disk fills up under it. PBF is far smaller than JSON.
    needed = sum(answer.stat().st_size for answer in answers)
    if shutil.disk_usage(target.parent).free < needed:
        raise ConfigError(f"no room for {needed / 1e6:.0f} MB in {target.parent}; free some disk space")


def _header(bounds: BoundsLonLat | None = None, state: dt.datetime | None = None) -> osmium.io.Header:
    header = osmium.io.Header()
    header.set("generator", "terraloom")
    header.set("sorting", "Type_then_ID")
    if bounds is not None:
        header.add_box(osmium.osm.Box(*bounds))
    if state is not None:
        header.set("osmosis_replication_timestamp", f"{state.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}")
    return header


def _write_part(answer: Path) -> tuple[dt.datetime | None, Path]:
    """Write one answer as a sorted PBF; what the writer would choke on is refused before it sees it."""
    state, elements = read_answer(answer)
    unique = {_check_identity(element): element for element in elements}
    path = answer.with_suffix(".osm.pbf")
    with osmium.SimpleWriter(osmium.io.File(path, _FORMAT), header=_header(), overwrite=True) as writer:
        add = (writer.add_node, writer.add_way, writer.add_relation)
        for kind, number in sorted(unique):
            add[kind](_make_element(kind, number, unique[kind, number]))
    return state, path


def _merge(parts: Sequence[Path]) -> Iterator[Any]:
    """Yield the elements of sorted files in order; a yielded one is valid until the next is asked for."""
    pool = osmium.io.ThreadPool(2)
    files = [
        ((_key(element), rank, element) for element in _elements(part, pool))
        for rank, part in enumerate(parts)
    ]
    merged = heapq.merge(*files, key=lambda entry: entry[:2])
    for _, same in groupby(merged, key=lambda entry: entry[0]):
        yield next(same)[2]


def _elements(part: Path, pool: Any) -> Iterator[Any]:  # noqa: ANN401 - pyosmium has no types
    yield from osmium.FileProcessor(osmium.io.File(part, "pbf"), thread_pool=pool)


def _key(element: Any) -> tuple[int, int]:  # noqa: ANN401 - pyosmium has no types
    return _LETTERS.index(element.type_str()), int(element.id)


def _check_identity(element: object) -> tuple[int, int]:
    if not isinstance(element, dict) or element.get("type") not in _ORDER:
        raise DataError(f"an element is no node, way or relation: {str(element)[:80]!r}")
    return _ORDER[element["type"]], _check_id(element.get("id"), element)


def _make_element(kind: int, number: int, element: _Element) -> Any:  # noqa: ANN401 - pyosmium has no types
    tags = _check_tags(element)
    if kind == 0:
        return mutable.Node(id=number, location=_check_location(element), tags=tags)
    if kind == 1:
        nodes = [_check_id(node, element) for node in _check_list(element, "nodes")]
        return mutable.Way(id=number, nodes=nodes, tags=tags)
    members = [_check_member(member, element) for member in _check_list(element, "members")]
    return mutable.Relation(id=number, members=members, tags=tags)


def _check_id(number: object, element: _Element) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= _MAX_ID:
        raise _refusal(element, f"id {str(number)[:30]!r} is not a positive whole number")
    return number


def _check_location(element: _Element) -> tuple[float, float]:
    lon, lat = element.get("lon"), element.get("lat")
    if not (isinstance(lon, float | int) and isinstance(lat, float | int)):
        raise _refusal(element, "it has no lon and lat")
    if not (math.isfinite(lon) and math.isfinite(lat) and abs(lon) <= 180 and abs(lat) <= 90):
        raise _refusal(element, f"{lon}, {lat} is not a place on Earth")
    return float(lon), float(lat)


def _check_tags(element: _Element) -> dict[str, str]:
    tags = element.get("tags", {})
    if not isinstance(tags, dict):
        raise _refusal(element, "its tags are not an object")
    return {_check_text(key, element): _check_text(value, element) for key, value in tags.items()}


def _check_list(element: _Element, name: str) -> list[Any]:
    entries = element.get(name, [])
    if not isinstance(entries, list):
        raise _refusal(element, f"its {name} are not a list")
    return entries


def _check_member(member: object, element: _Element) -> tuple[str, int, str]:
    if not isinstance(member, dict) or member.get("type") not in _ORDER:
        raise _refusal(element, "a member is no node, way or relation")
    letter = _LETTERS[_ORDER[member["type"]]]
    return letter, _check_id(member.get("ref"), element), _check_text(member.get("role", ""), element)


def _check_text(text: object, element: _Element) -> str:
    # A NUL or a lone surrogate breaks the file for every reader.
    if not isinstance(text, str) or "\0" in text or len(text.encode(errors="replace")) > _MAX_TEXT_BYTES:
        raise _refusal(element, f"{str(text)[:30]!r} is not a text of OSM")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise _refusal(element, f"{text[:30]!r} is not Unicode") from exc
    return text


def _refusal(element: _Element, reason: str) -> DataError:
    return DataError(f"{element.get('type')} {str(element.get('id'))[:30]} is unusable: {reason}")
