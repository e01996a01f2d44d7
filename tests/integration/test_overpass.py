from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import gzip
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import osmium
import osmnx
import pytest
import shapely

from catalog.osm.extract import describe_extract
from catalog.osm.overpass import bodies
from catalog.osm.overpass.fetch import fetch_overpass
from catalog.osm.overpass.options import OverpassOptions
from catalog.osm.reading import read_features
from catalog.osm.records import ELEMENTS
from catalog.osm.sources import OverpassSource, resolve_feature_source
from infra.errors import ConfigError, DataError, InputError, NotFoundError, TransientError
from tests.support.overpass import (
    OverpassServer,
    block_of_streets,
    busy,
    literally,
    page,
    raw,
    remark,
    serving_overpass,
    truncated,
)

KEYS = ("building", "highway", "natural", "shop")
AREA = (10.0, 50.0, 10.011, 50.011)
MANY_PARTS_M2 = 3e5  # the area is about 1 km²


@pytest.fixture
def server() -> Iterator[OverpassServer]:
    with serving_overpass(block_of_streets(10.0, 50.0)) as running:
        yield running


def options_for(*servers: OverpassServer | str, **changes: Any) -> OverpassOptions:
    urls = tuple(server if isinstance(server, str) else server.url for server in servers)
    return OverpassOptions(**{"urls": urls, "keys": KEYS, "first_pause_s": 0.01, "timeout_s": 20} | changes)


def free_port_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


def identities(path: Path) -> list[tuple[str, int]]:
    return [(element.type_str(), element.id) for element in osmium.FileProcessor(path)]


def all_identities(server: OverpassServer) -> list[tuple[str, int]]:
    order = {"node": 0, "way": 1, "relation": 2}
    found = sorted((order[element["type"]], element["id"]) for element in server.elements)
    return [("nwr"[rank], number) for rank, number in found]


def header_of(path: Path) -> osmium.io.Header:
    with osmium.io.Reader(path) as reader:
        return reader.header()


def left_behind(cache: Path) -> list[str]:
    kept = {".overpass.lock", *(file.with_suffix("").stem + ".server" for file in cache.glob("*.osm.pbf"))}
    return sorted(file.name for file in cache.iterdir() if file.name not in kept)


def test_an_area_becomes_a_sorted_file_with_its_box_and_date(server: OverpassServer, tmp_path: Path) -> None:
    path = fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert identities(path) == all_identities(server)
    header = header_of(path)
    assert header.get("osmosis_replication_timestamp") == "2026-03-01T12:00:00Z"
    box = header.box()
    assert (box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat) == AREA
    assert left_behind(tmp_path) == [path.name]
    by_id = {(element.type_str(), element.id): dict(element.tags) for element in osmium.FileProcessor(path)}
    assert by_id["n", 900] == {"shop": "bakery", "name": "<b>\u2603</b>"}
    assert by_id["r", 1] == {"type": "multipolygon", "natural": "water"}


def test_parts_of_an_area_share_elements_and_the_file_has_each_once(
    server: OverpassServer, tmp_path: Path
) -> None:
    whole = fetch_overpass(AREA, options_for(server), cache=tmp_path / "whole")
    server.queries.clear()
    server.states += ["2026-03-01T12:00:05Z", "2026-03-01T11:58:00Z"]
    parts = fetch_overpass(
        AREA, options_for(server, max_query_area_m2=MANY_PARTS_M2), cache=tmp_path / "parts"
    )
    assert len(server.queries) >= 4
    sent = sum(len(server.answer(query)["elements"]) for query in server.queries)
    assert sent > len(server.elements)
    assert identities(parts) == all_identities(server)
    assert parts.name == whole.name
    assert header_of(parts).get("osmosis_replication_timestamp") == "2026-03-01T11:58:00Z"


def test_where_parts_differ_on_an_element_the_younger_answer_has_it(
    server: OverpassServer, tmp_path: Path
) -> None:
    street = next(element for element in server.elements if element["type"] == "way" and element["id"] == 103)
    original = server.answer

    def answer(query: str) -> dict[str, Any]:
        street["tags"]["name"] = f"name {len(server.queries)}"
        server.states[:] = [f"2026-03-01T12:0{9 - len(server.queries)}:00Z"]  # the first answer is youngest
        return original(query)

    server.answer = answer  # type: ignore[method-assign]
    path = fetch_overpass(AREA, options_for(server, max_query_area_m2=MANY_PARTS_M2), cache=tmp_path)
    ways = osmium.FileProcessor(path, osmium.osm.WAY)
    names = [way.tags["name"] for way in ways if way.id == 103]
    carrying = [
        number
        for number, query in enumerate(server.queries, 1)
        if any(e is street for e in original(query)["elements"])
    ]
    assert len(carrying) > 1
    assert names == [f"name {carrying[0]}"]


def test_the_second_call_asks_nobody_and_same_answers_give_the_same_bytes(
    server: OverpassServer, tmp_path: Path
) -> None:
    options = options_for(server, max_query_area_m2=MANY_PARTS_M2)
    path = fetch_overpass(AREA, options, cache=tmp_path / "one")
    asked, greeted = len(server.queries), server.statuses
    assert fetch_overpass(AREA, options, cache=tmp_path / "one") == path
    assert (len(server.queries), server.statuses) == (asked, greeted)
    again = fetch_overpass(AREA, options, cache=tmp_path / "two")
    assert again.read_bytes() == path.read_bytes()


def test_an_answer_beyond_its_age_is_fetched_again(server: OverpassServer, tmp_path: Path) -> None:
    fetch_overpass(AREA, options_for(server), cache=tmp_path)
    server.states.append("2026-04-01T00:00:00Z")
    path = fetch_overpass(AREA, options_for(server, max_cache_age_s=1e-9), cache=tmp_path)
    assert header_of(path).get("osmosis_replication_timestamp") == "2026-04-01T00:00:00Z"


@pytest.mark.parametrize(
    "faults",
    [
        [busy(504), busy(504)],
        [busy(503), busy(502)],
        [truncated],
        [page],
        [remark],
        [literally([1, 2])],
        [raw(b'{"elements": [}')],
        [raw(b'{"elements":' + b"[" * 200_000 + b"}")],
        [raw(b'{"elements":[' + b"1" * 5_000 + b"]}")],
    ],
    ids=[
        "504 twice",
        "503 and 502",
        "truncated",
        "page with status 200",
        "partial data",
        "no object",
        "broken JSON",
        "too deep",
        "too long a number",
    ],
)
def test_a_passing_fault_is_asked_past(server: OverpassServer, tmp_path: Path, faults: list[Any]) -> None:
    count = len(faults)
    server.faults += faults
    path = fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert identities(path) == all_identities(server)
    assert len(server.queries) == count + 1
    assert left_behind(tmp_path) == [path.name]


def test_retry_after_is_waited_for(server: OverpassServer, tmp_path: Path) -> None:
    server.faults.append(busy(429, Retry_After="1"))
    start = time.monotonic()
    fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert 1.0 <= time.monotonic() - start < 5
    assert len(server.queries) == 2


def test_a_server_that_wants_too_long_a_pause_is_left_for_the_next(
    server: OverpassServer, tmp_path: Path
) -> None:
    with serving_overpass(server.elements) as other:
        server.faults.append(busy(429, Retry_After="3600"))
        other.faults.append(busy(504))
        path = fetch_overpass(AREA, options_for(server, other), cache=tmp_path)
    assert identities(path) == all_identities(server)
    assert (len(server.queries), len(other.queries)) == (1, 2)


def gzip_bomb(handler: Any) -> None:
    """Answer with four megabytes of blanks in four kilobytes."""
    handler.send(200, gzip.compress(b" " * (1 << 22)), "application/json", Content_Encoding="gzip")


def endless(handler: Any) -> None:
    """Answer without end, as fast as it is read."""
    handler.send(200, b"{", "application/json", Content_Length=str(1 << 40))
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" " * 65_536)


def dripping(handler: Any) -> None:
    """Answer a byte at a time, and never fall silent."""
    handler.send(200, b"{", "application/json", Content_Length="1000000")
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("fault", "said"),
    [(gzip_bomb, "more than 1 MiB"), (endless, "more than 1 MiB"), (dripping, "not over after")],
)
def test_an_answer_without_measure_is_given_up(
    server: OverpassServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Any, said: str
) -> None:
    monkeypatch.setattr(bodies, "MAX_ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(bodies, "LONGEST_ANSWER_S", 0.5)
    server.faults.append(fault)
    with pytest.raises((NotFoundError, TransientError), match=said):
        fetch_overpass(AREA, options_for(server, attempts=1), cache=tmp_path)
    assert left_behind(tmp_path) == []
    assert identities(fetch_overpass(AREA, options_for(server), cache=tmp_path)) == all_identities(server)


def test_a_cache_with_foreign_files_is_swept(server: OverpassServer, tmp_path: Path) -> None:
    parts = tmp_path / "x.parts" / "y"
    parts.mkdir(parents=True)
    (parts / "deep.json").write_text("[" * 200_000)
    (tmp_path / ".x.osm.pbf.nobody.part").touch()
    path = fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert left_behind(tmp_path) == [path.name]


def test_a_free_slot_is_waited_for(server: OverpassServer, tmp_path: Path) -> None:
    # The first status is asked to see whether the server is there, the second by osmnx before its query.
    taken = "Rate limit: 1\nSlot available after: 2001-01-01T00:00:00Z, in 2 seconds.\n"
    server.slots += [taken, taken]
    start = time.monotonic()
    fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert 1.0 <= time.monotonic() - start < 5


def test_a_server_without_limit_is_not_waited_for(server: OverpassServer, tmp_path: Path) -> None:
    server.slots += ["Rate limit: 0\n"] * 2
    start = time.monotonic()
    fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert time.monotonic() - start < 4  # osmnx alone would sleep 5 s, again and again


def test_a_server_that_tells_no_slots_is_asked_after_a_breath(server: OverpassServer, tmp_path: Path) -> None:
    server.slots += ["no such page\n"] * 2
    start = time.monotonic()
    fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert time.monotonic() - start < 4  # osmnx alone would sleep a minute


def test_a_server_whose_slots_are_all_taken_is_asked_again(server: OverpassServer, tmp_path: Path) -> None:
    taken = (
        "Rate limit: 1\nCurrently running queries (pid, space limit, time limit, start time):\n123\t5\t180\n"
    )
    server.slots += [taken, taken]
    path = fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert identities(path) == all_identities(server)
    assert server.statuses == 4


def test_the_next_server_is_asked_when_one_is_gone(server: OverpassServer, tmp_path: Path) -> None:
    gone = free_port_url()
    facts = OverpassSource(options_for(gone, server), tmp_path).fetch(AREA)
    assert identities(Path(facts.path)) == all_identities(server)
    # Whoever is named first tomorrow: the cached file is still of the server that sent it.
    assert OverpassSource(options_for(gone), tmp_path).fetch(AREA).server == facts.server == server.url


def test_when_no_server_delivers_one_line_says_what_each_did(server: OverpassServer, tmp_path: Path) -> None:
    gone = free_port_url()
    server.faults += [busy(504), page, remark]
    with pytest.raises(TransientError) as caught:
        fetch_overpass(AREA, options_for(gone, server), cache=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{gone}: " in message
    assert "refused" in message
    assert f"{server.url}: only part of the data came: runtime error: Query timed out" in message
    assert len(server.queries) == 3
    assert left_behind(tmp_path) == []


def test_refusals_are_not_asked_again(server: OverpassServer, tmp_path: Path) -> None:
    server.faults.append(busy(400))
    with pytest.raises(NotFoundError, match=r"HTTP 400 OSM3S Too busy - correct the setting"):
        fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert len(server.queries) == 1


def test_a_redirect_is_named_and_not_followed(server: OverpassServer, tmp_path: Path) -> None:
    server.faults.append(busy(301, Location="http://127.0.0.1:9/latest"))
    with pytest.raises(NotFoundError, match=r"it redirects to http://127\.0\.0\.1:9/latest"):
        fetch_overpass(AREA, options_for(server), cache=tmp_path)


def test_what_came_before_a_failure_is_not_asked_for_again(server: OverpassServer, tmp_path: Path) -> None:
    options = options_for(server, max_query_area_m2=MANY_PARTS_M2, attempts=1)
    good = [literally(server.answer(query)) for query in part_queries(server, tmp_path, options)]
    server.queries.clear()
    server.faults += [*good[:2], busy(504)]
    with pytest.raises(TransientError):
        fetch_overpass(AREA, options, cache=tmp_path)
    assert len(server.queries) == 3
    half_written = next(tmp_path.glob("*.parts/*")) / "killed.json"
    half_written.write_text('{"elements": [{"type": "no')
    path = fetch_overpass(AREA, options, cache=tmp_path)
    assert len(server.queries) == 3 + len(good) - 2
    assert identities(path) == all_identities(server)
    assert left_behind(tmp_path) == [path.name]


def part_queries(server: OverpassServer, folder: Path, options: OverpassOptions) -> list[str]:
    fetch_overpass(AREA, options, cache=folder / "elsewhere")
    (folder / "elsewhere").rename(folder.parent / f"{folder.name}-elsewhere")
    return list(server.queries)


@pytest.mark.parametrize(
    "element",
    [
        {"type": "node", "id": 1, "lon": 500.0, "lat": 1.0},
        {"type": "node", "id": 1, "lon": None, "lat": 1.0},
        {"type": "node", "id": 1, "lon": 1.0, "lat": 1.0, "tags": {"name": "a\0b"}},
        {"type": "node", "id": 1, "lon": 1.0, "lat": 1.0, "tags": {"name": "\ud800"}},
        {"type": "node", "id": 1, "lon": 1.0, "lat": 1.0, "tags": {"name": "x" * 3000}},
        {"type": "node", "id": 2**70, "lon": 1.0, "lat": 1.0},
        {"type": "way", "id": 1, "nodes": ["../x"]},
        {"type": "relation", "id": 1, "members": [{"type": "area", "ref": 1}]},
        {"type": "sea", "id": 1},
    ],
    ids=lambda element: str(element)[:50],
)
def test_what_is_no_osm_element_is_refused_and_not_kept(
    server: OverpassServer, tmp_path: Path, element: dict[str, Any]
) -> None:
    server.faults.append(literally({"elements": [element]}))
    with pytest.raises(DataError, match="no Overpass server delivered the area"):
        fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert not list(tmp_path.glob("*.osm.pbf"))
    path = fetch_overpass(AREA, options_for(server), cache=tmp_path)
    assert identities(path) == all_identities(server)


def test_a_date_is_asked_for_and_is_the_state_of_the_file(server: OverpassServer, tmp_path: Path) -> None:
    newest = fetch_overpass(AREA, options_for(server), cache=tmp_path)
    date = dt.datetime(2020, 5, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    past = fetch_overpass(AREA, options_for(server, date=date), cache=tmp_path)
    assert '[date:"2020-05-01T00:00:00Z"]' in server.queries[-1]
    assert "[date:" not in server.queries[0]
    assert past != newest
    assert header_of(past).get("osmosis_replication_timestamp") == "2020-05-01T00:00:00Z"


def test_an_area_across_the_antimeridian_is_asked_for_on_both_sides(tmp_path: Path) -> None:
    with serving_overpass(block_of_streets(179.995, 50.0)) as server:
        path = fetch_overpass((179.99, 49.99, -179.99, 50.02), options_for(server), cache=tmp_path)
        assert len(server.queries) == 2
        assert identities(path) == all_identities(server)


def test_many_parts_of_a_wide_area_cover_it_to_its_edges(tmp_path: Path) -> None:
    corners = [(lon, lat) for lon in (0.001, 3.5, 6.999) for lat in (60.001, 60.999)]
    shops = [
        {"type": "node", "id": number, "lon": lon, "lat": lat, "tags": {"shop": "yes"}}
        for number, (lon, lat) in enumerate(corners, 1)
    ]
    with serving_overpass(shops) as server:
        path = fetch_overpass((0, 60, 7, 61), options_for(server, keys=("shop",)), cache=tmp_path)
        assert len(server.queries) > 10
    assert [number for _, number in identities(path)] == list(range(1, len(shops) + 1))


def test_too_large_an_area_is_refused_before_anybody_is_asked(server: OverpassServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Overpass requests.*extract"):
        fetch_overpass((0, 40, 20, 60), options_for(server), cache=tmp_path)
    assert server.statuses == 0


def test_a_cache_that_cannot_be_a_folder_is_one_clear_line(server: OverpassServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be a store folder"):
        fetch_overpass(AREA, options_for(server), cache=tmp_path / "file")
    assert server.statuses == 0


def test_two_at_once_ask_once(server: OverpassServer, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(fetch_overpass(AREA, options_for(server), cache=tmp_path))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(set(found)) == 1
    assert len(found) == 3
    assert len(server.queries) == 1


def test_osmnx_and_the_process_are_left_as_they_were(server: OverpassServer, tmp_path: Path) -> None:
    before = {name: value for name, value in vars(osmnx.settings).items() if not name.startswith("_")}
    resolve = socket.getaddrinfo
    server.faults.append(busy(504))
    fetch_overpass(AREA, options_for(server), cache=tmp_path)
    with pytest.raises(TransientError):
        fetch_overpass((1, 1, 1.01, 1.01), options_for(free_port_url(), attempts=1), cache=tmp_path)
    after = {name: value for name, value in vars(osmnx.settings).items() if not name.startswith("_")}
    assert after == before
    assert socket.getaddrinfo is resolve


def test_the_file_holds_the_features_that_osmnx_makes_of_the_same_server(
    server: OverpassServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = (10.0005, 50.0005, 10.0065, 50.0065)
    path = fetch_overpass(area, options_for(server, max_query_area_m2=1e5), cache=tmp_path)
    tags: dict[str, Any] = dict.fromkeys(KEYS, True)
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    monkeypatch.setattr(osmnx.settings, "overpass_url", server.url)
    monkeypatch.setattr(osmnx.settings, "overpass_rate_limit", False)
    monkeypatch.setattr(osmnx.settings, "use_cache", False)
    theirs = osmnx.features_from_polygon(shapely.box(*area), tags)
    ours = read_features(describe_extract(path), area).features
    shapes = dict(
        zip(zip(ours.elements.tolist(), ours.ids.tolist(), strict=True), ours.geometries, strict=True)
    )
    assert len(theirs) > 20
    assert list(shapes) == sorted((ELEMENTS.index(element), number) for element, number in theirs.index)
    for (element, number), shape in theirs.geometry.items():
        assert shapes[ELEMENTS.index(element), number].equals(shape), (element, number)


def test_sources_are_one_path_from_file_to_facts(server: OverpassServer, tmp_path: Path) -> None:
    options = options_for(server)
    overpass = resolve_feature_source("overpass", options, tmp_path / "cache")
    facts = overpass.fetch(AREA)
    assert (facts.server, facts.bounds) == (server.url, AREA)
    assert facts.timestamp == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    extract = resolve_feature_source(facts.path, options, tmp_path / "cache")
    assert extract.fetch(None) == dataclasses.replace(facts, server=None)
    with pytest.raises(InputError, match="give --bbox"):
        overpass.fetch(None)
    with pytest.raises(NotFoundError, match="download it first") as caught:
        resolve_feature_source("https://me:secret@example.org/a.osm.pbf", options, tmp_path)
    assert "secret" not in caught.value.message
    with pytest.raises(NotFoundError, match=r"'absent\.osm\.pbf' is no file"):
        resolve_feature_source("absent.osm.pbf", options, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"urls": ()}, "no Overpass server"),
        ({"urls": ("file:///etc/passwd",)}, r"not an http\(s\) URL"),
        ({"urls": ("ftp://me:secret@127.0.0.1/api",)}, r"not an http\(s\) URL"),
        ({"urls": ("http://me:secret@127.0.0.1/api",)}, "user name or password"),
        ({"urls": ("http://127.0.0.1/api?key=secret",)}, "carries a query"),
        ({"urls": ("http://me:secret@127.0.0.1:99999/api",)}, "user name or password"),
        ({"urls": ("http://me:?#\\secret@127.0.0.1/api",)}, "user name or password"),
        ({"keys": ()}, "no OSM key"),
        ({"keys": ("name'](1,2,3,4);way['x",)}, "not an OSM key"),
        ({"date": dt.datetime(2020, 1, 1)}, "no time zone"),
        ({"max_query_area_m2": float("nan")}, "must be above 0"),
        ({"attempts": 0}, "must be above 0"),
    ],
)
def test_options_that_no_server_should_see_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        OverpassOptions(**changes)
    assert "secret" not in str(caught.value)
