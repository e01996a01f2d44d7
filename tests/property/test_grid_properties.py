"""Grids, whatever the box: they cover it, and their tiles cover them once."""

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from pyproj import Transformer

from catalog.cubes.pyramid import count_levels
from catalog.grid import level_shape, list_tiles, plan_grid, tile_geobox, tile_window
from catalog.records import Grid

edges = st.integers(min_value=1, max_value=1500)
grids = st.builds(
    lambda rows, cols, shard_bits, chunk_bits: Grid(
        crs="EPSG:32633",
        transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0),
        shape_yx=(rows, cols),
        shard_px=1 << shard_bits,
        chunk_px=1 << min(chunk_bits, shard_bits),
    ),
    edges,
    edges,
    st.integers(6, 10),
    st.integers(5, 8),
)


@st.composite
def boxes(draw):
    west = draw(st.floats(-180, 179))
    south = draw(st.floats(-83, 82))
    width, height = draw(st.floats(0.001, 0.5)), draw(st.floats(0.001, 0.5))
    east = west + width
    return west, south, east - 360 if east > 180 else east, south + height


@given(boxes(), st.sampled_from([10.0, 20.0, 60.0, 231.656, 1000.0]))
def test_the_grid_covers_the_box_with_less_than_a_pixel_to_spare(bounds, resolution):
    grid = plan_grid(bounds, resolution_m=resolution)
    west, south, east, north = bounds
    lon = np.linspace(west, east + 360 if east < west else east, 9)
    lat = np.linspace(south, north, 9)
    ring_lon = np.concatenate([lon, lon, np.full(9, lon[0]), np.full(9, lon[-1])])
    ring_lat = np.concatenate([np.full(9, south), np.full(9, north), lat, lat])
    x, y = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(ring_lon, ring_lat)
    assume(np.isfinite(x).all())
    left, bottom, right, top = grid.geobox.boundingbox.bbox
    slack = 1e-5 * resolution + 1e-3
    assert left <= x.min() + slack
    assert right >= x.max() - slack
    assert bottom <= y.min() + slack
    assert top >= y.max() - slack
    assert left > x.min() - resolution * 1.01 - 1
    assert top < y.max() + resolution * 1.01 + 20


@given(boxes(), st.sampled_from([10.0, 20.0, 60.0]))
def test_the_grid_is_on_the_lattice_of_its_pixel_size(bounds, resolution):
    grid = plan_grid(bounds, resolution_m=resolution)
    for corner in (grid.transform[2], grid.transform[5]):
        assert math.isclose(corner / resolution, round(corner / resolution), abs_tol=1e-9)
    assert grid.shard_px % grid.chunk_px == 0
    assert grid.shard_px & (grid.shard_px - 1) == 0


@given(grids)
def test_tiles_cover_every_pixel_once_at_every_level(grid):
    for level in range(count_levels(grid)):
        seen = np.zeros(level_shape(grid, level), dtype=np.uint8)
        for tile in list_tiles(grid):
            seen[tile_window(grid, tile, level)] += 1
        assert (seen == 1).all()


@given(grids)
def test_tiles_never_share_a_shard(grid):
    for level in range(count_levels(grid)):
        edge = grid.shard_px >> level
        assert edge >= 1
        owners = {}
        for tile in list_tiles(grid):
            rows, cols = tile_window(grid, tile, level)
            if rows.start < rows.stop and cols.start < cols.stop:
                shards = {
                    (row, col)
                    for row in range(rows.start // edge, (rows.stop - 1) // edge + 1)
                    for col in range(cols.start // edge, (cols.stop - 1) // edge + 1)
                }
                assert len(shards) == 1, "a tile is one shard"
                assert not shards & owners.keys()
                owners.update(dict.fromkeys(shards, tile))


@given(grids)
def test_pixels_of_a_tile_are_where_those_of_the_grid_are(grid):
    for tile in list_tiles(grid)[-2:]:
        rows, cols = tile_window(grid, tile)
        box = tile_geobox(grid, tile)
        assert box.shape == (rows.stop - rows.start, cols.stop - cols.start)
        assert box.transform @ (0, 0) == grid.geobox.transform @ (cols.start, rows.start)


@given(grids)
def test_levels_end_small_or_at_the_smallest_shard(grid):
    levels = count_levels(grid)
    longest = max(level_shape(grid, levels - 1))
    assert longest <= 512 or (grid.shard_px >> levels) < 64
    if levels > 1:
        assert max(level_shape(grid, levels - 2)) > 512
