"""Footprints of products: valid data only, valid geometry, split at the antimeridian."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import shapely
import shapely.geometry

from catalog.footprints import find_footprint
from catalog.records import Grid, Scene

UTM33 = Grid(
    crs="EPSG:32633",
    transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 5800000.0),
    shape_yx=(1000, 1000),
    shard_px=1024,
    chunk_px=256,
)
UTM1 = Grid(
    crs="EPSG:32601",
    transform=(100.0, 0.0, 280000.0, 0.0, -100.0, 5580000.0),
    shape_yx=(300, 300),
    shard_px=512,
    chunk_px=256,
)


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def scene(geometry: dict[str, Any]) -> Scene:
    return Scene(
        collection="c", id="s", datetime=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), geometry=geometry, bands=()
    )


def check(geometry: dict[str, Any]) -> shapely.geometry.base.BaseGeometry:
    shape = shapely.geometry.shape(geometry)
    assert shape.is_valid
    assert shape.area > 0
    parts = shapely.get_parts(shape)
    assert all(part.exterior.is_ccw for part in parts)
    west, south, east, north = shape.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    return shape


def test_scene_larger_than_the_grid_gives_the_grid() -> None:
    footprint = find_footprint([scene(box(10, 50, 20, 60))], UTM33)
    shape = check(footprint.geometry)
    assert shape.contains(shapely.Point(15.07, 52.3))
    # 10 km square: 15° E is the zone's middle, so the western edge is a meridian.
    assert footprint.bbox[0] == pytest.approx(15.0, abs=1e-6)
    assert footprint.bbox[2] - footprint.bbox[0] == pytest.approx(0.1468, abs=1e-3)
    assert len(footprint.geometry["coordinates"][0]) <= 9  # straight enough for few vertices


def test_only_the_part_with_data_is_covered() -> None:
    half = find_footprint([scene(box(10, 50, 15.05, 60))], UTM33)
    assert half.bbox[2] == pytest.approx(15.05, abs=1e-6)
    two = find_footprint([scene(box(10, 50, 15.05, 60)), scene(box(15.05, 50, 20, 60))], UTM33)
    assert check(two.geometry).area > 1.5 * check(half.geometry).area
    assert two.geometry["type"] == "Polygon"
    assert sum(two.weights) == pytest.approx(check(two.geometry).area * 0.6117, rel=0.01)  # cos 52.3°


def test_metadata_that_misses_the_grid_falls_back_to_it() -> None:
    missing = find_footprint([scene(box(100, 0, 101, 1))], UTM33)
    whole = find_footprint([scene(box(10, 50, 20, 60))], UTM33)
    assert missing.geometry == whole.geometry
    assert missing.weights == (0.0,)


def test_bow_tie_is_repaired() -> None:
    ring = [[15.0, 52.2], [15.2, 52.4], [15.2, 52.2], [15.0, 52.4], [15.0, 52.2]]
    check(find_footprint([scene({"type": "Polygon", "coordinates": [ring]})], UTM33).geometry)


@pytest.mark.parametrize(
    "geometry",
    [
        box(179.0, 49.0, -179.0, 51.0),
        box(179.0, 49.0, 181.0, 51.0),
        box(-181.0, 49.0, -179.0, 51.0),
        {
            "type": "MultiPolygon",
            "coordinates": [
                box(179.0, 49.0, 180.0, 51.0)["coordinates"],
                box(-180.0, 49.0, -179.0, 51.0)["coordinates"],
            ],
        },
        box(-180.0, -90.0, 180.0, 90.0),
    ],
    ids=["unsplit", "beyond-180", "below-180", "split", "world"],
)
def test_antimeridian_is_split_however_the_source_spells_it(geometry: dict[str, Any]) -> None:
    footprint = find_footprint([scene(geometry)], UTM1)
    check(footprint.geometry)
    assert footprint.geometry["type"] == "MultiPolygon"
    west, south, east, north = footprint.bbox
    assert west > 179
    assert east < -179
    assert 50 < south < north < 50.5


def test_data_on_one_side_of_the_antimeridian_stay_there() -> None:
    footprint = find_footprint([scene(box(-180.0, 49.0, -179.9, 51.0))], UTM1)
    assert footprint.geometry["type"] == "Polygon"
    assert footprint.bbox[0] == -180.0
    assert footprint.bbox[2] == pytest.approx(-179.9)


def test_grid_around_a_pole_covers_every_longitude() -> None:
    transform = (1000.0, 0.0, 1900000.0, 0.0, -1000.0, 2200000.0)
    grid = Grid(crs="EPSG:5041", transform=transform, shape_yx=(300, 300), shard_px=512, chunk_px=256)
    footprint = find_footprint([scene(box(-180.0, 80.0, 180.0, 90.0))], grid)
    check(footprint.geometry)
    assert footprint.bbox[0] == -180.0
    assert footprint.bbox[2:] == (180.0, 90.0)
