"""Registration of pictures: known moves recovered, chance and empty pictures refused, always the same."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from infra.errors import InputError
from models.matching.images import prepare_image
from models.matching.matches import Matches
from models.matching.transforms import similarity, warp_image
from models.registration.orientation import describe_structure
from models.registration.scenes import RegistrationConfig, register_scenes
from models.registration.templates import TemplateConfig, TemplateMatcher
from tests.support.registration import (
    Town,
    cut_pair,
    draw_corners,
    error_px,
    ground,
    load_town,
    other_sensor,
    register_pair,
)

SHAPE = (320, 360)


class ScriptedMatcher:
    """Answers what it is told to."""

    name = "scripted"

    def __init__(self, matches: Matches) -> None:
        self.matches = matches

    def match(self, fixed, moving, *, fixed_valid=None, moving_valid=None):
        return self.matches


NOTHING = ScriptedMatcher(Matches.none())


def moved_pair(shift: tuple[float, float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture, and the same ground seen off by a shift."""
    wide = ground(seed, (SHAPE[0] + 80, SHAPE[1] + 80))
    move = similarity(shift=(shift[0] - 40, shift[1] - 40))
    return wide[40:-40, 40:-40], warp_image(wide, move, SHAPE)[0]


def register(fixed: np.ndarray, moving: np.ndarray, matcher=NOTHING, **settings):
    return register_scenes(
        prepare_image(fixed), prepare_image(moving), matcher, RegistrationConfig(**settings)
    )


@pytest.mark.parametrize("shift", [(0.0, 0.0), (5.0, -3.0), (2.4, 3.7)])
def test_a_window_is_found_where_it_went(shift):
    fixed, moving = moved_pair(shift)
    matches = TemplateMatcher(TemplateConfig(reach_px=12)).match(fixed, 1 - moving)
    assert len(matches) > 20
    moved = matches.moving_xy - matches.fixed_xy
    np.testing.assert_allclose(np.median(moved, axis=0), shift, atol=0.1)
    assert (np.hypot(*(moved - shift).T) < 0.5).mean() > 0.9
    assert (np.diff(matches.scores) <= 0).all()


def test_windows_are_looked_for_where_they_are_expected():
    fixed, moving = moved_pair((33.0, -21.0))
    described = (describe_structure(prepare_image(image)) for image in (fixed, moving))
    near = similarity(shift=(30.3, -20.2))
    matches = TemplateMatcher(TemplateConfig(reach_px=6)).search(*described, near)
    np.testing.assert_allclose(np.median(matches.moving_xy - matches.fixed_xy, axis=0), (33, -21), atol=0.15)


def test_the_border_of_a_scene_is_no_structure():
    # Two pictures of noise that end at the same line agree in nothing else.
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=SHAPE).astype(np.float32) + 5 for _ in range(2))
    first[:, :180] = second[:, :180] = np.nan
    assert not np.abs(describe_structure(prepare_image(first)))[:, :184].any()
    assert register(first, second).verdict.reason in {"no-agreement", "too-few-points"}


@pytest.mark.parametrize(
    "matcher", [NOTHING, TemplateMatcher(TemplateConfig(stride_px=48))], ids=["by place", "by windows"]
)
def test_another_sensor_is_registered(matcher):
    fixed, moving = moved_pair((6.0, -4.5))
    found = register(fixed, other_sensor(moving, 3), matcher)
    assert found.verdict.registered, found.verdict
    assert found.fit.kind == "translation"
    corners = np.array([[0.0, 0.0], [359.0, 319.0]])
    np.testing.assert_allclose(found.fit.apply(corners) - corners, [[-6, 4.5]] * 2, atol=0.2)
    assert found.inliers.sum() == found.verdict.figures.inliers


def test_a_matcher_leads_to_where_places_alone_do_not():
    fixed, moving = moved_pair((35.0, 28.0))
    assert not register(fixed, moving).verdict.registered
    spots = np.random.default_rng(0).uniform((60, 60), (260, 230), (60, 2)).astype(np.float32)
    seen = spots + np.float32([35.0, 28.0])
    seen[20:] = np.random.default_rng(1).uniform(0, 300, (40, 2))  # two of three are wrong
    told = ScriptedMatcher(Matches(spots, seen, np.linspace(1, 0, 60, dtype=np.float32)))
    found = register(fixed, moving, told)
    assert found.verdict.registered, found.verdict
    assert found.verdict.figures.shift_px == pytest.approx(np.hypot(35, 28), abs=0.3)


@pytest.mark.parametrize("seed", range(4))
def test_other_ground_is_refused(seed):
    found = register(ground(seed, SHAPE), other_sensor(ground(seed + 100, SHAPE), seed), TemplateMatcher())
    assert found.verdict.reason == "no-agreement", found.verdict


def test_a_lying_matcher_is_seen_through():
    spots = np.random.default_rng(0).uniform((20, 20), (300, 280), (200, 2)).astype(np.float32)
    lie = ScriptedMatcher(Matches(spots, spots + np.float32([4, 4]), np.ones(200, np.float32)))
    assert not register(ground(1, SHAPE), ground(2, SHAPE), lie).verdict.registered


def _with(value: float) -> np.ndarray:
    picture = ground(0, SHAPE)
    picture[...] = value
    return picture


def _half(first: bool) -> np.ndarray:
    picture = ground(0, SHAPE)
    picture[:, slice(None, 180) if first else slice(180, None)] = np.nan
    return picture


@pytest.mark.parametrize(
    ("fixed", "moving", "reason"),
    [
        (ground(0, SHAPE), _with(np.nan), "no-data"),
        (_with(np.inf), ground(0, SHAPE), "no-data"),
        (ground(0, SHAPE), _with(3.0), "nothing-to-see"),
        (_half(True), _half(False), "no-overlap"),
        (ground(0, (60, 60)), ground(0, (60, 60)), "too-small"),
        (ground(0, SHAPE)[:1, :1], ground(0, SHAPE)[:1, :1], "too-small"),
        (np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8), "too-small"),
    ],
    ids=["all nodata", "all infinite", "constant", "apart", "small", "one pixel", "tiny"],
)
def test_pictures_that_cannot_be_compared(fixed, moving, reason):
    found = register(fixed, moving, TemplateMatcher())
    assert found.verdict.reason == reason
    assert found.fit is None
    assert len(found.points) == len(found.inliers) == 0


@pytest.mark.parametrize(("bands", "kind"), [(1, "uint8"), (2, "float32"), (3, "uint16"), (13, "uint16")])
def test_any_number_of_bands_of_any_type(bands, kind):
    fixed, moving = moved_pair((3.0, 1.0))
    stack = np.stack([moving * (index + 1) * 19 for index in range(bands)], axis=-1).astype(kind)
    assert register(fixed, stack).verdict.registered


def test_a_narrow_strip_is_moved_not_squeezed():
    wide = ground(1, (200, 1300))
    fixed, moving = wide[20:160, 20:1220], other_sensor(wide, 3)[18:158, 23:1223]
    found = register(fixed, moving, TemplateMatcher())
    assert found.verdict.registered, found.verdict
    corners = np.array([[0.0, 0.0], [1199.0, 139.0]])
    np.testing.assert_allclose(found.fit.apply(corners) - corners, [[3, -2]] * 2, atol=0.3)


def test_scenes_of_different_size():
    with pytest.raises(InputError, match="one grid"):
        register(ground(0, SHAPE), ground(0, SHAPE)[:-1])


def test_the_same_again():
    fixed, moving = moved_pair((6.0, -4.5))
    first, second = (register(fixed, other_sensor(moving, 3), TemplateMatcher()) for _ in range(2))
    assert first.verdict == second.verdict
    np.testing.assert_array_equal(first.fit.fixed_from_moving, second.fit.fixed_from_moving)
    np.testing.assert_array_equal(first.points.moving_xy, second.points.moving_xy)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return load_town(tmp_path_factory.mktemp("town"), seed=7, size_px=512)


def test_the_sample_worlds_radar_comes_home(town):
    pair = cut_pair(town, town, (40, 40), (43, 36), 464)
    found = register_pair(pair, TemplateMatcher())
    assert found.verdict.registered, found.verdict
    assert error_px(found, pair) < 0.5
    assert found.lean is not None
    upside_down = dataclasses.replace(pair, lean_xy=(-pair.lean_xy[0], -pair.lean_xy[1]))
    wrong = register_pair(upside_down, TemplateMatcher())
    assert wrong.fit is None or error_px(wrong, pair) > error_px(found, pair)


def test_other_ground_of_the_sample_world_is_refused(town):
    corners = draw_corners(town, 224, np.random.default_rng(5), most_wet=0.7)
    for _, (row, col) in zip(range(4), corners, strict=False):
        turned = np.rot90(town.radar, 1)  # the same kind of ground, nowhere the same
        moving = np.ascontiguousarray(turned[row : row + 224, col : col + 224])
        fixed = town.optical[row : row + 224, col : col + 224]
        found = register_scenes(prepare_image(fixed), prepare_image(moving), TemplateMatcher())
        assert not found.verdict.registered, (row, col, found.verdict)


def test_a_bent_scene_needs_a_plate():
    wide = ground(4, (740, 740))
    rows, cols = np.mgrid[:740, :740].astype(np.float32)
    bent = cv2.remap(wide, cols + 5 * np.sin(rows / 150), rows + 5 * np.cos(cols / 150), cv2.INTER_LINEAR)
    found = register(wide[20:-20, 20:-20], bent[20:-20, 20:-20])
    assert found.verdict.registered, found.verdict
    assert found.fit.kind == "thin-plate", found.residual_px
    assert found.verdict.figures.rmse_px < 0.8
