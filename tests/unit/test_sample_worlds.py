"""Chips of sample worlds: camera and radar see one place, the same every time, and none that tests use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from catalog.chips import sample_worlds
from catalog.chips.sample_worlds import SampleWorlds, draw_world
from catalog.sample.cover import BUILT, TREES, Cover
from infra.errors import InputError


@pytest.fixture(autouse=True)
def _nothing_kept():
    sample_worlds.draw_world.cache_clear()
    yield
    sample_worlds.draw_world.cache_clear()


def find_shift(water, radar, reach=6):
    """Return by how many pixels radar lies off water, where it is darkest inside and bright outside."""
    inside, echo = (np.array(np.gradient(uniform_filter(one, 5))) for one in (water.astype(float), radar))
    rows, cols = (slice(reach, side - reach) for side in water.shape)
    shifts = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]

    def alike(shift):
        moved = np.roll(echo, (-shift[0], -shift[1]), (1, 2))
        return -(inside[:, rows, cols] * moved[:, rows, cols]).sum()

    return max(shifts, key=alike)


def test_a_lake_has_one_shore_for_camera_and_radar():
    chip = SampleWorlds(1).read(1)  # a lake in a wood, and no other water as blue
    assert chip.rgb.shape == (3, 256, 256)
    assert chip.sar.shape == (1, 256, 256)
    assert chip.valid.all()
    lake = chip.rgb[2] > 1.2 * chip.rgb[0]
    assert 0.01 < lake.mean() < 0.05
    assert chip.sar[0][lake].mean() < chip.sar[0][~lake].mean() - 5
    assert max(map(abs, find_shift(lake, chip.sar[0]))) <= 2
    moved = find_shift(lake, np.roll(chip.sar[0], (4, 4), (0, 1)))
    assert min(moved) > 2  # the test could fail


def test_a_number_is_a_chip(monkeypatch):
    monkeypatch.setattr(sample_worlds, "WORLD_PX", 160)
    worlds = SampleWorlds(2, size_px=96)
    assert len(worlds) == 8
    first = [worlds.read(index) for index in (3, 4)]
    sample_worlds.draw_world.cache_clear()
    again = [SampleWorlds(5, size_px=96).read(index) for index in (4, 3)]
    for one, other in zip(first, reversed(again), strict=True):
        assert one.rgb.tobytes() == other.rgb.tobytes()
        assert one.sar.tobytes() == other.sar.tobytes()
    assert first[0].rgb.tobytes() != first[1].rgb.tobytes()


def test_worlds_of_tests_and_demos_are_never_drawn(monkeypatch):
    seeds, build = [], sample_worlds.build_town

    def take_note(seed, frame):
        seeds.append(seed)
        return build(seed, frame)

    monkeypatch.setattr(sample_worlds, "WORLD_PX", 96)
    monkeypatch.setattr(sample_worlds, "build_town", take_note)
    worlds = SampleWorlds(3, size_px=64)
    for index in range(len(worlds)):
        worlds.read(index)
    assert len(worlds) == 12
    assert seeds == [61_000, 61_001, 61_002]


def test_a_world_tells_what_lies_where(monkeypatch):
    monkeypatch.setattr(sample_worlds, "WORLD_PX", 160)
    world = draw_world(0)
    assert world.cover.shape == world.rgb.shape[1:] == world.sar.shape[1:] == (160, 160)
    assert set(np.unique(world.cover)) <= {int(cover) for cover in Cover}
    seen = SampleWorlds(1, size_px=160).read(0)
    assert np.array_equal(seen.rgb, world.rgb)
    trees, roofs = (np.isin(world.cover, kinds) for kinds in (TREES, BUILT))
    brightness = world.rgb.mean(axis=0)
    assert trees.any()
    assert roofs.any()
    assert brightness[trees].mean() < 0.7 * brightness[roofs].mean()


@pytest.mark.parametrize(("worlds", "size"), [(0, 256), (1, 31), (1, 513)])
def test_worlds_that_cannot_be_cut_are_refused(worlds, size):
    with pytest.raises(InputError, match="expected 32 to 512 px"):
        SampleWorlds(worlds, size_px=size)
