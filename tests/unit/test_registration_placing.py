"""Pixels of one grid on another: whole at once or block by block, copied only where grids are one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from catalog.records import Grid
from catalog.registrations import placing
from catalog.registrations.placing import (
    assemble,
    choose_block_px,
    choose_way,
    cut_blocks,
    cut_grid,
    find_source_window,
    is_empty,
)

UTM = Grid(
    crs="EPSG:32633",
    transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0),
    shape_yx=(400, 300),
    shard_px=4096,
    chunk_px=1024,
)
PIXELS = np.random.default_rng(0).normal(size=(2, 400, 300)).astype(np.float32)


def moved(cols: float, rows: float, *, step: float = 10.0, shape: tuple[int, int] = (400, 300)) -> Grid:
    place = (step, 0.0, 500_000.0 + 10 * cols, 0.0, -step, 5_400_000.0 - 10 * rows)
    return dataclasses.replace(UTM, transform=place, shape_yx=shape)


def put(grid: Grid, source: Grid = UTM) -> np.ndarray:
    return assemble(source, grid, 2, lambda window: PIXELS[(slice(None), *window)])


@pytest.mark.parametrize("shape", [(5, 7), (16, 16), (33, 16)])
def test_blocks_cover_each_pixel_once(shape):
    seen = np.zeros(shape, int)
    for block in cut_blocks(shape, 16):
        seen[block] += 1
    assert (seen == 1).all()


def test_pixels_of_one_grid_are_taken_as_they_are():
    np.testing.assert_array_equal(put(UTM), np.moveaxis(PIXELS, 0, -1))
    shifted = put(moved(-20, 30))
    np.testing.assert_array_equal(shifted[:370, 20:], np.moveaxis(PIXELS, 0, -1)[30:, :280])
    assert np.isnan(shifted[370:]).all()
    assert np.isnan(shifted[:, :20]).all()
    assert np.isnan(put(moved(900, 900))).all()


def test_larger_pixels_are_means():
    coarse = put(moved(0, 0, step=20, shape=(200, 150)))
    means = np.moveaxis(PIXELS, 0, -1).reshape(200, 2, 150, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(coarse, means, atol=1e-5)


@pytest.mark.parametrize(
    ("grid", "way"),
    [
        (moved(-20, 30), "window"),
        (moved(-20, 30, step=20, shape=(200, 150)), "average"),
        (moved(0.3, 0.6), "bilinear"),
        (dataclasses.replace(UTM, transform=(10.0, 0.4, 500_200.0, -0.4, -10.0, 5_399_900.0)), "bilinear"),
    ],
)
def test_blocks_give_what_the_whole_gives(grid, way, monkeypatch):
    assert choose_way(UTM, grid) == way
    whole = put(grid)
    monkeypatch.setattr(placing, "READ_PX", 64)
    assert choose_block_px(grid, UTM) <= 64
    np.testing.assert_allclose(put(grid), whole, atol=1e-5)
    assert 0.5 < np.isfinite(whole).mean() <= 1


def test_blocks_of_another_crs_meet(monkeypatch):
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(501_000, 5_398_000)
    grid = dataclasses.replace(
        UTM, crs="EPSG:32632", transform=(20.0, 0.0, x, 0.0, -20.0, y), shape_yx=(90, 70)
    )
    smooth = np.add(*np.mgrid[:400, :300]).astype(np.float32)[None]
    whole = assemble(UTM, grid, 1, lambda window: smooth[(slice(None), *window)])
    monkeypatch.setattr(placing, "READ_PX", 64)
    parts = assemble(UTM, grid, 1, lambda window: smooth[(slice(None), *window)])
    assert np.isfinite(parts).any()
    np.testing.assert_array_equal(np.isfinite(parts), np.isfinite(whole))
    np.testing.assert_allclose(parts, whole, atol=0.3)  # GDAL is exact to an eighth of a pixel


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32632"])
@pytest.mark.parametrize("step", [1, 4, 60, 5000])
def test_a_large_scene_is_never_read_whole(crs, step):
    edge = 20_000
    source = dataclasses.replace(UTM, shape_yx=(edge, edge))
    grid = dataclasses.replace(
        moved(0, 0, step=10 * step), crs=crs, shape_yx=(max(1, edge // step), max(1, edge // step))
    )
    if crs != UTM.crs:  # beside the meridian that the zones share, upright in both to some degrees
        grid = dataclasses.replace(grid, transform=(10 * step, 0, 945_000, 0, -10 * step, 5_410_000))
    blocks = list(cut_blocks(grid.shape_yx, choose_block_px(grid, source)))
    read = [find_source_window(cut_grid(grid, block), source, margin_px=4) for block in blocks]
    sizes = [(rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in read]
    assert sum(sizes) > 0.2 * edge**2
    assert max(sizes) < 2.5 * placing.READ_PX**2 or step > 100


def test_what_shares_no_ground_needs_no_pixel():
    assert is_empty(find_source_window(moved(0, 900), UTM))
    assert is_empty(find_source_window(moved(-900, 0), UTM, margin_px=4))
    assert find_source_window(moved(290, 390, shape=(30, 30)), UTM) == (slice(390, 400), slice(290, 300))


@pytest.mark.parametrize(
    ("off", "step", "way"),
    [
        (4e-4, 10.0, "window"),
        (4e-3, 10.0, "bilinear"),
        (0.0, 10.0 + 1e-5, "window"),  # 400 px on, the pixels are apart by 4e-4
        (0.0, 10.0 + 1e-4, "bilinear"),  # here by 4e-3
    ],
)
def test_grids_are_one_while_no_pixel_is_off(off, step, way):
    assert choose_way(UTM, moved(7 + off, 5, step=step)) == way
    far = moved(7_000_000 + off, 5, step=step)  # however far apart they are
    assert choose_way(UTM, far) == way


def test_rounding_of_world_coordinates_is_no_difference():
    fine = dataclasses.replace(UTM, transform=(0.01, 0.0, 19_999_999.37, 0.0, -0.01, 9_999_999.91))
    place = (0.01, 0.0, 19_999_999.37 + 0.01 * 123, 0.0, -0.01, 9_999_999.91 - 0.01 * 77)
    assert choose_way(fine, dataclasses.replace(fine, transform=place)) == "window"
