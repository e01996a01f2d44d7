"""Preflight: broken files and full disks are found before a byte is written."""

import dataclasses
from pathlib import Path

import pytest

from catalog.cubes.preflight import check_local_files, check_space
from infra.errors import AppError, ConfigError, DataError, NotFoundError
from infra.storage import LocalStorage, open_storage
from tests.support.synthetic import (
    known_scene,
    make_band,
    make_geobox,
    make_grid,
    make_scene,
    plan_one,
    truth,
    write_image,
)

BOX = make_geobox((300, 300))
GRID = make_grid(BOX)


def plan_of(*bands):
    return plan_one([make_scene("a", BOX, bands)], GRID)


@pytest.mark.parametrize("driver", ["COG", "GTiff"])
def test_whole_files_pass(tmp_path, driver):
    path = write_image(tmp_path / "whole.tif", BOX, truth(BOX), driver=driver)
    assert check_local_files([plan_of(make_band("red", path))]) == {}


@pytest.mark.parametrize("driver", ["COG", "GTiff"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_cut_file_is_named(tmp_path, driver, kept, rng):
    noise = rng.integers(1, 60000, BOX.shape).astype("uint16")
    path = write_image(tmp_path / "cut.tif", BOX, noise, driver=driver)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    (complaint,) = check_local_files([plan_of(make_band("red", path))]).values()
    assert isinstance(complaint, DataError)
    assert str(path) in complaint.message
    assert "\n" not in complaint.message


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"II*\0"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "page.tif"
    path.write_bytes(content)
    (complaint,) = check_local_files([plan_of(make_band("red", path))]).values()
    assert isinstance(complaint, AppError)
    assert str(path) in complaint.message


def test_an_absent_file_and_an_absent_band(tmp_path):
    path = write_image(tmp_path / "one.tif", BOX, truth(BOX))
    gone = tmp_path / "gone.tif"
    found = check_local_files([plan_of(make_band("red", gone), make_band("nir", path, index=2))])
    assert isinstance(found[str(gone)], NotFoundError)
    assert "has 1 bands, band 2 is wanted" in found[str(path)].message


def test_remote_files_are_left_for_the_read():
    assert check_local_files([plan_of(make_band("red", "https://nowhere.invalid/red.tif"))]) == {}


def test_every_file_is_looked_at_once_however_many_plans_read_it(tmp_path):
    scene = known_scene(tmp_path, geobox=BOX)
    plans = [plan_one([scene], make_grid(BOX, shard_px=shard)) for shard in (64, 128)]
    Path(scene.bands[0].href).unlink()
    assert list(check_local_files(plans)) == [scene.bands[0].href]


def test_room_for_the_plan(tmp_path):
    plan = plan_of(make_band("red", "/red.tif"))
    check_space(LocalStorage(tmp_path), [plan])
    huge = dataclasses.replace(plan, grid=dataclasses.replace(GRID, shape_yx=(50_000_000, 50_000_000)))
    with pytest.raises(ConfigError, match=r"no space left for this plan: .* MB free") as caught:
        check_space(LocalStorage(tmp_path), [plan, huge])
    assert "--store" in caught.value.message


def test_s3_does_not_tell_its_room(s3_environment):
    check_space(open_storage(s3_environment), [plan_of(make_band("red", "/red.tif"))])
