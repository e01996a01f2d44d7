"""MapGlue from images to matches, with the weights it starts from: orientation channels need no training."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from models.mapglue.alignment import as_transform, search_pose
from models.mapglue.checkpoint import find_weights
from models.mapglue.export import export_torchscript, stretch_grey
from models.mapglue.matcher import MapGlueMatcher
from models.mapglue.pairing import PairNetwork, fit_factor, make_picture, rescale, shrink
from models.mapglue.presets import PRESETS
from models.matching.images import prepare_image
from models.matching.transforms import apply_transform, invert, similarity, warp_image

SIZE = 256


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def matcher():
    torch.manual_seed(0)
    return MapGlueMatcher("mapglue-tiny", network=PairNetwork(PRESETS["mapglue-tiny"]))


@pytest.fixture(scope="module")
def town():
    """Draw fields and houses: rectangles of every grey, lying every way."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    image = np.full((SIZE, SIZE), 0.5, np.float32)
    for _ in range(160):
        angle, cx, cy = rng.uniform(0, 3.2), *rng.uniform(0, SIZE, 2)
        u, v = (
            (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle),
            (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle),
        )
        image[(abs(u) < rng.uniform(3, 20)) & (abs(v) < rng.uniform(3, 20))] = rng.uniform()
    return image


def median_error(found, fixed_from_moving):
    true = apply_transform(fixed_from_moving, found.moving_xy)
    return float(np.median(np.linalg.norm(true - found.fixed_xy, axis=1)))


def in_order(rows):
    return rows[np.lexsort((rows[:, 1].round(1), rows[:, 0].round(1)))]


@pytest.mark.parametrize(
    ("turn", "scale", "shift"),
    [(0, 1.0, (9, -6)), (-100, 0.85, (20, 10)), (180, 1.0, (0, 0)), (40, 1.2, (-15, 5))],
)
def test_a_known_warp_of_the_inverted_image_is_found(matcher, town, turn, scale, shift):
    middle = ((SIZE - 1) / 2, (SIZE - 1) / 2)
    warp = similarity(rotation_deg=turn, scale=scale, shift=shift, centre=middle)
    moving, valid = warp_image(1 - town**2, warp, (SIZE, SIZE))
    found = matcher.match(town, moving, moving_valid=valid)
    assert len(found) > 100
    assert median_error(found, invert(warp)) < 1.5
    assert np.all(np.diff(found.scores) <= 0)
    assert found.scores.min() >= 0
    assert found.scores.max() <= 1
    assert found.fixed_xy.min() >= 0
    assert found.fixed_xy.max() <= SIZE - 1


def test_pairs_together_give_the_same_as_one_by_one(matcher, town):
    pairs = [
        (prepare_image(town), prepare_image(np.roll(1 - town, 7, 1))),
        (prepare_image(town[:200, :170]), prepare_image(town[20:, 15:])),
        (prepare_image(town), prepare_image(np.zeros((64, 64), np.uint8))),
    ]
    together = matcher.match_batch(pairs)
    for pair, found in zip(pairs, together, strict=True):
        alone = matcher.match_batch([pair])[0]
        assert len(alone) == len(found)
        np.testing.assert_allclose(found.fixed_xy, alone.fixed_xy, atol=1e-3)
        np.testing.assert_allclose(found.moving_xy, alone.moving_xy, atol=1e-3)
    assert len(together[2]) == 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1), np.uint8),
        np.full((90, 80), 7, np.uint16),
        np.full((90, 80, 2), np.nan, np.float32),
        np.zeros((20, 400), np.float64),
    ],
    ids=["one pixel", "constant", "nodata", "narrow"],
)
def test_images_with_nothing_to_find_match_nothing(matcher, town, image):
    assert len(matcher.match(town, image)) == 0
    assert len(matcher.match(image, town)) == 0


@pytest.mark.parametrize("bands", [2, 3, 13])
def test_any_number_of_bands_and_holes_of_nan_are_taken(matcher, town, bands):
    image = np.stack([town] * bands, axis=2) * 3000
    image[40:60, 50:90] = np.nan
    found = matcher.match(image, (town * 255).astype(np.uint8))
    assert len(found) > 100
    assert median_error(found, np.eye(3)) < 0.5


def test_no_keypoint_lies_on_invalid_ground(matcher, town):
    valid = np.ones((SIZE, SIZE), np.bool_)
    valid[:, :100] = False
    found = matcher.match(town, 1 - town, fixed_valid=valid)
    assert len(found) > 50
    assert found.fixed_xy[:, 0].min() >= 99


def test_large_images_answer_in_their_own_pixels(town):
    rng = np.random.default_rng(0)
    network = PairNetwork(PRESETS["mapglue-tiny"])
    network.max_side = 200
    small = MapGlueMatcher("mapglue-tiny", network=network)
    found = small.match(town, np.roll(town, 8, axis=0) + rng.normal(0, 0.01, town.shape))
    assert median_error(found, similarity(shift=(0, -8))) < 2


def test_the_pose_search_finds_turn_scale_and_shift(town):
    network = PairNetwork(PRESETS["mapglue-tiny"])
    warp = similarity(rotation_deg=71, scale=1.11, shift=(12, -30), centre=(127.5, 127.5))
    moving, valid = warp_image(town, warp, (SIZE, SIZE))
    pictures = [
        make_picture(torch.from_numpy(town), torch.ones(SIZE, SIZE, dtype=torch.bool)),
        make_picture(torch.from_numpy(moving), torch.from_numpy(valid)),
    ]
    maps = [network.pose_maps(picture, 1.0) for picture in pictures]
    pose = search_pose(maps[0], maps[1], 48, [0.85, 1.0], 3, 3)
    places = np.array([[60.0, 60.0], [190.0, 60.0], [128.0, 190.0]])
    fixed_from_moving = as_transform(pose, maps[0], maps[1]).double().numpy()
    assert np.abs(apply_transform(fixed_from_moving, apply_transform(warp, places)) - places).max() < 4


def test_shrinking_keeps_places():
    ramp = torch.arange(64.0).expand(48, 64)
    small = shrink(make_picture(ramp, torch.ones(48, 64, dtype=torch.bool)), 0.5)
    x = torch.tensor([[10.0], [0.0], [1.0]])
    large = float((rescale(0.5) @ x)[0, 0])
    assert float(small.grey[0, 0, 8, 10]) == pytest.approx(large, abs=0.05)
    assert fit_factor([100, 640, 30, 20], 640) == 1.0
    assert fit_factor([100, 1280, 30, 20], 640) == 0.5


def test_grey_of_the_exported_call_is_that_of_every_matcher():
    rng = np.random.default_rng(1)
    for image in (
        rng.integers(0, 255, (40, 33, 3), np.uint8),
        rng.normal(size=(40, 33, 3)).astype(np.float32),
    ):
        grey, valid = stretch_grey(torch.from_numpy(image))
        expected = prepare_image(image)
        np.testing.assert_allclose(grey.numpy(), expected.grey, atol=2e-5)
        assert np.array_equal(valid.numpy(), expected.valid)


def test_the_exported_call_agrees_with_the_matcher(matcher, town, tmp_path):
    export_torchscript(matcher.network, tmp_path / "m.pt")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        call = torch.jit.load(str(tmp_path / "m.pt"))
    fixed = (np.stack([town, town**2, town], axis=2) * 255).astype(np.uint8)
    moving = np.stack([1 - town] * 3, axis=2)[:230, :200]
    count = torch.tensor(PRESETS["mapglue-tiny"].detection.max_keypoints)
    with torch.no_grad():
        found = call(torch.from_numpy(fixed), torch.from_numpy(moving.copy()), count).numpy()
        nothing = call(torch.zeros(50, 50, 3), torch.from_numpy(fixed), count)
        fewer = call(torch.from_numpy(fixed), torch.from_numpy(moving.copy()), torch.tensor(100))
    expected = matcher.match(fixed, moving)
    both = np.concatenate([expected.fixed_xy, expected.moving_xy], axis=1)
    assert found.shape == both.shape
    # Places of equal score may change their order.
    np.testing.assert_allclose(in_order(found), in_order(both), atol=0.05)
    assert nothing.shape == (0, 4)
    assert fewer.shape[1] == 4


def test_the_shipped_weights_fit(town):
    matcher = MapGlueMatcher()
    assert matcher.name == "mapglue-tiny"
    found = matcher.match(town, 1 - np.roll(town, 6, axis=1))
    assert len(found) > 100
    assert median_error(found, similarity(shift=(-6, 0))) < 1
    assert find_weights("mapglue-tiny").stat().st_size < 10e6
