"""The stages that the tiny preset is trained in, by the names of the registry of trainings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from infra.errors import ConfigError, NotFoundError
from models.mars.checkpoint import find_weights
from models.mars.chips import ChipFile, OpenSource, ReaderChips, find_chips, refuse_source
from models.mars.lessons import LessonConfig
from models.mars.missing import FillLearner
from models.mars.presets import find_preset
from models.mars.training import LossWeights, MarsLearner
from models.training.registry import CHIPS_VARIABLE, START_VARIABLE

# Unweighted, the contrast's gradient in the small encoders is ten times that of what is rebuilt.
_TINY_WEIGHTS = LossWeights(rebuilt=4.0)


def mars_tiny() -> MarsLearner:
    """Return the learner of the tiny preset, which sees drawn places only."""
    return MarsLearner(find_preset("mars-tiny"), weights=_TINY_WEIGHTS)


def mars_tiny_chips(open_source: OpenSource = refuse_source) -> MarsLearner:
    """Return the learner of the tiny preset that sees real chips besides.

    Args:
        open_source: opens source files, see ``find_chips``.

    Raises:
        ConfigError: the environment names no folder of chips, or nothing opens its source files.
        NotFoundError: it holds none with both sides.
        DataError: one of them cannot be used.
    """
    return MarsLearner(
        find_preset("mars-tiny"),
        LessonConfig(real=16, masked=6, jitter=0.4),
        sources=_find_pairs(open_source),
        weights=LossWeights(rebuilt=4.0, contrast=2.0),
        start=_find_start(),
        label="-chips",
    )


def mars_tiny_optical(open_source: OpenSource = refuse_source) -> MarsLearner:
    """Return the optical stage: the shipped tiny preset, or weights that are named, go on in colour alone.

    Args:
        open_source: opens source files, see ``find_chips``.

    Raises:
        InputError: no weights are shipped nor named.
        ConfigError: nothing opens the source files of the folder that the environment names.
        NotFoundError: it holds no chips.
        DataError: one of them cannot be used.
    """
    folder = os.environ.get(CHIPS_VARIABLE)
    found = find_chips(Path(folder), open_source) if folder else ()
    sources = tuple(one for one in found if "rgb" in one.modalities)
    lessons = LessonConfig(optical=True, alone=0, real=8)
    config = find_preset("mars-tiny")
    start = _find_start() or find_weights(config.name)
    return MarsLearner(config, lessons, sources, weights=_TINY_WEIGHTS, start=start, label="-optical")


def mars_tiny_missing(open_source: OpenSource = refuse_source) -> FillLearner:
    """Return the last stage: the shipped tiny preset, or weights that are named, learn to miss a modality.

    Chips of the folder alone: a drawn place's radar hardly tells one cover from another.

    Args:
        open_source: opens source files, see ``find_chips``.

    Raises:
        InputError: no weights are shipped nor named.
        ConfigError: the environment names no folder of chips, or nothing opens its source files.
        NotFoundError: it holds none with both sides.
        DataError: one of them cannot be used.
    """
    config = find_preset("mars-tiny")
    lessons = LessonConfig(masked=1, alone=0, jitter=0.1)
    return FillLearner(
        MarsLearner(
            config,
            replace(lessons, real=lessons.chips),
            sources=_find_pairs(open_source),
            start=_find_start() or find_weights(config.name),
            label="-missing",
        )
    )


def _find_pairs(open_source: OpenSource) -> tuple[ChipFile | ReaderChips, ...]:
    """Return the sources of the folder that the environment names which show both sides."""
    folder = os.environ.get(CHIPS_VARIABLE)
    if not folder:
        raise ConfigError(
            f"no chips are named to learn from; give --chips FOLDER, or let {CHIPS_VARIABLE} name one"
        )
    sources = tuple(one for one in find_chips(Path(folder), open_source) if len(one.modalities) == 2)
    if not sources:
        raise NotFoundError(f"{folder} holds no chips with both rgb and sar; write some first")
    return sources


def _find_start() -> Path | None:
    named = os.environ.get(START_VARIABLE)
    return Path(named) if named else None
