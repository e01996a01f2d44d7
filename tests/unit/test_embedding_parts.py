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
import shapely

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
from catalog.embeddings.sections import VectorSurvey
from catalog.embeddings.vectors import decode_tile_vectors, encode_tile_vectors
from catalog.embeddings.writing import pool_tiles
from catalog.records import Band, Grid
from catalog.registrations.plan import SceneFacts
from flows.params import EncodeParams, parse_as
from infra.errors import DataError, InputError
from tasks.encode_scene import describe_encoder

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


def wide(cols: int, rows: int = 20_000) -> SceneFacts:
    return facts("red", "green", "blue", grid=dataclasses.replace(GRID, shape_yx=(rows, cols)))


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

    @pytest.mark.parametrize(
        "changed",
        [
            {"dtype": "int16"}, {"nodata": 0.0}, {"nodata": "nan"}, {"scale": 1e-4}, {"offset": -0.1},
            {"unit": "1"},
        ],
        ids=str,
    )  # fmt: skip
    def test_what_an_item_says_of_its_numbers_is_part_of_the_id(self, changed):
        bands = tuple(dataclasses.replace(band, **changed) for band in OPTICAL.bands)
        assert plan_of(dataclasses.replace(OPTICAL, bands=bands)).id != plan_of().id

    def test_so_are_its_time_and_name_but_not_how_they_are_spelt(self):
        later = dataclasses.replace(OPTICAL, datetime=OPTICAL.datetime + dt.timedelta(seconds=1))
        named = dataclasses.replace(OPTICAL, id="scene-2")
        assert len({plan_of(scene).id for scene in (OPTICAL, later, named)}) == 3
        east = OPTICAL.datetime.astimezone(dt.timezone(dt.timedelta(hours=2)))
        assert plan_of(dataclasses.replace(OPTICAL, datetime=east)).id == plan_of().id
        whole, half = (
            dataclasses.replace(
                OPTICAL, bands=tuple(dataclasses.replace(b, nodata=nodata) for b in OPTICAL.bands)
            )
            for nodata in (0, 0.0)
        )
        assert plan_of(whole).id == plan_of(half).id

    def test_cells_lie_on_the_scenes_grid(self):
        plan = plan_of()
        assert plan.grid.shape_yx == (75, 125)
        assert plan.grid.transform == (40.0, 0.0, 5e5, 0.0, -40.0, 5.4e6)
        assert plan.tiles_yx == (5, 8)

    @pytest.mark.parametrize(
        ("width", "cols", "shard"),
        [
            (8, 5000, 256), (20, 200_000, 64), (128, 5000, 256), (128, 20_000, 64), (256, 10_980, 64),
            (256, 4000, 128), (1024, 20_000, 64),
        ],
    )  # fmt: skip
    def test_rows_of_shards_fit_into_memory(self, width, cols, shard):
        """Shards are the largest that fit; the smallest fit as well, if not into as little."""
        plan = plan_of(wide(cols, 2000), width=width)
        assert plan.grid.shard_px == shard

        def row_bytes(edge: int) -> int:
            return width * edge * (cols // 4) * 4

        def fits(edge: int) -> bool:
            return row_bytes(edge) <= 256 << 20 and width * edge**2 * 2 <= 16 << 20

        assert fits(shard) or (shard == 64 and row_bytes(shard) <= 2 << 30)
        assert shard == 256 or not fits(2 * shard)

    def test_vectors_too_long_for_a_scene_so_wide_are_refused(self):
        with pytest.raises(InputError, match=r"12,500 columns of cells of scene-1 take 12\.2 GiB"):
            plan_of(wide(50_000, 1000), width=4096)

    @pytest.mark.parametrize(("rows", "cols"), [(20_000, 5000), (20_001, 20_000), (40, 40)])
    def test_sections_are_whole_rows_of_shards_and_cover_all(self, rows, cols):
        plan = plan_of(wide(cols, rows), width=128)
        sections, shard = list_sections(plan), plan.grid.shard_px
        assert (sections[0].first, sections[-1].last) == (0, -(-rows // 4))
        assert all(one.last == other.first for one, other in itertools.pairwise(sections))
        assert all(section.first % shard == 0 for section in sections)
        assert all((section.last - section.first) * 4 <= 2048 for section in sections)

    def test_tiles_too_small_for_memory_are_refused(self):
        """The vectors of all tiles are held at once: 20 million of them are not."""
        with pytest.raises(
            InputError, match=r"tiles of 4 px would give scene-1 20,000,000 .*; give 8 or more"
        ):
            plan_of(wide(20_000, 16_000), tile_px=4)
        assert plan_of(wide(20_000, 16_000), tile_px=8).tiles_yx == (2000, 2500)
        assert plan_of(tile_px=4).tiles_yx == (75, 125), "a small scene may have small tiles"

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
        means, shares = pool_tiles(np.moveaxis(block, 0, 2), known, 4)
        assert means.shape == (2, 2, 2)
        assert np.allclose(means[0, 0], np.nanmean(block[:, :4, :4], axis=(1, 2)))
        assert shares.tolist() == [[0.75, 0.75], [1.0, 0.0]]
        assert (means[1, 1] == 0).all()


SURVEY = VectorSurvey(
    work="w", device="cpu", scenes={},
    standards={}, decibel=None, mean=(1.0, 0.0, 0.0, 0.0),
    axes=((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)),
    low=(-1.0, -1.0, -1.0), high=(1.0, 1.0, 1.0), reach=4.0,
)  # fmt: skip


class TestPictures:
    def test_blocks_are_averaged_and_projected(self):
        values = np.ones((4, 4, 6), np.float32)
        values[0] = np.arange(24).reshape(4, 6)
        values[:, 2:, 4:] = np.nan
        found = project_blocks(np.moveaxis(values, 0, 2), np.isfinite(values[0]), 2, SURVEY)
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
        middles = back.corners.mean(axis=1)
        assert np.allclose(middles, back.lonlat, atol=1e-6)
        assert np.ptp(back.corners[0], axis=0) == pytest.approx([0.0087, 0.0058], abs=1e-4)

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
            lambda table: table.set_column(6, "geometry", pa.array([b"no outline"] * len(table))),
            lambda table: table.set_column(
                6, "geometry", pa.array([shapely.to_wkb(shapely.Point(1, 2))] * len(table))
            ),
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
