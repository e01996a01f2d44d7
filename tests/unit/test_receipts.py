"""Receipts: written last, sealed once, and only over what is really there."""

import dataclasses

import pytest
import zarr

from catalog.cubes.finish import PREVIEW_NAME, THUMBNAIL_NAME, begin_cube, finish_cube
from catalog.cubes.receipts import (
    is_receipt,
    read_cube_receipt,
    read_tile_receipt,
    seal_cube,
    tile_receipt_path,
)
from catalog.cubes.tiles import write_tile
from catalog.readers.registry import READERS
from catalog.receipts import discard_unsealed
from catalog.records import CUBE_RECEIPT, Tile
from infra.errors import DataError, InternalError, NotFoundError, TransientError
from infra.storage import LocalStorage, open_storage
from tasks.write_cube import settle_error
from tests.support.fakes import FakeReader
from tests.support.synthetic import build_cube, make_band, make_geobox, make_grid, make_scene, plan_one, truth

BOX = make_geobox((100, 60))


@pytest.fixture(autouse=True)
def _fake_reader(monkeypatch):
    monkeypatch.setitem(READERS, "fake", FakeReader)


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return open_storage(str(tmp_path / "store"))
    return open_storage(request.getfixturevalue("s3_environment") + "/store")


@pytest.fixture
def plan():
    return plan_one([make_scene("a", BOX, [make_band("red", "fake:")])], make_grid(BOX), loader="fake")


@pytest.fixture
def tiled(storage, plan):
    """Every tile is written, the cube is not sealed."""
    begin_cube(storage, plan)
    for row in (0, 1):
        write_tile(storage.uri, plan, Tile(row=row, col=0))
    return storage


def test_no_receipt_before_the_end(tiled, plan):
    assert read_cube_receipt(tiled, plan) is None
    receipt = finish_cube(tiled.uri, plan)
    assert read_cube_receipt(tiled, plan) == receipt
    assert CUBE_RECEIPT.validate_json(tiled.read(f"{plan.path}/receipt.json")) == receipt


def test_a_receipt_lists_every_object_and_nothing_else(tiled, plan):
    receipt = finish_cube(tiled.uri, plan)
    found = {entry.path.removeprefix(f"{plan.path}/"): entry.size for entry in tiled.list_objects(plan.path)}
    listed = {file.path: file.size for file in receipt.files}
    assert listed == {name: size for name, size in found.items() if not is_receipt(name)}
    assert {PREVIEW_NAME, THUMBNAIL_NAME} < listed.keys()
    assert [file.path for file in receipt.files] == sorted(listed)
    assert receipt.total_bytes == sum(listed.values())


def test_a_receipt_holds_no_clock_host_or_place(tiled, plan, tmp_path):
    text = CUBE_RECEIPT.dump_json(finish_cube(tiled.uri, plan)).decode()
    assert str(tmp_path) not in text
    assert "2026" not in text
    assert "s3://" not in text


def test_statistics_are_those_of_the_pixels(tiled, plan):
    statistics = finish_cube(tiled.uri, plan).statistics["red"]
    known = truth(BOX)
    assert (statistics.minimum, statistics.maximum) == (known.min(), known.max())
    assert statistics.mean == pytest.approx(known.mean())
    assert statistics.stddev == pytest.approx(known.std())
    assert statistics.valid_percent == 100


def test_finishing_twice_changes_nothing(tiled, plan):
    first = finish_cube(tiled.uri, plan)
    before = [(entry.path, entry.modified) for entry in tiled.list_objects("")]
    assert finish_cube(tiled.uri, plan) == first
    assert [(entry.path, entry.modified) for entry in tiled.list_objects("")] == before


def test_a_second_sealer_with_the_same_receipt_is_fine(tiled, plan):
    receipt = finish_cube(tiled.uri, plan)
    assert seal_cube(tiled, plan, receipt) == receipt


def test_a_second_sealer_with_another_receipt_is_a_bug(tiled, plan):
    receipt = finish_cube(tiled.uri, plan)
    file = dataclasses.replace(receipt.files[0], sha256="0" * 64)
    other = dataclasses.replace(receipt, files=(file, *receipt.files[1:]))
    with pytest.raises(InternalError, match="stands and differs"):
        seal_cube(tiled, plan, other)
    assert read_cube_receipt(tiled, plan) == receipt


def test_a_missing_tile_is_a_bug(tiled, plan):
    tiled.delete(tile_receipt_path(plan, Tile(row=1, col=0)))
    with pytest.raises(InternalError, match="its tile 1-0 is not written"):
        finish_cube(tiled.uri, plan)


@pytest.mark.parametrize("spoil", ["cut", "gone"])
def test_a_spoilt_shard_is_noticed_at_the_end_and_mended_by_running_again(tiled, plan, spoil):
    name = f"{plan.path}/cube.zarr/0/red/c/1/0"
    whole = tiled.read(name)
    if spoil == "gone":
        tiled.delete(name)
    else:
        tiled.write(name, whole[: len(whole) // 2])
    with pytest.raises(TransientError, match=r"c/1/0 holds .* bytes, \d+ were written; run again"):
        finish_cube(tiled.uri, plan)
    assert read_cube_receipt(tiled, plan) is None
    receipt = build_cube(tiled, plan)
    assert tiled.read(name) == whole
    assert read_cube_receipt(tiled, plan) == receipt


def test_spoilt_metadata_is_noticed_at_the_end(tiled, plan):
    name = f"{plan.path}/cube.zarr/0/x/zarr.json"
    tiled.write(name, tiled.read(name)[:-1])
    with pytest.raises(TransientError, match=r"x/zarr\.json holds \d+ bytes, \d+ were written; run again"):
        finish_cube(tiled.uri, plan)
    assert read_cube_receipt(tiled, plan) is None
    assert build_cube(tiled, plan).id == plan.id


def test_what_no_tile_claims_is_removed(tiled, plan):
    tiled.write(f"{plan.path}/cube.zarr/0/red/c/9/9", b"stray")
    receipt = finish_cube(tiled.uri, plan)
    assert not tiled.exists(f"{plan.path}/cube.zarr/0/red/c/9/9")
    assert all("c/9/9" not in file.path for file in receipt.files)


@pytest.mark.parametrize("text", [b"", b"{}", b"null", b"not json", b'{"id": 3}'])
def test_what_is_no_receipt_is_said(storage, plan, text):
    storage.write(f"{plan.path}/receipt.json", text)
    with pytest.raises(DataError, match=r"receipt\.json is not a receipt; delete the folder and run again"):
        read_cube_receipt(storage, plan)


def test_a_spoilt_tile_receipt_is_as_good_as_none(tiled, plan):
    tile = Tile(row=0, col=0)
    standing = read_tile_receipt(tiled, plan, tile)
    tiled.write(tile_receipt_path(plan, tile), b"{")
    assert write_tile(tiled.uri, plan, tile).receipt == standing


def test_leftovers_of_the_dead_do_not_stay_in_a_sealed_cube(tmp_path, plan):
    storage = LocalStorage(tmp_path)
    part = tmp_path / plan.path / "cube.zarr/0/red" / ".c.999999999-00000000.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    build_cube(storage, plan)
    assert not part.exists()


@pytest.mark.parametrize("error", [DataError("a block is damaged"), NotFoundError("the file is gone")])
def test_a_cube_that_another_run_sealed_outlives_this_ones_bad_tile(tiled, plan, error):
    receipt = finish_cube(tiled.uri, plan)
    whole = {entry.path: tiled.read(entry.path) for entry in tiled.list_objects(plan.path)}
    assert not discard_unsealed(tiled, plan.path)
    outcome = settle_error(tiled, plan, error)
    assert (outcome.quarantined, outcome.bytes_written) == (None, receipt.total_bytes)
    assert {entry.path: tiled.read(entry.path) for entry in tiled.list_objects(plan.path)} == whole


def test_a_bad_tile_puts_a_cube_into_quarantine_and_a_lost_store_does_not(tiled, plan):
    with pytest.raises(TransientError):
        settle_error(tiled, plan, TransientError("the store did not answer"))
    assert list(tiled.list_objects(plan.path))
    assert settle_error(tiled, plan, DataError("a block is damaged")).quarantined == "a block is damaged"
    assert not list(tiled.list_objects(plan.path))


def test_receipts_are_told_from_data():
    assert is_receipt("receipt.json")
    assert is_receipt("tiles/0-0.json")
    assert not is_receipt("cube.zarr/0/red/c/0/0")


def test_tiles_are_zarr_that_others_read(tiled, plan):
    if not isinstance(tiled, LocalStorage):
        pytest.skip("read from disk here; from S3 in integration/test_s3_store.py")
    finish_cube(tiled.uri, plan)
    array = zarr.open_array(tiled.href(f"{plan.path}/cube.zarr/0/red"), mode="r")
    assert (array[...] == truth(BOX)).all()
