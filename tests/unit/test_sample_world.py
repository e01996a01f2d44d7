import datetime as dt
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import osmium
import pystac
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rio_cogeo import cog_validate

from catalog.sample.clouds import Sky
from catalog.sample.cover import Cover
from catalog.sample.frame import place_frame
from catalog.sample.optical import render_optical
from catalog.sample.publish import SampleWorld, SampleWorldConfig, write_sample_world
from catalog.sample.radar import RadarPass, draw_speckle, render_radar
from catalog.sample.schedule import plan_radar
from catalog.sample.surface import Surface, draw_surface
from catalog.sample.town import build_town
from infra.digests import sha256_of_file, to_multihash
from infra.errors import InputError

SMALL = SampleWorldConfig(size_px=256)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SampleWorld:
    return write_sample_world(tmp_path_factory.mktemp("world"), SMALL)


@pytest.fixture(scope="module")
def surface() -> Surface:
    frame = place_frame(SMALL.origin_lonlat, size_px=SMALL.size_px, gsd_m=SMALL.gsd_m)
    return draw_surface(build_town(SMALL.seed, frame))


def _digest_tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _items(world: SampleWorld) -> list[pystac.Item]:
    return list(pystac.Catalog.from_file(str(world.catalog)).get_items(recursive=True))


def _read(item: pystac.Item, key: str) -> np.ndarray:
    with rasterio.open(item.assets[key].get_absolute_href()) as source:
        return source.read(1)


def test_same_seed_gives_the_same_bytes(world: SampleWorld, tmp_path: Path) -> None:
    again = write_sample_world(tmp_path, SMALL)
    first = _digest_tree(world.catalog.parent)
    assert _digest_tree(tmp_path) == first
    before = again.catalog.stat().st_mtime_ns
    assert write_sample_world(tmp_path, SMALL) == again
    assert again.catalog.stat().st_mtime_ns == before, "a complete folder must not be written again"


def test_unfinished_world_is_redone_and_foreign_files_stay(world: SampleWorld, tmp_path: Path) -> None:
    config = SampleWorldConfig(size_px=128, optical_dates=1, radar_dates=0, seed=3)
    (tmp_path / "notes.txt").write_text("mine")
    written = write_sample_world(tmp_path, config)
    before = _digest_tree(tmp_path)
    (tmp_path / "sample-world.json").unlink()
    written.osm.write_text("half")
    (tmp_path / ".sample-draft-dead").mkdir()
    assert write_sample_world(tmp_path, config) == written
    assert _digest_tree(tmp_path) == before
    assert sha256_of_file(written.osm) != sha256_of_file(world.osm), "another seed is another town"


def test_catalogue_reads_and_items_agree_with_their_files(world: SampleWorld) -> None:
    items = _items(world)
    assert {item.collection_id for item in items} == set(world.collections)
    assert len(items) == 4 + 2 + 2, "two of four optical dates come in two tiles"
    for item in items:
        assert item.properties["proj:code"] == "EPSG:32631"
        for key, asset in item.assets.items():
            path = Path(asset.get_absolute_href())
            assert asset.extra_fields["file:size"] == path.stat().st_size
            assert asset.extra_fields["file:checksum"] == to_multihash(sha256_of_file(path))
            if key == "thumbnail":
                continue
            with rasterio.open(path) as source:
                assert asset.extra_fields["proj:shape"] == [source.height, source.width]
                assert asset.extra_fields["proj:transform"] == list(source.transform)[:6]
                assert source.dtypes[0] == asset.extra_fields["data_type"]
                assert source.crs.to_epsg() == 32631
                assert str(source.nodata) == str(float(asset.extra_fields["nodata"]))


def test_footprints_cover_the_bbox_and_dates_lie_in_the_interval(world: SampleWorld) -> None:
    days: dict[tuple[str, dt.date], list] = {}
    start, end = (dt.datetime.fromisoformat(text) for text in world.datetime.split("/"))
    for item in _items(world):
        assert start <= item.datetime <= end
        day = days.setdefault((item.collection_id, item.datetime.date()), [])
        day.append(shapely.geometry.shape(item.geometry))
    assert len(days) == 6
    for footprints in days.values():
        assert shapely.union_all(footprints).contains(shapely.box(*world.bbox))
    pairs = [footprints for footprints in days.values() if len(footprints) == 2]
    assert len(pairs) == 2
    assert all(left.overlaps(right) for left, right in pairs)


def test_tiles_of_one_day_agree_where_they_overlap(world: SampleWorld) -> None:
    tiles = [item for item in _items(world) if item.id.startswith("sample-optical_20250618")]
    left, right = (item.assets["red"].extra_fields for item in tiles)
    first = round((right["proj:transform"][2] - left["proj:transform"][2]) / 10)
    a, b = (_read(item, "red") for item in tiles)
    shared = a.shape[1] - first
    assert shared > 30
    np.testing.assert_array_equal(a[:, first:], b[:, :shared])


def test_every_raster_is_a_valid_cog(world: SampleWorld) -> None:
    paths = sorted(world.catalog.parent.rglob("*.tif"))
    assert len(paths) == 6 * 6 + 2 * 2 + 1
    for path in paths:
        valid, errors, _ = cog_validate(path, strict=True)
        assert valid, (path, errors)


def test_stored_numbers_give_reflectances(world: SampleWorld) -> None:
    for item in _items(world):
        for key, asset in item.assets.items():
            fields = asset.extra_fields
            if "raster:scale" not in fields:
                continue
            stored = _read(item, key)
            assert stored.min() > fields["nodata"]
            reflectance = stored * fields["raster:scale"] + fields["raster:offset"]
            assert reflectance.min() >= 0, (item.id, key)
            assert reflectance.max() <= 1.2, (item.id, key)
            assert fields["bands"][0]["name"] == key
            assert 0.4 < fields["bands"][0]["eo:center_wavelength"] < 2.3


def test_classification_agrees_with_the_sky(surface: Surface) -> None:
    moment = dt.datetime(2025, 8, 9, 10, 56, tzinfo=dt.UTC)
    cloudy = render_optical(surface, moment, Sky(cloud_share=0.45), (), key=1)
    clear = render_optical(surface, moment, Sky(), (), key=1)
    cloud, shadow = np.isin(cloudy.classes, (8, 9)), cloudy.classes == 3
    assert 0.3 < cloud.mean() < 0.6
    assert not np.isin(clear.classes, (3, 7, 8, 9, 10)).any()
    assert set(np.unique(clear.classes)) <= {2, 4, 5, 6}

    def halve(band: np.ndarray) -> np.ndarray:
        return cv2.resize(band.astype(np.float32), cloud.shape[::-1], interpolation=cv2.INTER_AREA)

    blue, bare_blue = halve(cloudy.bands["blue"]), halve(clear.bands["blue"])
    nir, bare_nir = halve(cloudy.bands["nir"]), halve(clear.bands["nir"])
    assert (blue[cloud] > bare_blue[cloud]).mean() > 0.97
    assert np.median(blue[cloud]) - 1000 > 3000
    land = bare_nir > 2500
    assert np.median(nir[shadow & land] - 1000) < 0.75 * np.median(bare_nir[shadow & land] - 1000)
    untouched = np.isin(cloudy.classes, (4, 5, 6)) & (cloudy.weather.opacity[::2, ::2] == 0)
    assert np.abs(blue - bare_blue)[untouched & (cloudy.weather.shade[::2, ::2] < 0.01)].mean() < 120


def test_recorded_shift_is_the_shift(surface: Surface) -> None:
    (radar_pass, *_) = plan_radar(SMALL.seed, 1)
    still = RadarPass(**{**vars(radar_pass), "true_shift_px": (0.0, 0.0), "turn_deg": 0.0, "stretch": 1.0})
    moved = render_radar(surface, radar_pass, (), key=0, speckle=False).bands["vv"]
    level = render_radar(surface, still, (), key=0, speckle=False).bands["vv"]
    window = cv2.createHanningWindow(level.shape[::-1], cv2.CV_32F)
    found, _ = cv2.phaseCorrelate(level, moved, window)
    np.testing.assert_allclose(found, radar_pass.true_shift_px, atol=0.35)
    assert np.hypot(*radar_pass.true_shift_px) > 2


def test_recorded_shift_registers_radar_to_the_truth(world: SampleWorld) -> None:
    with rasterio.open(world.truth) as source:
        classes = source.read(1)
    expected = np.full(classes.shape, -18.0, np.float32)
    expected[np.isin(classes, (Cover.SEA, Cover.RIVER, Cover.LAKE))] = -27
    expected[np.isin(classes, (Cover.WOOD_BROAD, Cover.WOOD_NEEDLE))] = -14
    reach = 9
    template = np.ascontiguousarray(expected[reach:-reach, reach:-reach])
    passes = [item for item in _items(world) if item.collection_id == "sample-radar"]
    assert len(passes) == 2
    for item in passes:
        scores = cv2.matchTemplate(_read(item, "vh"), template, cv2.TM_CCOEFF_NORMED)
        row, column = np.unravel_index(scores.argmax(), scores.shape)
        found = np.array([column - reach, row - reach])
        assert np.abs(found - item.properties["terraloom:true_shift_px"]).max() < 1.3
        # the affine moves the centre by just that shift
        affine = np.reshape(item.properties["terraloom:true_affine_px"], (2, 3))
        middle = np.full(2, classes.shape[0] / 2)
        moved = affine[:, :2] @ middle + affine[:, 2] - middle
        np.testing.assert_allclose(moved, item.properties["terraloom:true_shift_px"], atol=1e-6)


def test_speckle_has_the_looks_it_claims() -> None:
    speckle = draw_speckle(np.random.default_rng(0), (400, 400))
    assert speckle.mean() == pytest.approx(1, abs=0.01)
    assert 1 / speckle.var() == pytest.approx(4.4, abs=0.3)


def test_map_parses_and_buildings_stand_on_buildings(world: SampleWorld) -> None:
    with rasterio.open(world.truth) as source:
        classes, share = source.read([1, 4])
        transform, to_utm = source.transform, Transformer.from_crs(4326, source.crs, always_xy=True)
    counts: dict[str, int] = {}
    hits = []
    processor = osmium.FileProcessor(str(world.osm)).with_areas().with_filter(osmium.filter.EmptyTagFilter())
    factory = osmium.geom.WKBFactory()
    for element in processor:
        for key in element.tags:
            counts[key.k] = counts.get(key.k, 0) + 1
        if not (element.is_area() and "building" in element.tags):
            continue
        shape = shapely.transform(
            shapely.from_wkb(factory.create_multipolygon(element)),
            lambda points: np.column_stack(to_utm.transform(*points.T)),
        )
        row, column = rasterio.transform.rowcol(transform, *shape.representative_point().coords[0])
        if shape.area > 200 and 0 <= column < classes.shape[1] and 0 <= row < classes.shape[0]:
            hits.append((classes[int(row), int(column)], share[int(row), int(column)]))
    keys = ("building", "highway", "railway", "landuse", "natural", "waterway", "man_made", "amenity")
    for key in keys:
        assert counts.get(key, 0) > 0, key
    assert len(hits) > 60
    on_building = [cover in (Cover.BUILDING, Cover.TANK) for cover, _ in hits]
    assert np.mean(on_building) > 0.93
    assert np.mean([part for _, part in hits]) > 0.8


def test_streets_connect(world: SampleWorld) -> None:
    parents: dict[int, int] = {}

    def find(node: int) -> int:
        while parents.setdefault(node, node) != node:
            node = parents[node]
        return node

    length: dict[int, int] = {}
    reader = osmium.FileProcessor(str(world.osm), osmium.osm.WAY)
    ways = [[node.ref for node in way.nodes] for way in reader if "highway" in way.tags]
    for nodes in ways:
        for a, b in pairwise(nodes):
            parents[find(a)] = find(b)
    for nodes in ways:
        root = find(nodes[0])
        length[root] = length.get(root, 0) + len(nodes)
    assert max(length.values()) > 0.6 * sum(length.values())


def test_collections_describe_their_assets(world: SampleWorld) -> None:
    for name in world.collections:
        collection = json.loads((world.catalog.parent / name / "collection.json").read_text())
        assert collection["stac_version"] == "1.1.0"
        expected = "vv vh" if name == "sample-radar" else "blue green red nir swir16 scl"
        assert {*expected.split(), "thumbnail"} == set(collection["item_assets"])
    assert json.loads(world.catalog.read_text())["type"] == "Catalog"


def test_nonsense_is_refused(tmp_path: Path) -> None:
    for config in (
        SampleWorldConfig(size_px=100),
        SampleWorldConfig(gsd_m=1.0),
        SampleWorldConfig(optical_dates=0, radar_dates=0),
        SampleWorldConfig(origin_lonlat=(0.0, 89.0)),
    ):
        with pytest.raises(InputError):
            write_sample_world(tmp_path, config)
    assert not list(tmp_path.iterdir())
