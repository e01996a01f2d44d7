"""Register one scene to another: match in tiles, find the coarse transform, search anew, choose, judge."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError
from models.matching.images import GreyImage, prepare_image
from models.matching.matches import Matcher
from models.matching.transforms import Transform, invert
from models.registration.choice import choose_fit, find_agreeing, shift_by_mode
from models.registration.consensus import find_consensus
from models.registration.fits import KINDS, Fit, Kind, PlaneFit
from models.registration.gate import Figures, GateLimits, Search, Verdict, find_inliers, judge
from models.registration.lean import Lean, take_out_lean
from models.registration.orientation import describe_structure
from models.registration.reasons import Reason
from models.registration.templates import TemplateConfig, TemplateMatcher, count_apart
from models.registration.tie_points import TiePoints, pool_matches, spread_evenly
from models.registration.tiles import cut_tiles

_IDENTITY = np.eye(3)
_LEAN_FREEDOM = 2.5  # a disc of 1.5 px, drawn out by the 3 px that neighbours may differ


@dataclass(frozen=True)
class RegistrationConfig:
    """How scenes are registered; one setting for all.

    Attributes:
        tile_px: edge of the tiles that a matcher gets.
        overlap_px: least overlap of neighbouring tiles.
        max_tiles: tiles that a matcher gets at most, spread over the scene: what it finds is a start only.
        cell_px: edge of the cells that a matcher's tie points are thinned in.
        per_cell: tie points kept in each.
        coarse_px: how far from the coarse transform a matcher's tie points may be.
        check: the search that every verdict rests on, around the coarse transform.
        scale_px: residual from which on a tie point has no say in the transform.
        stray_px: how far from its neighbours' displacement a tie point may be.
        limits: what a registration must reach.
        kinds: transforms that may be chosen, the simplest first.
        seed: of the random trials.
    """

    tile_px: int = 512
    overlap_px: int = 96
    max_tiles: int = 25
    cell_px: float = 32.0
    per_cell: int = 4
    coarse_px: float = 4.0
    check: TemplateConfig = field(
        default_factory=lambda: TemplateConfig(template_px=80, reach_px=12, stride_px=32)
    )
    scale_px: float = 1.5
    stray_px: float = 3.0
    limits: GateLimits = field(default_factory=GateLimits)
    kinds: tuple[Kind, ...] = KINDS
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Registration:
    """What became of one pair of scenes.

    Attributes:
        verdict: whether the transform may be used, and the figures.
        fit: from the moving to the fixed scene's pixels; None where none was found.
        points: the tie points of the check, right or wrong.
        inliers: bool (n,), those that agree with the transform.
        residual_px: kind of transform → residual at tie points left out of its fit.
        matched: tie points that the matcher found, all tiles together.
        lean: how far what stands leans towards the radar; None where it was not asked for.
    """

    verdict: Verdict
    fit: Fit | None
    points: TiePoints
    inliers: NDArray[np.bool_]
    residual_px: dict[Kind, float]
    matched: int
    lean: Lean | None = None

    @classmethod
    def refused(cls, reason: Reason, points: TiePoints | None = None, *, matched: int = 0) -> Registration:
        """Return the outcome of a pair that no transform could be fitted to."""
        points = points or pool_matches(())
        figures = Figures(points=len(points))
        return cls(Verdict(reason, figures), None, points, np.zeros(len(points), np.bool_), {}, matched)


def register_scenes(
    fixed: GreyImage,
    moving: GreyImage,
    matcher: Matcher,
    config: RegistrationConfig = RegistrationConfig(),
    *,
    lean_xy: tuple[float, float] | None = None,
) -> Registration:
    """Find the transform from a moving scene to a fixed one, both on one pixel grid, and judge it.

    The matcher's tie points give a coarse transform only; without agreement among them the scenes'
    geolocation does. Around it windows on an even grid are searched for anew, each over the same number of
    places, whichever matcher was asked: transform and verdict rest on these.

    Args:
        fixed: the scene that stays; see ``models.matching.images.prepare_image``.
        moving: the scene to be moved, of the same height and width.
        matcher: finds tie points in pairs of tiles.
        config: how.
        lean_xy: direction, x to the right and y down, length 1, towards which trees and houses lean in the
            moving scene against the fixed one: to the sensor, where the moving scene is radar; away from it,
            where the fixed one is. None where neither or both are.

    Raises:
        InputError: the scenes differ in height or width.
    """
    if fixed.shape != moving.shape:
        raise InputError(
            f"scenes of {fixed.shape} and {moving.shape} pixels are not on one grid; "
            "resample one of them onto the other's"
        )
    reason = _find_hindrance(fixed, moving, config)
    if reason is not None:
        return Registration.refused(reason)
    matched = _match_tiles(fixed, moving, matcher, config)
    coarse = _find_coarse(matched, config)
    structure = _describe_tiles(fixed, config), _describe_tiles(moving, config)
    found = TiePoints.of(TemplateMatcher(config.check).search(*structure, invert(coarse)))
    return _conclude(found, fixed.shape, config, len(matched), lean_xy)


def _conclude(
    found: TiePoints,
    shape: tuple[int, int],
    config: RegistrationConfig,
    matched: int,
    lean_xy: tuple[float, float] | None,
) -> Registration:
    """Choose a transform for the tie points of the check, and judge it."""
    if len(found) < config.limits.min_points:
        return Registration.refused("too-few-points", found, matched=matched)
    agreeing = find_agreeing(found, tolerance_px=config.stray_px)
    if np.count_nonzero(agreeing) < config.limits.min_inliers:
        return Registration.refused("no-agreement", found, matched=matched)
    upright, lean = found, None
    if lean_xy is not None:
        upright, lean = _stand_upright(found, agreeing, lean_xy, config)
    search = _describe_search(found, shape, config, leans=lean is not None)
    choice = choose_fit(
        upright.take(agreeing), scale_px=config.scale_px, overlap=search.overlap, kinds=config.kinds
    )
    return Registration(
        verdict=judge(upright, choice, search, config.limits),
        fit=choice.fit,
        points=found,
        inliers=find_inliers(upright, choice.fit, config.limits),
        residual_px=choice.residual_px,
        matched=matched,
        lean=lean,
    )


def _stand_upright(
    found: TiePoints, agreeing: NDArray[np.bool_], lean_xy: tuple[float, float], config: RegistrationConfig
) -> tuple[TiePoints, Lean]:
    """Take the lean out of the tie points that agree with their neighbours; others stay as they are."""
    start = shift_by_mode(found.take(agreeing), config.scale_px)
    moved, lean = take_out_lean(found.take(agreeing), lean_xy, scale_px=config.scale_px, start=start)
    moving_xy = found.moving_xy.copy()
    moving_xy[agreeing] = moved.moving_xy
    return TiePoints(found.fixed_xy, moving_xy, found.scores), lean


def _describe_search(
    found: TiePoints, shape: tuple[int, int], config: RegistrationConfig, *, leans: bool
) -> Search:
    apart = count_apart(found.fixed_xy, shape, config.check.template_px)
    return Search(
        shape=shape,
        reach_px=config.check.reach_px,
        overlap=max(1.0, len(found) / apart),
        freedom=_LEAN_FREEDOM if leans else 1.0,
    )


def _find_hindrance(fixed: GreyImage, moving: GreyImage, config: RegistrationConfig) -> Reason | None:
    """Say what keeps two scenes from being compared at all; None where nothing does."""
    if not fixed.valid.any() or not moving.valid.any():
        return "no-data"
    shared = fixed.valid & moving.valid
    if not shared.any():
        return "no-overlap"
    least = config.check.template_px + 2 * config.check.reach_px
    if min(np.count_nonzero(shared.any(axis=axis)) for axis in (0, 1)) < least:
        return "too-small"
    if np.ptp(fixed.grey[shared]) == 0 or np.ptp(moving.grey[shared]) == 0:
        return "nothing-to-see"
    return None


def _match_tiles(
    fixed: GreyImage, moving: GreyImage, matcher: Matcher, config: RegistrationConfig
) -> TiePoints:
    tiles = cut_tiles(fixed.shape, tile_px=config.tile_px, overlap_px=config.overlap_px)
    shared = [tile for tile in tiles if fixed.valid[tile.window].any() and moving.valid[tile.window].any()]
    picked = np.unique(
        np.linspace(0, len(shared) - 1, min(len(shared), config.max_tiles)).round().astype(int)
    )
    windows = [(shared[index], shared[index].window) for index in picked]
    pooled = pool_matches(
        (
            tile,
            matcher.match(
                fixed.grey[window],
                moving.grey[window],
                fixed_valid=fixed.valid[window],
                moving_valid=moving.valid[window],
            ),
        )
        for tile, window in windows
    )
    return spread_evenly(pooled, cell_px=config.cell_px, per_cell=config.per_cell)


def _find_coarse(matched: TiePoints, config: RegistrationConfig) -> Transform:
    """Return ``fixed_from_moving`` as the matcher sees it; without agreement, as the geolocation does."""
    fit = find_consensus(matched, tolerance_px=config.coarse_px, seed=config.seed)
    return fit.fixed_from_moving if isinstance(fit, PlaneFit) else _IDENTITY


def _describe_tiles(scene: GreyImage, config: RegistrationConfig) -> NDArray[np.complex64]:
    """Describe a scene tile by tile: each stretched by itself, and only one with all its planes in memory."""
    margin = config.overlap_px // 2
    described = np.zeros(scene.shape, np.complex64)
    for tile in cut_tiles(scene.shape, tile_px=2 * config.tile_px, overlap_px=config.overlap_px):
        grey = prepare_image(scene.grey[tile.window], scene.valid[tile.window])
        if grey.flat:
            continue
        top, left = (margin if tile.top else 0), (margin if tile.left else 0)
        rows, columns = tile.window
        described[rows.start + top : rows.stop, columns.start + left : columns.stop] = describe_structure(
            grey
        )[top:, left:]
    return described
