"""From tie points to a transform and a verdict: outliers, leaning trees, bending ground, chance."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from infra.errors import InputError
from models.matching.matches import Matches
from models.matching.transforms import similarity
from models.registration.choice import Choice, choose_fit, find_agreeing
from models.registration.consensus import find_consensus
from models.registration.fits import (
    KINDS,
    PlaneFit,
    ThinPlateFit,
    fit_robustly,
    fit_weighted,
    invert_at,
)
from models.registration.gate import Figures, GateLimits, Search, judge
from models.registration.lean import take_out_lean
from models.registration.reasons import REASONS
from models.registration.tie_points import TiePoints, pool_matches, spread_evenly
from models.registration.tiles import Tile, cut_tiles

SHAPE = (600, 800)
SEARCH = Search(shape=SHAPE, reach_px=12.0, overlap=1.0)
OFF = np.array([2.0, 3.0])
STILL = PlaneFit("translation", np.eye(3))
TURNED = similarity(rotation_deg=0.4, scale=1.003, shift=(6.0, -4.0), centre=(400.0, 300.0))
TILTED = TURNED + np.array([[0, 0, 0], [0, 0, 0], [2e-5, -1e-5, 0]])


def spots(rng: np.random.Generator, count: int = 400) -> np.ndarray:
    return rng.uniform((0, 0), (SHAPE[1], SHAPE[0]), (count, 2))


def bend(xy: np.ndarray) -> np.ndarray:
    """Move ground up and down by up to 5 px, as hills do."""
    waves = np.column_stack([np.sin(xy[:, 1] / 110), np.cos(xy[:, 0] / 140)])
    return xy + 5 * waves


def see(
    fixed: np.ndarray, moving: np.ndarray, rng: np.random.Generator, *, noise: float = 0.4, wrong: float = 0.0
) -> TiePoints:
    """Blur tie points, and let a share of them be found anywhere within 12 px."""
    fixed = fixed + rng.normal(0, noise, fixed.shape)
    lost = rng.random(len(fixed)) < wrong
    fixed[lost] += rng.uniform(-12, 12, (int(lost.sum()), 2))
    return TiePoints(fixed, moving, rng.random(len(fixed)))


def far_off(fit, truth, moving) -> float:
    return float(np.hypot(*(fit.apply(moving) - truth).T).max())


@pytest.mark.parametrize(
    ("shape", "count"), [((512, 512), 1), ((100, 40), 1), ((513, 512), 2), ((2000, 1500), 20)]
)
def test_tiles_cover_the_scene(shape, count):
    tiles = cut_tiles(shape, tile_px=512, overlap_px=96)
    seen = np.zeros(shape, int)
    for tile in tiles:
        seen[tile.window] += 1
        assert seen[tile.window].shape == (tile.height, tile.width)
    assert seen.min() >= 1
    assert len(tiles) == count
    tops = sorted({tile.top for tile in tiles})
    assert all(second - first <= 512 - 96 for first, second in itertools.pairwise(tops))


@pytest.mark.parametrize(("edge", "overlap"), [(64, 64), (64, -1)])
def test_tiles_that_never_end(edge, overlap):
    with pytest.raises(InputError, match="overlap"):
        cut_tiles((100, 100), tile_px=edge, overlap_px=overlap)


def test_pooling_moves_tile_pixels_to_scene_pixels():
    matches = Matches(
        np.array([[1, 2]], np.float32), np.array([[3, 5]], np.float32), np.array([0.5], np.float32)
    )
    better = dataclasses.replace(matches, scores=np.array([0.9], np.float32))
    pooled = pool_matches([(Tile(10, 20, 64, 64), matches), (Tile(0, 0, 64, 64), better)])
    np.testing.assert_array_equal(pooled.fixed_xy, [[1, 2], [21, 12]])
    np.testing.assert_array_equal(pooled.moving_xy, [[3, 5], [23, 15]])
    assert len(pool_matches(())) == 0


def test_even_spreading_keeps_the_best_of_each_cell(rng):
    fixed = np.concatenate([rng.uniform(0, 32, (50, 2)), [[100.0, 100.0]]])
    points = TiePoints(fixed, fixed, np.concatenate([np.linspace(0.1, 0.9, 50), [0.01]]))
    kept = spread_evenly(points, cell_px=32, per_cell=3)
    np.testing.assert_allclose(kept.scores, [0.9, points.scores[48], points.scores[47], 0.01])
    assert len(spread_evenly(pool_matches(()), cell_px=32, per_cell=3)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_through_exact_points_is_exact(kind, rng):
    moving = spots(rng, 120)
    matrix = {"translation": np.array([[1, 0, 3.5], [0, 1, -2.25], [0, 0, 1]]), "affine": TURNED}
    truth = bend(moving) if kind == "thin-plate" else PlaneFit(kind, matrix.get(kind, TILTED)).apply(moving)
    fit = fit_weighted(kind, moving, truth, np.full(120, 1.0))
    assert fit.kind == kind
    assert far_off(fit, truth, moving) < (0.5 if kind == "thin-plate" else 1e-6)
    np.testing.assert_allclose(fit.apply(invert_at(fit, truth)), truth, atol=1e-3)


def test_wrong_points_have_no_say(rng):
    moving = spots(rng)
    truth = PlaneFit("affine", TURNED).apply(moving)
    points = see(truth, moving, rng, wrong=0.4)
    fit = fit_robustly("affine", moving, points.fixed_xy, scale_px=1.5, start=PlaneFit("affine", TURNED))
    assert far_off(fit, truth, moving) < 0.2
    plain = fit_weighted("affine", moving, points.fixed_xy, np.ones(len(moving)))
    assert far_off(plain, truth, moving) > far_off(fit, truth, moving)


def test_a_fit_stays_where_it_started_when_nothing_is_near(rng):
    moving = spots(rng)
    assert fit_robustly("affine", moving, moving + 500, scale_px=1.5, start=STILL) is STILL


@pytest.mark.parametrize("seed", range(3))
def test_consensus_among_four_fifths_wrong(seed):
    rng = np.random.default_rng(seed)
    moving = spots(rng, 500)
    truth = PlaneFit("affine", TURNED).apply(moving)
    fixed = truth + rng.normal(0, 0.7, truth.shape)
    fixed[:400] = spots(rng)
    found = find_consensus(TiePoints(fixed, moving, rng.random(500)), tolerance_px=4.0, seed=0)
    assert found is not None
    assert far_off(found, truth, moving) < 2.0


@pytest.mark.parametrize("turn_deg", [0.0, 30.0])
def test_points_along_a_line_ask_for_a_shift_only(turn_deg, rng):
    along = similarity(rotation_deg=turn_deg)[:2, 0] * np.linspace(0, 1500, 60)[:, None]
    moving = along + rng.normal(0, 0.3, along.shape)
    points = TiePoints(along + OFF, moving, np.ones(60))
    choice = choose_fit(points, scale_px=1.5)
    corners = np.array([[0.0, 0.0], [1500.0, 900.0]])
    assert choice.fit.kind == "translation"
    np.testing.assert_allclose(choice.fit.apply(corners) - corners, [OFF] * 2, atol=0.2)
    assert set(choice.residual_px) == {"translation"}
    exact = TiePoints(along + OFF, along, np.ones(60))
    coarse = find_consensus(exact, tolerance_px=4.0, seed=0)
    assert far_off(coarse, corners + OFF, corners) < 4.0
    plate = fit_robustly("thin-plate", along, along + OFF, scale_px=1.5, start=STILL)
    assert plate is STILL


def test_no_consensus_of_a_handful(rng):
    few = TiePoints(spots(rng, 5), spots(rng, 5), np.ones(5))
    assert find_consensus(few, tolerance_px=4.0, seed=0) is None
    one = TiePoints(np.full((9, 2), 3.0), np.linspace(0, 700, 18).reshape(9, 2), np.ones(9))
    assert find_consensus(one, tolerance_px=4.0, seed=0) is None


@pytest.mark.parametrize(
    ("kind", "move"),
    [
        ("translation", lambda xy: xy + np.array([3.3, -1.2])),
        ("affine", PlaneFit("affine", TURNED).apply),
        ("homography", PlaneFit("homography", TILTED).apply),
        ("thin-plate", bend),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_no_more_is_chosen_than_the_points_support(kind, move, seed):
    rng = np.random.default_rng(seed)
    moving = spots(rng, 250)
    points = see(move(moving), moving, rng, wrong=0.1)
    kept = points.take(find_agreeing(points, tolerance_px=3.0))
    choice = choose_fit(kept, scale_px=1.5)
    assert choice.fit.kind == kind, choice.residual_px
    off = np.hypot(*(choice.fit.apply(moving) - move(moving)).T)
    assert np.quantile(off, 0.9) < (1.0 if kind == "thin-plate" else 0.4)


def test_overlapping_windows_count_for_less(rng):
    moving = spots(rng, 40)
    points = see(PlaneFit("affine", TURNED).apply(moving), moving, rng)
    assert set(choose_fit(points, scale_px=1.5, overlap=8.0).residual_px) == {"translation"}


def test_neighbours_out_of_step_are_left_out(rng):
    moving = spots(rng)
    points = see(bend(moving), moving, rng, noise=0.2)
    points.fixed_xy[:80] += 9.0 * np.sign(rng.normal(size=(80, 2)))
    agreeing = find_agreeing(points, tolerance_px=2.0)
    assert agreeing[80:].mean() > 0.95
    assert agreeing[:80].mean() < 0.2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.85])
def test_leaning_trees_do_not_move_the_ground(share):
    rng = np.random.default_rng(round(100 * share))
    ground, side = spots(rng, 600), np.array([0.8, -0.6])
    lean = rng.exponential(1.2, 600) * (rng.random(600) < share)
    moving = ground + OFF + lean[:, None] * side
    points = see(ground, moving, rng, noise=0.35)
    upright, told = take_out_lean(points, (0.8, -0.6), scale_px=1.5, start=STILL)
    fit = choose_fit(upright, scale_px=1.5, kinds=("translation",)).fit
    off = np.hypot(*(fit.apply(ground + OFF) - ground)[0])
    naive = fit_weighted("translation", moving, points.fixed_xy, np.ones(600))
    assert off < 0.3, told
    if share >= 0.6:
        assert off < np.hypot(*(naive.apply(ground + OFF) - ground)[0]) / 2


def judge_points(points: TiePoints, **limits):
    kept = points.take(find_agreeing(points, tolerance_px=3.0))
    return judge(points, choose_fit(kept, scale_px=1.5), SEARCH, GateLimits(**limits))


def test_a_good_registration_passes(rng):
    moving = spots(rng, 150)
    verdict = judge_points(see(moving + np.array([4, 2]), moving, rng, wrong=0.3))
    assert verdict.registered
    figures = verdict.figures
    assert 0.6 < figures.ratio < 0.8
    assert figures.log10_chance < -60
    assert figures.rmse_px < 0.8
    assert figures.shift_px == pytest.approx(np.hypot(4, 2), abs=0.2)


def bad_points(reason: str, rng: np.random.Generator) -> TiePoints:
    moving = spots(rng, 150)
    if reason == "no-agreement":
        return TiePoints(moving + rng.uniform(-12, 12, moving.shape), moving, np.ones(150))
    if reason == "poor-spread":
        moving *= 0.24
    if reason == "halves-differ":
        side = np.where(moving[:, :1] < 400, -1.4, 1.4)
        return TiePoints(moving + side * (1, 0), moving, np.ones(150))
    fixed = moving + ((150, 0) if reason == "too-far" else (3, 1))
    noise = 1.0 if reason == "large-residual" else 0.3
    points = see(fixed, moving, rng, noise=noise)
    return points.take(np.arange(8)) if reason == "too-few-points" else points


@pytest.mark.parametrize(
    ("reason", "limits"),
    [
        ("too-few-points", {}),
        ("no-agreement", {}),
        ("poor-spread", {}),
        ("large-residual", {"max_rmse_px": 0.8, "min_ratio": 0.1}),
        ("halves-differ", {"inlier_px": 2.0}),
        ("too-far", {}),
    ],
)
def test_each_fault_has_its_reason(reason, limits, rng):
    points = bad_points(reason, rng)
    kept = points if reason == "no-agreement" else points.take(find_agreeing(points, tolerance_px=3.0))
    choice = choose_fit(kept, scale_px=1.5, kinds=("translation",))
    verdict = judge(points, choice, SEARCH, GateLimits(**limits))
    assert verdict.reason == reason, verdict.figures
    assert not verdict.registered
    assert REASONS[verdict.reason].endswith(".")


def test_a_bulge_in_the_middle_is_too_far():
    # Held at the rim and pushed aside within: the corners alone would say that nothing moves.
    moving = np.stack(np.meshgrid(np.linspace(0, 799, 25), np.linspace(0, 599, 25)), axis=-1).reshape(-1, 2)
    push = 120 * np.prod(np.sin(np.pi * moving / (799, 599)), axis=1)
    fixed = moving + push[:, None] * (1, 0)
    fit = fit_weighted("thin-plate", moving, fixed, np.full(len(moving), 1e3))
    corners = np.array([[0.0, 0.0], [799.0, 0.0], [799.0, 599.0], [0.0, 599.0]])
    assert far_off(fit, corners, corners) < 1
    points = TiePoints(fit.apply(moving), moving, np.ones(len(moving)))
    verdict = judge(points, Choice(fit, {"thin-plate": 0.0}), SEARCH, GateLimits())
    assert verdict.reason == "too-far", verdict.figures
    assert verdict.figures.shift_px == pytest.approx(120, abs=2)


def test_figures_that_are_not_known_are_wrong():
    assert Figures().ratio == 0.0
    points = TiePoints(np.zeros((20, 2)), np.zeros((20, 2)), np.ones(20))
    assert not judge_points(points).registered  # all in one place: no halves


@pytest.mark.parametrize("seed", range(15))
def test_chance_is_not_taken_for_agreement(seed):
    rng = np.random.default_rng(seed)
    moving = spots(rng, 200)
    points = TiePoints(moving + rng.uniform(-12, 12, moving.shape), moving, rng.random(200))
    kept = points.take(find_agreeing(points, tolerance_px=3.0))
    if len(kept) >= 9:
        assert judge(points, choose_fit(kept, scale_px=1.5), SEARCH, GateLimits()).reason == "no-agreement"


def test_a_plate_is_spelled_out():
    rng = np.random.default_rng(0)
    moving = spots(rng, 60)
    fit = fit_weighted("thin-plate", moving, bend(moving), np.ones(60))
    assert isinstance(fit, ThinPlateFit)
    from models.registration.words import describe_transform

    told = describe_transform(fit)
    control = (np.array(told["control_px"]) - told["origin_px"]) / told["scale_px"]
    spot = (np.array([[123.0, 456.0]]) - told["origin_px"]) / told["scale_px"]
    squared = ((spot - control) ** 2).sum(axis=1)
    again = (squared * np.log(squared) / 2) @ np.array(told["bends"]) + [1, *spot[0]] @ np.array(
        told["plane"]
    )
    np.testing.assert_allclose(again, fit.apply(np.array([[123.0, 456.0]]))[0], atol=1e-4)
