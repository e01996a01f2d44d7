"""Tasks about what happened between two images: buildings that came and went, and damage to them."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from models.downstream.lessons import (
    Batch,
    LessonConfig,
    PlaceDraws,
    cut_chips,
    find_place,
    show_day,
    show_radar,
    standardise,
)
from models.downstream.segmentation import CLASSES, SegmentationTask, tell_f1, tell_second
from models.modality.draws import Draws
from models.modality.fields import draw_field, look_up
from models.modality.lattice import CODES
from models.modality.scenes import Cover, Scenes

_LEAST_ROOFS = 0.08
_LEAST_HOUSE_PX = 60
_CHANGED = (0.2, 0.6)
_INTACT, _DAMAGED, _DESTROYED = 1, 2, 3
_STILL_HIGH = 0.35


def has_roofs(scenes: Scenes) -> bool:
    """Say whether a place is built upon, by houses of more than a few pixels."""
    roof = scenes.cover == Cover.ROOF
    houses = len(torch.unique(scenes.parcel[roof]))
    return float(roof.float().mean()) > _LEAST_ROOFS and float(roof.sum()) > _LEAST_HOUSE_PX * houses


def place_change(config: LessonConfig, draws: PlaceDraws) -> Batch:
    """Show a place on two days between which some buildings came and some went."""
    scenes = find_place(config, draws, has_roofs)
    fate = _draw_fates(scenes, draws.generator)
    share = float(draws.generator.uniform(*_CHANGED)) / 2
    roof = scenes.cover == Cover.ROOF
    new, gone = roof & (fate < share), roof & (fate >= 1 - share)
    days = [show_day(_clear(scenes, absent), draws.generator) for absent in (new, gone)]
    views = tuple(standardise(cut_chips(day), None) for day in days)
    return Batch(views, {CLASSES: cut_chips(new | gone)[:, 0].long()})


def place_damage(config: LessonConfig, draws: PlaceDraws) -> Batch:
    """Show a place by day, and to a radar after some of its buildings were damaged and some destroyed."""
    scenes = find_place(config, draws, has_roofs)
    fate = _draw_fates(scenes, draws.generator)
    roof = scenes.cover == Cover.ROOF
    grade = 1 + (fate > 0.5).long() + (fate > 0.75).long()
    damaged, destroyed = roof & (grade == _DAMAGED), roof & (grade == _DESTROYED)
    after = _damage(_clear(scenes, destroyed, rubble=True), damaged, draws.generator)
    before = standardise(cut_chips(show_day(scenes, draws.generator)), None)
    seen = standardise(None, cut_chips(show_radar(after, draws.generator)))
    return Batch((before, seen), {CLASSES: cut_chips(grade * roof)[:, 0]})


def _draw_fates(scenes: Scenes, generator: np.random.Generator) -> Tensor:
    """Return an even number for every building, the same over all of it, (1, 1, height, width)."""
    draws = Draws.start(generator, 1, torch.device("cpu"))
    return look_up(scenes.parcel, draws.table((0.0, 1.0), CODES))


def _clear(scenes: Scenes, absent: Tensor, *, rubble: bool = False) -> Scenes:
    """Return a place without some of its buildings: bare ground, rough where they collapsed."""
    ground = torch.full_like(scenes.cover, Cover.BARE)
    return dataclasses.replace(
        scenes,
        cover=torch.where(absent, ground, scenes.cover),
        object_px=torch.where(absent, 0.0, scenes.object_px),
        ridge=torch.where(absent, 0.0, scenes.ridge),
        grain=torch.where(absent, 2 * scenes.grain, scenes.grain) if rubble else scenes.grain,
    )


def _damage(scenes: Scenes, damaged: Tensor, generator: np.random.Generator) -> Scenes:
    """Return a place where some buildings have lost height and parts of their roofs."""
    draws = Draws.start(generator, 1, torch.device("cpu"))
    height, width = scenes.cover.shape[-2:]
    holes = damaged & (draw_field(draws, (height, width), max(height, width) // 6) > 0.3)
    lower = torch.where(damaged, _STILL_HIGH * scenes.object_px, scenes.object_px)
    return _clear(dataclasses.replace(scenes, object_px=lower), holes, rubble=True)


CHANGE = SegmentationTask(
    name="change",
    title="Buildings that came or went between two optical images",
    headline="iou",
    classes=("same", "changed"),
    views=2,
    make_place=place_change,
    figures=tell_second,
    shown={},
)
DAMAGE = SegmentationTask(
    name="damage",
    title="Buildings intact, damaged or destroyed, from an optical image before and SAR after",
    headline="f1",
    classes=("ground", "intact", "damaged", "destroyed"),
    views=2,
    make_place=place_damage,
    figures=tell_f1,
    shown={},
)
