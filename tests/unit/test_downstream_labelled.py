"""Tasks on labelled images: what is cut from them, how sets are opened, and that they can be learned."""

import dataclasses
import json

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image

from flows.labelled_lessons import open_lessons
from infra.errors import DataError, InputError, NotFoundError
from models.downstream.config import parse_config
from models.downstream.detection import BOXES, LABELS
from models.downstream.evaluation import measure_task, train_task
from models.downstream.excerpts import Window, cut_window, halve, spread_windows, turn_chip
from models.downstream.height import HEIGHT
from models.downstream.learner import DownstreamLearner
from models.downstream.lessons import Batch, View
from models.downstream.segmentation import CLASSES
from models.downstream.tasks import find_task, fit_task

CPU = torch.device("cpu")
TABLES = {
    "pyramid": {"name": "fixed"},
    "decoder": {"width": 8},
    "lessons": {"chips": 4, "size_px": 32, "held_out": 1, "reuse": 2},
    "training": {"steps": 2, "warmup_steps": 0, "threads": 1, "evaluate_every": 0},
}


def configure(task, data, **tables):
    return parse_config({"task": task, "data": data} | TABLES | tables, "a test")


def place_of(height, width, boxes=()):
    column, row = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
    rgb = torch.stack([column, row, column + row]).float()[None]
    found = torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4)
    truth = {
        CLASSES: ((column + row) % 3)[None],
        HEIGHT: column.float()[None, None],
        BOXES: found,
        LABELS: torch.zeros(1, found.shape[1], dtype=torch.int64),
    }
    return Batch((View(rgb, None),), truth)


# --- windows ------------------------------------------------------------------------------------------


def test_windows_cut_images_and_truth_alike_and_know_nothing_beyond_the_rim():
    place = place_of(20, 30, [[2, 2, 6, 6], [20, 10, 28, 18], [24, 0, 29, 10]])
    chip = cut_window(place, Window(12, 16, 16, 16))
    rgb = chip.views[0].rgb
    assert rgb.shape == (1, 3, 16, 16)
    assert rgb[0, :2, 0, 0].tolist() == [16, 12]
    assert rgb[0, 0, :8, :14].isfinite().all()
    assert rgb[:, :, 8:].isnan().all()
    assert rgb[..., 14:].isnan().all()
    assert (chip.truth[CLASSES][0, 8:] == -1).all()
    assert chip.truth[HEIGHT][0, 0, 0, 0] == 16
    assert chip.truth[HEIGHT][0, 0, 8:].isnan().all()
    assert chip.truth[BOXES].tolist() == [[[4, 0, 12, 6]]]


def test_a_box_of_which_little_shows_is_not_looked_for():
    place = place_of(20, 30, [[0, 0, 10, 10]])
    for left, shown in ((6, 1), (8, 0)):
        assert cut_window(place, Window(0, left, 16, 16)).truth[BOXES].shape[1] == shown


def test_windows_side_by_side_cover_every_pixel_once():
    seen = np.zeros((70, 100), int)
    for window in spread_windows((70, 100), 32):
        seen[window.top : window.top + 32, window.left : window.left + 32] += 1
    assert (seen == 1).all()
    shapes = {part: halve((7, 9), part) for part in ("left", "right", "top", "bottom", "whole")}
    assert shapes["left"].width + shapes["right"].width == 9
    assert shapes["right"].left == shapes["left"].width
    assert shapes["top"].height + shapes["bottom"].height == 7
    assert shapes["whole"] == (0, 0, 7, 9)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_boxes_turn_with_their_images(turns, mirrored):
    place = place_of(32, 32, [[4, 8, 10, 20]])
    marked = place.views[0].rgb.clone()
    marked[:] = 0
    marked[..., 8:20, 4:10] = 1
    turned = turn_chip(Batch((View(marked, None),), place.truth), turns, mirrored=mirrored)
    left, top, right, bottom = (int(side) for side in turned.truth[BOXES][0, 0])
    inside = turned.views[0].rgb[0, 0, top:bottom, left:right]
    assert inside.numel() == 72
    assert bool((inside == 1).all())
    sums = turned.truth[HEIGHT][0, 0], place.truth[HEIGHT][0, 0]
    assert sums[0].sum() == sums[1].sum()


# --- sets ---------------------------------------------------------------------------------------------


def write_tif(path, bands, bounds=(0, 0, 0.01, 0.01)):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.asarray(bands)
    bands = bands[None] if bands.ndim == 2 else bands
    count, height, width = bands.shape
    west, south, east, north = bounds
    grid = Affine((east - west) / width, 0, west, 0, (south - north) / height, north)
    with rasterio.open(
        path, "w", "GTiff", width, height, count, dtype=bands.dtype, crs="EPSG:4326", transform=grid
    ) as file:
        file.write(bands)


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def stripes(rng, size=64):
    """An image whose bright stripes are its second class."""
    classes = np.zeros((size, size), np.uint8)
    for start in rng.integers(0, size - 8, 3):
        classes[:, start : start + 8] = 1
    return (60 + 90 * classes[..., None] + rng.integers(0, 40, (size, size, 3))).astype(np.uint8), classes


def write_masks(folder, rng, names, radar=False):
    for name in names:
        image, classes = stripes(rng)
        write_png(folder / "img" / f"{name}.png", image)
        write_png(folder / "label" / f"{name}.png", classes)
        if radar:
            write_png(folder / "sar" / f"{name}.png", 255 - image[..., 0])


def masks(folder, **more):
    named = {"kind": "masks", "train": f"{folder}/img/a*", "test": f"{folder}/img/b*", "labels": "../label"}
    return named | more


def test_a_task_is_learned_from_masks_and_measured_on_others(tmp_path, rng):
    write_masks(tmp_path, rng, ["a1", "a2", "b1"])
    config = configure(
        "roads", masks(tmp_path), training=TABLES["training"] | {"steps": 25, "learning_rate": 0.02}
    )
    learner = DownstreamLearner(config, open_lessons(config))
    result = train_task(learner, tmp_path / "run", CPU)
    assert result.figures["iou"] > max(result.trivial["iou"], 0.6)
    assert result.chips == 4  # 64 × 64 pixels in windows of 32
    assert result.data == "img/b*, trained on img/a*"
    measured = measure_task(learner, tmp_path / "run" / "weights.safetensors", CPU)
    assert measured.figures == pytest.approx(result.figures)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, test_part="left"))
    assert DownstreamLearner(other, open_lessons(other)).name != learner.name
    assert "score" not in learner.evaluate(learner.build(0), CPU)  # nothing to choose the best weights by
    with pytest.raises(InputError, match="evaluate downstream"):
        DownstreamLearner(config).batch(0, 0, CPU)


def test_batches_are_the_same_for_the_same_numbers_and_standardised_by_the_training_part(tmp_path, rng):
    write_masks(tmp_path, rng, ["a1", "a2", "b1"], radar=True)
    lessons = open_lessons(configure("mapping", masks(tmp_path, radar="../sar", classes=["low", "high"])))
    first, again, other = (lessons.lesson(1, index) for index in (5, 5, 6))
    assert torch.equal(first.views[0].sar, again.views[0].sar)
    assert torch.equal(first.truth[CLASSES], again.truth[CLASSES])
    assert not torch.equal(first.views[0].rgb, other.views[0].rgb)
    assert first.views[0].rgb.shape == (4, 3, 32, 32)
    assert first.views[0].sar.shape == (4, 1, 32, 32)
    places = [lessons.train.read(number).views[0].rgb for number in range(2)]
    assert lessons.statistics.rgb.mean == pytest.approx(torch.cat(places).mean(dim=(0, 2, 3)).tolist(), 1e-4)


def test_images_of_which_a_part_teaches_are_measured_on_the_other_half(tmp_path, rng):
    write_masks(tmp_path, rng, ["a"])
    halves = masks(tmp_path, train_part="left", test_part="right") | {"test": f"{tmp_path}/img/a*"}
    lessons = open_lessons(configure("roads", halves))
    left, right = (part.read(0).views[0].rgb for part in (lessons.train, lessons.test))
    assert left.shape == right.shape == (1, 3, 64, 32)
    assert not torch.equal(left, right)
    for parts in ({}, {"train_part": "left"}, {"train_part": "left", "test_part": "top"}):
        shared = masks(tmp_path, **parts) | {"test": f"{tmp_path}/img/a*"}
        with pytest.raises(InputError, match="measured on"):
            open_lessons(configure("roads", shared))


def test_stored_values_are_named(tmp_path, rng):
    write_masks(tmp_path, rng, ["a", "b"])
    named = masks(tmp_path, values={"0": "grass", "1": "-"})
    truth = open_lessons(configure("mapping", named)).lesson(0, 0).truth[CLASSES]
    assert set(truth.unique().tolist()) <= {-1, 2}
    for values, words in (({"0": "gras"}, "gras"), ({"x": "grass"}, "x")):
        with pytest.raises(InputError, match=words):
            open_lessons(configure("mapping", masks(tmp_path, values=values)))
    unnamed = open_lessons(configure("roads", masks(tmp_path, values={"0": "ground"})))
    with pytest.raises(DataError, match="no class"):
        unnamed.lesson(0, 0)


def test_sets_that_do_not_suit_a_task_are_refused(tmp_path, rng):
    write_masks(tmp_path, rng, ["a", "b"])
    for task, words in (("height", "ndsm"), ("registration", "drawn places only")):
        with pytest.raises(InputError, match=words):
            open_lessons(configure(task, masks(tmp_path)))
    with pytest.raises(InputError, match="no folder"):
        open_lessons(configure("roads", masks(tmp_path / "none")))
    with pytest.raises(NotFoundError, match="no image of such a name"):
        open_lessons(configure("roads", masks(tmp_path) | {"test": f"{tmp_path}/img/c*"}))
    with pytest.raises(DataError, match="rgb_bands"):
        open_lessons(configure("roads", masks(tmp_path, rgb_bands=[4, 3, 2]))).lesson(0, 0)
    with pytest.raises(InputError, match="two of them"):
        fit_task(find_task("roads"), configure("roads", masks(tmp_path, classes=["a", "b", "c"])).data)
    with pytest.raises(InputError, match="has no classes"):
        fit_task(find_task("height"), configure("height", masks(tmp_path, classes=["a", "b"])).data)


def test_lines_and_outlines_are_lessons(tmp_path, rng):
    line = {"type": "LineString", "coordinates": [[0, 0.005], [0.01, 0.005]]}
    ring = [[0.002, 0.002], [0.008, 0.002], [0.008, 0.008], [0.002, 0.008], [0.002, 0.002]]
    shapes = {"type": "GeometryCollection", "geometries": [line, {"type": "Polygon", "coordinates": [ring]}]}
    for name in ("a", "b"):
        write_tif(tmp_path / f"{name}.tif", rng.integers(0, 255, (3, 64, 64), np.uint8))
        (tmp_path / f"{name}.geojson").write_text(json.dumps(shapes))
    data = {"train": f"{tmp_path}/a.tif", "test": f"{tmp_path}/b.tif", "road_width_m": 100.0}
    roads = open_lessons(configure("roads", data))
    assert 0.05 < roads.lesson(0, 0).truth[CLASSES].float().mean() < 0.3
    buildings = open_lessons(configure("buildings", data))
    truth = buildings.train.read(0).truth[BOXES]
    assert truth[0].tolist() == [pytest.approx([12.8, 12.8, 51.2, 51.2], abs=0.1)]
    batch = buildings.to_measure()[0]
    assert batch.truth[BOXES].shape == (4, 64, 4)
    config = configure("buildings", data)
    trivial = DownstreamLearner(config, buildings).measure_trivial(0)  # bright spots of the colours
    assert 0 <= trivial["ap"] < 1


def test_heights_keep_out_of_the_figures_what_nobody_knows(tmp_path, rng):
    for name in ("a", "b"):
        image, classes = stripes(rng)
        heights = np.where(np.arange(64) < 20, np.nan, 8.0 * classes).astype(np.float32)
        write_png(tmp_path / "img" / f"{name}.png", image)
        write_tif(tmp_path / "agl" / f"{name}.tif", heights)
    data = {"train": f"{tmp_path}/img/a.png", "test": f"{tmp_path}/img/b.png", "labels": "../agl"}
    config = configure("height", data)
    learner = DownstreamLearner(config, open_lessons(config))
    batch = learner.batch(0, 0, CPU)
    assert batch.truth[HEIGHT].isnan().any()
    loss, _ = learner.loss(learner.build(0), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert np.isfinite(learner.measure_trivial(0)["rmse_m"])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_changes_damage_and_targets_are_lessons(tmp_path, rng):
    image, classes = stripes(rng)
    for name in ("a", "b"):
        for folder in ("A", "B"):
            write_png(tmp_path / "cd" / folder / f"{name}.png", image)
        write_png(tmp_path / "cd" / "label" / f"{name}.png", 255 * classes)
        write_png(tmp_path / name / "pre-event" / "x_pre_disaster.png", image)
        write_png(tmp_path / name / "post-event" / "x_post_disaster.png", image[..., 0])
        write_png(tmp_path / name / "target" / "x_building_damage.png", 3 * classes)
        boxes = [{"id": 1, "image_id": 1, "category_id": kind, "bbox": [8, 8, 20, 10]} for kind in (1,)]
        boxes.append({"id": 2, "image_id": 1, "category_id": 2, "bbox": [30, 30, 20, 20]})
        coco = {
            "images": [{"id": 1, "file_name": "s.png", "width": 64, "height": 64}],
            "annotations": boxes,
            "categories": [{"id": 1, "name": "ship"}, {"id": 2, "name": "tank"}],
        }
        write_png(tmp_path / name / "sar" / "s.png", image)
        (tmp_path / name / "sar" / "annotations.json").write_text(json.dumps(coco))

    two = {"train": f"{tmp_path}/cd", "test": f"{tmp_path}/cd", "train_part": "top", "test_part": "bottom"}
    change = open_lessons(configure("change", two)).lesson(0, 0)
    assert [view.sar for view in change.views] == [None, None]
    places = {"train": f"{tmp_path}/a", "test": f"{tmp_path}/b"}
    damage = open_lessons(configure("damage", places)).lesson(0, 0)
    assert damage.views[0].sar is None
    assert damage.views[1].rgb is None
    assert set(damage.truth[CLASSES].unique().tolist()) <= {0, 3}

    sar = {"train": f"{tmp_path}/a/sar", "test": f"{tmp_path}/b/sar"}
    both = open_lessons(configure("targets", sar)).train.read(0)
    assert both.truth[LABELS].tolist() == [[0, 0]]
    assert both.views[0].rgb is None
    tanks = open_lessons(configure("targets", sar | {"classes": ["tank"]})).train.read(0)
    assert tanks.truth[BOXES].tolist() == [[[30, 30, 50, 50]]]
    with pytest.raises(InputError, match="lacks the class 'plane'"):
        open_lessons(configure("targets", sar | {"classes": ["plane"]}))


# --- real sets ----------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_sets_can_be_opened_and_cut(real_data):
    vegas = f"{real_data}/imagery_osm/spacenet3_vegas/AOI_*.tif"
    kampala = f"{real_data}/imagery_osm/kampala/oam_z19"
    floods = f"{real_data}/optical_sar/sen1floods11_spain"
    mesh = f"{real_data}/optical_sar/terramesh/S2L2A"
    covers = {"1": "water", "2": "forest", "3": "-", "4": "crop", "5": "building", "6": "bare", "9": "grass"}
    sets = {
        "roads": {"train": vegas, "test": vegas, "train_part": "left", "test_part": "right"},
        "buildings": {
            "train": f"{kampala}_0.tif",
            "test": f"{kampala}_1.tif",
            "labels": "osm_buildings.geojson",
        },
        "mapping": {
            "train": f"{mesh}/[!3]*",
            "test": f"{mesh}/38D*",
            "labels": "../LULC",
            "radar": "../S1RTC",
            "rgb_bands": [4, 3, 2],
            "values": covers,
        },
        "floods": {
            "kind": "masks",
            "train": floods,
            "test": floods,
            "train_part": "top",
            "test_part": "bottom",
            "labels": ".",
            "radar": ".",
            "endings": ["_S2Hand", "_LabelHand", "_S1Hand"],
            "rgb_bands": [4, 3, 2],
            "classes": ["dry", "water"],
            "values": {"-1": "-", "0": "dry", "1": "water"},
        },
    }
    for name, data in sets.items():
        config = configure("mapping" if name == "floods" else name, data)
        learner = DownstreamLearner(config, open_lessons(config))
        batch = learner.batch(0, 0, CPU)
        assert all(image.isfinite().all() for image in batch.views[0] if image is not None)
        assert (batch.views[0].sar is not None) == bool(config.data.radar)
        loss, _ = learner.loss(learner.build(0), batch)
        assert torch.isfinite(loss)
