"""Embeddings as they stand in a store: cubes in, vectors, table, pictures and receipt out."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the .rio accessor
import torch
import xarray as xr
from PIL import Image

from catalog.embeddings.finish import begin_embeddings, embedding_receipt
from catalog.embeddings.plan import EmbeddingPlan, list_sections
from catalog.embeddings.sections import read_section, read_sums, read_survey
from catalog.embeddings.similarity import find_similar
from catalog.embeddings.vectors import decode_tile_vectors
from catalog.embeddings.writing import SectionWriter
from catalog.products import item_of
from infra.errors import ConfigError, DataError, InternalError, NotFoundError, TransientError
from infra.storage import LocalStorage
from models.encoding.filter_bank import FilterBank
from models.encoding.stream import Computation, encode_strips
from models.encoding.strips import Rows, Standard, cut_strips
from models.encoding.windows import WindowLayout
from tasks.encode_scene import EncodingPlace, encode_section, seal_scene, settle_error, survey_scene
from tests.support.embedding import (
    HERE,
    build_embeddings,
    draw_ground,
    make_optical,
    make_radar,
    plan_filters,
)
from tests.support.schemas import validate_item
from tests.support.snapshots import store_tree

SHAPE = (330, 410)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    drawn = draw_ground(SHAPE, 3, 1).astype(np.float32)
    drawn[:, 100:240, 200:390] = np.nan
    return drawn


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, pixels):
    """A store with an optical and a radar cube of one grid."""
    folder = tmp_path_factory.mktemp("embeddings")
    storage = LocalStorage(folder / "store")
    power = 10 ** ((draw_ground(SHAPE, 1, 2)[0] * 15 - 20) / 10)
    return storage, make_optical(storage, folder, pixels), make_radar(storage, folder, power)


@pytest.fixture
def fresh(world, tmp_path: Path):
    """A copy of it to write to."""
    storage, optical, radar = world
    shutil.copytree(storage.uri, tmp_path / "store", ignore=shutil.ignore_patterns("embeddings"))
    return LocalStorage(tmp_path / "store"), optical, radar


@pytest.fixture(scope="module")
def standing(world):
    storage, optical, _ = world
    plan = plan_filters(optical)
    return storage, plan, build_embeddings(storage, plan)


def open_vectors(storage: LocalStorage, plan: EmbeddingPlan, **options) -> xr.Dataset:
    return xr.open_zarr(storage.href(f"{plan.path}/embeddings.zarr"), consolidated=True, **options)


def test_the_stored_vectors_are_those_of_the_scene_encoded_in_memory(standing, pixels):
    storage, plan, receipt = standing
    stored = np.rint(1000 + 5000 * np.nan_to_num(pixels)).astype(np.float32) * 1e-4
    stored[:, ~np.isfinite(pixels).all(axis=0)] = np.nan
    layout = WindowLayout(shape_yx=SHAPE, window_px=128, overlap_px=32, stride_px=4)
    standards = {name: Standard(mean, spread) for name, (mean, spread) in receipt.standards.items()}
    strips = cut_strips([Rows(0, {"rgb": stored})], layout, layout.row_starts, standards)
    parts = [part.values for part in encode_strips(FilterBank(), strips, layout, Computation())]
    found = open_vectors(storage, plan)["embedding"].values
    np.testing.assert_allclose(found, np.moveaxis(np.concatenate(parts), 2, 0), rtol=0, atol=1e-5)
    assert np.isnan(found[:, 30:55, 55:90]).all()


def test_bands_are_standardised_over_the_scene(standing, pixels):
    _, _, receipt = standing
    mean, spread = receipt.standards["rgb"]
    expected = (1000 + 5000 * pixels) * 1e-4
    assert np.allclose(mean, np.nanmean(expected, axis=(1, 2)), rtol=0.03)
    assert np.allclose(spread, np.nanstd(expected, axis=(1, 2)), rtol=0.06)


def test_it_opens_everywhere_on_the_right_place(standing):
    storage, plan, _ = standing
    dataset = open_vectors(storage, plan)
    assert dataset["embedding"].dims == ("feature", "y", "x")
    assert dataset["embedding"].shape == (20, 83, 103)
    a, _, c, _, e, f = plan.scene.grid.transform
    assert float(dataset["x"][0]) == pytest.approx(c + 2 * a)
    assert float(dataset["y"][1]) == pytest.approx(f + 6 * e)
    assert dataset["embedding"].rio.crs.to_epsg() == 32633
    assert dataset["embedding"].rio.transform().a == 40.0
    assert str(dataset["time"].values)[:16] == "2024-06-01T10:30"


def test_the_table_has_one_mean_vector_for_each_tile(standing):
    storage, plan, receipt = standing
    path = storage.href(f"{plan.path}/vectors.parquet")
    frame = geopandas.read_parquet(path)
    assert len(frame) == receipt.tiles
    assert set(zip(frame["tile_row"], frame["tile_col"], strict=True)) <= {
        (row, col) for row in range(6) for col in range(7)
    }
    vectors = open_vectors(storage, plan)["embedding"].values
    row = frame[(frame["tile_row"] == 1) & (frame["tile_col"] == 2)].iloc[0]
    np.testing.assert_allclose(row["vector"], vectors[:, 16:32, 32:48].mean(axis=(1, 2)), atol=1e-5)
    utm = frame.to_crs("EPSG:32633")
    outline = utm[(frame["tile_row"] == 1) & (frame["tile_col"] == 2)].geometry.iloc[0]
    left, bottom, right, top = outline.bounds
    assert (left, top) == pytest.approx((501_280, 5_399_360), abs=0.05)
    assert (right - left, top - bottom) == pytest.approx((640, 640), abs=0.1)
    rims = frame[frame["tile_row"] == 5]
    assert (rims["valid_share"] == 1).all(), "a tile that the scene cuts is whole as far as it goes"
    assert 0 < frame["valid_share"].min() < 1


def test_the_pictures_show_where_there_is_data(standing):
    storage, plan, receipt = standing
    with rasterio.open(storage.href(f"{plan.path}/preview.tif")) as file:
        assert (file.height, file.width) == (83, 103)
        assert file.transform.a == 40.0
        assert (file.dataset_mask()[30:55, 55:90] == 0).all()
        assert file.dataset_mask()[:20].all()
        assert np.ptp(file.read()[:, :20]) > 60, "there is something to look at"
    thumbnail = Image.open(io.BytesIO(storage.read(f"{plan.path}/thumbnail.png")))
    assert thumbnail.mode == "RGBA"
    assert "preview/red" in receipt.statistics


def test_the_item_says_what_it_is_and_whence(standing):
    storage, plan, receipt = standing
    item = item_of(storage, plan, execution_href=None)
    told = item["properties"]
    assert told["embedding:scenes"] == [plan.scene.id]
    assert (told["embedding:width"], told["embedding:cell_m"], told["embedding:tile_m"]) == (20, 40, 640)
    assert told["embedding:error_max"] == told["embedding:error_rms"] == 0
    assert told["cube:variables"]["embedding"]["dimensions"] == ["feature", "y", "x"]
    assert [link["href"] for link in item["links"] if link["rel"] == "derived_from"] == [
        f"../../scenes/items/{plan.scene.id}"
    ]
    vectors = open_vectors(storage, plan)["embedding"].values
    stated = item["assets"]["data"]["statistics"]
    assert stated["mean"] == pytest.approx(np.nanmean(vectors.astype(np.float64)), rel=1e-4)
    assert stated["maximum"] == pytest.approx(np.nanmax(vectors))
    assert stated["valid_percent"] == pytest.approx(100 * np.isfinite(vectors[0]).mean())
    assert item["assets"]["vectors"]["table:row_count"] == receipt.tiles
    json.dumps(item, allow_nan=False)
    validate_item(item)


def test_what_stands_is_never_made_again_and_leaves_no_work_behind(standing):
    storage, plan, receipt = standing
    before = store_tree(Path(storage.uri))
    assert not any("sections" in name for name in before if "embedded-optical" in name)
    assert build_embeddings(storage, plan) == receipt
    assert encode_section(storage.uri, plan, list_sections(plan)[0], place=HERE).reused
    assert store_tree(Path(storage.uri)) == before


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_smaller_numbers_and_the_error_they_state(fresh, standing, dtype):
    _, whole_plan, _ = standing
    storage, optical, _ = fresh
    plan = plan_filters(optical, dtype=dtype)
    receipt = build_embeddings(storage, plan)
    exact = open_vectors(standing[0], whole_plan)["embedding"].values
    near = open_vectors(storage, plan)["embedding"].values
    assert (np.isnan(near) == np.isnan(exact)).all()
    error = np.abs(near.astype(np.float64) - exact)
    assert np.nanmax(error) == pytest.approx(receipt.error.maximum, rel=1e-3)
    assert np.sqrt(np.nanmean(error**2)) == pytest.approx(receipt.error.rms, rel=1e-3)
    assert receipt.error.clipped == 0
    assert 0 < receipt.error.rms < (0.01 if dtype == "float16" else receipt.scale)
    item = item_of(storage, plan, execution_href=None)
    assert item["properties"]["embedding:stored_as"] == dtype
    assert item["properties"]["embedding:error_rms"] == pytest.approx(receipt.error.rms, rel=1e-3)
    bound = item["properties"]["embedding:error_max"]
    assert receipt.error.maximum <= bound <= 1.001 * receipt.error.maximum
    validate_item(item)


def test_radar_alone_in_decibels_and_both_together(fresh):
    storage, optical, radar = fresh
    alone = build_embeddings(storage, plan_filters(radar))
    assert alone.decibel is False
    mean, _ = alone.standards["sar"]
    assert -20 < mean[0] < -5
    plan = plan_filters(optical, radar)
    both = build_embeddings(storage, plan)
    assert set(both.standards) == {"rgb", "sar"}
    vectors = open_vectors(storage, plan)["embedding"].values
    assert np.isfinite(vectors[:, 30:55, 55:90]).all(), "radar sees where the optical scene has a hole"
    derived = [link["title"] for link in item_of(storage, plan, execution_href=None)["links"][1:]]
    assert len(derived) == 2


def test_a_run_that_dies_leaves_the_same_product_to_the_next(fresh, standing):
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    (section,) = list_sections(plan)
    survey_scene(storage.uri, plan, HERE)
    encode_section(storage.uri, plan, section, place=HERE)
    storage.delete(f"{plan.path}/embeddings.zarr/embedding/c/0/0/0")
    storage.write(f"{plan.path}/embeddings.zarr/embedding/c/9/9/9", b"of a run that died")
    with pytest.raises(TransientError, match="run again"):
        seal_scene(storage.uri, plan)
    assert embedding_receipt(storage, plan) is None
    receipt = build_embeddings(storage, plan)
    assert receipt == standing[2]
    whole = store_tree(Path(standing[0].uri) / plan.path)
    assert store_tree(Path(storage.uri) / plan.path) == whole


def test_nothing_is_sealed_without_all_sections(fresh):
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    with pytest.raises(TransientError, match="no survey"):
        seal_scene(storage.uri, plan)
    survey_scene(storage.uri, plan, HERE)
    with pytest.raises(TransientError, match="section-0 is missing"):
        seal_scene(storage.uri, plan)
    survey = read_survey(storage, plan)
    survey_scene(storage.uri, plan, HERE)
    assert read_survey(storage, plan) == survey


def test_a_late_section_never_touches_what_stands(fresh):
    """A section that was begun before the product was sealed, and has other numbers, comes too late."""
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    survey_scene(storage.uri, plan, HERE)
    survey, (section,) = read_survey(storage, plan), list_sections(plan)
    late = SectionWriter(storage, plan, section, survey)
    build_embeddings(storage, plan)
    before = store_tree(Path(storage.uri))
    with pytest.raises(TransientError, match="another run has sealed"):
        late.add(0, np.ones((*plan.grid.shape_yx, 20), np.float32))
    with pytest.raises(TransientError, match="another run has sealed"):
        begin_embeddings(storage, plan, survey)
    assert store_tree(Path(storage.uri)) == before


def test_what_given_up_work_left_is_not_taken_for_new_work(fresh):
    """A section that ends after its scene went into quarantine leaves files that mean nothing any more."""
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    (section,) = list_sections(plan)
    survey_scene(storage.uri, plan, HERE)
    survey = read_survey(storage, plan)
    late, later = (SectionWriter(storage, plan, section, survey) for _ in range(2))
    encode_section(storage.uri, plan, section, place=HERE)
    work = Path(storage.uri) / plan.path / "sections"
    left = {file.name: file.read_bytes() for file in work.glob("section-*")}
    assert settle_error(storage, plan, DataError("a shard is damaged")).quarantined
    with pytest.raises(TransientError, match="gave up the work"):
        late.add(0, np.ones((*plan.grid.shape_yx, 20), np.float32))
    survey_scene(storage.uri, plan, HERE)
    with pytest.raises(TransientError, match="began it anew"):
        later.add(0, np.ones((*plan.grid.shape_yx, 20), np.float32))
    for name, data in left.items():
        (work / name).write_bytes(data)
    assert read_section(storage, plan, section, read_survey(storage, plan)) is None
    assert not encode_section(storage.uri, plan, section, place=HERE).reused


def test_work_on_other_pixels_of_a_scene_begins_anew(fresh):
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    survey_scene(storage.uri, plan, HERE)
    first = read_survey(storage, plan)
    receipt = f"{optical.path}/receipt.json"
    storage.write(receipt, storage.read(receipt) + b"\n")  # made anew, from a mended source
    survey_scene(storage.uri, plan, HERE)
    second = read_survey(storage, plan)
    assert second.work != first.work
    assert dataclasses.replace(second, work=first.work, scenes=first.scenes) == first


def test_numbers_of_two_kinds_of_device_do_not_mix(fresh, standing):
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    (section,) = list_sections(plan)
    survey_scene(storage.uri, plan, HERE)
    encode_section(storage.uri, plan, section, place=HERE)
    survey = Path(storage.uri) / plan.path / "sections" / "survey.json"
    survey.write_text(json.dumps(json.loads(survey.read_text()) | {"device": "cuda"}))
    with pytest.raises(TransientError, match="on cuda, this one on cpu"):
        encode_section(storage.uri, plan, section, place=HERE)
    survey_scene(storage.uri, plan, HERE)
    assert read_survey(storage, plan).device == "cpu"
    assert not encode_section(storage.uri, plan, section, place=HERE).reused
    seal_scene(storage.uri, plan)
    assert embedding_receipt(storage, plan) == standing[2]
    assert standing[2].device == "cpu"
    item = item_of(storage, plan, execution_href=None)
    assert item["properties"]["embedding:computed_on"] == "cpu"


def test_sums_that_are_gone_or_spoilt_are_made_anew(fresh):
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    (section,) = list_sections(plan)
    survey_scene(storage.uri, plan, HERE)
    encode_section(storage.uri, plan, section, place=HERE)
    sums = f"{plan.path}/sections/section-0.npz"
    storage.write(sums, storage.read(sums)[:99])
    with pytest.raises(TransientError, match="made anew"):
        read_sums(storage, plan, section)
    assert not encode_section(storage.uri, plan, section, place=HERE).reused
    storage.delete(sums)
    with pytest.raises(TransientError, match="is gone; run again"):
        seal_scene(storage.uri, plan)


def test_what_another_run_sealed_outlives_this_ones_errors(fresh):
    storage, optical, _ = fresh
    plan = plan_filters(optical)
    survey_scene(storage.uri, plan, HERE)
    gone = NotFoundError("sections/section-0 is not there")
    with pytest.raises(InternalError):
        settle_error(storage, plan, InternalError("no survey"))
    assert settle_error(storage, plan, gone).quarantined
    assert not (Path(storage.uri) / plan.path).exists()
    build_embeddings(storage, plan)
    whole = store_tree(Path(storage.uri) / plan.path)
    for error in (gone, TransientError("no survey")):
        assert settle_error(storage, plan, error).quarantined is None
    assert store_tree(Path(storage.uri) / plan.path) == whole


def test_weights_that_cannot_be_read_are_not_the_scenes_fault(fresh, tmp_path):
    storage, optical, _ = fresh
    (tmp_path / "cut.safetensors").write_bytes(b"cut off")
    plan = dataclasses.replace(plan_filters(optical), model="mars-tiny")
    place = EncodingPlace(batch=4, weights=str(tmp_path / "cut.safetensors"))
    with pytest.raises(ConfigError, match="mars-tiny cannot be loaded"):
        survey_scene(storage.uri, plan, place)


def test_scenes_without_data_or_of_wrong_units_are_told(tmp_path):
    storage = LocalStorage(tmp_path / "store")
    empty = make_radar(storage, tmp_path, np.zeros((140, 140)), "empty")
    with pytest.raises(DataError, match="holds no data"):
        survey_scene(storage.uri, plan_filters(empty), HERE)
    ground = draw_ground((140, 140), 1, 3)[0]
    linear = make_radar(storage, tmp_path, 500 * ground, "linear", unit="dB")
    with pytest.raises(DataError, match="declared in dB, but its values reach"):
        survey_scene(storage.uri, plan_filters(linear), HERE)
    decibel = make_radar(storage, tmp_path, -20 + 10 * ground, "decibel", unit="1")
    with pytest.raises(DataError, match="declared as '1', but values are below zero"):
        survey_scene(storage.uri, plan_filters(decibel), HERE)


def test_a_scene_finds_its_own_kind_of_ground(standing):
    storage, plan, _ = standing
    table = decode_tile_vectors(storage.read(f"{plan.path}/vectors.parquet"))
    middle = tuple(table.lonlat[len(table) // 2])
    found = find_similar({plan.id: table}, plan.id, middle, tile_m=640, top=5)
    assert found.query.cosine == pytest.approx(1.0)
    assert len(found.places) == 5
    cosines = [place.cosine for place in found.places]
    assert cosines == sorted(cosines, reverse=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_writes_the_same_vectors(fresh, standing):
    from tasks.encode_scene import EncodingPlace

    storage, optical, _ = fresh
    plan, place = plan_filters(optical), EncodingPlace(device="cuda")
    survey_scene(storage.uri, plan, place)
    for section in list_sections(plan):
        encode_section(storage.uri, plan, section, place=place)
    seal_scene(storage.uri, plan)
    exact = open_vectors(standing[0], plan)["embedding"].values
    np.testing.assert_allclose(open_vectors(storage, plan)["embedding"].values, exact, rtol=0, atol=1e-4)
