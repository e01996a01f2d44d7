"""Choose what a model sees of published scenes: three colours, one radar channel, or both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catalog.embeddings.plan import EmbeddingInput
from catalog.pictures.previews import choose_rgb
from catalog.records import Grid
from catalog.registrations.grids import is_same_crs
from catalog.registrations.plan import SceneFacts
from infra.errors import DataError, InputError

RGB, SAR = "rgb", "sar"
_COLOURS = 3
_DECIBELS = (-80.0, 60.0)  # beyond these no backscatter is
_DARK_SHARE = 5.0  # per cent of pixels below zero that noise may put there


def choose_inputs(scenes: Sequence[SceneFacts]) -> tuple[EmbeddingInput, ...]:
    """Choose variables of one scene, or of an optical and a radar scene that are seen together.

    Args:
        scenes: One, or two of one grid.

    Raises:
        InputError: nothing of a scene is three colours or radar, two show the same, or grids differ.
    """
    chosen = [_choose(scene) for scene in scenes]
    if len({each.modality for each in chosen}) < len(chosen):
        raise InputError(
            f"{' and '.join(scene.id for scene in scenes)} are of one kind; "
            "only an optical and a radar scene are seen together"
        )
    for scene in scenes[1:]:
        if not _is_same_grid(scenes[0].grid, scene.grid):
            raise InputError(
                f"{scene.id} is not on the grid of {scenes[0].id}; make both cubes by one request, "
                "or encode them apart"
            )
    return tuple(sorted(chosen, key=lambda each: each.modality))


def is_encodable(scene: SceneFacts) -> bool:
    """Say whether a scene shows three colours or radar."""
    return _find_modality(scene) is not None


def judge_radar(values: NDArray[np.float32], unit: str | None, place: str) -> bool:
    """Say whether backscatter is in decibels, by its unit and by its range.

    Args:
        values: Some stored values that are data, scale and offset applied.
        unit: As stated; None where it is not.
        place: What to call the scene.

    Raises:
        DataError: the values cannot be what the unit says.
    """
    stated = (unit or "").lower() == "db"
    low, high = np.percentile(values, (_DARK_SHARE, 99.0)).tolist()
    if stated and not (_DECIBELS[0] <= low and high <= _DECIBELS[1]):
        raise DataError(
            f"the radar of {place} is declared in dB, but its values reach from {low:g} to {high:g}; "
            "correct its unit"
        )
    if unit and not stated and low < 0:
        raise DataError(
            f"the radar of {place} is declared as {unit!r}, but values are below zero, as only dB are "
            f"({low:g}); correct its unit"
        )
    return stated or low < 0


def _choose(scene: SceneFacts) -> EmbeddingInput:
    modality = _find_modality(scene)
    if modality is None:
        shown = ", ".join(band.name for band in scene.bands) or "a drawn map"
        raise InputError(
            f"{scene.id} cannot be encoded: a model sees red, green and blue, or radar; it has {shown}"
        )
    names = choose_rgb(scene.bands).names
    return EmbeddingInput(modality=modality, scene=scene, names=names if modality == RGB else names[:1])


def _find_modality(scene: SceneFacts) -> str | None:
    if not scene.bands:
        return None
    if scene.radar:
        return SAR
    return RGB if len(choose_rgb(scene.bands).names) == _COLOURS else None


def _is_same_grid(first: Grid, second: Grid) -> bool:
    near = np.allclose(first.transform, second.transform, rtol=0, atol=1e-3 * abs(first.transform[0]))
    return first.shape_yx == second.shape_yx and bool(near) and is_same_crs(first, second)
