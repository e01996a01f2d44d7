"""Box queries of an OpenStreetMap table, whatever the box: what a walk over all features finds."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.grid import BoundsLonLat
from catalog.osm.extract import describe_extract
from catalog.osm.reading import read_features
from catalog.osm.records import OsmFeatures
from catalog.osm.tables.features import find_row_groups, read_features_table, write_features

lattice = st.integers(-8, 8)  # few values: edges meet, corners touch, boxes coincide


def features_of(geometries: list[shapely.Geometry]) -> OsmFeatures:
    count = len(geometries)
    return OsmFeatures(
        elements=np.sort(np.arange(count) % 3).astype(np.uint8),
        ids=np.arange(count, dtype=np.int64),
        geometries=np.array(geometries, dtype=object),
        tags=tuple({"n": str(i)} for i in range(count)),
        timestamps=np.full(count, np.datetime64("NaT"), "datetime64[s]"),
    )


def encode(features: OsmFeatures, rows_per_group: int) -> bytes:
    target = io.BytesIO()
    write_features(features, target, rows_per_group=rows_per_group)
    return target.getvalue()


def walk(features: OsmFeatures, bounds: BoundsLonLat) -> list[tuple[int, int]]:
    """Test every feature against the box, each by itself."""
    west, south, east, north = bounds
    sides = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    boxes = [shapely.box(left, south, right, north) for left, right in sides]
    return [
        (int(element), int(each))
        for element, each, geometry in zip(features.elements, features.ids, features.geometries, strict=True)
        if any(box.intersects(geometry) for box in boxes)
    ]


def names(features: OsmFeatures) -> list[tuple[int, int]]:
    return list(zip(features.elements.tolist(), features.ids.tolist(), strict=True))


@st.composite
def geometries(draw: st.DrawFn) -> shapely.Geometry:
    scale = draw(st.sampled_from([1.0, 22.5]))  # about zero, or all over the world up to ±180
    x, y = draw(lattice) * scale, draw(lattice) * scale / 2
    dx, dy = draw(st.integers(0, 4)) * scale / 2, draw(st.integers(0, 4)) * scale / 4
    east, north = min(x + dx, 180.0), min(y + dy, 90.0)
    kind = draw(st.sampled_from(["point", "line", "area", "split"]))
    if kind == "split":
        parts = [shapely.box(179, y, 180, y + 0.5), shapely.box(-180, y, -179, y + 0.5)]
        return shapely.MultiPolygon([part for part in parts if y + 0.5 <= 90] or [shapely.box(0, 0, 1, 1)])
    if kind == "area" and east > x and north > y:
        return shapely.Polygon([(x, y), (east, y), (east, north)])
    if kind == "line" and (east > x or north > y):
        return shapely.LineString([(x, y), (east, north)])
    return shapely.Point(x, y)


@st.composite
def boxes(draw: st.DrawFn) -> BoundsLonLat:
    scale = draw(st.sampled_from([1.0, 22.5]))
    west, east = draw(lattice) * scale, draw(lattice) * scale
    south = draw(st.integers(-8, 7)) * scale / 2
    north = south + draw(st.integers(1, 8)) * scale / 4
    return west, south, east if east != west else west + (1.0 if west < 180 else -1.0), min(north, 90.0)


@given(st.lists(geometries(), max_size=60), st.lists(boxes(), min_size=1, max_size=6), st.integers(1, 9))
def test_a_table_finds_what_a_walk_finds(
    shapes: list[shapely.Geometry], wanted: list[BoundsLonLat], rows_per_group: int
) -> None:
    features = features_of(shapes)
    raw = encode(features, rows_per_group)
    assert names(read_features_table(raw)) == names(features)
    for bounds in wanted:
        assert names(read_features_table(raw, bounds)) == walk(features, bounds)


@functools.cache
def real_table(path: Path) -> tuple[OsmFeatures, bytes]:
    features = read_features(describe_extract(path)).features
    return features, encode(features, 256)


@pytest.mark.real
@pytest.mark.parametrize("name", ["liechtenstein-latest.osm.pbf", "monaco-latest.osm.pbf", "test.osm.pbf"])
@settings(max_examples=12)
@given(st.data())
def test_real_tables_find_what_a_walk_finds(real_data: Path, name: str, data: st.DataObject) -> None:
    features, raw = real_table(real_data / "osm" / name)
    west, south, east, north = shapely.total_bounds(features.geometries)
    share = st.floats(0, 1)
    x, y = west + data.draw(share) * (east - west), south + data.draw(share) * (north - south)
    side = data.draw(st.sampled_from([1e-4, 3e-3, 0.05]))
    bounds = (max(x - side, -180.0), max(y - side, -90.0), min(x + side, 180.0), min(y + side, 90.0))
    assert names(read_features_table(raw, bounds)) == walk(features, bounds)


@pytest.mark.real
def test_a_village_reads_a_small_part_of_its_country(real_data: Path) -> None:
    features = read_features(describe_extract(real_data / "osm" / "liechtenstein-latest.osm.pbf")).features
    target = io.BytesIO()
    facts = write_features(features, target)
    read = find_row_groups(target.getvalue(), (9.5115, 47.1345, 9.5315, 47.1475))
    assert 1 <= len(read) <= facts.row_groups / 2
