"""Stores say what they are by published conventions, and every node of them is valid in those it names."""

import json
from itertools import pairwise

import pytest
import zarr
from pyproj import CRS

from catalog.cubes.layout import CUBE_FOLDER, lay_out_cube
from catalog.cubes.pyramid import count_levels
from catalog.grid import plan_grid
from tests.support.schemas import validate_zarr_conventions
from tests.support.synthetic import MODIS_SINUSOIDAL, footprint, make_band, make_scene, plan_one

GRIDS = {
    "utm": plan_grid((13.0, 52.30, 13.2, 52.44), resolution_m=10),
    "odd": plan_grid((13.0, 52.30, 13.011, 52.307), resolution_m=3.7),
    "lonlat": plan_grid((13.0, 52.3, 13.1, 52.4), resolution_m=30, crs="EPSG:4326"),
    "sinusoidal": plan_grid((-55.8, -11.8, -55.2, -11.5), resolution_m=231.656, crs=MODIS_SINUSOIDAL),
    "antimeridian": plan_grid((179.9, -17.0, -179.9, -16.8), resolution_m=30),
    "pixel": plan_grid((13.0, 52.3, 13.0000001, 52.3000001), resolution_m=1000),
}


@pytest.fixture(params=GRIDS)
def plan(request):
    grid = GRIDS[request.param]
    bands = [
        make_band("red", "/red.tif", scale=0.0001, offset=-0.1, unit="1"),
        make_band("vv", "/vv.tif", dtype="float32", nodata="nan"),
        make_band("scl", "/scl.tif", dtype="uint8", quality=True),
    ]
    return plan_one([make_scene("a", grid.geobox, bands, geometry=footprint(grid.geobox))], grid)


def nodes_of(plan):
    return {
        name.removeprefix(f"{CUBE_FOLDER}/").removesuffix("zarr.json"): json.loads(data)
        for name, data in lay_out_cube(plan).items()
        if name.endswith("zarr.json")
    }


@pytest.mark.real
def test_every_node_is_valid_in_the_conventions_it_names(plan):
    applied = {path: validate_zarr_conventions(node) for path, node in nodes_of(plan).items()}
    levels = count_levels(plan.grid)
    assert len(applied[""]) == 3, "multiscales, proj and spatial"
    for level in range(levels):
        assert len(applied[f"{level}/"]) == 2
        for band in plan.bands:
            assert len(applied[f"{level}/{band}/"]) == 1


def test_the_crs_said_is_the_grids(plan):
    wanted = CRS.from_user_input(plan.grid.crs)
    for path in ("", "0/"):
        attributes = nodes_of(plan)[path]["attributes"]
        said = attributes.get("proj:code") or attributes["proj:wkt2"]
        assert CRS.from_user_input(said) == wanted
        assert ("proj:code" in attributes) == (wanted.to_authority(min_confidence=100) is not None)


def test_each_level_is_derived_from_the_one_before_by_halving(plan):
    attributes = nodes_of(plan)[""]["attributes"]
    layout = attributes["multiscales"]["layout"]
    assert [entry["asset"] for entry in layout] == [str(level) for level in range(count_levels(plan.grid))]
    for before, after in pairwise(layout):
        assert after["derived_from"] == before["asset"]
        assert after["transform"]["scale"] == [2.0, 2.0]
        assert after["spatial:shape"] == [-(-edge // 2) for edge in before["spatial:shape"]]
        assert after["spatial:transform"][2] == before["spatial:transform"][2]
        assert after["spatial:transform"][0] == 2 * before["spatial:transform"][0]


def test_zarr_opens_the_layout_with_its_consolidated_metadata(plan, tmp_path):
    for name, data in lay_out_cube(plan).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    root = zarr.open_group(tmp_path / CUBE_FOLDER, mode="r", zarr_format=3, use_consolidated=True)
    assert sorted(root.group_keys()) == [str(level) for level in range(count_levels(plan.grid))]
    array = root["0/red"]
    assert array.shape == plan.grid.shape_yx
    assert (array.shards or array.chunks) == (plan.grid.shard_px,) * 2
    assert (array[...] == 0).all()
