"""Grids of a registration: one to compare on; transforms that mean the same in pixels and in the world."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pyproj import Transformer

from catalog.records import Grid
from catalog.registrations.grids import (
    correct_transform,
    is_same_crs,
    plan_working_grid,
    project_pixels,
    share_ground,
    to_corners,
    to_world,
)
from models.matching.transforms import apply_transform, similarity

UTM = Grid(
    crs="EPSG:32633",
    transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0),
    shape_yx=(400, 300),
    shard_px=4096,
    chunk_px=1024,
)


def moved(cols: float, rows: float, *, step: float = 10.0, shape: tuple[int, int] = (400, 300)) -> Grid:
    place = (step, 0.0, 500_000.0 + 10 * cols, 0.0, -step, 5_400_000.0 - 10 * rows)
    return dataclasses.replace(UTM, transform=place, shape_yx=shape)


def test_one_grid_stays_itself():
    assert plan_working_grid(UTM, UTM) == UTM


def test_the_part_that_both_reach():
    grid = plan_working_grid(UTM, moved(100, -50))
    assert grid.shape_yx == (350, 200)
    assert grid.transform == (10.0, 0.0, 501_000.0, 0.0, -10.0, 5_400_000.0)


def test_pixels_are_no_finer_than_the_coarser_scenes():
    assert plan_working_grid(UTM, moved(0, 0, step=20, shape=(200, 150))).shape_yx == (200, 150)
    assert plan_working_grid(moved(0, 0, step=20, shape=(200, 150)), UTM).transform[0] == 20.0


def test_a_large_scene_is_compared_on_larger_pixels():
    large = dataclasses.replace(UTM, shape_yx=(10_980, 10_980))
    grid = plan_working_grid(large, large)
    assert grid.shape_yx == (5490, 5490)
    assert grid.transform[0] == 20.0


@pytest.mark.parametrize("other", [moved(300, 0), moved(0, -400), moved(-1000, 7000)])
def test_scenes_apart_share_nothing(other):
    assert not share_ground(UTM, other)
    assert not share_ground(other, UTM)
    assert plan_working_grid(UTM, other) == UTM
    assert share_ground(UTM, moved(299, 399))


def test_another_crs():
    x, y = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(501_000, 5_398_000)
    other = dataclasses.replace(UTM, crs="EPSG:32632", transform=(10.0, 0.0, x, 0.0, -10.0, y))
    assert share_ground(UTM, other)
    assert not is_same_crs(UTM, other)
    grid = plan_working_grid(UTM, other)
    assert grid.crs == "EPSG:32633"
    assert 150 < grid.shape_yx[1] < 260
    spot = np.array([[40.0, 60.0]])
    there = project_pixels(UTM, other, spot)
    np.testing.assert_allclose(project_pixels(other, UTM, there), spot, atol=1e-6)


def test_one_crs_in_two_spellings():
    from pyproj import CRS

    assert is_same_crs(UTM, dataclasses.replace(UTM, crs=CRS.from_epsg(32633).to_wkt("WKT2_2019")))


def test_a_correction_puts_pixels_where_the_transform_does():
    transform = similarity(rotation_deg=1.5, scale=1.02, shift=(4.0, -7.0), centre=(150, 200))
    correction = to_world(transform, UTM)
    a, b, c, d, e, f = correct_transform(correction, UTM)
    spots = np.array([[0.0, 0.0], [299.0, 0.0], [123.0, 345.0]])
    corrected = np.column_stack([spots[:, 0] + 0.5, spots[:, 1] + 0.5]) @ np.array([[a, b], [d, e]]).T + (
        c,
        f,
    )
    seen = project_pixels(UTM, UTM, np.zeros((1, 2)))
    np.testing.assert_allclose(seen, 0, atol=1e-9)
    fixed = apply_transform(transform, spots) + 0.5
    world = fixed * (10, -10) + (500_000, 5_400_000)
    np.testing.assert_allclose(corrected, world, atol=1e-6)


def test_a_correction_holds_for_any_grid_of_the_scene():
    transform = similarity(rotation_deg=1.5, shift=(4.0, -7.0), centre=(150, 200))
    correction = to_world(transform, UTM)
    finer = moved(0, 0, step=5, shape=(800, 600))
    a, b, c, d, e, f = correct_transform(correction, finer)
    coarse = np.array(correct_transform(correction, UTM)).reshape(2, 3)
    np.testing.assert_allclose(coarse @ [30, 40, 1], [a * 60 + b * 80 + c, d * 60 + e * 80 + f], atol=1e-6)


def test_a_shift_is_the_same_for_centres_and_corners():
    shift = similarity(shift=(3.0, 4.0))
    np.testing.assert_allclose(to_corners(shift), shift)
    turned = to_corners(similarity(rotation_deg=90))
    np.testing.assert_allclose(apply_transform(turned, np.array([[0.5, 0.5]])), [[0.5, 0.5]], atol=1e-12)
