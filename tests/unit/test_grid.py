"""Grids: snapped, covering, cut into shards; wrong boxes refused."""

import dataclasses

import numpy as np
import pytest

from catalog.grid import (
    check_bounds,
    level_grid,
    level_shape,
    level_transform,
    list_tiles,
    parse_crs,
    plan_grid,
    tile_geobox,
    tile_window,
    utm_crs,
)
from catalog.records import Grid, Tile
from infra.errors import InputError
from tests.support.synthetic import MODIS_SINUSOIDAL


@pytest.mark.parametrize(
    ("bounds", "crs"),
    [
        ((13.0, 52.3, 13.2, 52.5), "EPSG:32633"),
        ((-70.7, -33.5, -70.5, -33.3), "EPSG:32719"),
        ((-0.1, -0.1, 0.2, 0.3), "EPSG:32631"),
        ((179.9, -17.0, -179.7, -16.0), "EPSG:32701"),
        ((179.0, 65.0, -179.5, 66.0), "EPSG:32660"),
        ((10.0, 84.5, 12.0, 85.0), "EPSG:5041"),
        ((10.0, -86.0, 12.0, -85.0), "EPSG:5042"),
        ((179.99, 0.1, 180.0, 0.2), "EPSG:32660"),
    ],
)
def test_utm_zone_of_the_centre(bounds, crs):
    assert utm_crs(bounds) == crs


def test_the_grid_is_snapped_and_covers_the_box():
    grid = plan_grid((13.0, 52.3, 13.2, 52.5), resolution_m=10)
    assert grid.crs == "EPSG:32633"
    step, _, left, _, down, top = grid.transform
    assert (step, down) == (10, -10)
    assert left % 10 == top % 10 == 0
    west, south, east, north = grid.geobox.geographic_extent.boundingbox.bbox
    assert west <= 13.0
    assert south <= 52.3
    assert east >= 13.2
    assert north >= 52.5
    assert grid.shape_yx == (2246, 1382) or all(1300 < edge < 2400 for edge in grid.shape_yx)


def test_neighbouring_boxes_share_one_lattice():
    one = plan_grid((13.0, 52.3, 13.1, 52.4), resolution_m=20)
    two = plan_grid((13.05, 52.35, 13.15, 52.45), resolution_m=20)
    assert (one.transform[2] - two.transform[2]) % 20 == 0
    assert (one.transform[5] - two.transform[5]) % 20 == 0


def test_geographic_grid_has_degrees():
    grid = plan_grid((13.0, 52.3, 13.1, 52.4), resolution_m=100, crs="EPSG:4326")
    assert grid.transform[0] == pytest.approx(100 / 111_320)
    left, bottom, right, top = grid.geobox.boundingbox.bbox
    assert left <= 13.0 + 1e-8
    assert right >= 13.1 - 1e-8
    assert bottom <= 52.3 + 1e-8
    assert top >= 52.4 - 1e-8


def test_a_crs_without_a_code_is_kept_as_wkt():
    grid = plan_grid((-55.8, -11.8, -55.2, -11.5), resolution_m=231.656, crs=MODIS_SINUSOIDAL)
    assert grid.crs.startswith("PROJCRS[")
    assert "Sinusoidal" in grid.crs
    assert grid.geobox.crs.epsg is None


def test_the_antimeridian_is_crossed_the_short_way():
    grid = plan_grid((179.9, -17.0, -179.9, -16.8), resolution_m=100)
    assert grid.shape_yx[1] < 250
    assert grid.shape_yx[0] < 250


def test_a_box_smaller_than_a_pixel_is_one_pixel():
    grid = plan_grid((13.0, 52.3, 13.0000001, 52.3000001), resolution_m=1000)
    assert grid.shape_yx == (1, 1)
    assert list_tiles(grid) == [Tile(row=0, col=0)]


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ((13.0, 52.5, 13.2, 52.3), "south ≥ north"),
        ((13.0, 52.3, 13.0, 52.5), "no width"),
        ((13.0, 52.3, 200.0, 52.5), "not in degrees"),
        ((13.0, -91.0, 13.2, 52.5), "not in degrees"),
        ((float("nan"), 52.3, 13.2, 52.5), "no number"),
        ((13.0, 52.3, float("inf"), 52.5), "no number"),
    ],
)
def test_boxes_that_are_none(bounds, says):
    with pytest.raises(InputError, match=says) as caught:
        check_bounds(bounds)
    assert caught.value.message.startswith("bbox ")


@pytest.mark.parametrize("text", ["EPSG:99999", "Mars", "", "EPSG:5773", "EPSG:4978"])
def test_what_is_no_map_crs(text):
    with pytest.raises(InputError, match=r"give e\.g\. EPSG:32633"):
        parse_crs(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"resolution_m": 0}, "positive"),
        ({"resolution_m": float("nan")}, "positive"),
        ({"resolution_m": 0.01}, "coarser --resolution-m"),
        ({"crs": "EPSG:27700"}, "outside the area of CRS"),
        ({"crs": "EPSG:2154"}, "outside the area of CRS"),
    ],
)
def test_grids_that_cannot_be(changes, says):
    with pytest.raises(InputError, match=says):
        plan_grid((23.0, 42.3, 24.2, 43.5), **({"resolution_m": 10} | changes))


def test_a_neighbouring_utm_zone_is_allowed():
    assert plan_grid((13.0, 52.3, 13.1, 52.4), resolution_m=10, crs="EPSG:32632").crs == "EPSG:32632"


@pytest.mark.parametrize(
    ("longest", "shard", "chunk"), [(10, 256, 256), (600, 512, 256), (1024, 512, 256), (1025, 1024, 1024)]
)
def test_chunks_fit_the_grid(longest, shard, chunk):
    bounds = (15.0, 0.0001, 15.0 + (longest - 2) / 111_320, 0.0002)
    grid = plan_grid(bounds, resolution_m=1)
    assert max(grid.shape_yx) <= longest + 2
    if max(grid.shape_yx) == longest:
        assert (grid.shard_px, grid.chunk_px) == (shard, chunk)
    assert grid.shard_px % grid.chunk_px == 0


@pytest.mark.parametrize("shard_px", [256, 512, 4096])
def test_shards_are_no_larger_than_asked(shard_px):
    grid = plan_grid((13.0, 52.3, 13.2, 52.5), resolution_m=10, shard_px=shard_px)
    assert grid.shard_px <= shard_px
    assert grid.chunk_px <= grid.shard_px


ODD = Grid(
    crs="EPSG:32633", transform=(10.0, 0, 500_000.0, 0, -10.0, 5_400_000.0), shape_yx=(129, 65),
    shard_px=64, chunk_px=32,
)  # fmt: skip


def test_tiles_of_an_odd_grid():
    assert ODD.tiles_yx == (3, 2)
    assert [tile.name for tile in list_tiles(ODD)] == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]
    assert tile_window(ODD, Tile(row=2, col=1)) == (slice(128, 129), slice(64, 65))
    assert tile_window(ODD, Tile(row=2, col=1), 1) == (slice(64, 65), slice(32, 33))
    assert tile_geobox(ODD, Tile(row=1, col=0)).shape == (64, 64)
    assert tile_geobox(ODD, Tile(row=1, col=0)).transform @ (0, 0) == (500_000, 5_399_360)


def test_levels_halve_and_keep_the_corner():
    assert [level_shape(ODD, level) for level in range(4)] == [(129, 65), (65, 33), (33, 17), (17, 9)]
    assert level_transform(ODD, 2)[:6] == (40, 0, 500_000, 0, -40, 5_400_000)
    half = level_grid(ODD, 1)
    assert (half.shape_yx, half.shard_px, half.chunk_px) == ((65, 33), 32, 32)
    assert dataclasses.replace(half, shard_px=64).tiles_yx == (2, 1)
    assert np.allclose(half.geobox.transform[:6], level_transform(ODD, 1)[:6])
