"""Registrations as they stand in a store: cubes in, transform, tie points, pictures and verdict out."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import cv2
import geopandas
import numpy as np
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.warp import Resampling, reproject

from catalog.footprints import find_footprint
from catalog.items.scene import scene_item
from catalog.plan import plan_digest as cube_digest
from catalog.products import item_of, receipt_of
from catalog.receipts import read_receipt
from catalog.records import CUBE_RECEIPT, CubePlan
from catalog.registrations import placing
from catalog.registrations.plan import RegistrationPlan, SceneFacts, plan_registration
from catalog.registrations.product import Outcome, write_registration
from catalog.registrations.reading import read_scene
from catalog.registrations.scenes import describe_scene
from catalog.registrations.tie_points import FoundPoints
from catalog.registrations.warp import write_corrected
from catalog.report.collect import collect_facts
from catalog.report.facts import Deed, Picture, RequestFacts, RunRecord, StageFacts
from catalog.report.page import render_page
from catalog.report.subjects import describe_tables
from infra.errors import DataError, InputError
from infra.storage import LocalStorage
from models.matching.transforms import apply_transform
from tasks.register_pair import register_pair, registration_settings
from tests.support.registration import ground, other_sensor
from tests.support.schemas import validate_item
from tests.support.snapshots import store_tree
from tests.support.synthetic import (
    build_cube,
    make_band,
    make_geobox,
    make_grid,
    make_scene,
    plan_one,
    write_image,
)
from tests.support.worlds import cut_file

EDGE = 320
BOX = make_geobox((EDGE, EDGE))
FIELDS = ground(3, (EDGE + 80, EDGE + 80))


def fields(cols: float = 0.0, rows: float = 0.0) -> np.ndarray:
    """Show the fields as a scene does that is off by some pixels to the right and down."""
    matrix = np.array([[1, 0, cols - 40], [0, 1, rows - 40]], np.float64)
    return cv2.warpAffine(FIELDS, matrix, (EDGE, EDGE), flags=cv2.INTER_LINEAR)


def make_cube(
    storage: LocalStorage, folder: Path, name: str, pixels: np.ndarray, box: Any = BOX, **facts: Any
) -> SceneFacts:
    """Make a cube of one band stand, and describe it as its item does."""
    stored = np.rint(1000 + 8000 * np.clip(np.nan_to_num(pixels), 0, 3) / 3).astype(np.uint16)
    stored[~np.isfinite(pixels)] = 0
    path = write_image(folder / f"{name}.tif", box, stored)
    scene = make_scene(name, box, [make_band("red", path, scale=1e-4, common_name="red")], **facts)
    plan = plan_one([dataclasses.replace(scene, collection=name)], make_grid(box, shard_px=256, chunk_px=128))
    build_cube(storage, plan)
    return describe_scene(storage, published(storage, plan))


def make_heights(
    storage: LocalStorage, folder: Path, name: str, pixels: np.ndarray, box: Any = BOX
) -> SceneFacts:
    """Make a cube of two bands of one picture stand, float32 and NaN where there is none."""
    bands = [
        make_band(
            band, write_image(folder / f"{name}-{band}.tif", box, pixels, nodata=np.nan),
            dtype="float32", nodata="nan",
        )
        for band in ("surface", "terrain")
    ]  # fmt: skip
    scene = dataclasses.replace(make_scene(name, box, bands), collection=name)
    plan = plan_one([scene], make_grid(box, shard_px=256, chunk_px=128))
    build_cube(storage, plan)
    return describe_scene(storage, published(storage, plan))


def item_like(facts: SceneFacts) -> dict[str, Any]:
    """Spell what an item of a cube of one band says of its pixels."""
    (band,) = facts.bands
    stated = {
        "name": band.name, "data_type": band.dtype, "nodata": band.nodata, "raster:scale": band.scale,
        "raster:offset": band.offset, "unit": band.unit, "eo:common_name": band.common_name,
    }  # fmt: skip
    return {
        "id": facts.id,
        "collection": facts.collection,
        "geometry": facts.geometry,
        "properties": {
            "title": facts.title,
            "datetime": facts.datetime.isoformat(),
            "proj:code": facts.grid.crs,
            "proj:transform": list(facts.grid.transform),
            "proj:shape": list(facts.grid.shape_yx),
        },
        "assets": {"data": {"bands": [stated]}},
    }


def show_in_next_zone(source: np.ndarray) -> tuple[np.ndarray, Any]:
    """Show a picture of ``BOX`` on a grid of the neighbouring UTM zone."""
    picture = np.full((500, 500), np.nan, np.float32)
    corner = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(500_000, 5_400_000)
    zone = make_geobox((500, 500), origin_xy=(corner[0] - 500, corner[1] + 500), crs="EPSG:32632")
    reproject(
        source, picture, src_transform=BOX.transform, src_crs="EPSG:32633", dst_transform=zone.transform,
        dst_crs="EPSG:32632", dst_nodata=np.nan, resampling=Resampling.bilinear,
    )  # fmt: skip
    return picture, zone


def published(storage: LocalStorage, plan: CubePlan) -> dict[str, Any]:
    receipt = read_receipt(storage, plan.path, CUBE_RECEIPT)
    assert receipt is not None
    assert receipt.plan_digest == cube_digest(plan)
    return scene_item(plan, receipt, root_href=storage.uri)


def register(storage: LocalStorage, fixed: SceneFacts, moving: SceneFacts) -> tuple[RegistrationPlan, Any]:
    plan = plan_registration(fixed, moving, matcher="template", settings=registration_settings())
    outcome = register_pair.fn(storage.uri, plan)
    assert outcome.id == plan.id
    receipt = receipt_of(storage, plan)
    assert receipt is not None
    assert outcome.bytes_written == receipt.total_bytes
    return plan, receipt


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> LocalStorage:
    return LocalStorage(tmp_path_factory.mktemp("registered") / "store")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def fixed(storage, scratch) -> SceneFacts:
    return make_cube(storage, scratch, "fixed", fields())


@pytest.fixture(scope="module")
def shifted(storage, scratch, fixed) -> tuple[RegistrationPlan, Any]:
    moving = make_cube(storage, scratch, "shifted", other_sensor(fields(6.0, -4.0), 1))
    return register(storage, fixed, moving)


def folder_of(storage: LocalStorage, plan: RegistrationPlan) -> Path:
    return Path(storage.href(plan.path))


def test_a_shift_changes_the_geotransform_and_no_pixel(storage, shifted):
    plan, receipt = shifted
    assert receipt.registered
    assert (receipt.model, receipt.applied) == ("translation", "geotransform")
    left, top = plan.moving.grid.transform[2], plan.moving.grid.transform[5]
    assert receipt.corrected_transform[2] == pytest.approx(left - 60, abs=3)
    assert receipt.corrected_transform[5] == pytest.approx(top - 40, abs=3)
    names = {file.path for file in receipt.files}
    assert names == {
        "transform.json",
        "tie_points.parquet",
        "preview.tif",
        "checkerboard.png",
        "thumbnail.png",
    }
    item = item_of(storage, plan, execution_href=None)
    assert item["assets"]["data"]["proj:transform"][2] == receipt.corrected_transform[2]
    assert Path(item["assets"]["data"]["href"]).is_dir()
    assert "corrected" not in item["assets"]


def test_the_item_says_what_the_receipt_says(storage, shifted):
    plan, receipt = shifted
    item = item_of(storage, plan, execution_href="https://runs.example/1")
    validate_item(item)
    properties = item["properties"]
    assert properties["registration:registered"] is True
    assert properties["registration:rmse_m"] == pytest.approx(
        10 * properties["registration:rmse_px"], abs=0.01
    )
    assert properties["registration:inliers"] == receipt.figures["inliers"]
    hrefs = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert hrefs == [f"../../scenes/items/{plan.fixed.id}", f"../../scenes/items/{plan.moving.id}"]


def test_tie_points_lie_where_they_are(storage, shifted):
    plan, receipt = shifted
    table = geopandas.read_parquet(folder_of(storage, plan) / "tie_points.parquet")
    assert len(table) == receipt.figures["points"]
    assert table["agrees"].sum() == receipt.figures["inliers"]
    good = table[table["agrees"]]
    assert good["residual_px"].max() <= 1.5
    assert (good["moving_x"] - good["fixed_x"]).median() == pytest.approx(6, abs=0.3)
    there = good.geometry.iloc[0]
    world = geopandas.GeoSeries([there], crs=4326).to_crs(plan.grid.crs).iloc[0]
    assert world.x == pytest.approx(plan.grid.transform[2] + 10 * (good["fixed_x"].iloc[0] + 0.5), abs=0.01)


def test_the_pictures_open(storage, shifted):
    plan, _ = shifted
    with Image.open(folder_of(storage, plan) / "checkerboard.png") as sheet:
        assert sheet.size == (1028, 540)
    with Image.open(io.BytesIO(storage.read(f"{plan.path}/thumbnail.png"))) as small:
        assert max(small.size) == 512
    with rasterio.open(folder_of(storage, plan) / "preview.tif") as preview:
        assert preview.count == 3
        assert tuple(preview.transform)[:6] == plan.grid.transform
        assert not preview.dataset_mask()[:, -3:].any()  # the moving scene ends 6 px short of there


def test_the_same_again_writes_the_same(storage, shifted):
    plan, _ = shifted
    before = store_tree(Path(storage.uri))
    register_pair.fn(storage.uri, plan)
    assert store_tree(Path(storage.uri)) == before
    again = plan_registration(plan.fixed, plan.moving, matcher="template", settings=registration_settings())
    assert again.id == plan.id


def test_a_bent_scene_is_resampled_once(storage, scratch):
    edge = 760
    wide = ground(4, (edge, edge))
    rows, cols = np.mgrid[:edge, :edge].astype(np.float32)
    bent = cv2.remap(wide, cols + 5 * np.sin(rows / 150), rows + 5 * np.cos(cols / 150), cv2.INTER_LINEAR)
    box = make_geobox((700, 700))
    still = make_cube(storage, scratch, "flat", wide[30:-30, 30:-30], box)
    moving = make_cube(storage, scratch, "bent", bent[30:-30, 30:-30], box)
    plan, receipt = register(storage, still, moving)
    assert (receipt.model, receipt.applied) == ("thin-plate", "warp")
    assert receipt.correction is None
    with rasterio.open(folder_of(storage, plan) / "corrected.tif") as file:
        assert file.dtypes == ("uint16",)
        assert file.nodata == 0
        assert file.scales == (1e-4,)
        corrected, mask = file.read(1).astype(float), file.read_masks(1) > 0
    true = 1000 + 8000 * wide[30:-30, 30:-30] / 3
    seen = 1000 + 8000 * bent[30:-30, 30:-30] / 3
    inner = np.zeros_like(mask)
    inner[40:-40, 40:-40] = True
    assert mask[inner].all()
    assert np.abs(corrected - true)[inner].mean() < 0.35 * np.abs(seen - true)[inner].mean()
    assert "corrected" in item_of(storage, plan, execution_href=None)["assets"]


def test_another_crs_is_brought_onto_the_fixed_grid(storage, scratch, fixed):
    source = fields(5.0, 3.0)
    picture, zone = show_in_next_zone(source)
    assert np.isfinite(picture).mean() > 0.3
    moving = make_cube(storage, scratch, "zone", picture, zone)
    plan, receipt = register(storage, fixed, moving)
    assert plan.grid.crs == "EPSG:32633"
    assert receipt.registered, receipt.explanation
    assert receipt.applied == "warp"
    with rasterio.open(folder_of(storage, plan) / "corrected.tif") as file:
        assert file.crs.to_epsg() == 32633
        corrected, mask = file.read(1).astype(float), file.read_masks(1) > 0
    rows, cols = plan.grid.shape_yx
    true = 1000 + 8000 * fields()[:rows, :cols] / 3
    wrong = 1000 + 8000 * source[:rows, :cols] / 3
    assert mask.mean() > 0.5
    assert np.abs(corrected - true)[mask].mean() < 0.5 * np.abs(wrong - true)[mask].mean()


@pytest.mark.parametrize(
    ("name", "pixels", "reason"),
    [
        ("elsewhere", other_sensor(ground(99, (EDGE, EDGE)), 5), "no-agreement"),
        ("grey", np.full((EDGE, EDGE), 0.5, np.float32), "nothing-to-see"),
    ],
)
def test_not_registered_is_a_result(storage, scratch, fixed, name, pixels, reason):
    plan, receipt = register(storage, fixed, make_cube(storage, scratch, name, pixels))
    assert (receipt.registered, receipt.reason, receipt.applied) == (False, reason, "none")
    assert receipt.corrected_transform is None
    item = item_of(storage, plan, execution_href=None)
    assert item["properties"]["registration:reason"] == reason
    assert {"data", "corrected"}.isdisjoint(item["assets"])
    told = json.loads(storage.read(f"{plan.path}/transform.json"))
    assert told["registered"] is False
    with Image.open(io.BytesIO(storage.read(f"{plan.path}/thumbnail.png"))) as small:
        assert small.height == 254


def test_a_page_tells_the_figures_in_words_and_metres(shifted):
    plan, receipt = shifted
    (table,) = describe_tables(plan, receipt)
    told = dict(table.rows)
    assert table.title.endswith(": registered")
    assert table.caption == receipt.explanation
    shift = receipt.figures["shift_px"]
    assert told["Largest correction in the scene"] == f"{shift:.2f} px, {10 * shift:.0f} m"
    assert told["Those of them that agree with the transform"] == f"{receipt.figures['inliers']:.0f}"
    assert told["Their share"].endswith("%")
    assert told["Probability that so many agree by chance"].startswith("at most 10⁻")
    (chosen,) = (name for name in told if name.endswith(", chosen"))
    assert receipt.model in chosen
    odd = dataclasses.replace(
        receipt, registered=False, figures={"log10_chance": 0.0, "novel": 0.25, "no": None}
    )
    assert describe_tables(plan, odd)[0].title.endswith(": not registered")
    assert describe_tables(plan, odd)[0].rows[:2] == (
        ("Probability that so many agree by chance", "up to 1"),
        ("novel", "0.25"),
    )


def test_a_page_lays_no_checkerboard_over_the_map(shifted):
    plan, receipt = shifted
    request = RequestFacts(
        bbox=find_footprint((), plan.grid).bbox, dates="2024-06-01", source="catalogue.sqlite",
        collections=(), options=(), product="registration", unit="scene",
    )  # fmt: skip
    record = RunRecord(
        run="one", started=plan.moving.datetime, seconds=2.0, request=request, store="/s", catalogue="/c",
        stages=(StageFacts(name="register", seconds=1.0, size=2_000),),
        deeds=(Deed(id=plan.id, state="written", catalogued=True, tiles_read=2),),
    )  # fmt: skip
    picture = Picture(
        cube=plan.id, heading="a pair", title="Checkerboard", data_uri="data:,", size_xy=(288, 144)
    )
    facts = collect_facts(record, [plan], {plan.id: receipt}, [picture], dask_report=False)
    assert facts.map.picture is None
    page = render_page(facts)
    assert "<dd>2 <small>scenes</small></dd>" in page
    assert 'data-label="scenes read">2 of 2</td>' in page
    assert "<dd>1 <small>2.00 kB</small></dd>" in page
    assert 'data-label="valid"' not in page
    assert '<li class="wide">' in page
    assert "Inputs of each registration" in page


def test_scenes_apart_and_scenes_of_one_pixel(storage, scratch, fixed):
    away = make_cube(
        storage, scratch, "away", fields(), make_geobox((EDGE, EDGE), origin_xy=(520_000.0, 5_400_000.0))
    )
    assert register(storage, fixed, away)[1].reason == "no-overlap"
    dot = make_cube(storage, scratch, "dot", np.ones((1, 1), np.float32), make_geobox((1, 1)))
    assert register(storage, fixed, dot)[1].reason == "too-small"


def test_damaged_pixels_quarantine_the_pair(storage, scratch, fixed):
    moving = make_cube(storage, scratch, "damaged", fields(2.0, 1.0))
    plan = plan_registration(fixed, moving, matcher="template", settings=registration_settings())
    (shard, *_) = (
        path for path in Path(storage.href(f"{moving.path}/cube.zarr/0/red/c")).rglob("*") if path.is_file()
    )
    cut_file(shard)
    outcome = register_pair.fn(storage.uri, plan)
    assert outcome.quarantined is not None
    assert "red" in outcome.quarantined
    assert receipt_of(storage, plan) is None
    assert not storage.exists(f"{plan.path}/transform.json")


def test_damage_in_a_variable_that_is_only_resampled(storage, scratch, fixed):
    moving = make_heights(storage, scratch, "terrain", *show_in_next_zone(fields(5.0, 3.0)))
    plan = plan_registration(fixed, moving, matcher="template", settings=registration_settings())
    for shard in Path(storage.href(f"{moving.path}/cube.zarr/0/terrain/c")).rglob("*"):
        if shard.is_file():
            cut_file(shard)
    outcome = register_pair.fn(storage.uri, plan)
    assert outcome.quarantined is not None
    assert "terrain" in outcome.quarantined
    assert receipt_of(storage, plan) is None


def test_a_tilt_is_told_in_world_coordinates(storage, scratch, fixed):
    moving = make_heights(storage, scratch, "tilted", np.where(fields() > 0.1, fields(), np.nan))
    plan = plan_registration(fixed, moving, matcher="template", settings={})
    tilt = np.array([[1.0, 0.0, 4.0], [0.0, 1.0, -3.0], [2e-5, -1e-5, 1.0]])
    nowhere = np.zeros((0, 2))
    outcome = Outcome(
        reason=None, explanation="", model="homography", fixed_from_moving=tilt, description={},
        moving_from_fixed=lambda xy: apply_transform(np.linalg.inv(tilt), xy), figures={}, left_out_px={},
        points=FoundPoints(
            fixed_xy=nowhere, moving_xy=nowhere, scores=np.zeros(0), residual_px=np.zeros(0),
            agrees=np.zeros(0, np.bool_),
        ),
    )  # fmt: skip
    scenes = (read_scene(storage, scene, plan.grid) for scene in (fixed, moving))
    receipt = write_registration(storage, plan, outcome, *scenes)
    place = np.reshape([*plan.grid.transform, 0, 0, 1], (3, 3))
    spots = np.array([[0.0, 0.0], [310.0, 5.0], [20.0, 300.0]])
    told = apply_transform(np.reshape(receipt.correction, (3, 3)), apply_transform(place, spots + 0.5))
    true = apply_transform(place, apply_transform(tilt, spots) + 0.5)
    np.testing.assert_allclose(told, true, atol=1e-3)
    with rasterio.open(folder_of(storage, plan) / "corrected.tif") as file:
        assert file.count == 2
        assert np.isnan(file.nodata)
        assert 0 < file.read_masks(1).mean() < 255


@pytest.fixture(scope="module")
def numbered(storage, scratch) -> tuple[SceneFacts, np.ndarray]:
    """A cube of class and data numbers that float32 cannot hold, and the numbers."""
    box = make_geobox((70, 90))
    numbers = (1 << 24) + 1 + np.random.default_rng(8).integers(0, 1 << 20, (70, 90), np.int32)
    numbers[10:12, 20] = 0  # no data
    path = write_image(scratch / "numbered.tif", box, numbers)
    bands = [make_band(name, path, dtype="int32") for name in ("scl", "height")]
    plan = plan_one([make_scene("numbered", box, bands)], make_grid(box, shard_px=64, chunk_px=32))
    build_cube(storage, plan)
    scene = describe_scene(storage, published(storage, plan))
    assert [band.quality for band in scene.bands] == [True, False]
    return scene, numbers


def _correct(storage: LocalStorage, scene: SceneFacts, shift_xy: tuple[float, float], path: Path) -> Any:
    path.parent.mkdir(exist_ok=True)
    write_corrected(storage, scene, scene.grid, lambda xy: xy + np.array(shift_xy), path)
    assert list(path.parent.iterdir()) == [path]
    with rasterio.open(path) as file:
        return file.read()


def test_numbers_are_kept_to_the_last_digit(storage, numbered, tmp_path):
    scene, numbers = numbered
    for band in _correct(storage, scene, (0.0, 0.0), tmp_path / "same.tif"):
        np.testing.assert_array_equal(band, numbers)


def test_classes_are_picked_and_data_interpolated(storage, numbered, tmp_path):
    scene, numbers = numbered
    classes, heights = _correct(storage, scene, (3.5, -2.25), tmp_path / "moved.tif")
    np.testing.assert_array_equal(classes[3:, :80], numbers[1:-2, 4:84])
    exact = numbers.astype(np.float64)
    rows = 0.25 * exact[:-1] + 0.75 * exact[1:]  # 2.25 rows up lies a quarter above the next one
    mean = (rows[:, 3:-1] + rows[:, 4:]) / 2
    known = (numbers > 0)[:-1] & (numbers > 0)[1:]
    known = known[:, 3:-1] & known[:, 4:]
    np.testing.assert_array_equal(heights[3:, :86], np.where(known, np.rint(mean), 0)[:-2])
    assert not heights[:2].any()
    assert not classes[:2].any()


def test_a_cube_is_resampled_block_by_block(storage, numbered, tmp_path, monkeypatch):
    scene, _ = numbered
    whole = _correct(storage, scene, (3.5, -2.25), tmp_path / "whole" / "moved.tif")
    monkeypatch.setattr(placing, "READ_PX", 32)
    parts = _correct(storage, scene, (3.5, -2.25), tmp_path / "parts" / "moved.tif")
    np.testing.assert_array_equal(parts, whole)


def test_a_scene_is_not_registered_to_itself(fixed):
    with pytest.raises(InputError, match="itself"):
        plan_registration(fixed, fixed, matcher="template", settings={})


def test_items_that_do_not_describe_pixels(storage, shifted):
    plan, _ = shifted
    item = item_of(storage, plan, execution_href=None)
    with pytest.raises(InputError, match="registrations"):
        describe_scene(storage, item)
    scene = {"id": plan.fixed.id, "collection": "scenes", "properties": {}, "assets": {}, "geometry": {}}
    with pytest.raises(DataError, match="publish it again"):
        describe_scene(storage, scene)
    real = item_like(plan.fixed)
    assert describe_scene(storage, real) == plan.fixed
    for change in (
        {"proj:code": "EPSG:1"},
        {"proj:code": None, "proj:wkt2": "PROJCRS["},
        {"proj:shape": [1e400, 1]},
    ):
        with pytest.raises(DataError, match="publish it again"):
            describe_scene(storage, real | {"properties": real["properties"] | change})
    for change in ({"data_type": "other"}, {"nodata": "none"}, {"nodata": []}):
        band = real["assets"]["data"]["bands"][0] | change
        with pytest.raises(DataError, match="publish it again"):
            describe_scene(storage, real | {"assets": {"data": {"bands": [band]}}})
    larger = describe_scene(storage, real | {"properties": real["properties"] | {"proj:shape": [330, 320]}})
    with pytest.raises(DataError, match="red is not of"):
        read_scene(storage, larger, larger.grid)
    with pytest.raises(DataError, match="publish it again"):
        describe_scene(storage, real | {"properties": []})
    with pytest.raises(InputError, match="no product"):
        describe_scene(storage, scene | {"id": "nowhere"})
    with pytest.raises(InputError):
        describe_scene(storage, scene | {"id": "../../etc"})
