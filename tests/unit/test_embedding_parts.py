"""Plans, numbers, pooling, tables, pictures and similarity of embeddings, each by itself."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.embeddings.inputs import choose_inputs, is_encodable, judge_radar
from catalog.embeddings.pictures import choose_block_cells, paint_components, picture_grid, project_blocks
from catalog.embeddings.plan import (
    EMBEDDING_PLAN,
    EmbeddingSettings,
    list_sections,
    plan_embedding,
    plan_to_json,
)
from catalog.embeddings.quantising import choose_scale, merge_errors, store_vectors
from catalog.embeddings.searching import choose_items
from catalog.embeddings.sections import VectorSurvey
from catalog.embeddings.similar_picture import ScenePicture, draw_similar
from catalog.embeddings.similarity import find_similar
from catalog.embeddings.vectors import TileVectors, decode_tile_vectors, encode_tile_vectors
from catalog.embeddings.writing import pool_tiles
from catalog.records import Band, Grid
from catalog.registrations.plan import SceneFacts
from flows.params import EncodeParams, parse_as
from infra.errors import ConfigError, DataError, InputError, NotFoundError
from tasks.encode_scene import EncodingPlace, choose_gpu, describe_encoder

SETTINGS = EmbeddingSettings(width=8, stride_px=4, window_px=128, overlap_px=32, tile_px=64)
GRID = Grid(
    crs="EPSG:32633",
    transform=(10.0, 0.0, 5e5, 0.0, -10.0, 5.4e6),
    shape_yx=(300, 500),
    shard_px=256,
    chunk_px=128,
)


def facts(*names: str, radar: bool = False, grid: Grid = GRID, name: str = "scene-1") -> SceneFacts:
    bands = tuple(Band(name=each, asset="a", href="", dtype="uint16", common_name=each) for each in names)
    return SceneFacts(
        id=name, collection="scenes" if names else "osm", digest="d" * 64, path=f"scenes/{name}", title=name,
        grid=grid, bands=bands, datetime=dt.datetime(2024, 6, 1, tzinfo=dt.UTC), geometry={}, radar=radar,
    )  # fmt: skip


OPTICAL, RADAR = facts("blue", "green", "red", "nir"), facts("vh", "vv", radar=True, name="radar-1")


def plan_of(*scenes: SceneFacts, **changed):
    settings = dataclasses.replace(SETTINGS, **changed)
    return plan_embedding(choose_inputs(scenes or (OPTICAL,)), model="filters", settings=settings)


class TestInputs:
    def test_colours_in_the_models_order_and_the_stronger_polarisation(self):
        (optical,) = choose_inputs([OPTICAL])
        assert (optical.modality, optical.names) == ("rgb", ("red", "green", "blue"))
        (radar,) = choose_inputs([RADAR])
        assert (radar.modality, radar.names) == ("sar", ("vv",))
        assert [each.modality for each in choose_inputs([RADAR, OPTICAL])] == ["rgb", "sar"]

    @pytest.mark.parametrize(
        ("scenes", "words"),
        [
            ([facts("red", "nir")], "it has red, nir"),
            ([facts()], "it has a drawn map"),
            ([OPTICAL, facts("red", "green", "blue", name="other-1")], "of one kind"),
            (
                [OPTICAL, facts("vv", radar=True, grid=dataclasses.replace(GRID, shape_yx=(300, 499)))],
                "on the grid",
            ),
        ],
    )
    def test_what_a_model_cannot_see(self, scenes, words):
        with pytest.raises(InputError, match=words):
            choose_inputs(scenes)

    def test_which_scenes_of_a_collection_are_taken(self):
        assert [is_encodable(scene) for scene in (OPTICAL, RADAR, facts("red"), facts())] == [
            True,
            True,
            False,
            False,
        ]

    def test_decibels_are_known_by_unit_or_range(self):
        decibel, power = np.linspace(-30, 5, 99, dtype=np.float32), np.linspace(0, 2, 99, dtype=np.float32)
        assert judge_radar(decibel, "dB", "x")
        assert judge_radar(decibel, None, "x")
        assert not judge_radar(power, None, "x")
        assert not judge_radar(power, "1", "x")
        with pytest.raises(DataError, match="declared in dB"):
            judge_radar(power * 900, "dB", "x")
        with pytest.raises(DataError, match="only dB are"):
            judge_radar(decibel, "1", "x")


class TestPlan:
    def test_the_same_request_is_the_same_product_and_anything_else_another(self):
        base = plan_of()
        assert base == plan_of()
        assert base.id.startswith("embedded-scene-")
        others = [
            plan_of(RADAR), plan_of(OPTICAL, RADAR), plan_of(dtype="int8"), plan_of(overlap_px=64),
            dataclasses.replace(plan_of(precision="bfloat16")),
            *(
                plan_embedding(
                    choose_inputs([OPTICAL]), model="mars-tiny", settings=SETTINGS, model_digest=digit * 64
                )
                for digit in "12"
            ),
        ]  # fmt: skip
        assert len({plan.id for plan in [base, *others]}) == 8
        assert EMBEDDING_PLAN.validate_json(plan_to_json(base)) == base

    def test_cells_lie_on_the_scenes_grid(self):
        plan = plan_of()
        assert plan.grid.shape_yx == (75, 125)
        assert plan.grid.transform == (40.0, 0.0, 5e5, 0.0, -40.0, 5.4e6)
        assert plan.tiles_yx == (5, 8)

    @pytest.mark.parametrize(("width", "cols"), [(8, 5000), (128, 20_000), (1024, 20_000), (4096, 50_000)])
    def test_rows_of_shards_fit_into_memory(self, width, cols):
        scene = facts("red", "green", "blue", grid=dataclasses.replace(GRID, shape_yx=(20_000, cols)))
        plan = plan_of(scene, width=width)
        shard = plan.grid.shard_px
        assert shard in (64, 128, 256)
        assert shard == 64 or width * shard * (cols // 4) * 4 <= 256 << 20
        sections = list_sections(plan)
        assert sections[0].first == 0
        assert sections[-1].last == 5000
        assert all(one.last == other.first for one, other in itertools.pairwise(sections))
        assert all(section.first % shard == 0 for section in sections)

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"dtype": "int4"}, "float16, float32, int8"),
            ({"tile_px": 30}, "give e.g. 64"),
            ({"tile_px": 12}, "64"),
        ],
    )
    def test_settings_that_do_not_go_together(self, changed, words):
        with pytest.raises(InputError, match=words):
            plan_of(**changed)

    def test_settings_of_an_encoder(self):
        settings = describe_encoder("filters", None, tile_px=64)
        assert (settings.width, settings.window_px, settings.overlap_px) == (20, 128, 32)
        with pytest.raises(InputError, match="below 128"):
            describe_encoder("filters", 128, tile_px=64)


class TestNumbers:
    @pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
    def test_errors_are_those_of_the_stored_numbers(self, dtype):
        values = np.random.default_rng(0).normal(0, 2, (6, 9, 11)).astype(np.float32)
        values[:, 2, 3] = np.nan
        scale = choose_scale(dtype, 8.0)
        stored, error = store_vectors(values, dtype, scale)
        assert stored.dtype == dtype
        back = (
            np.where(stored == -128, np.nan, stored * scale) if dtype == "int8" else stored.astype(np.float64)
        )
        off = back - values
        assert np.isnan(off[:, 2, 3]).all()
        told = merge_errors([error, error])
        assert told.maximum == pytest.approx(np.nanmax(np.abs(off)), rel=1e-4)
        assert told.rms == pytest.approx(np.sqrt(np.nanmean(off**2)), rel=1e-4)
        assert told.clipped == 0

    def test_what_reaches_too_far_is_cut_and_counted(self):
        values = np.array([[[1.0, 300.0, -9e4]]], np.float32)
        stored, error = store_vectors(values, "int8", 0.1)
        assert stored.tolist() == [[[10, 127, -127]]]
        assert error.clipped == 2
        stored, error = store_vectors(values, "float16", 1.0)
        assert np.isfinite(stored).all()
        assert error.clipped == 1

    def test_pooling_leaves_out_what_has_no_data(self):
        block = np.arange(2 * 5 * 6, dtype=np.float32).reshape(2, 5, 6)
        block[:, 0, :] = np.nan
        block[:, 4, 4:] = np.nan
        known = np.isfinite(block[0])
        means, shares = pool_tiles(block, known, 4)
        assert means.shape == (2, 2, 2)
        assert np.allclose(means[0, 0], np.nanmean(block[:, :4, :4], axis=(1, 2)))
        assert shares.tolist() == [[0.75, 0.75], [1.0, 0.0]]
        assert (means[1, 1] == 0).all()


SURVEY = VectorSurvey(
    standards={}, decibel=None, mean=(1.0, 0.0, 0.0, 0.0),
    axes=((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)),
    low=(-1.0, -1.0, -1.0), high=(1.0, 1.0, 1.0), reach=4.0,
)  # fmt: skip


class TestPictures:
    def test_blocks_are_averaged_and_projected(self):
        values = np.ones((4, 4, 6), np.float32)
        values[0] = np.arange(24).reshape(4, 6)
        values[:, 2:, 4:] = np.nan
        found = project_blocks(values, np.isfinite(values[0]), 2, SURVEY)
        assert found.shape == (3, 2, 3)
        assert found[0, 0, 0] == pytest.approx(np.mean([0, 1, 6, 7]) - 1)
        assert np.isnan(found[:, 1, 2]).all()
        rgba = paint_components(found, SURVEY)
        assert rgba.shape == (4, 2, 3)
        assert rgba[3].tolist() == [[255] * 3, [255, 255, 0]]

    def test_large_scenes_are_drawn_smaller(self):
        grid = dataclasses.replace(GRID, shape_yx=(5000, 3000))
        assert choose_block_cells(grid) == 8
        assert picture_grid(grid).shape_yx == (625, 375)
        assert picture_grid(grid).transform[0] == 80.0


def table(vectors: np.ndarray, step_deg: float = 0.01) -> TileVectors:
    count = len(vectors)
    lonlat = np.column_stack([13 + step_deg * np.arange(count), np.full(count, 52.0)])
    row_col = np.column_stack([np.zeros(count), np.arange(count)]).astype(np.int32)
    return TileVectors(row_col, lonlat, np.ones(count, np.float32), vectors.astype(np.float32))


class TestSimilarity:
    def test_most_alike_first_and_never_the_same_ground_twice(self):
        kinds = np.array([[1, 0], [0.99, 0.1], [-1, 0], [0, 1], [0.9, 0.3], [0, -1], [1, 0.02], [1, 0.01]])
        near, far = table(kinds), table(kinds, 0.1)
        found = find_similar({"a": near, "b": far}, "a", (13.0, 52.0), tile_m=600, top=3)
        assert (found.query.item, found.query.lon, found.query.cosine) == ("a", 13.0, 1.0)
        told = [(place.item, round(place.lon, 2)) for place in found.places]
        assert told == [("a", 13.07), ("b", 13.7), ("b", 13.6)], (
            "nor a tile beside one, nor the query's own ground"
        )
        assert [place.cosine for place in found.places] == sorted(
            (p.cosine for p in found.places), reverse=True
        )

    def test_exactly_what_plain_arithmetic_gives(self):
        vectors = np.random.default_rng(3).normal(3, 1, (400, 16)).astype(np.float32)
        found = find_similar({"a": table(vectors)}, "a", (13.5, 52.0), tile_m=100, top=7)
        centred = vectors - vectors.mean(axis=0)
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        cosines = unit @ unit[50]
        order = [index for index in np.argsort(-cosines) if index != 50][:7]
        assert [round((place.lon - 13) * 100) for place in found.places] == order
        assert np.allclose([place.cosine for place in found.places], cosines[order], atol=1e-5)
        assert found.searched == 400

    @pytest.mark.parametrize("point", [(14.0, 52.0), (13.0, 53.0), (500.0, 1.0), (float("nan"), 52.0)])
    def test_a_point_outside(self, point):
        with pytest.raises(InputError, match="give"):
            find_similar({"a": table(np.eye(4))}, "a", point, tile_m=600, top=3)

    def test_rims_are_not_answers(self):
        each = table(np.random.default_rng(0).normal(size=(20, 4)), 0.1)
        thin = dataclasses.replace(each, shares=np.where(np.arange(20) % 2, 0.2, 1.0).astype(np.float32))
        found = find_similar({"a": thin}, "a", (13.0, 52.0), tile_m=600, top=20)
        assert len(found.places) == 9

    def test_vectors_of_two_models_do_not_mix(self):
        with pytest.raises(InputError, match="differ in length"):
            find_similar({"a": table(np.eye(4)), "b": table(np.eye(5))}, "a", (13, 52), tile_m=600, top=1)


def item(name: str, scene: str, **changed):
    told = {
        "model": "m",
        "model_sha256": "1",
        "modalities": ["rgb"],
        "width": 4,
        "tile_m": 640.0,
        "scenes": [scene],
    }
    return {"id": name, "properties": {f"embedding:{key}": value for key, value in (told | changed).items()}}


class TestChoosingItems:
    ITEMS = (
        item("a", "s1"),
        item("b", "s2"),
        item("c", "s3", model_sha256="2"),
        item("d", "s4", modalities=["sar"]),
    )

    def test_those_that_compare_and_no_others(self):
        assert [each.id for each in choose_items(self.ITEMS, "b", alone=False)] == ["b", "a"]
        assert [each.id for each in choose_items(self.ITEMS, "b", alone=True)] == ["b"]
        assert choose_items(self.ITEMS, "s1", alone=False)[0].id == "a"

    def test_what_is_not_there_or_not_plain(self):
        with pytest.raises(NotFoundError, match="terraloom items"):
            choose_items(self.ITEMS, "zzz", alone=False)
        with pytest.raises(InputError, match="name one: a, e"):
            choose_items([*self.ITEMS, item("e", "s1")], "s1", alone=False)
        with pytest.raises(DataError, match="publish it again"):
            choose_items([item("x", "../../etc")], "x", alone=True)
        with pytest.raises(DataError, match="does not describe"):
            choose_items([item("x", "s", tile_m=None)], "x", alone=True)


class TestTable:
    def test_there_and_back(self):
        plan = plan_of()
        vectors = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
        shares = np.ones((5, 8), np.float32)
        shares[1, 2] = 0
        data, rows = encode_tile_vectors(plan, vectors, shares)
        assert rows == 39
        assert data == encode_tile_vectors(plan, vectors, shares)[0]
        back = decode_tile_vectors(data)
        assert np.array_equal(back.vectors, vectors[shares > 0])
        assert back.row_col[:3].tolist() == [[0, 0], [0, 1], [0, 2]]
        assert back.lonlat[0] == pytest.approx([15.0044, 48.7501], abs=1e-3)

    def test_no_tile_at_all(self):
        data, rows = encode_tile_vectors(
            plan_of(), np.zeros((5, 8, 8), np.float32), np.zeros((5, 8), np.float32)
        )
        assert rows == len(decode_tile_vectors(data)) == 0

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda table: table.drop_columns(["vector"]),
            lambda table: table.set_column(5, "vector", pa.array(["x"] * len(table))),
            lambda table: table.set_column(2, "lon", pa.array([9e9] * len(table))),
            lambda table: table.set_column(4, "valid_share", pa.nulls(len(table), pa.float32())),
            lambda table: table.set_column(
                5, "vector", pa.array([[float("nan")] * 8] * len(table), pa.list_(pa.float32(), 8))
            ),
        ],
    )
    def test_foreign_tables_are_not_trusted(self, spoil):
        data, _ = encode_tile_vectors(plan_of(), np.ones((5, 8, 8), np.float32), np.ones((5, 8), np.float32))
        buffer = io.BytesIO()
        pq.write_table(spoil(pq.read_table(io.BytesIO(data))), buffer)
        with pytest.raises(DataError):
            decode_tile_vectors(buffer.getvalue())

    def test_bytes_that_are_no_table(self):
        with pytest.raises(DataError, match="Parquet"):
            decode_tile_vectors(b"PAR1 and nothing more")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "give --item, or --collection"),
        ({"items": ("a",), "collection": "scenes"}, "not both"),
        ({"items": ("a", "b"), "radar": "r"}, "not 2"),
        ({"items": ("a",), "model": "filterz"}, "did you mean filters"),
        ({"items": ("a",), "device": "tpu"}, "auto, cpu, cuda"),
        ({"items": ("a",), "model": "mars-tiny", "weights": "/nowhere.safetensors"}, "no weights file"),
        ({"items": ("a",), "weights": "/nowhere.safetensors"}, "takes no weights"),
        ({"items": ("a",), "stored_as": "int4"}, "stored_as"),
    ],
)
def test_requests_that_cannot_be_met_are_refused_before_anything_is_read(values, words):
    with pytest.raises(InputError, match=words):
        parse_as(EncodeParams, {"store": "somewhere", "model": "filters"} | values)


def test_the_picture_has_a_chip_for_every_place():
    from affine import Affine
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    picture = ScenePicture(image, Affine(0.0005, 0, 13.0, 0, -0.0005, 52.05), "EPSG:4326")
    vectors = np.random.default_rng(1).normal(size=(12, 4))
    found = find_similar({"a": table(vectors), "b": table(vectors + 1)}, "a", (13.0, 52.0), tile_m=640, top=6)
    drawn = draw_similar(found, {"a": picture, "b": picture}, tile_m=640)
    assert drawn.size[0] > 1400
    assert np.any(np.all(np.asarray(drawn) == (255, 196, 0), axis=-1)), "the place that was asked about"
    assert np.any(np.all(np.asarray(drawn) == (255, 64, 64), axis=-1))


def test_a_worker_without_a_gpu_says_so():
    assert choose_gpu(4, 6) == 2
    assert choose_gpu(1, 3) == 0
    with pytest.raises(ConfigError, match="--resources GPU=1"):
        choose_gpu(0, 0)
    assert EncodingPlace(device="cuda").resources == {"GPU": 1.0}
    assert EncodingPlace(device="cpu").resources == {}
