"""Readers of labelled sets: what they answer, and what they refuse of files that anyone may have made."""

import json
import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from catalog.labelled.coco import read_coco
from catalog.labelled.rasters import find_changes, find_class_maps, find_damage, find_height_maps
from catalog.labelled.vectors import (
    find_building_boxes,
    find_road_maps,
    read_building_boxes,
    read_road_map,
)
from infra.errors import DataError, InputError, NotFoundError

PICTURE = np.arange(8 * 6 * 3).reshape(6, 8, 3)
MASK = np.array([[0, 0, 1, 1, 2, 2, 0, 0]] * 6)


def write_png(path, pixels, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if palette:
        image = image.convert("P")
        image.putdata([int(value) for value in np.ravel(pixels)])
        image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    image.save(path)


def write_tif(path, band, *, crs=None, bounds=(0, 0, 1, 1), nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.asarray(band)
    bands = bands[None] if bands.ndim == 2 else bands.transpose(2, 0, 1)
    count, height, width = bands.shape
    west, south, east, north = bounds
    steps = (east - west) / width, (south - north) / height
    place = {"crs": crs, "transform": Affine(steps[0], 0, west, 0, steps[1], north)} if crs else {}
    with rasterio.open(
        path, "w", "GTiff", width, height, count, dtype=bands.dtype, nodata=nodata, **place
    ) as file:
        file.write(bands)


# --- class maps, heights, changes ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_class_maps_are_matched_by_name_and_translated(tmp_path):
    write_png(tmp_path / "images" / "a_img.png", PICTURE)
    write_png(tmp_path / "images" / "b_img.png", PICTURE)
    write_png(tmp_path / "images" / "other.png", PICTURE)
    write_png(tmp_path / "labels" / "a_mask.png", 10 * MASK)
    write_tif(tmp_path / "labels" / "b_mask.tif", (10 * MASK - 1).astype(np.int16))
    values = {0: 0, 10: 1, 20: 2, -1: -1, 9: 1, 19: 2}
    found = find_class_maps(tmp_path / "images", tmp_path / "labels", values, endings=("_img", "_mask"))
    assert [source.id for source in found] == ["a", "b"]
    first, second = (source.read() for source in found)
    np.testing.assert_array_equal(first.image.pixels, PICTURE)
    np.testing.assert_array_equal(first.classes, MASK)
    np.testing.assert_array_equal(second.classes, np.where(MASK == 0, -1, MASK))
    assert first.classes.dtype == np.int64


def test_palettes_and_three_equal_bands_are_classes(tmp_path):
    for name in ("a", "b"):
        write_png(tmp_path / "images" / f"{name}.png", PICTURE)
    write_png(tmp_path / "labels" / "a.png", MASK, palette=True)
    write_png(tmp_path / "labels" / "b.png", np.dstack([MASK] * 3))
    found = find_class_maps(tmp_path / "images", tmp_path / "labels", {0: 0, 1: 1, 2: 2})
    for source in found:
        np.testing.assert_array_equal(source.read().classes, MASK)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_class_may_be_declared_nodata_and_other_nodata_says_nothing(tmp_path):
    write_png(tmp_path / "images" / "a.png", PICTURE)
    for nodata, expected in ((0, MASK), (2, np.where(MASK == 2, -1, MASK))):
        write_tif(tmp_path / "labels" / "a.tif", MASK.astype(np.uint8), nodata=nodata)
        (source,) = find_class_maps(tmp_path / "images", tmp_path / "labels", {0: 0, 1: 1})
        if nodata == 0:
            with pytest.raises(DataError, match="no class"):
                source.read()
            (source,) = find_class_maps(tmp_path / "images", tmp_path / "labels", {0: 0, 1: 1, 2: 2})
        np.testing.assert_array_equal(source.read().classes, expected)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (MASK + 5, "which are no class"),
        (PICTURE, "expected one band"),
        (MASK[:, :4], "expected as many"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, label, words):
    write_png(tmp_path / "images" / "a.png", PICTURE)
    write_png(tmp_path / "labels" / "a.png", label)
    (source,) = find_class_maps(tmp_path / "images", tmp_path / "labels", {0: 0, 1: 1, 2: 2})
    with pytest.raises(DataError, match=words):
        source.read()


def test_folders_that_do_not_fit_are_refused(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    with pytest.raises(InputError, match="no folder"):
        find_class_maps(images, labels, {0: 0})
    write_png(images / "a.png", PICTURE)
    labels.mkdir()
    with pytest.raises(NotFoundError, match="'a' first"):
        find_class_maps(images, labels, {0: 0})
    with pytest.raises(NotFoundError, match="no image of such a name"):
        find_class_maps(images, labels, {0: 0}, endings=("_img", ""))
    Image.fromarray(PICTURE.astype(np.uint8)).save(labels / "a.jpg")
    (source,) = find_class_maps(images, labels, {0: 0})
    with pytest.raises(DataError, match="JPEG"):
        source.read()
    (labels / "a.jpg").rename(labels / "b.jpg")
    (labels / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (source,) = find_class_maps(images, labels, {0: 0})
    with pytest.raises(DataError, match="cannot be read"):
        source.read()
    Image.fromarray(PICTURE.astype(np.uint8)).save(images / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png"):
        find_class_maps(images, labels, {0: 0})


def test_links_to_outside_are_refused(tmp_path):
    write_png(tmp_path / "secret.png", PICTURE)
    write_png(tmp_path / "set" / "b.png", PICTURE)
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="outside"):
        find_class_maps(tmp_path / "set", tmp_path / "set", {0: 0})


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_heights_keep_what_nobody_knows(tmp_path):
    heights = np.linspace(0, 40, 48).reshape(6, 8).astype(np.float32)
    heights[0, :3] = -9999
    heights[1, 0] = np.nan
    write_png(tmp_path / "rgb" / "a_IMG.png", PICTURE)
    write_tif(tmp_path / "agl" / "a_AGL.tif", heights, nodata=-9999)
    (source,) = find_height_maps(tmp_path / "rgb", tmp_path / "agl", endings=("_IMG", "_AGL"))
    read = source.read()
    assert np.isnan(read.height_m).sum() == 4
    np.testing.assert_array_equal(read.height_m[2:], heights[2:])
    write_tif(tmp_path / "agl" / "a_AGL.tif", heights)  # without saying which value stands for none
    with pytest.raises(DataError, match="nodata"):
        source.read()
    write_tif(tmp_path / "agl" / "a_AGL.tif", np.full((6, 8), np.nan, np.float32))
    with pytest.raises(DataError, match="no height at all"):
        source.read()


def test_changes_and_both_kinds_of_damage_are_read(tmp_path):
    whu = tmp_path / "whu"
    for name in ("A", "B"):
        write_png(whu / name / "t.png", PICTURE)
    write_png(whu / "label" / "t.png", 255 * (MASK > 0))
    (change,) = find_changes(whu)
    np.testing.assert_array_equal(change.read().classes, MASK > 0)

    grades = np.array([[0, 1, 2, 3, 4, 255, 0, 0]] * 6)
    xview = tmp_path / "xview"
    write_png(xview / "images" / "x_pre_disaster.png", PICTURE)
    write_png(xview / "images" / "x_post_disaster.png", PICTURE)
    write_png(xview / "targets" / "x_post_disaster_target.png", grades)
    (damage,) = find_damage(xview)
    assert damage.id == "x"
    assert damage.read().classes[0].tolist() == [0, 1, 2, 2, 3, -1, 0, 0]

    bright = tmp_path / "bright"
    write_png(bright / "pre-event" / "y_pre_disaster.png", PICTURE)
    write_png(bright / "post-event" / "y_post_disaster.png", PICTURE[..., 0])
    write_png(bright / "target" / "y_building_damage.png", grades % 4)
    (damage,) = find_damage(bright)
    read = damage.read()
    assert read.classes[0].tolist() == [0, 1, 2, 3, 0, 3, 0, 0]
    assert read.after.pixels.shape == (6, 8)
    write_png(bright / "target" / "y_building_damage.png", grades)
    with pytest.raises(DataError, match="no class"):
        damage.read()
    with pytest.raises(InputError, match="neither"):
        find_damage(tmp_path)


# --- COCO ---------------------------------------------------------------------------------------------


def write_coco(folder, **changes):
    write_png(folder / "images" / "sub" / "a.png", PICTURE)
    write_png(folder / "images" / "b.png", PICTURE)
    content = {
        "images": [
            {"id": 7, "file_name": "sub/a.png", "width": 8, "height": 6},
            {"id": 3, "file_name": "b.png", "width": 8, "height": 6},
        ],
        "annotations": [
            {"image_id": 7, "category_id": 20, "bbox": [1, 2, 3.5, 3], "iscrowd": 0},
            {"image_id": 7, "category_id": 10, "bbox": [5, 4, 9, 9], "iscrowd": 1},
            {"image_id": 7, "category_id": 10, "bbox": [20, 20, 4, 4]},
        ],
        "categories": [{"id": 20, "name": "ship"}, {"id": 10, "name": "tank"}],
    } | changes
    path = folder / "set.json"
    path.write_text(json.dumps(content))
    return path, folder / "images"


def test_coco_boxes_become_corners_within_their_image(tmp_path):
    read = read_coco(*write_coco(tmp_path))
    assert read.classes == ("tank", "ship")
    assert [source.id for source in read.sources] == ["sub/a.png", "b.png"]
    assert read.dropped == 1
    boxed, empty = (source.read() for source in read.sources)
    assert boxed.boxes_xyxy.tolist() == [[1, 2, 4.5, 5], [5, 4, 8, 6]]
    assert boxed.labels.tolist() == [1, 0]
    assert boxed.crowd.tolist() == [False, True]
    assert empty.boxes_xyxy.shape == (0, 4)


IMAGE = {"id": 7, "file_name": "b.png", "width": 8, "height": 6}


@pytest.mark.parametrize(
    "changes",
    [
        {"images": [IMAGE | {"file_name": "../set.json"}]},
        {"images": [IMAGE | {"file_name": "../outside.png"}]},
        {"images": [IMAGE | {"file_name": "/etc/passwd.png"}]},
        {"images": [IMAGE | {"file_name": 5}]},
        {"images": [IMAGE | {"file_name": "a\0.png"}]},
        {"images": [IMAGE | {"width": 0}]},
        {"images": [IMAGE | {"height": 6.5}]},
        {"images": [IMAGE, IMAGE]},
        {"images": "b.png"},
        {"images": [IMAGE, IMAGE | {"id": 8}]},
        {"annotations": [{"id": 1, "image_id": 7, "category_id": 20, "bbox": [0, 0, 1, 1]}] * 2},
        {"annotations": [{"image_id": 99, "category_id": 20, "bbox": [0, 0, 1, 1]}]},
        {"annotations": [{"image_id": 7, "category_id": 99, "bbox": [0, 0, 1, 1]}]},
        {"annotations": [{"image_id": 7, "category_id": 20, "bbox": [0, 0, -1, 1]}]},
        {"annotations": [{"image_id": 7, "category_id": 20, "bbox": [0, 0, 1]}]},
        {"annotations": [{"image_id": 7, "category_id": 20, "bbox": [0, 0, 1, 1e300]}]},
        {"annotations": [{"image_id": True, "category_id": 20, "bbox": [0, 0, 1, 1]}]},
        {"categories": [{"id": 20, "name": "a\nb"}, {"id": 10, "name": "c"}]},
        {"categories": [{"id": 20, "name": "a"}, {"id": 20, "name": "c"}, {"id": 10, "name": "c"}]},
    ],
)
def test_coco_files_that_lie_are_refused(tmp_path, changes):
    write_png(tmp_path / "outside.png", PICTURE)
    with pytest.raises(DataError, match=r"set\.json|outside"):
        read_coco(*write_coco(tmp_path, **changes))


def test_coco_files_that_are_none_are_refused(tmp_path):
    path, images = write_coco(tmp_path)
    with pytest.raises(NotFoundError, match="absent"):
        read_coco(*write_coco(tmp_path, images=[IMAGE | {"file_name": "gone.png"}], annotations=[]))
    for text in ("[1, 2]", "{", '{"images": NaN}', "[" * 100_000, "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(DataError):
            read_coco(path, images)
    with pytest.raises(NotFoundError):
        read_coco(tmp_path / "none.json", images)
    path, images = write_coco(tmp_path, images=[IMAGE | {"width": 9}], annotations=[])
    with pytest.raises(DataError, match="9 × 6"):
        read_coco(path, images).sources[0].read()


# --- shapes -------------------------------------------------------------------------------------------


def write_shapes(path, *geometries):
    rows = [{"type": "Feature", "properties": {}, "geometry": one} for one in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    return path


def mercator(longitude, latitude):
    x = math.radians(longitude) * 6_378_137
    return x, math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2)) * 6_378_137


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326"])
def test_roads_are_as_wide_as_they_are_on_the_ground(tmp_path, crs):
    west, south = 10.0, 60.0  # where Web Mercator is twice too long
    east, north = west + 0.004, south + 0.002
    low, high = (
        ((west, south), (east, north))
        if crs == "EPSG:4326"
        else (mercator(west, south), mercator(east, north))
    )
    write_tif(tmp_path / "a.tif", np.zeros((200, 200), np.uint8), crs=crs, bounds=(*low, *high))
    line = {"type": "LineString", "coordinates": [[west, south + 0.001], [east, south + 0.001]]}
    point = {"type": "Point", "coordinates": [west, south]}
    shapes = write_shapes(tmp_path / "roads.geojson", line, point)
    read = read_road_map(tmp_path / "a.tif", shapes, width_m=20)
    classes = read.classes
    assert read.left_out == 1  # the point
    # The image is 0.002° or 223 m high: a road of 20 m takes 9 % of it.
    assert classes.mean() == pytest.approx(20 / 222.8, rel=0.03)
    assert classes[100].all()
    assert not classes[:40].any()
    with pytest.raises(InputError):
        read_road_map(tmp_path / "a.tif", shapes, width_m=0)


def test_buildings_are_boxed(tmp_path):
    write_tif(tmp_path / "a.tif", np.zeros((100, 200), np.uint8), crs="EPSG:4326", bounds=(0, 0, 0.02, 0.01))

    def square(x, y, side):
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        return {"type": "Polygon", "coordinates": [ring]}

    shapes = write_shapes(
        tmp_path / "b.geojson", square(0.002, 0.004, 0.001), square(0.0195, 0.0, 0.002), square(1, 1, 0.1)
    )
    boxed = read_building_boxes(tmp_path / "a.tif", shapes)
    np.testing.assert_allclose(boxed.boxes_xyxy, [[20, 50, 30, 60], [195, 80, 200, 100]], atol=1e-6)
    assert boxed.left_out == 1


def test_images_are_found_with_shapes_beside_them_or_in_one_file(tmp_path):
    ring = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.2]]
    for name in ("a_0", "b_1"):
        write_tif(tmp_path / f"{name}.tif", np.zeros((10, 10), np.uint8), crs="EPSG:4326")
    shapes = write_shapes(tmp_path / "all.geojson", {"type": "Polygon", "coordinates": [ring]})
    found = find_building_boxes(tmp_path, shapes)
    assert [source.id for source in found] == ["a_0", "b_1"]
    assert all(len(source.read().labels) == 1 for source in found)
    shapes.rename(tmp_path / "a_0.geojson")
    (beside,) = find_building_boxes(tmp_path, pattern="*_0.tif")
    np.testing.assert_allclose(beside.read().boxes_xyxy, [[2, 2, 8, 8]], atol=1e-6)
    with pytest.raises(NotFoundError, match="b_1"):
        find_road_maps(tmp_path)
    with pytest.raises(NotFoundError, match="no image of such a name"):
        find_road_maps(tmp_path, pattern="*_2.tif")


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    write_tif(tmp_path / "a.tif", np.zeros((10, 10), np.uint8), crs="EPSG:4326")
    far = write_shapes(tmp_path / "far.geojson", {"type": "LineString", "coordinates": [[500000, 1], [2, 2]]})
    with pytest.raises(DataError, match="degrees"):
        read_road_map(tmp_path / "a.tif", far)
    (tmp_path / "broken.geojson").write_text("{}")
    with pytest.raises(DataError, match="GeoJSON"):
        read_road_map(tmp_path / "a.tif", tmp_path / "broken.geojson")
    with pytest.raises(NotFoundError):
        read_road_map(tmp_path / "a.tif", tmp_path / "none.geojson")
    empty = write_shapes(tmp_path / "empty.geojson")
    assert not read_road_map(tmp_path / "a.tif", empty).classes.any()
    (tmp_path / "b.tif").write_bytes(b"no image")
    with pytest.raises(DataError, match="GeoTIFF"):
        read_road_map(tmp_path / "b.tif", empty)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_shapes_need_an_image_that_lies_somewhere(tmp_path):
    write_tif(tmp_path / "a.tif", np.zeros((10, 10), np.uint8))
    with pytest.raises(DataError, match="coordinate system"):
        read_road_map(tmp_path / "a.tif", write_shapes(tmp_path / "e.geojson"))


# --- real sets ----------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_sets_are_read(real_data):
    floods = real_data / "optical_sar" / "sen1floods11_spain"
    (water,) = find_class_maps(floods, floods, {-1: -1, 0: 0, 1: 1}, endings=("_S1Hand", "_LabelHand"))
    read = water.read()
    assert read.image.pixels.shape == (512, 512, 2)
    assert set(np.unique(read.classes)) == {-1, 0, 1}
    assert 0 < (read.classes == 1).mean() < 0.5

    mesh = real_data / "optical_sar" / "terramesh"
    covers = find_class_maps(mesh / "S2RGB", mesh / "LULC", {value: value for value in range(10)})
    assert len(covers) == 3
    assert all(len(np.unique(one.read().classes)) >= 2 for one in covers)

    zones = real_data / "imagery_osm" / "geolink_ufz"
    table = {value: value for value in range(10)} | {255: -1}
    found = find_class_maps(zones / "img", zones / "label", table)
    assert len(found) >= 3
    assert all(one.read().classes.shape == (224, 224) for one in found)


@pytest.mark.real
def test_real_shapes_lie_on_their_images(real_data):
    vegas = real_data / "imagery_osm" / "spacenet3_vegas"
    roads = read_road_map(vegas / "AOI_2_Vegas_img0.tif", vegas / "AOI_2_Vegas_img0.geojson")
    assert 0.05 < roads.classes.mean() < 0.3
    grey = roads.image.pixels.astype(float).mean(axis=2)
    saturation = np.ptp(roads.image.pixels.astype(float), axis=2)
    assert saturation[roads.classes == 1].mean() < saturation[roads.classes == 0].mean()
    assert grey.shape == (1300, 1300)

    kampala = real_data / "imagery_osm" / "kampala"
    boxed = read_building_boxes(kampala / "oam_z19_0.tif", kampala / "osm_buildings.geojson")
    assert len(boxed.labels) > 20
    assert (boxed.boxes_xyxy[:, 2:] <= [768, 512]).all()
