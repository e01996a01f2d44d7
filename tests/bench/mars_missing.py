"""What a land cover head loses when the optical image is missing: ``python tests/bench/mars_missing.py``.

The same head is trained with both images over the frozen preset, once with its pretrained weights and once
with fresh ones, and asked with both, with radar only and with optical only. Several seeds, of head, lessons
and fresh weights. On two grounds, whose truth is known: sample worlds that no training of the preset saw,
and held-out drawn places, whose radar hardly tells one class from another. How much radar tells at all says
a head that is trained and asked with radar only. ``--weights FILE`` measures others than the shipped ones,
``--beside NAME=FILE`` one more preset of weights, ``--ground worlds`` one ground only.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from catalog.chips.sample_worlds import draw_world
from catalog.sample.cover import Cover
from models.downstream.config import DownstreamConfig, PyramidConfig, find_config
from models.downstream.drawn import DrawnLessons, Lessons
from models.downstream.evaluation import train_task
from models.downstream.labelled import LabelledLessons, LabelledPlaces
from models.downstream.land import LAND_CLASSES
from models.downstream.learner import DownstreamLearner
from models.downstream.lessons import Batch, LessonConfig, View, show_only
from models.downstream.pyramids import FRESH
from models.downstream.segmentation import CLASSES, NOTHING

_SEEDS = (0, 1, 2)
_STEPS = 250
_ASKED = ("miou", "miou_sar_only", "miou_rgb_only")
# Up to 47 the preset learned from; up to 79 were looked at while settings were chosen.
_FIRST_WORLD = 80
_LESSON_WORLDS, _TEST_WORLDS = 16, 8
_COVERS = {
    "water": (Cover.SEA, Cover.RIVER, Cover.LAKE),
    "bare": (Cover.BEACH, Cover.BARE),
    "grass": (Cover.MEADOW, Cover.PARK, Cover.GARDEN),
    "crop": (Cover.FIELD,),
    "forest": (Cover.ORCHARD, Cover.WOOD_BROAD, Cover.WOOD_NEEDLE, Cover.SCRUB),
    "paved": (Cover.CENTRE, Cover.INDUSTRIAL, Cover.QUAY, Cover.TRACK, Cover.ROAD, Cover.RAIL, Cover.MOLE),
    "building": (Cover.BUILDING, Cover.TANK),
}
"""Class of the mapping task → covers of sample worlds; solar panels are none of them."""


@dataclasses.dataclass(frozen=True)
class RadarOnly:
    """Lessons with the optical images taken away, measured with both all the same."""

    lessons: Lessons

    def __getattr__(self, name: str) -> object:
        """Return what the lessons themselves say."""
        return getattr(self.lessons, name)

    def lesson(self, seed: int, index: int) -> Batch:
        """Make a batch of radar images."""
        return show_only(self.lessons.lesson(seed, index), "sar")


def main(weights: dict[str, str], grounds: Sequence[str], seeds: Sequence[int] = _SEEDS) -> None:
    """Write mean and deviation over seeds of every mIoU, and of what a missing image costs."""
    for ground in grounds:
        for name, given in weights.items():
            found = np.array([_measure(ground, given, seed) for seed in seeds])
            both, radar, optical = found.T
            _tell(ground, name, "both", both)
            _tell(ground, name, "radar only", radar)
            _tell(ground, name, "optical only", optical)
            _tell(ground, name, "lost without optical", both - radar)
            _tell(ground, name, "lost without radar", both - optical)
        radar_head = [_measure(ground, next(iter(weights.values())), seed, radar=True)[1] for seed in seeds]
        _tell(ground, next(iter(weights)), "radar head, radar only", np.array(radar_head))


def _tell(ground: str, name: str, title: str, values: np.ndarray) -> None:
    sys.stdout.write(f"{ground:7s} {name:12s} {title:23s} {values.mean():.3f} ± {values.std():.3f}\n")
    sys.stdout.flush()


def _configure(weights: str, seed: int) -> DownstreamConfig:
    filed = find_config("mapping")
    return dataclasses.replace(
        filed,
        pyramid=PyramidConfig(name="mars-tiny", tuned=False, weights=weights),
        lessons=dataclasses.replace(filed.lessons, missing=0.0),
        training=dataclasses.replace(filed.training, steps=_STEPS, seed=seed, evaluate_every=0),
    )


def _measure(ground: str, weights: str, seed: int, *, radar: bool = False) -> list[float]:
    config = _configure(weights, seed)
    lessons = _teach_worlds(config.lessons) if ground == "worlds" else DrawnLessons("mapping", config.lessons)
    with tempfile.TemporaryDirectory() as folder:
        learner = DownstreamLearner(config, RadarOnly(lessons) if radar else lessons)  # type: ignore[arg-type]
        result = train_task(learner, Path(folder), torch.device("cpu"))
    return [result.figures[name] for name in _ASKED]


@lru_cache(maxsize=1)
def _teach_worlds(config: LessonConfig) -> LabelledLessons:
    first = _FIRST_WORLD
    return LabelledLessons(
        _hold_worlds(range(first, first + _LESSON_WORLDS)),
        _hold_worlds(range(first + _LESSON_WORLDS, first + _LESSON_WORLDS + _TEST_WORLDS)),
        config,
    )


def _hold_worlds(numbers: range) -> LabelledPlaces:
    places = [_show_world(number) for number in numbers]
    return LabelledPlaces(
        f"sample worlds {numbers[0]}-{numbers[-1]}", tuple(map(str, numbers)), places.__getitem__
    )


def _show_world(number: int) -> Batch:
    world = draw_world(number)
    table = np.full(256, NOTHING, np.int64)
    for row, name in enumerate(LAND_CLASSES):
        table[list(_COVERS[name])] = row
    view = View(torch.from_numpy(world.rgb)[None], torch.from_numpy(world.sar)[None])
    return Batch((view,), {CLASSES: torch.from_numpy(table[world.cover])[None]})


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--weights", default="", help="file of weights; the shipped ones without")
    asked.add_argument("--beside", default="", metavar="NAME=FILE", help="weights to measure besides")
    asked.add_argument("--ground", choices=("worlds", "drawn"), help="one ground only")
    asked.add_argument("--seeds", type=int, default=len(_SEEDS), help="how many")
    given = asked.parse_args()
    beside = dict([given.beside.split("=", 1)]) if given.beside else {}
    main(
        {"pretrained": given.weights, "fresh": FRESH, **beside},
        (given.ground,) if given.ground else ("worlds", "drawn"),
        range(given.seeds),
    )
