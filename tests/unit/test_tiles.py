"""Tiles: one work unit reads, masks, verifies and writes whole shards; its receipt is last."""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import zarr

from catalog.cubes.finish import begin_cube
from catalog.cubes.receipts import read_tile_receipt, tile_receipt_path
from catalog.cubes.tiles import write_tile
from catalog.grid import list_tiles
from catalog.readers.registry import READERS
from catalog.records import Tile
from infra.errors import DataError
from infra.storage import LocalStorage
from tests.support.fakes import FakeReader
from tests.support.synthetic import (
    build_cube,
    make_band,
    make_geobox,
    make_grid,
    make_scene,
    plan_one,
    tree_of,
    truth,
    write_image,
)

BOX = make_geobox((150, 100))
GRID = make_grid(BOX)
FIRST = Tile(row=0, col=0)


@pytest.fixture(autouse=True)
def _fake_reader(monkeypatch):
    monkeypatch.setitem(READERS, "fake", FakeReader)


def fake_plan(*bands, grid=GRID, **facts):
    options = {"loader": "fake"} | facts.pop("options", {})
    return plan_one(
        [make_scene("known", BOX, bands or [make_band("red", "fake:")], **facts)], grid, **options
    )


def begun(tmp_path, plan):
    storage = LocalStorage(tmp_path)
    begin_cube(storage, plan)
    return storage


def pixels_of(storage, plan, band, level=0):
    return zarr.open_array(storage.href(f"{plan.path}/cube.zarr/{level}/{band}"), mode="r")[...]


class CountingStorage(LocalStorage):
    """Count how often each object is written."""

    written: ClassVar[Counter[str]] = Counter()

    def write(self, path, data):
        CountingStorage.written[path] += 1
        super().write(path, data)


@pytest.fixture
def counted(monkeypatch):
    CountingStorage.written.clear()
    for place in ("catalog.cubes.tiles", "catalog.cubes.finish"):
        monkeypatch.setattr(f"{place}.open_storage", lambda uri: CountingStorage(Path(uri)))
    return CountingStorage.written


def test_pixels_are_the_truth(tmp_path):
    plan = fake_plan(make_band("red", "fake:"), make_band("vv", "fake:", dtype="float32", nodata="nan"))
    storage = LocalStorage(tmp_path)
    build_cube(storage, plan)
    np.testing.assert_array_equal(pixels_of(storage, plan, "red"), truth(BOX))
    np.testing.assert_array_equal(pixels_of(storage, plan, "vv"), truth(BOX, "float32"))


def test_a_second_time_nothing_is_read_or_written(tmp_path):
    plan = fake_plan()
    storage = begun(tmp_path, plan)
    first = write_tile(storage.uri, plan, FIRST)
    before = tree_of(tmp_path)
    second = write_tile(storage.uri, plan, FIRST)
    assert (first.reused, second.reused) == (False, True)
    assert second.receipt == first.receipt
    assert tree_of(tmp_path) == before


def test_no_object_is_written_twice_and_tiles_share_none(tmp_path, counted):
    plan = fake_plan(make_band("red", "fake:"), make_band("nir", "fake:"))
    storage = begun(tmp_path, plan)
    owner = {}
    for tile in list_tiles(GRID):
        counted.clear()
        outcome = write_tile(storage.uri, plan, tile)
        assert set(counted.values()) == {1}
        for file in outcome.receipt.files:
            assert owner.setdefault(file.path, tile) == tile
    assert len(list_tiles(GRID)) == 6
    assert len(owner) == 12


def test_the_receipt_tells_of_every_object_as_it_is(tmp_path):
    plan = fake_plan()
    storage = begun(tmp_path, plan)
    receipt = write_tile(storage.uri, plan, FIRST).receipt
    assert read_tile_receipt(storage, plan, FIRST) == receipt
    for file in receipt.files:
        data = storage.read(f"{plan.path}/{file.path}")
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
    assert receipt.valid_fraction == {"red": 1.0}
    assert receipt.expected_fraction == pytest.approx(1.0, abs=1e-3)
    known = truth(BOX[:64, :64])
    moments = receipt.moments["red"]
    assert (moments.count, moments.minimum, moments.maximum) == (known.size, known.min(), known.max())
    assert moments.mean == pytest.approx(known.mean())
    assert moments.stddev == pytest.approx(known.std())


def test_two_stores_are_alike_byte_for_byte(tmp_path):
    plan = fake_plan(make_band("red", "fake:"), make_band("vv", "fake:", dtype="float32", nodata="nan"))
    for name in ("one", "two"):
        build_cube(LocalStorage(tmp_path / name), plan)
    assert tree_of(tmp_path / "one") == tree_of(tmp_path / "two")


def test_the_order_of_tiles_does_not_matter(tmp_path):
    plan = fake_plan()
    build_cube(LocalStorage(tmp_path / "one"), plan)
    other = begun(tmp_path / "two", plan)
    for tile in reversed(list_tiles(GRID)):
        write_tile(other.uri, plan, tile)
    build_cube(other, plan)
    assert tree_of(tmp_path / "one") == tree_of(tmp_path / "two")


def test_what_a_killed_attempt_left_never_leaks(tmp_path):
    plan = fake_plan()
    build_cube(LocalStorage(tmp_path / "clean"), plan)
    storage = begun(tmp_path / "stale", plan)
    write_tile(storage.uri, plan, Tile(row=2, col=1))
    shard = f"{plan.path}/cube.zarr/0/red/c/2/1"
    whole = storage.read(shard)
    # An older attempt wrote other pixels there, or half of a shard, and never got to its receipt.
    other = zarr.open_array(storage.href(f"{plan.path}/cube.zarr/0/red"), mode="r+")
    other[128:, 64:] = 9
    assert storage.read(shard) != whole
    storage.delete(tile_receipt_path(plan, Tile(row=2, col=1)))
    storage.write(f"{plan.path}/cube.zarr/0/red/c/0/0", whole[: len(whole) // 2])
    build_cube(storage, plan)
    assert tree_of(tmp_path / "stale") == tree_of(tmp_path / "clean")


class TestBlank:
    def test_a_blank_band_where_data_are_promised(self, tmp_path):
        plan = fake_plan(make_band("red", "fake:"), make_band("nir", "blank:"))
        storage = begun(tmp_path, plan)
        with pytest.raises(DataError) as caught:
            write_tile(storage.uri, plan, Tile(row=1, col=0))
        for fact in ("'nir'", "known", "tile 1-0", "read twice", "100%"):
            assert fact in caught.value.message
        assert read_tile_receipt(storage, plan, Tile(row=1, col=0)) is None

    def test_a_band_that_was_blank_once_is_read_again(self, tmp_path):
        plan = fake_plan(make_band("red", "flaky:"))
        storage = LocalStorage(tmp_path)
        build_cube(storage, plan)
        np.testing.assert_array_equal(pixels_of(storage, plan, "red"), truth(BOX))

    @pytest.mark.parametrize("loader", ["odc", "stackstac"])
    def test_a_blank_file(self, tmp_path, loader):
        path = write_image(tmp_path / "blank.tif", BOX, np.zeros(BOX.shape, dtype="uint16"))
        plan = plan_one([make_scene("night", BOX, [make_band("red", path)])], GRID, loader=loader)
        storage = begun(tmp_path / "store", plan)
        with pytest.raises(DataError, match=r"band 'red' of night is blank in tile 0-0"):
            write_tile(storage.uri, plan, FIRST)

    def test_no_data_where_none_is_promised(self, tmp_path):
        corner = make_scene("corner", BOX[:4, :4], [make_band("red", "blank:")])
        plan = plan_one([corner], GRID, loader="fake")
        storage = begun(tmp_path, plan)
        receipt = write_tile(storage.uri, plan, FIRST).receipt
        assert receipt.valid_fraction == {"red": 0.0}
        assert receipt.moments == {"red": None}
        assert [file.path for file in receipt.files] == ["cube.zarr/0/red/c/0/0"]  # holds fill, not nothing

    def test_a_blank_quality_band_is_no_fault(self, tmp_path):
        plan = fake_plan(make_band("red", "fake:"), make_band("scl", "blank:", dtype="uint8", quality=True))
        storage = begun(tmp_path, plan)
        assert write_tile(storage.uri, plan, FIRST).receipt.valid_fraction["scl"] == 0


class TestCloudMask:
    @pytest.fixture
    def scene(self, tmp_path):
        classes = np.full(BOX.shape, 4, dtype="uint8")
        for row, number in enumerate((0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11)):
            classes[row] = number
        scl = write_image(tmp_path / "scl.tif", BOX, classes)
        red = write_image(tmp_path / "red.tif", BOX, truth(BOX))
        bands = [make_band("red", red), make_band("scl", scl, dtype="uint8", quality=True)]
        return make_scene("cloudy", BOX, bands, quality_band="scl", mask_rule="sentinel-2-scl")

    @pytest.mark.parametrize("loader", ["odc", "stackstac"])
    def test_dropped_in_data_bands_kept_in_the_quality_band(self, tmp_path, scene, loader):
        plan = plan_one([scene], GRID, mask="clouds", loader=loader)
        storage = LocalStorage(tmp_path / "store")
        receipt = build_cube(storage, plan)
        red, scl = (pixels_of(storage, plan, name) for name in ("red", "scl"))
        dropped = np.isin(scl, (0, 1, 3, 8, 9, 10))
        assert set(np.unique(scl)) == set(range(12))
        assert (red[dropped] == 0).all()
        np.testing.assert_array_equal(red[~dropped], truth(BOX)[~dropped])
        assert receipt.statistics["red"].valid_percent == pytest.approx(100 * (~dropped).mean())

    def test_without_mask_every_pixel_is_kept(self, tmp_path, scene):
        plan = plan_one([scene], GRID)
        storage = LocalStorage(tmp_path / "store")
        build_cube(storage, plan)
        np.testing.assert_array_equal(pixels_of(storage, plan, "red"), truth(BOX))

    def test_a_quality_band_that_is_only_read(self, tmp_path, scene):
        plan = plan_one([scene], GRID, bands=("red",), mask="clouds")
        storage = LocalStorage(tmp_path / "store")
        build_cube(storage, plan)
        assert "scl" not in storage.list_folders(f"{plan.path}/cube.zarr/0")
        assert (pixels_of(storage, plan, "red")[8] == 0).all()

    def test_an_overcast_tile_is_not_blank(self, tmp_path, scene):
        write_image(tmp_path / "scl.tif", BOX, np.full(BOX.shape, 9, dtype="uint8"))
        plan = plan_one([dataclasses.replace(scene, id="overcast")], GRID, mask="clouds")
        storage = begun(tmp_path / "store", plan)
        receipt = write_tile(storage.uri, plan, FIRST).receipt
        assert receipt.valid_fraction["red"] == 1.0
        assert receipt.moments["red"] is None


def test_overviews_are_made_with_the_tile(tmp_path):
    box = make_geobox((600, 520))
    plan = plan_one(
        [make_scene("wide", box, [make_band("red", "fake:")])],
        make_grid(box, shard_px=256, chunk_px=128),
        loader="fake",
    )
    storage = LocalStorage(tmp_path)
    receipt = build_cube(storage, plan)
    assert receipt.levels == 2
    half = pixels_of(storage, plan, "red", 1)
    blocks = truth(box).reshape(300, 2, 260, 2).astype(float)
    np.testing.assert_allclose(half, blocks.mean((1, 3)), atol=0.5)
