"""Searching embeddings for places that look alike: which items, which tile, which answers, what picture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from catalog.embeddings.searching import Choice, choose_items
from catalog.embeddings.similar_picture import ScenePicture, draw_similar
from catalog.embeddings.similarity import find_similar
from catalog.embeddings.vectors import TileVectors
from infra.errors import DataError, InputError, NotFoundError


def table(vectors: np.ndarray, step_deg: float = 0.01, half_deg: float = 0.004) -> TileVectors:
    """Lay tiles out in a row from 13° E, 52° N, with gaps between them."""
    count = len(vectors)
    lonlat = np.column_stack([13 + step_deg * np.arange(count), np.full(count, 52.0)])
    ring = half_deg * np.array([[-1, 1], [-1, -1], [1, -1], [1, 1]])
    return TileVectors(
        row_col=np.column_stack([np.zeros(count), np.arange(count)]).astype(np.int32),
        lonlat=lonlat,
        corners=lonlat[:, None] + ring,
        shares=np.ones(count, np.float32),
        vectors=vectors.astype(np.float32),
    )


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

    def test_the_tile_that_holds_the_point_is_asked_about_and_not_the_nearest_middle(self):
        """A scene's last tile is cut: its neighbour's middle is nearer than that of the tile itself."""
        two = table(np.eye(4)[:2])
        corners = np.array([
            [[13.0, 52.01], [13.0, 52.0], [13.001, 52.0], [13.001, 52.01]],
            [[13.001, 52.01], [13.001, 52.0], [13.1, 52.0], [13.1, 52.01]],
        ])  # fmt: skip
        cut = dataclasses.replace(two, corners=corners, lonlat=corners.mean(axis=1))
        for turned in (cut, dataclasses.replace(cut, corners=corners[:, ::-1])):
            found = find_similar({"a": turned}, "a", (13.01, 52.005), tile_m=9000, top=1)
            assert (round(found.query.lon, 4), found.holds_point) == (13.0505, True)

    def test_the_nearest_is_asked_about_where_none_holds_the_point(self):
        found = find_similar({"a": table(np.eye(4))}, "a", (13.0055, 52.0), tile_m=600, top=1)
        assert (found.query.lon, found.holds_point) == (13.01, False)
        assert find_similar({"a": table(np.eye(4))}, "a", (13.0035, 52.0), tile_m=600, top=1).holds_point

    def test_tiles_across_the_date_line_hold_points_of_either_side(self):
        each = table(np.eye(4))
        corners = each.corners + np.array([167.0, 0.0])
        across = dataclasses.replace(each, corners=corners, lonlat=corners.mean(axis=1))
        for lon in (179.997, -179.997):
            found = find_similar({"a": across}, "a", (lon, 52.0), tile_m=900, top=1)
            assert (found.holds_point, round(found.query.lon, 3)) == (True, 180.0)

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
        assert names(choose_items(self.ITEMS, "b", alone=False)) == ["b", "a"]
        assert names(choose_items(self.ITEMS, "b", alone=True)) == ["b"]
        assert names(choose_items(self.ITEMS, "s1", alone=False))[0] == "a"

    def test_what_is_not_there_or_not_plain(self):
        with pytest.raises(NotFoundError, match="terraloom items"):
            choose_items(self.ITEMS, "zzz", alone=False)
        with pytest.raises(InputError, match="name one: a, e"):
            choose_items([*self.ITEMS, item("e", "s1")], "s1", alone=False)
        with pytest.raises(DataError, match="publish it again"):
            choose_items([item("x", "../../etc")], "x", alone=True)
        with pytest.raises(DataError, match="does not describe"):
            choose_items([item("x", "s", tile_m=None)], "x", alone=True)

    def test_foreign_items_are_left_out_and_counted(self):
        foreign = [
            {"id": "no-properties"}, {"properties": {}}, {"id": "bare", "properties": {"datetime": None}},
            {"id": "../../etc", "properties": item("x", "s")["properties"]}, item("text", "s", tile_m="wide"),
            item("nothing", "s", scenes=[]), item("endless", "s", tile_m=float("inf")),
            {"id": "odd", "properties": 3},
        ]  # fmt: skip
        chosen = choose_items([*foreign, *self.ITEMS], "b", alone=False)
        assert (names(chosen), chosen.skipped) == (["b", "a"], len(foreign))
        with pytest.raises(DataError, match="'bare' does not describe its tiles"):
            choose_items([*foreign, *self.ITEMS], "bare", alone=False)


def names(chosen: Choice) -> list[str]:
    return [each.id for each in chosen.items]


def test_the_picture_has_a_chip_for_every_place():
    from affine import Affine
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    picture = ScenePicture("scene-1", image, Affine(0.0005, 0, 13.0, 0, -0.0005, 52.05), "EPSG:4326")
    vectors = np.random.default_rng(1).normal(size=(12, 4))
    found = find_similar({"a": table(vectors), "b": table(vectors + 1)}, "a", (13.0, 52.0), tile_m=640, top=6)
    drawn = draw_similar(found, {"a": picture, "b": picture}, model="m", tile_m=640)
    assert drawn.size[0] > 1400
    assert np.any(np.all(np.asarray(drawn) == (255, 196, 0), axis=-1)), "the place that was asked about"
    assert np.any(np.all(np.asarray(drawn) == (255, 64, 64), axis=-1))
