"""Make the registration of two scenes stand in a store: transform, tie points, pictures, the receipt last."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from catalog.pictures.cogs import write_preview_cog
from catalog.pictures.previews import Rgba
from catalog.receipts import describe_bytes, seal, store_files, translate_scratch_error
from catalog.records import BandStatistics, Grid
from catalog.registrations.grids import correct_transform, is_same_crs, to_world
from catalog.registrations.pictures import draw_checkerboard, draw_thumbnail, find_middle
from catalog.registrations.plan import (
    REGISTRATION_RECEIPT,
    NineNumbers,
    RegistrationPlan,
    RegistrationReceipt,
    SixNumbers,
    plan_digest,
)
from catalog.registrations.reading import ReadScene
from catalog.registrations.tie_points import FoundPoints, encode_tie_points
from catalog.registrations.warp import Inverse, warp_picture, write_corrected
from infra.provenance import package_versions, project_version
from infra.storage import Storage

TRANSFORM_NAME = "transform.json"
POINTS_NAME = "tie_points.parquet"
PREVIEW_NAME = "preview.tif"
CORRECTED_NAME = "corrected.tif"
CHECKERBOARD_NAME = "checkerboard.png"
THUMBNAIL_NAME = "thumbnail.png"
_WRITERS = ("numpy", "opencv-python-headless", "pillow", "pyarrow", "rasterio", "torch", "zarr")
_DIGITS = 13  # world coordinates are large: a homography's last row needs all of them
_FIGURE_DECIMALS = 4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold what became of a pair of scenes, in the words of the store."""

    reason: str | None
    """Why they are not registered, a code; None where they are."""
    explanation: str
    """The verdict in a sentence."""
    model: str | None
    """Kind of the transform; None where none was found."""
    fixed_from_moving: NDArray[np.float64] | None
    """3×3, pixels of the working grid, centres at whole numbers; None for a transform that bends, or none."""
    description: Mapping[str, Any]
    """The transform in full, JSON."""
    moving_from_fixed: Inverse | None
    """The way back, in the same pixels; None where there is no transform."""
    figures: Mapping[str, float]
    left_out_px: Mapping[str, float]
    points: FoundPoints

    @property
    def registered(self) -> bool:
        """Whether the transform may be used."""
        return self.reason is None


def write_registration(
    storage: Storage, plan: RegistrationPlan, outcome: Outcome, fixed: ReadScene, moving: ReadScene
) -> RegistrationReceipt:
    """Make every file of a product, write them, then the receipt.

    Nothing is written before everything is made, nor where the product stands already.

    Args:
        storage: The store.
        plan: What the product is.
        outcome: What was found.
        fixed: The scene that stays, on the plan's grid.
        moving: The other one, as it came.

    Raises:
        InternalError: another run wrote something else under the same id.
        ConfigError: the store is full or may not be written.
    """
    applied = _choose_way(plan, outcome)
    with tempfile.TemporaryDirectory(prefix="terraloom-") as folder:
        scratch = Path(folder)
        try:
            statistics = _make_files(storage, plan, outcome, (fixed, moving), applied, scratch)
        except OSError as exc:
            raise translate_scratch_error(exc, plan.id) from exc
        paths = sorted(scratch.iterdir())
        receipt = RegistrationReceipt(
            id=plan.id,
            plan_digest=plan_digest(plan),
            files=tuple(describe_bytes(path.name, path.read_bytes()) for path in paths),
            statistics=statistics,
            software={"terraloom": project_version(), "gdal": rasterio.__gdal_version__}
            | package_versions(_WRITERS),
            **_state(plan, outcome, applied),
        )
        store_files(storage, plan.path, paths)
    return seal(storage, plan.path, receipt, REGISTRATION_RECEIPT)


def _choose_way(plan: RegistrationPlan, outcome: Outcome) -> str:
    """Say how the correction is applied: without touching a pixel wherever a geotransform can say it."""
    if not outcome.registered:
        return "none"
    plain = outcome.model in {"translation", "affine"} and is_same_crs(plan.grid, plan.moving.grid)
    return "geotransform" if plain else "warp"


def _make_files(
    storage: Storage,
    plan: RegistrationPlan,
    outcome: Outcome,
    scenes: tuple[ReadScene, ReadScene],
    applied: str,
    folder: Path,
) -> dict[str, BandStatistics]:
    """Make the files in a local folder; returns the preview's statistics."""
    fixed, moving = (scene.rgba for scene in scenes)
    back = outcome.moving_from_fixed if outcome.registered else None
    after = None if back is None else warp_picture(moving, back)
    middle = find_middle(outcome.points.fixed_xy[outcome.points.agrees], plan.grid.shape_yx)
    document = _state(plan, outcome, applied) | {"transform": dict(outcome.description)}
    (folder / TRANSFORM_NAME).write_bytes(
        json.dumps(document | _name_scenes(plan), indent=2, sort_keys=True, allow_nan=False).encode()
    )
    (folder / POINTS_NAME).write_bytes(encode_tie_points(outcome.points, plan.grid))
    (folder / CHECKERBOARD_NAME).write_bytes(draw_checkerboard(fixed, moving, after, middle))
    (folder / THUMBNAIL_NAME).write_bytes(draw_thumbnail(fixed, moving, after, middle))
    if back is not None and applied == "warp" and plan.moving.bands:
        write_corrected(storage, plan.moving, plan.grid, back, folder / CORRECTED_NAME)
    return _write_preview(after if after is not None else moving, plan.grid, folder)


def _write_preview(rgba: Rgba, grid: Grid, folder: Path) -> dict[str, BandStatistics]:
    statistics = write_preview_cog(rgba, grid, folder / PREVIEW_NAME)
    return {name: summary for name, summary in statistics.items() if math.isfinite(summary.mean)}


def _state(plan: RegistrationPlan, outcome: Outcome, applied: str) -> dict[str, Any]:
    """State the verdict and the correction, under the names that a receipt has for them."""
    correction = None
    if outcome.registered and outcome.fixed_from_moving is not None:
        correction = to_world(outcome.fixed_from_moving, plan.grid)
    return {
        "registered": outcome.registered,
        "reason": outcome.reason,
        "explanation": outcome.explanation,
        "model": outcome.model,
        "applied": applied,
        "correction": None if correction is None else _spell_matrix(correction),
        "corrected_transform": _spell_transform(plan, correction) if applied == "geotransform" else None,
        "figures": {name: _round(value) for name, value in outcome.figures.items()},
        "left_out_px": {name: round(value, _FIGURE_DECIMALS) for name, value in outcome.left_out_px.items()},
    }


def _name_scenes(plan: RegistrationPlan) -> dict[str, Any]:
    learned = {"weights_sha256": plan.model_digest, "model_item": plan.model_item}
    return {
        "fixed": plan.fixed.id,
        "moving": plan.moving.id,
        "matcher": plan.matcher,
        **{name: value for name, value in learned.items() if value is not None},
        "grid": {
            "crs": plan.grid.crs,
            "transform": list(plan.grid.transform),
            "shape": list(plan.grid.shape_yx),
        },
    }


def _spell_matrix(matrix: NDArray[np.float64]) -> NineNumbers:
    a, b, c, d, e, f, g, h, i = map(_to_digits, matrix.ravel().tolist())
    return a, b, c, d, e, f, g, h, i


def _spell_transform(plan: RegistrationPlan, correction: NDArray[np.float64] | None) -> SixNumbers | None:
    if correction is None:
        return None
    a, b, c, d, e, f = map(_to_digits, correct_transform(correction, plan.moving.grid))
    return a, b, c, d, e, f


def _to_digits(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _round(value: float) -> float | None:
    return round(float(value), _FIGURE_DECIMALS) if math.isfinite(value) else None
