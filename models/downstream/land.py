"""Tasks about what lies on the ground: land cover with an image missing, and roads."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from models.downstream.lessons import (
    Batch,
    LessonConfig,
    PlaceDraws,
    cut_chips,
    find_place,
    show_both,
    show_only,
)
from models.downstream.segmentation import CLASSES, SegmentationTask, tell_mean, tell_second
from models.modality.scenes import Cover, Scenes

_LEAST_STREETS = 0.04
LAND_CLASSES = {
    "water": (Cover.WATER,),
    "bare": (Cover.BARE,),
    "grass": (Cover.GRASS, Cover.YARD),
    "crop": (Cover.CROP,),
    "forest": (Cover.FOREST,),
    "paved": (Cover.STREET, Cover.ROAD, Cover.RAIL),
    "building": (Cover.ROOF,),
}
"""Class of land → the covers it takes together."""


def classify_land(cover: Tensor) -> Tensor:
    """Return the class of land of covers (batch, 1, height, width), int64 (batch, height, width)."""
    table = torch.zeros(len(Cover), dtype=torch.int64)
    for number, covers in enumerate(LAND_CLASSES.values()):
        table[list(covers)] = number
    return table[cover[:, 0].long()]


def place_land(config: LessonConfig, draws: PlaceDraws) -> Batch:
    """Show a place to both sensors, with its classes of land."""
    scenes = find_place(config, draws)
    truth = classify_land(cut_chips(scenes.cover))
    return Batch((show_both(scenes, draws.generator),), {CLASSES: truth})


def place_roads(config: LessonConfig, draws: PlaceDraws) -> Batch:
    """Show a place with streets to both sensors; the classes are road or not."""
    scenes = find_place(config, draws, _has_streets)
    cover = cut_chips(scenes.cover)[:, 0]
    truth = ((cover == Cover.STREET) | (cover == Cover.ROAD)).long()
    return Batch((show_both(scenes, draws.generator),), {CLASSES: truth})


def _has_streets(scenes: Scenes) -> bool:
    lined = (scenes.cover == Cover.STREET) | (scenes.cover == Cover.ROAD)
    return float(lined.float().mean()) > _LEAST_STREETS


MAPPING = SegmentationTask(
    name="mapping",
    title="Land cover in 7 classes, learned with optical and SAR, asked with SAR alone",
    headline="miou_sar_only",
    classes=tuple(LAND_CLASSES),
    views=1,
    make_place=place_land,
    figures=tell_mean,
    shown={
        "miou_rgb_only": partial(show_only, side="rgb"),
        "miou_sar_only": partial(show_only, side="sar"),
    },
)
ROADS = SegmentationTask(
    name="roads",
    title="Streets and roads from optical and SAR",
    headline="iou",
    classes=("ground", "road"),
    views=1,
    make_place=place_roads,
    figures=tell_second,
    shown={},
)
