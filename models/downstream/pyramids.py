"""Pyramids by name: those without weights, and MaRS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from infra.errors import InputError
from models.decoders.pyramid import Pyramid
from models.decoders.small_pyramids import ConvPyramid, FixedPyramid
from models.downstream.config import PyramidConfig
from models.mars.checkpoint import load_mars
from models.mars.network import Mars
from models.mars.presets import PRESETS, find_preset
from models.mars.pyramid import MarsPyramid

OWN_PYRAMIDS: dict[str, Callable[[], Pyramid]] = {"conv": ConvPyramid, "fixed": FixedPyramid}
FRESH = "fresh"
"""Stands for weights from random numbers: what pretraining is compared with."""


def pyramid_names() -> tuple[str, ...]:
    """Return the names of the pyramids that tasks can be trained over."""
    return (*OWN_PYRAMIDS, *PRESETS)


def build_pyramid(config: PyramidConfig) -> Pyramid:
    """Return a pyramid; fresh weights come from torch's global generator.

    Raises:
        InputError: no such pyramid, weights for one that takes none, or none come with a preset.
        NotFoundError: there is no such file of weights.
        DataError: the weights do not fit.
    """
    if config.name in PRESETS:
        return MarsPyramid(_build_mars(config))
    if config.name not in OWN_PYRAMIDS:
        raise InputError(f"There is no pyramid {config.name!r}; choose one of {', '.join(pyramid_names())}.")
    if config.weights:
        raise InputError(f"The pyramid {config.name!r} takes no weights, but {config.weights!r} is given.")
    return OWN_PYRAMIDS[config.name]()


def _build_mars(config: PyramidConfig) -> Mars:
    preset = find_preset(config.name)
    if config.weights == FRESH:
        return Mars(preset)
    return load_mars(preset, Path(config.weights) if config.weights else None)
