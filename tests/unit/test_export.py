"""Export: each band as a COG whose pixels, place and meaning are the cube's."""

import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate

from catalog.cubes.export import export_cogs
from catalog.readers.registry import READERS
from infra.errors import ConfigError, InputError
from infra.storage import LocalStorage
from tests.support.fakes import FakeReader
from tests.support.synthetic import build_cube, make_band, make_geobox, make_grid, make_scene, plan_one, truth

BOX = make_geobox((150, 101))


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "fake", FakeReader)
    bands = [
        make_band("red", "fake:", scale=0.0001, offset=-0.1),
        make_band("vv", "fake:", dtype="float32", nodata="nan"),
        make_band("scl", "fake:", dtype="uint8", quality=True),
    ]
    plan = plan_one([make_scene("a", BOX, bands)], make_grid(BOX), loader="fake")
    storage = LocalStorage(tmp_path / "store")
    build_cube(storage, plan)
    return storage, plan


def test_each_band_is_a_valid_cog_with_the_cubes_pixels(sealed, tmp_path):
    storage, plan = sealed
    paths = list(export_cogs(storage, plan.id, tmp_path / "out" / "deep"))
    assert [path.name for path in paths] == [f"{plan.id}_{name}.tif" for name in ("red", "scl", "vv")]
    for path in paths:
        valid, errors, _ = cog_validate(path, quiet=True)
        assert valid, errors
        with rasterio.open(path) as file:
            assert file.crs.to_epsg() == 32633
            assert file.transform == BOX.transform
            np.testing.assert_array_equal(file.read(1), truth(BOX, file.dtypes[0]))


def test_meaning_is_carried_over(sealed, tmp_path):
    storage, plan = sealed
    red, scl, vv = (rasterio.open(path) for path in export_cogs(storage, plan.id, tmp_path / "out"))
    with red, scl, vv:
        assert (red.scales, red.offsets, red.nodata) == ((0.0001,), (-0.1,), 0)
        assert red.descriptions == ("red",)
        assert np.isnan(vv.nodata)
        assert scl.nodata is None
        assert scl.scales == (1.0,)


def test_nothing_else_stays_in_the_folder(sealed, tmp_path):
    storage, plan = sealed
    paths = list(export_cogs(storage, plan.id, tmp_path / "out"))
    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)


@pytest.mark.parametrize("name", ["nonesuch", "../escape", "a/b", ""])
def test_what_is_no_cube_here(sealed, tmp_path, name):
    storage, _ = sealed
    with pytest.raises(InputError) as caught:
        list(export_cogs(storage, name, tmp_path / "out"))
    assert repr(name) in caught.value.message
    assert not (tmp_path / "out").exists()


def test_an_unsealed_cube_does_not_exist(sealed, tmp_path):
    storage, plan = sealed
    storage.delete(f"{plan.path}/receipt.json")
    with pytest.raises(InputError, match="holds no cube"):
        list(export_cogs(storage, plan.id, tmp_path / "out"))


def test_a_target_that_is_a_file(sealed, tmp_path):
    storage, plan = sealed
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="choose another"):
        list(export_cogs(storage, plan.id, tmp_path / "file"))
