"""The training-free matcher on a drawn town whose warps are known, and its parts against closed forms."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch

from infra.errors import InputError
from models.matching.estimate import estimate_transform
from models.matching.images import prepare_image
from models.matching.matches import Matcher, Matches
from models.matching.transforms import apply_transform, image_corners, invert, similarity, warp_image
from models.matching.warps import LEVELS, draw_warp, pair_generator
from models.phase_match.borders import fill_smoothly, prepare_work
from models.phase_match.config import UPRIGHT, FilterBank, PhaseMatchConfig
from models.phase_match.congruency import measure_energy, measure_moments
from models.phase_match.costs import measure_agreement
from models.phase_match.descriptors import turn_channels
from models.phase_match.keypoints import choose_keypoints
from models.phase_match.matcher import ImagePair, PhaseMatcher
from models.phase_match.motion import find_motion, find_peaks

BANK = FilterBank()


def draw_town(seed: int, side: int = 256) -> np.ndarray:
    """Blocks, round places and roads at random directions: float32 0..1, nothing repeats."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    town = np.full((side, side), 0.4, np.float32)
    for _ in range(70):
        x, y = rng.uniform(0, side, 2)
        turn, long, wide = rng.uniform(0, math.pi), rng.uniform(6, 30), rng.uniform(3, 14)
        along = (columns - x) * math.cos(turn) + (rows - y) * math.sin(turn)
        across = -(columns - x) * math.sin(turn) + (rows - y) * math.cos(turn)
        inside = (np.abs(along) < long) & (np.abs(across) < wide)
        town[inside] = rng.uniform(0, 1)
    return town


TOWN = draw_town(1)


def moved(image: np.ndarray, warp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return warp_image(image.astype(np.float32), warp, image.shape[:2])


def corner_error(matches: Matches, warp: np.ndarray, shape: tuple[int, int]) -> float:
    estimate = estimate_transform(matches, shape).fixed_from_moving
    if estimate is None:
        return math.inf
    corners = apply_transform(warp, image_corners(shape))
    off = apply_transform(estimate, corners) - image_corners(shape)
    return float(np.linalg.norm(off, axis=1).mean())


def about_middle(
    rotation_deg: float, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    middle = (TOWN.shape[1] - 1) / 2, (TOWN.shape[0] - 1) / 2
    return similarity(rotation_deg=rotation_deg, scale=scale, shift=shift, centre=middle)


@pytest.fixture(scope="module")
def matcher() -> PhaseMatcher:
    return PhaseMatcher()


@pytest.fixture(scope="module")
def upright() -> PhaseMatcher:
    return PhaseMatcher(PhaseMatchConfig(search=UPRIGHT))


@pytest.mark.parametrize(
    ("rotation_deg", "scale", "shift"),
    [
        (0, 1.0, (6.3, -11.8)),
        (108, 1.3, (20.0, 10.0)),
        (-108, 0.75, (-14.0, 9.0)),
        (180, 1.0, (3.0, 4.0)),
        (37, 1.1, (0.0, 0.0)),
    ],
)
def test_a_known_warp_is_recovered(matcher, rotation_deg, scale, shift):
    warp = about_middle(rotation_deg, scale, shift)
    image, valid = moved(TOWN, warp)
    matches = matcher.match(TOWN, image, moving_valid=valid)
    assert len(matches) > 100
    back = apply_transform(invert(warp), matches.moving_xy)
    assert np.median(np.linalg.norm(back - matches.fixed_xy, axis=1)) < 0.6
    assert corner_error(matches, warp, TOWN.shape) < 1.0


def other_modality(image: np.ndarray) -> np.ndarray:
    """Contrast turned round and bent, and multiplied noise: as a radar image is to an optical one."""
    speckle = np.random.default_rng(5).gamma(8.0, 1 / 8.0, image.shape)
    return ((1.05 - image) ** 1.7 * speckle * 200).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_another_modality_under_a_hard_warp_is_recovered(matcher, seed):
    warp = draw_warp(LEVELS["hard"], TOWN.shape, pair_generator(seed, "town"))
    image, valid = moved(other_modality(TOWN), warp)
    assert corner_error(matcher.match(TOWN, image, moving_valid=valid), warp, TOWN.shape) < 3.0


@pytest.mark.parametrize(
    "change",
    [lambda i: 1 - i, lambda i: i**3, lambda i: 4000 * i + 9, np.abs],
    ids=["inverted", "gamma", "other numbers", "the same"],
)
def test_contrast_does_not_matter(upright, change):
    warp = about_middle(5.0, shift=(7.0, 3.0))
    image, valid = moved(TOWN, warp)
    assert corner_error(upright.match(TOWN, change(image), moving_valid=valid), warp, TOWN.shape) < 0.6


def test_perspective_is_recovered(upright):
    warp = about_middle(10.0) @ np.array([[1, 0.02, 0], [0, 1, 0], [1.5e-4, -1e-4, 1]])
    image, valid = moved(TOWN, warp)
    assert corner_error(upright.match(TOWN, image, moving_valid=valid), warp, TOWN.shape) < 1.0


def test_a_shift_of_both_images_moves_the_tie_points_along(upright):
    big = draw_town(3, 320)
    first = upright.match(big[:256, :256], 1 - big[10:266, 4:260])
    second = upright.match(big[16:272, 16:272], 1 - big[26:282, 20:276])
    for matches in (first, second):
        steps = matches.fixed_xy - matches.moving_xy
        assert np.abs(np.median(steps, axis=0) - (4, 10)).max() < 0.15


def test_images_of_different_sizes(upright):
    big = draw_town(4, 320)
    matches = upright.match(big, big[40:240, 60:300])
    assert len(matches) > 100
    assert np.abs(np.median(matches.fixed_xy - matches.moving_xy, axis=0) - (60, 40)).max() < 0.2


def test_large_images_are_shrunk_and_answered_in_their_own_pixels(upright):
    big = np.kron(TOWN, np.ones((3, 3), np.float32))
    matches = upright.match(big, np.roll(big, (-30, -12), (0, 1))[:720, :744])
    steps = matches.fixed_xy - matches.moving_xy
    assert np.abs(np.median(steps, axis=0) - (12, 30)).max() < 0.5
    assert matches.fixed_xy.max() > 600


def test_the_answer_is_the_same_every_time_and_in_a_batch(upright):
    image, valid = moved(TOWN, about_middle(8.0))
    pairs = [ImagePair(TOWN, image, moving_valid=valid), ImagePair(TOWN[:160], 1 - TOWN[:160])]
    alone = [
        PhaseMatcher(upright.config).match(p.fixed, p.moving, moving_valid=p.moving_valid) for p in pairs
    ]
    for one, other in zip(alone, upright.match_batch(pairs), strict=True):
        assert len(one) > 50
        np.testing.assert_array_equal(one.fixed_xy, other.fixed_xy)
        np.testing.assert_array_equal(one.moving_xy, other.moving_xy)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_it_is_a_matcher_whose_best_points_come_first(upright):
    as_protocol: Matcher = upright
    matches = as_protocol.match(TOWN, TOWN)
    assert as_protocol.name == "phase"
    assert matches.fixed_xy.dtype == matches.moving_xy.dtype == matches.scores.dtype == np.float32
    assert 0 < len(matches) <= 2048
    assert (np.diff(matches.scores) <= 0).all()
    assert matches.scores.min() >= 0
    assert matches.scores.max() <= 1


def test_no_keypoint_lies_where_nothing_is_valid_or_at_its_edge(upright):
    valid = np.ones(TOWN.shape, np.bool_)
    valid[:, 150:] = False
    matches = upright.match(np.where(valid, TOWN, 0), TOWN, fixed_valid=valid)
    assert len(matches) > 50
    assert matches.fixed_xy[:, 0].max() < 150 - 3


def test_nan_is_nodata(upright):
    holed = np.where(np.hypot(*(np.mgrid[:256, :256] - 128.0)) < 40, np.nan, TOWN).astype(np.float32)
    matches = upright.match(holed, TOWN)
    assert len(matches) > 100
    assert np.hypot(*(matches.fixed_xy - 128).T).min() > 40


@pytest.mark.parametrize("seed", range(3))
def test_unrelated_places_share_nothing(matcher, seed):
    assert len(matcher.match(draw_town(10 + seed), 1 - draw_town(50 + seed))) == 0


def test_noise_matches_nothing(matcher):
    noise = np.random.default_rng(0).random((2, 200, 200)).astype(np.float32)
    assert len(matcher.match(noise[0], noise[1])) == 0


@pytest.mark.parametrize(
    "image",
    [
        np.full((128, 128), 7.0, np.float32),
        np.zeros((1, 1), np.uint8),
        np.full((64, 64), np.nan, np.float32),
        np.zeros((3, 500), np.uint16),
        np.random.default_rng(0).random((20, 20)).astype(np.float32),
    ],
    ids=["constant", "one pixel", "all NaN", "three rows", "tiny"],
)
def test_nothing_to_see_gives_no_tie_points(matcher, image):
    assert len(matcher.match(image, TOWN)) == 0
    assert len(matcher.match(TOWN, image)) == 0


def test_no_valid_pixel_gives_no_tie_points(upright):
    assert len(upright.match(TOWN, TOWN, moving_valid=np.zeros(TOWN.shape, np.bool_))) == 0


@pytest.mark.parametrize("bands", [1, 2, 3, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_and_types(upright, bands, dtype):
    stack = np.repeat((TOWN[:128, :128, None] * 200).astype(dtype), bands, axis=2)
    matches = upright.match(stack, stack[..., 0])
    assert len(matches) > 50
    assert np.abs(matches.fixed_xy - matches.moving_xy).max() < 1


def test_what_is_no_image_is_refused(upright):
    with pytest.raises(InputError, match="cannot be matched"):
        upright.match(TOWN.astype(np.complex64), TOWN)
    with pytest.raises(InputError, match="does not fit"):
        upright.match(TOWN, TOWN, fixed_valid=np.ones((2, 2), np.bool_))


def stripes(angle_deg: float, side: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side / 2
    angle = math.radians(angle_deg)
    return (np.cos(2 * math.pi * (columns * math.cos(angle) + rows * math.sin(angle)) / 10)).astype(
        np.float32
    )


@pytest.mark.parametrize("orientation", range(BANK.orientations))
def test_energy_is_in_the_orientation_of_the_edges_normal(orientation):
    work = prepare_work(prepare_image(stripes(orientation * 180 / BANK.orientations)), 512, "cpu")
    energy = measure_energy(work, BANK).energy[:, 16:-16, 16:-16]
    assert (energy.argmax(0) == orientation).all()


def test_energy_does_not_see_where_the_data_end():
    valid = np.zeros(TOWN.shape, np.bool_)
    valid[60:200, 60:200] = True
    whole = measure(TOWN, np.ones_like(valid))
    masked, blackened = measure(TOWN, valid), measure(TOWN * valid, np.ones_like(valid))
    near_edge = torch.zeros(128, 128, dtype=torch.bool)
    near_edge[33:97, 33:97] = True
    near_edge[40:90, 40:90] = False
    wrong, much_wronger = (float((e - whole).abs()[:, near_edge].mean()) for e in (masked, blackened))
    assert wrong < 0.6 * much_wronger
    assert float(masked[:, :31].max()) == 0


def measure(image: np.ndarray, valid: np.ndarray) -> torch.Tensor:
    return measure_energy(prepare_work(prepare_image(image, valid), 512, "cpu"), BANK).energy


def test_an_edge_has_one_moment_and_a_crossing_two():
    edge, crossing = torch.zeros(6, 1, 1), torch.zeros(6, 1, 1)
    edge[2] = 1.0
    crossing[0] = crossing[3] = 1.0
    assert [round(float(m), 5) for m in measure_moments(edge)] == [1.0, 0.0]
    assert [round(float(m), 5) for m in measure_moments(crossing)] == [1.0, 1.0]


def test_turned_channels_are_those_of_the_turned_image():
    planes = torch.eye(6)
    quarter, half, between = turn_channels(6, torch.tensor([math.pi / 2, math.pi, math.pi / 12]))
    np.testing.assert_allclose(quarter @ planes[0], planes[3], atol=1e-6)
    np.testing.assert_allclose(half, planes, atol=1e-6)
    np.testing.assert_allclose(between @ planes[0], (planes[0] + planes[1]) / 2, atol=1e-6)


def test_filling_keeps_what_is_known_and_continues_it():
    plane = torch.linspace(0, 1, 64).expand(64, 64).clone()
    valid = torch.ones(64, 64)
    valid[20:40, 20:40] = 0
    filled = fill_smoothly(plane * valid, valid)
    np.testing.assert_array_equal(filled[valid > 0], plane[valid > 0])
    assert float((filled - plane).abs().max()) < 0.2


def test_keypoints_lie_one_to_a_square_and_only_where_allowed():
    energy = torch.rand(6, 60, 50, generator=torch.Generator().manual_seed(0))
    allowed = torch.ones(60, 50, dtype=torch.bool)
    allowed[:, 25:] = False
    points = choose_keypoints(energy, allowed, 5, 1000)
    squares = {(int(x) // 5, int(y) // 5) for x, y in points}
    assert len(points) == len(squares) == 12 * 5
    assert points[:, 0].max() < 25
    assert len(choose_keypoints(energy, allowed, 5, 7)) == 7


def test_agreement_is_highest_at_the_true_displacement():
    planes = torch.rand(6, 70, 70, generator=torch.Generator().manual_seed(1)) - 0.5
    moving = torch.roll(planes, (2, -1), (1, 2))  # what is at x is now at x + (-1, 2)
    points = torch.tensor([[30.0, 30.0], [40.0, 25.0]])
    peaks = find_peaks(measure_agreement(planes, moving, points, 3, 6.0), points)
    np.testing.assert_allclose(peaks.offsets, [[-1, 2], [-1, 2]], atol=0.1)
    assert peaks.usable.all()
    assert peaks.heights.min() > 0.7


def test_a_motion_is_found_among_wrong_displacements():
    rng = np.random.default_rng(2)
    places = torch.from_numpy(rng.uniform(0, 200, (300, 2))).float()
    truth = np.array([[1.01, -0.008, -0.3], [0.006, 0.995, 0.4], [2e-5, -1e-5, 1.0]])
    offsets = apply_transform(truth, places.numpy()) - places.numpy()
    wrong = rng.random(300) < 0.5
    offsets[wrong] = rng.uniform(-4, 4, (wrong.sum(), 2))
    steps = np.stack(np.meshgrid(np.arange(-5, 6), np.arange(-5, 6)), axis=-1)
    hills = np.exp(-0.5 * ((steps[:, :, None] - offsets) ** 2).sum(-1))
    agreement = torch.from_numpy(hills).float()
    motion = find_motion(find_peaks(agreement, places), agreement, "homography", np.random.default_rng(0))
    assert motion is not None
    found = apply_transform(motion.moved_from_place, places.numpy())
    assert np.abs(found - apply_transform(truth, places.numpy())).max() < 0.35


def test_matches_that_overlap_in_time_leave_the_number_of_threads_as_it_was():
    town, soon_ended, late_begun = draw_town(1, 64), threading.Event(), threading.Event()

    class Waiting(PhaseMatcher):
        def _align(self, fixed, moving):
            if self.device == "cpu":  # begins first and ends first
                late.start()
                assert late_begun.wait(30)
            else:
                late_begun.set()
                assert soon_ended.wait(30)

    late = threading.Thread(target=Waiting(device="cpu:1").match, args=(town, town))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        Waiting().match(town, town)
        soon_ended.set()
        late.join()
        seen = [torch.get_num_threads()]
        fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        fresh.start()
        fresh.join()
        assert seen == [2, 2]
    finally:
        torch.set_num_threads(before)
