"""Read small extracts made for the purpose: broken ones, odd ones, and files that are none."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import osmium
import osmnx
import pytest
import shapely

from catalog.osm.extract import describe_extract
from catalog.osm.polygon_rules import is_area
from catalog.osm.reading import read_features
from catalog.osm.reasons import REASONS
from catalog.osm.records import ELEMENTS, OsmReading
from infra.errors import AppError, DataError, InputError, NotFoundError
from tests.support.osm import node, relation, repeat_pbf, way, write_extract

SQUARE = {1: (10.0, 50.0), 2: (10.1, 50.0), 3: (10.1, 50.1), 4: (10.0, 50.1)}
HOLE = {5: (10.02, 50.02), 6: (10.04, 50.02), 7: (10.04, 50.04), 8: (10.02, 50.04)}
BUILDING = {"building": "yes"}


def nodes(*places: dict[int, tuple[float, float]], **more: Any) -> list[Any]:
    return [node(number, *at, **more) for group in places for number, at in group.items()]


def read(path: Path, *objects: Any, area: tuple[float, ...] | None = None, **more: Any) -> OsmReading:
    return read_features(describe_extract(write_extract(path / "made.osm", objects)), area, **more)


def rows(reading: OsmReading) -> dict[tuple[str, int], shapely.Geometry]:
    features = reading.features
    keys = ((ELEMENTS[e], i) for e, i in zip(features.elements, features.ids.tolist(), strict=True))
    return dict(zip(keys, features.geometries.tolist(), strict=True))


def reasons(reading: OsmReading) -> dict[tuple[str, int], str]:
    assert all(entry.reason in REASONS and entry.detail for entry in reading.quarantined)
    return {(entry.element, entry.id): entry.reason for entry in reading.quarantined}


def test_tagged_elements_are_features_and_the_rest_is_not(tmp_path):
    reading = read(
        tmp_path,
        *nodes(SQUARE),
        node(9, 10.05, 50.05, tags={"amenity": "bench"}),
        way(1, [1, 2, 3, 4, 1], tags=BUILDING),
        way(2, [1, 2]),
        way(3, [1, 3], tags={"highway": "path"}, timestamp="2020-02-03T04:05:06Z", version=7),
        relation(1, [("w", 1, "outer")], tags={"type": "route", "route": "bus"}),
    )
    assert set(rows(reading)) == {("node", 9), ("way", 1), ("way", 3)}
    assert (reading.found, reading.repaired, reading.quarantined) == (3, 0, ())
    assert rows(reading)["way", 1].equals(shapely.box(10, 50, 10.1, 50.1))
    assert reading.features.tags[0] == {"amenity": "bench"}
    assert reading.features.timestamps[2] == np.datetime64("2020-02-03T04:05:06")
    assert reading.features.timestamps.dtype == np.dtype("datetime64[s]")


def test_an_edit_of_unknown_time_has_none(tmp_path):
    (tmp_path / "a.osm").write_text(
        '<osm version="0.6"><node id="1" lat="1" lon="2"><tag k="shop" v="yes"/></node></osm>'
    )
    reading = read_features(describe_extract(tmp_path / "a.osm"))
    assert np.isnat(reading.features.timestamps).tolist() == [True]


@pytest.mark.parametrize(
    ("tags", "area"),
    [
        ({"building": "yes"}, True),
        ({"building": "yes", "area": "no"}, False),
        ({"highway": "residential"}, False),
        ({"highway": "services"}, True),
        ({"highway": "residential", "area": "yes"}, True),
        ({"natural": "wood"}, True),
        ({"natural": "coastline"}, False),
        ({"natural": "coastline", "place": "island"}, True),
        ({"barrier": "fence"}, False),
        ({"name": "amenity"}, False),
    ],
)
def test_tags_decide_whether_a_ring_is_an_area(tags, area):
    assert is_area(tags) is area


def test_the_rule_is_that_of_osmnx_for_every_key_and_value():
    theirs = osmnx.features._POLYGON_FEATURES
    values = {value for rule in theirs.values() for value in rule.get("values", ())} | {"yes", "no", "other"}
    near = {1: (0, 0), 2: (1, 0), 3: (1, 1)}
    for key in [*theirs, "name", "source"]:
        for value in values:
            drawn = osmnx.features._build_way_geometry(1, [1, 2, 3, 1], {key: value}, near)
            assert is_area({key: value}) is (drawn.geom_type == "Polygon"), (key, value)


def test_ways_that_cannot_be_drawn_are_quarantined(tmp_path):
    reading = read(
        tmp_path,
        *nodes(SQUARE),
        way(1, [1, 2, 77, 78], tags={"highway": "path"}),
        way(2, [1], tags={"highway": "path"}),
        way(3, [], tags={"highway": "path"}),
        way(4, [1, 1], tags=BUILDING),
        way(5, [1, 2], tags={"highway": "path"}),
    )
    assert set(rows(reading)) == {("way", 5)}
    assert reasons(reading) == {
        ("way", 1): "missing-nodes",
        ("way", 2): "too-few-nodes",
        ("way", 3): "too-few-nodes",
        ("way", 4): "too-few-nodes",
    }
    assert "77, 78" in reading.quarantined[0].detail
    assert reading.quarantined[0].tags == {"highway": "path"}
    assert reading.found == 5


def test_places_that_are_none_are_quarantined(tmp_path):
    (tmp_path / "a.osm").write_text(
        '<osm version="0.6"><node id="1" lat="95" lon="2"><tag k="shop" v="yes"/></node>'
        '<node id="2"><tag k="shop" v="yes"/></node><node id="3" lat="1" lon="1"/>'
        '<way id="1"><nd ref="1"/><nd ref="3"/><tag k="highway" v="path"/></way></osm>'
    )
    reading = read_features(describe_extract(tmp_path / "a.osm"))
    assert len(reading.features) == 0
    assert reasons(reading) == {
        ("node", 1): "off-earth",
        ("node", 2): "no-location",
        ("way", 1): "off-earth",
    }
    assert reading.features.geometries.shape == reading.features.ids.shape == (0,)


def test_a_self_crossing_area_is_made_valid_and_counted(tmp_path):
    reading = read(
        tmp_path,
        *nodes(SQUARE),
        way(1, [1, 3, 2, 4, 1], tags=BUILDING),
        way(2, [1, 3, 2, 4], tags={"a": "b"}),
    )
    bow = rows(reading)["way", 1]
    assert (bow.geom_type, bow.is_valid) == ("MultiPolygon", True)
    assert bow.area == pytest.approx(0.005)
    assert rows(reading)["way", 2].geom_type == "LineString"
    assert reading.repaired == 1


def scribble(count: int) -> dict[int, tuple[float, float]]:
    """Nodes of a ring that goes to and fro: half of its edges cross each other."""
    return {i + 1: (10 + (i % 2) * 0.1, 50 + (i * 7919 % count) / count / 10) for i in range(count)}


@pytest.mark.timeout(60)
def test_what_would_take_hours_to_mend_is_quarantined(tmp_path):
    places = scribble(1000)
    ring = [*places, 1]
    alone = relation(8, [("w", 1, "outer")])
    holed = relation(9, [("w", 1, "outer"), ("w", 2, "inner")])
    reading = read(
        tmp_path,
        *nodes(places),
        *(way(1, ring, tags=BUILDING), way(2, ring[100:130] + ring[100:101]), way(4, [1, 2], tags=BUILDING)),
        *(alone, holed),
    )
    tangled = [("way", 1), ("relation", 8), ("relation", 9)]
    assert reasons(reading) == dict.fromkeys(tangled, "tangled")
    assert ("way", 4) in rows(reading)


def test_a_spike_is_left_out(tmp_path):
    spike = {9: (10.3, 50.1)}
    reading = read(tmp_path, *nodes(SQUARE, spike), way(1, [1, 2, 3, 9, 3, 4, 1], tags=BUILDING))
    assert rows(reading)["way", 1].equals(shapely.box(10, 50, 10.1, 50.1))
    assert reading.repaired == 1


def test_a_relation_has_holes_and_islands(tmp_path):
    reading = read(
        tmp_path,
        *nodes(SQUARE, HOLE),
        way(1, [1, 2, 3]),
        way(2, [1, 4, 3]),
        way(3, [5, 6, 7, 8, 5]),
        relation(1, [("w", 1, "outer"), ("w", 2, "outer"), ("w", 3, "inner"), ("n", 1, "label")]),
        relation(2, [("w", 3, "outer")], tags={"type": "boundary", "boundary": "forest"}),
    )
    assert set(rows(reading)) == {("relation", 1), ("relation", 2)}
    whole, hole = shapely.box(10, 50, 10.1, 50.1), shapely.box(10.02, 50.02, 10.04, 50.04)
    assert rows(reading)["relation", 1].equals(whole - hole)
    assert rows(reading)["relation", 2].equals(hole)
    assert reading.repaired == 0


def test_relations_that_cannot_be_built_are_quarantined(tmp_path):
    reading = read(
        tmp_path,
        *nodes(SQUARE),
        way(1, [1, 2, 3]),
        way(2, [1, 2, 99]),
        way(3, [1, 2, 3, 4, 1]),
        relation(1, [("w", 1, "outer")]),
        relation(2, [("w", 3, "outer"), ("w", 55, "outer")]),
        relation(3, [("w", 3, "inner")]),
        relation(4, [("w", 3, "")]),
        relation(5, [("n", 1, "label")]),
        relation(6, [("w", 2, "outer")]),
    )
    assert len(reading.features) == 0
    assert reasons(reading) == {
        ("relation", 1): "open-ring",
        ("relation", 2): "missing-members",
        ("relation", 3): "no-outer-ring",
        ("relation", 4): "no-outer-ring",
        ("relation", 5): "no-outer-ring",
        ("relation", 6): "missing-nodes",
    }
    assert "55" in reading.quarantined[1].detail


def test_broken_relations_give_what_osmnx_gives(tmp_path):
    rng = np.random.default_rng(7)
    places = {number: tuple(rng.uniform(10, 10.01, 2).round(7)) for number in range(1, 31)}
    objects = nodes(places)
    for number in range(1, 41):
        ring = rng.choice(30, size=rng.integers(3, 7), replace=False) + 1
        if number % 2:  # half the rings do not cross themselves
            at = np.array([places[int(one)] for one in ring]) - 10.005
            ring = ring[np.argsort(np.arctan2(*(at - at.mean(axis=0)).T))]
        objects.append(way(number, [*ring.tolist(), *([int(ring[0])] if number % 3 else [])], tags=BUILDING))
    for number in range(1, 41):
        members = [("w", int(w), ("outer", "inner")[i % 2]) for i, w in enumerate(rng.integers(1, 41, 5))]
        objects.append(relation(number, members))
    reading = read(tmp_path, *objects)
    ours, quarantined = rows(reading), reasons(reading)
    shapes = {
        thing.id: osmnx.features._build_way_geometry(thing.id, thing.nodes, BUILDING, places)
        for thing in objects[30:70]
    }
    gave_up = 0
    for thing in objects[70:]:
        members = [{"type": "way", "ref": ref, "role": role} for _, ref, role in thing.members]
        key = "relation", thing.id
        try:
            theirs = shapely.make_valid(osmnx.features._build_relation_geometry(members, shapes))
        except shapely.GEOSException:  # osmnx stops here, with all that it has read
            gave_up += 1
            assert key in quarantined or ours[key].is_valid
            continue
        assert theirs.is_empty is (key in quarantined)
        if theirs.geom_type in {"Polygon", "MultiPolygon"}:
            assert shapely.normalize(ours[key]).equals_exact(shapely.normalize(theirs), 0.0), key
    assert 0 < gave_up < 30
    assert reading.found == 80


def test_a_line_across_the_antimeridian_is_cut_there(tmp_path):
    far = {1: (179.9, 10.0), 2: (-179.9, 10.2), 3: (-179.8, 10.2)}
    reading = read(tmp_path, *nodes(far), way(1, [1, 2, 3], tags={"route": "ferry"}))
    line = rows(reading)["way", 1]
    assert line.geom_type == "MultiLineString"
    expected = shapely.from_wkt(
        "MULTILINESTRING ((179.9 10, 180 10.1), (-180 10.1, -179.9 10.2, -179.8 10.2))"
    )
    assert shapely.normalize(line).equals_exact(shapely.normalize(expected), 1e-9)
    assert reading.repaired == 1


@pytest.mark.parametrize("kind", ["way", "relation"])
def test_an_area_across_the_antimeridian_is_cut_there(tmp_path, kind):
    far = {1: (179.9, 10.0), 2: (-179.9, 10.0), 3: (-179.9, 10.2), 4: (179.9, 10.2)}
    hole = {5: (179.95, 10.05), 6: (-179.95, 10.05), 7: (-179.95, 10.15), 8: (179.95, 10.15)}
    members = [("w", 1, "outer"), ("w", 2, "outer"), ("w", 3, "inner")]
    made = (
        [way(1, [1, 2, 3, 4, 1], tags=BUILDING)]
        if kind == "way"
        else [way(1, [1, 2, 3]), way(2, [3, 4, 1]), way(3, [5, 6, 7, 8, 5]), relation(1, members)]
    )
    reading = read(tmp_path, *nodes(far, hole), *made)
    shape = rows(reading)[kind, 1]
    assert (shape.geom_type, shape.is_valid, reading.repaired) == ("MultiPolygon", True, 1)
    assert shape.area == pytest.approx(0.04 if kind == "way" else 0.03)
    west, _, east, _ = shape.bounds
    assert (west, east) == (-180, 180)


def test_what_goes_around_the_world_is_quarantined(tmp_path):
    around = {1: (-170.0, 10.0), 2: (-80.0, 10.0), 3: (10.0, 10.0), 4: (100.0, 10.0), 5: (170.0, 10.0)}
    objects = [*nodes(around), way(1, [1, 2, 3, 4, 5, 1], tags={"route": "ferry"})]
    reading = read(tmp_path, *objects, way(2, [1, 2], tags={"route": "ferry"}))
    assert reasons(reading) == {("way", 1): "antimeridian"}
    assert set(rows(reading)) == {("way", 2)}


def test_an_edge_along_the_pole_is_no_crossing(tmp_path):
    ice = {1: (180.0, -90.0), 2: (180.0, -70.0), 3: (0.0, -68.0), 4: (-180.0, -70.0), 5: (-180.0, -90.0)}
    reading = read(tmp_path, *nodes(ice), way(1, [1, 2, 3, 4, 5, 1], tags={"natural": "glacier"}))
    assert rows(reading)["way", 1].geom_type == "Polygon"
    assert reading.repaired == 0


def test_a_box_keeps_what_touches_it_whole(tmp_path):
    around = {11: (9.0, 49.0), 12: (12.0, 49.0), 13: (12.0, 52.0), 14: (9.0, 52.0)}
    objects = [
        *nodes(SQUARE, around),
        node(20, 10.05, 50.05, tags={"shop": "yes"}),
        node(21, 10.2, 50.05, tags={"shop": "yes"}),
        way(1, [1, 2, 3, 4, 1], tags=BUILDING),
        way(2, [11, 13], tags={"highway": "path"}),
        way(3, [12, 13], tags={"highway": "path"}),
        *(way(30 + side, [11 + side, 11 + (side + 1) % 4], tags={"barrier": "wall"}) for side in range(4)),
        way(4, [12, 14], tags={"highway": "path"}),
        way(5, [4, 99], tags={"highway": "path"}),
        way(6, [13, 99], tags={"highway": "path"}),
        relation(1, [("w", 30 + side, "outer") for side in range(4)]),
        relation(2, [("w", 55, "outer")]),
        relation(3, [("w", 1, "outer"), ("w", 55, "outer")]),
    ]
    box = (10.04, 50.04, 10.11, 50.11)
    reading = read(tmp_path, *objects, area=box)
    # The box is in the bounds of way 4, which misses it, and inside relation 1, whose ways miss it.
    assert set(rows(reading)) == {("node", 20), ("way", 1), ("way", 2), ("relation", 1)}
    assert rows(reading)["way", 2].length == pytest.approx(np.hypot(3, 3))
    # Without a place of its own, relation 2 is of no area.
    assert reasons(reading) == {("relation", 3): "missing-members"}
    assert read(tmp_path, *objects, area=(9.9, 50.05, 10.05, 50.2)).quarantined[0].id == 5


def test_a_box_may_cross_the_antimeridian(tmp_path):
    shops = [
        node(n, lon, 10.0, tags={"shop": "yes"}) for n, lon in enumerate((-179.5, -170.0, 0.0, 179.5), 1)
    ]
    far = {11: (179.0, 10.0), 12: (-179.0, 10.0)}
    reading = read(
        tmp_path,
        *shops,
        *nodes(far),
        way(1, [11, 12], tags={"route": "ferry"}),
        area=(179.2, 9.0, -179.2, 11.0),
    )
    assert set(rows(reading)) == {("node", 1), ("node", 4), ("way", 1)}
    assert set(rows(read(tmp_path, *shops, area=(-1.0, 9.0, 1.0, 11.0)))) == {("node", 3)}


def test_of_two_with_one_id_the_higher_version_stays(tmp_path):
    def shop(name: str, version: int, lon: float = 10.0) -> Any:
        return node(1, lon, 50.0, tags={"shop": name}, version=version)

    assert read(tmp_path, shop("old", 1), shop("new", 2)).features.tags == ({"shop": "new"},)
    assert read(tmp_path, shop("new", 2), shop("old", 1)).features.tags == ({"shop": "new"},)
    assert read(tmp_path, shop("first", 1), shop("second", 1)).features.tags == ({"shop": "first"},)
    moved = (shop("old", 1), shop("new", 2, lon=20.0), node(2, 10.0, 50.0, tags={"a": "b"}))
    assert set(rows(read(tmp_path, *moved, area=(9.0, 49.0, 11.0, 51.0)))) == {("node", 2)}


def test_extracts_one_after_the_other_are_read_as_one(tmp_path):
    east = {number + 100: (lon + 1, lat) for number, (lon, lat) in SQUARE.items()}
    reading = read(
        tmp_path,
        *nodes(east),
        way(9, [101, 102, 103, 104, 101], tags=BUILDING),
        relation(9, [("w", 9, "outer")]),
        *nodes(SQUARE),
        way(1, [1, 2, 3, 4, 1], tags=BUILDING),
        way(9, [101, 102, 103, 104, 101], tags=BUILDING),
        relation(9, [("w", 9, "outer")]),
    )
    assert list(rows(reading)) == [("way", 1), ("way", 9), ("relation", 9)]
    assert (reading.found, reading.quarantined) == (3, ())


def test_repeated_blobs_change_nothing(tmp_path):
    objects = [*nodes(SQUARE), way(1, [1, 2, 3, 4, 1], tags=BUILDING), relation(1, [("w", 1, "outer")])]
    once = write_extract(tmp_path / "once.osm.pbf", objects)
    assert repeat_pbf(once, tmp_path / "often.osm.pbf", at_least=10_000) > 10
    for area in (None, (9.0, 49.0, 11.0, 51.0)):
        reading = read_features(describe_extract(tmp_path / "often.osm.pbf"), area)
        assert list(rows(reading)) == [("way", 1), ("relation", 1)]


@pytest.mark.parametrize("ending", [".osm", ".osm.gz", ".osm.bz2", ".osm.pbf", ".pbf"])
def test_all_file_types_give_the_same(tmp_path, ending):
    objects = [*nodes(SQUARE, HOLE), way(1, [1, 2, 3, 4, 1], tags={"name": "Žižkov <b>&"} | BUILDING)]
    facts = describe_extract(write_extract(tmp_path / f"made{ending}", objects))
    reading = read_features(facts)
    assert rows(reading)["way", 1].equals(shapely.box(10, 50, 10.1, 50.1))
    assert reading.features.tags[0]["name"] == "Žižkov <b>&"
    assert facts.size == (tmp_path / f"made{ending}").stat().st_size


def test_a_file_says_what_it_is(tmp_path):
    header = osmium.io.Header()
    header.set("generator", "a test")
    header.set("osmosis_replication_timestamp", "2024-05-01T20:21:46Z")
    header.set("osmosis_replication_sequence_number", "2947")
    header.set("osmosis_replication_base_url", "https://example.org/updates")
    header.add_box(osmium.osm.Box(9.0, 47.0, 10.0, 48.0))
    osmium.SimpleWriter(str(tmp_path / "a.osm.pbf"), header=header).close()
    facts = describe_extract(tmp_path / "a.osm.pbf")
    assert facts.timestamp is not None
    assert facts.timestamp.isoformat() == "2024-05-01T20:21:46+00:00"
    assert (facts.sequence, facts.replication_url) == (2947, "https://example.org/updates")
    assert (facts.generator, facts.bounds) == ("a test", (9.0, 47.0, 10.0, 48.0))
    assert len(facts.sha256) == 64
    assert Path(facts.path).is_absolute()


@pytest.mark.parametrize(
    ("top", "time"),
    [
        ('<osm version="0.6" timestamp="2020-08-10T00:00:00Z">', "2020-08-10T00:00:00+00:00"),
        ('<osm version="0.6"><meta osm_base="2021-01-02T03:04:05Z"/>', "2021-01-02T03:04:05+00:00"),
        ('<osm version="0.6" timestamp="yesterday">', None),
        (
            '<osm version="0.6"><node id="1" version="1" timestamp="2020-08-10T00:00:00Z" lat="1" lon="1"/>',
            None,
        ),
    ],
)
def test_the_state_of_plain_xml_is_found(tmp_path, top, time):
    (tmp_path / "a.osm").write_text(f"{top}</osm>")
    facts = describe_extract(tmp_path / "a.osm")
    assert (facts.timestamp and facts.timestamp.isoformat()) == time
    assert facts.bounds is None


def _broken_files(folder: Path) -> dict[str, bytes]:
    pbf, xml = ((write_extract(folder / f"good{end}", _many())).read_bytes() for end in (".osm.pbf", ".osm"))
    half = len(pbf) // 2, len(xml) // 2
    zipped, packed = gzip.compress(xml), bz2.compress(xml)
    return {
        "half.osm.pbf": pbf[: half[0]],
        "half.osm": xml[: half[1]],
        "half.osm.gz": zipped[: len(zipped) // 2],
        "half.osm.bz2": packed[: len(packed) // 2],
        "empty.osm.pbf": b"",
        "empty.osm": b"",
        "garbage.osm.pbf": b"no map here" * 99,
        "garbage.osm": b"no map here",
        "garbage.osm.gz": b"no map here",
        "page.osm": b"<html><body>too many requests</body></html>",
        "entity.osm": b'<!DOCTYPE x [<!ENTITY a "b">]><osm version="0.6"/>',
        "old.osm": b'<osm version="0.5"/>',
        "letters.osm": b'<osm version="0.6"><node id="x" lat="1" lon="1"/></osm>',
        "far.osm": b'<osm version="0.6"><node id="1" lat="500" lon="1"/></osm>',
    }


def _many() -> list[Any]:
    rng = np.random.default_rng(1)
    return [
        node(i, *rng.uniform(-9, 9, 2).tolist(), tags={"name": f"{rng.integers(1 << 40)}"})
        for i in range(1, 20_001)
    ]


def test_broken_files_are_told_in_one_line(tmp_path):
    for name, data in _broken_files(tmp_path).items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError) as caught:
            read_features(describe_extract(tmp_path / name))
        assert name in caught.value.message, name
        assert "fetch it again" in caught.value.message
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("program", "value"),
    [(b"terraloom", b"\xff\xfe"), (b"\xff\xfe", b"cafe")],
    ids=["a tag", "the header"],
)
def test_texts_that_are_no_utf8_are_told_in_one_line(tmp_path, program, value):
    (tmp_path / "made.osm.pbf").write_bytes(pbf_of_one_node(program, value))
    with pytest.raises(DataError, match=r"made\.osm\.pbf cannot be read"):
        read_features(describe_extract(tmp_path / "made.osm.pbf"))
    (tmp_path / "made.osm.pbf").write_bytes(pbf_of_one_node(b"terraloom", b"cafe"))
    read_features(describe_extract(tmp_path / "made.osm.pbf"))


def pbf_of_one_node(program: bytes, value: bytes) -> bytes:
    """Spell a node with the tag ``amenity`` in PBF, byte by byte: no library writes wrong text."""

    def field(number: int, content: bytes) -> bytes:
        key = number << 3 | 2
        return bytes([key] if key < 128 else [key & 127 | 128, key >> 7]) + bytes([len(content)]) + content

    def block(kind: bytes, content: bytes) -> bytes:
        blob = field(1, content)
        header = field(1, kind) + b"\x18" + bytes([len(blob)])
        return len(header).to_bytes(4, "big") + header + blob

    texts = field(1, b"") + field(1, b"amenity") + field(1, value)
    one = b"\x08\x02" + field(2, b"\x01") + field(3, b"\x02") + b"\x40\x00\x48\x00"
    header = field(4, b"OsmSchema-V0.6") + field(16, program)
    return block(b"OSMHeader", header) + block(b"OSMData", field(1, texts) + field(2, field(1, one)))


def _message(kind: type[AppError], path: Path) -> str:
    with pytest.raises(kind) as caught:
        describe_extract(path)
    return caught.value.message


def test_what_is_no_extract_is_refused(tmp_path):
    (tmp_path / "roads.shp").write_bytes(b"x")
    assert ".osm.pbf" in _message(InputError, tmp_path / "roads.shp")
    assert "absent.osm.pbf" in _message(NotFoundError, tmp_path / "absent.osm.pbf")
    (tmp_path / "folder.osm").mkdir()
    assert "folder.osm" in _message(NotFoundError, tmp_path / "folder.osm")


def test_an_extract_without_features_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no features"):
        read(tmp_path, *nodes(SQUARE), way(1, [1, 2]))
    with pytest.raises(InputError, match="holds no features"):
        read(tmp_path, area=(0.0, 0.0, 1.0, 1.0))


def test_an_area_outside_names_what_is_covered(tmp_path):
    objects = [*nodes(SQUARE), way(1, [1, 2, 3, 4, 1], tags=BUILDING)]
    with pytest.raises(InputError, match=r"bbox 0,0,1,1 .* covers 10,50,10\.1,50\.1; give a bbox inside"):
        read(tmp_path, *objects, area=(0.0, 0.0, 1.0, 1.0))
    stated = describe_extract(tmp_path / "made.osm")
    with pytest.raises(InputError, match="covers 9,49,11,51"):
        read_features(dataclasses.replace(stated, bounds=(9.0, 49.0, 11.0, 51.0)), (0.0, 0.0, 1.0, 1.0))


def test_a_box_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="south"):
        read(tmp_path, *nodes(SQUARE), area=(0.0, 2.0, 1.0, 1.0))


def test_too_many_features_are_refused(tmp_path):
    shops = [node(number, 10.0, 50.0, tags={"shop": "yes"}) for number in range(1, 12)]
    assert read(tmp_path, *shops, max_features=11).found == 11
    for area in (None, (9.0, 49.0, 11.0, 51.0)):
        with pytest.raises(InputError, match=r"more than 10 .*smaller --bbox"):
            read(tmp_path, *shops, max_features=10, area=area)


def test_untagged_members_do_not_count_as_features(tmp_path):
    ring = [way(1, [1, 2, 3]), way(2, [3, 4, 1])]
    whole = relation(1, [("w", 1, "outer"), ("w", 2, "outer")])
    for area in (None, (9.9, 49.9, 10.2, 50.2)):
        reading = read(tmp_path, *nodes(SQUARE), *ring, whole, area=area, max_features=1)
        assert set(rows(reading)) == {("relation", 1)}


def test_negative_ids_of_an_editor_are_told_apart(tmp_path):
    reading = read(
        tmp_path, *nodes(SQUARE), way(-1, [1, 2, 3, 4, 1], tags=BUILDING), area=(9.0, 49.0, 11.0, 51.0)
    )
    assert set(rows(reading)) == {("way", -1)}


def test_ids_that_no_element_has_take_no_memory(tmp_path):
    far = (1 << 60) + 5
    reading = read(
        tmp_path, *nodes(SQUARE), way(far, [1, 2, 3, 4, 1], tags=BUILDING), area=(9.0, 49.0, 11.0, 51.0)
    )
    assert set(rows(reading)) == {("way", far)}


def test_a_path_that_no_record_could_hold_is_refused(tmp_path):
    path = write_extract(tmp_path / "made.osm", nodes(SQUARE)).rename(
        os.fsdecode(bytes(tmp_path) + b"/\xff.osm")
    )
    with pytest.raises(InputError, match="is not UTF-8") as caught:
        describe_extract(path)
    assert caught.value.message.isascii()
