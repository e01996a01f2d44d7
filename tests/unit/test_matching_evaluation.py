import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from models.matchers import MATCHERS, build_matcher
from models.matching.cases import prepare_case, shrink_image
from models.matching.evaluation import evaluate, summarise
from models.matching.images import prepare_image
from models.matching.matches import Matches
from models.matching.protocol import MatchingProtocol, choose_level
from models.matching.sift import IdentityMatcher, SiftConfig, SiftMatcher
from models.matching.transforms import apply_transform, invert, similarity, warp_image
from tests.support.matching import Pair, blobs

SHAPE = (180, 220)
LANDMARKS = np.array([[30.0, 40.0], [180.0, 50.0], [100.0, 140.0], [60.5, 90.25]])


def made_pair(name: str = "a", *, landmarks: bool = True, truth: bool = True) -> Pair:
    """Return a picture, and the same turned a little."""
    fixed_from_moving = similarity(rotation_deg=6, scale=1.05, shift=(5, -4), centre=(110, 90))
    fixed = blobs(SHAPE, seed=len(name))
    moving, inside = warp_image(fixed.astype(np.float32), invert(fixed_from_moving), SHAPE)
    return Pair(
        id=name,
        fixed=fixed,
        moving=moving,
        moving_valid=inside,
        fixed_landmarks_xy=apply_transform(fixed_from_moving, LANDMARKS) if landmarks else None,
        moving_landmarks_xy=LANDMARKS if landmarks else None,
        fixed_from_moving=fixed_from_moving if truth else None,
    )


class Blind:
    """Finds nothing, and counts how often it is asked."""

    name = "blind"

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def match(self, fixed, moving, *, fixed_valid=None, moving_valid=None) -> Matches:
        self.asked.append(moving)
        return Matches.none()


@pytest.mark.parametrize("level", ["none", "easy", "normal", "hard"])
def test_landmarks_and_truth_go_along_with_the_warp(level):
    case = prepare_case(made_pair(), MatchingProtocol(level=level))
    fixed_xy, moving_xy = case.landmarks_xy
    np.testing.assert_allclose(apply_transform(case.fixed_from_moving, moving_xy), fixed_xy, atol=1e-9)
    laid, inside = warp_image(case.moving.astype(np.float32), case.fixed_from_moving, SHAPE)
    known, _ = warp_image(case.moving_valid.astype(np.float32), case.fixed_from_moving, SHAPE)
    both = inside & (known > 0.999)
    assert both.mean() > 0.15
    off = np.abs(laid - case.fixed)[both]
    assert off.mean() < 12, "the warped image lies where the truth says"


def test_a_case_is_the_same_every_time_and_other_for_other_pairs():
    protocol = MatchingProtocol(level="hard", seed=3)
    one, again, other = (prepare_case(made_pair(name), protocol) for name in ("a", "a", "b"))
    np.testing.assert_array_equal(one.moving, again.moving)
    assert not np.array_equal(one.fixed_from_moving, other.fixed_from_moving)


def test_level_none_hands_on_the_images_untouched():
    pair = made_pair()
    case = prepare_case(pair, MatchingProtocol())
    assert case.fixed is pair.fixed
    assert case.moving is pair.moving
    np.testing.assert_array_equal(case.fixed_from_moving, pair.fixed_from_moving)


def test_large_images_are_shrunk_and_their_truth_along():
    pair = made_pair()
    case = prepare_case(pair, MatchingProtocol(longest_side_px=110))
    assert case.fixed.shape == case.moving_shape == (90, 110)
    fixed_xy, moving_xy = case.landmarks_xy
    np.testing.assert_allclose(apply_transform(case.fixed_from_moving, moving_xy), fixed_xy, atol=1e-9)
    # The centre of a pixel block is where the block's mean is.
    np.testing.assert_allclose(moving_xy, (LANDMARKS - 0.5) / 2)
    blocks = pair.fixed.reshape(90, 2, 110, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(case.fixed, blocks, atol=1e-3)


@pytest.mark.parametrize("bands", [None, 1, 3, 13])
def test_shrinking_keeps_bands_and_spoils_nothing_with_nodata(rng, bands):
    image = rng.uniform(0, 1, (40, 60) if bands is None else (40, 60, bands)).astype(np.float32)
    image[:10, :10] = np.nan
    shrunk, valid, new_from_old = shrink_image(image, None, 20)
    assert shrunk.shape == ((13, 20) if bands is None else (13, 20, bands))
    assert np.isfinite(shrunk).all()
    assert not valid[:4, :4].any()
    assert valid[4:, 4:].all()
    np.testing.assert_allclose(apply_transform(new_from_old, np.array([[59.5, 39.5]])), [[19.5, 12.5]])


def test_a_band_without_values_and_values_beyond_float32_spoil_no_others(rng):
    image = rng.random((60, 60, 4))
    image[..., 2] = np.nan
    image[0, 0, 1] = -1.7e308
    shrunk, valid, _ = shrink_image(image, None, 30)
    assert valid.sum() == 30 * 30 - 1
    assert prepare_image(shrunk, valid).valid.sum() == valid.sum()
    protocol = MatchingProtocol(level="easy", longest_side_px=60)
    pair = Pair(id="a", fixed=image, moving=image)
    assert prepare_case(pair, protocol).moving_valid.any()


def test_sift_finds_what_is_there():
    evaluation = evaluate([made_pair("a"), made_pair("bb")], SiftMatcher(), MatchingProtocol(level="normal"))
    figures = summarise(evaluation)
    assert figures["name"] == "sift"
    assert figures["success_at_px"] == {"3": 2, "5": 2, "10": 2}
    assert figures["auc_at_px"]["5"] > 0.6
    assert figures["mean_precision"] > 0.7
    first = figures["results"][0]
    assert first["inliers"] > 20
    assert first["failure"] is None
    assert [one["kind"] for one in figures["estimators"]] == ["homography", "homography", "affine", "affine"]
    assert figures["estimators"][0]["success_at_px"] == figures["success_at_px"]
    assert figures["by_class"]["made"]["pairs"] == 2


def test_failures_are_infinite_and_yet_plain_json():
    evaluation = evaluate([made_pair("a"), made_pair("b")], Blind(), MatchingProtocol())
    assert evaluation.results[0].fits[0].corner_error_px == math.inf
    figures = json.loads(json.dumps(summarise(evaluation), allow_nan=False))
    assert figures["success_at_px"] == {"3": 0, "5": 0, "10": 0}
    assert figures["auc_at_px"] == {"5": 0, "10": 0, "20": 0}
    assert figures["mean_precision"] == 0
    assert figures["results"][0]["landmark_error_px"] is None
    assert "tie points" in figures["results"][0]["failure"]


def test_without_a_true_transform_only_landmarks_are_measured():
    figures = summarise(evaluate([made_pair(truth=False)], SiftMatcher(), MatchingProtocol()))
    assert figures["success_at_px"]["3"] == 1
    assert figures["auc_at_px"] == {"5": None, "10": None, "20": None}
    assert figures["mean_precision"] is None


def test_without_landmarks_success_is_at_the_corners():
    pair = made_pair(landmarks=False)
    (result,) = evaluate([pair], SiftMatcher(), MatchingProtocol()).results
    assert result.fits[0].landmark_error_px is None
    assert result.fits[0].error_px == result.fits[0].corner_error_px < 3


def test_identity_is_off_by_what_the_pair_is_off():
    pair = made_pair()
    (result,) = evaluate([pair], IdentityMatcher(), MatchingProtocol()).results
    off = np.linalg.norm(pair.fixed_landmarks_xy - LANDMARKS, axis=1).mean()
    assert result.fits[0].landmark_error_px == pytest.approx(off, abs=1e-3)


def test_pairs_are_read_as_needed_and_the_first_is_matched_once_more_for_warmth():
    matcher, read = Blind(), []

    def pairs() -> Iterator[Pair]:
        for name in ("a", "bb", "ccc"):
            read.append((name, len(matcher.asked)))
            yield made_pair(name)

    evaluation = evaluate(pairs(), matcher, MatchingProtocol())
    assert read == [("a", 0), ("bb", 2), ("ccc", 3)]
    assert len(matcher.asked) == 4
    assert [result.pair for result in evaluation.results] == ["a", "bb", "ccc"]


def test_only_the_best_tie_points_count():
    protocol = MatchingProtocol(max_keypoints=50)
    (result,) = evaluate([made_pair()], IdentityMatcher(), protocol).results
    assert len(result.matches) == 50


def test_the_protocol_says_everything_a_figure_depends_on():
    told = json.loads(json.dumps(MatchingProtocol(level="hard", seed=7).describe()))
    assert told["version"]
    assert told["level"] == "hard"
    assert told["seed"] == 7
    assert told["warp"] == {"rotation_deg": 108.0, "shift": 0.3, "scale": [0.7, 1.3]}
    assert told["max_keypoints"] == 2048
    assert told["estimators"][0] == {
        "method": "USAC_MAGSAC",
        "kind": "homography",
        "threshold_px": 1.5,
        "max_iterations": 10_000,
        "confidence": 0.9999,
    }
    assert {"resize", "success_px", "auc_px", "precision_px", "success_error"} <= told.keys()


def test_an_unknown_level_is_named():
    assert choose_level("easy") == "easy"
    with pytest.raises(InputError, match=r"'extreme'.*none, easy, normal, hard"):
        choose_level("extreme")


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 50), 7, np.uint8),
        np.full((40, 50), np.nan),
        np.zeros((1, 1), np.uint8),
        np.zeros((40, 50, 13), np.uint16),
    ],
    ids=["constant", "nan", "pixel", "bands"],
)
def test_sift_answers_none_where_there_is_nothing(image):
    assert len(SiftMatcher().match(image, blobs((60, 60)))) == 0
    assert len(SiftMatcher().match(blobs((60, 60)), image)) == 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_sift_does_not_mind_the_type(dtype):
    image = blobs(SHAPE)
    matches = SiftMatcher().match(image, image.astype(dtype))
    assert len(matches) > 100
    np.testing.assert_allclose(matches.fixed_xy, matches.moving_xy, atol=1e-3)
    assert (np.diff(matches.scores) <= 0).all()
    assert (matches.scores > 0).all()
    assert (matches.scores <= 1).all()


def test_sift_keeps_to_its_number_and_to_the_mask():
    image, mask = blobs(SHAPE), np.zeros(SHAPE, np.bool_)
    mask[:, :110] = True
    matches = SiftMatcher(SiftConfig(max_keypoints=64)).match(image, image, fixed_valid=mask)
    assert 10 < len(matches) <= 64
    assert matches.fixed_xy[:, 0].max() < 111


def test_matchers_are_built_by_name():
    for name in ("identity", "sift"):
        assert build_matcher(name).name == name
    assert {"phase", "mapglue-tiny", "mapglue-fast", "mapglue"} <= MATCHERS.keys()
    with pytest.raises(InputError, match=r"'sfit'.*sift"):
        build_matcher("sfit")
    with pytest.raises(InputError, match="takes no weights"):
        build_matcher("sift", weights=Path("a.safetensors"))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(InputError, match=device):
        build_matcher("sift", device)
