import numpy as np
import pytest

from infra.errors import InputError
from models.matching.estimate import Estimator, estimate_transform, find_absurdity
from models.matching.matches import Matches
from models.matching.metrics import measure_corner_error
from models.matching.transforms import similarity
from tests.support.matching import tie

SHAPE = (480, 640)
AFFINE = np.array([[0.9, -0.3, 40.0], [0.25, 1.05, -20.0], [0, 0, 1]])
HOMOGRAPHY = AFFINE + np.array([[0, 0, 0], [0, 0, 0], [1.5e-4, -1e-4, 0]])


def spread(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform((0, 0), (639, 479), (count, 2))


def mixed(rng, truth: np.ndarray, right: int, wrong: int, noise: float = 0.5) -> Matches:
    good, bad = tie(truth, spread(rng, right), noise), spread(rng, wrong).astype(np.float32)
    return Matches(
        np.concatenate([good.fixed_xy, spread(rng, wrong).astype(np.float32)]),
        np.concatenate([good.moving_xy, bad]),
        np.ones(right + wrong, np.float32),
    )


@pytest.mark.parametrize("threshold_px", [1.5, 3.0])
@pytest.mark.parametrize(
    ("kind", "truth"), [("homography", HOMOGRAPHY), ("homography", AFFINE), ("affine", AFFINE)]
)
def test_a_transform_is_found_among_many_wrong_tie_points(rng, kind, truth, threshold_px):
    matches = mixed(rng, truth, 200, 300)
    found = estimate_transform(matches, SHAPE, Estimator(kind, threshold_px))
    assert found.reason is None
    assert measure_corner_error(found.fixed_from_moving, truth, SHAPE) < 0.7
    assert found.inliers[:200].mean() > 0.8
    assert found.inliers[200:].mean() < 0.05
    assert found.fixed_from_moving.shape == (3, 3)
    if kind == "affine":
        assert found.fixed_from_moving[2].tolist() == [0, 0, 1]


def test_exact_tie_points_give_the_exact_transform(rng):
    found = estimate_transform(tie(HOMOGRAPHY, spread(rng, 40)), SHAPE)
    assert measure_corner_error(found.fixed_from_moving, HOMOGRAPHY, SHAPE) < 1e-2
    assert found.inliers.all()


@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_the_same_tie_points_give_the_same_answer(rng, kind):
    matches = mixed(rng, AFFINE, 60, 240, noise=1.0)
    answers = [estimate_transform(matches, SHAPE, Estimator(kind)) for _ in range(3)]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.fixed_from_moving, answers[0].fixed_from_moving)
        np.testing.assert_array_equal(answer.inliers, answers[0].inliers)


@pytest.mark.parametrize(("kind", "least"), [("homography", 4), ("affine", 3)])
def test_too_few_tie_points_say_so(rng, kind, least):
    places = spread(rng, 3)
    for count in range(least):
        found = estimate_transform(tie(np.eye(3), spread(rng, count)), SHAPE, Estimator(kind))
        assert found.fixed_from_moving is None
        assert f"{count} distinct tie points; a {kind} needs {least}" in found.reason
        assert found.inliers.shape == (count,)
        assert not found.inliers.any()
    repeated = tie(np.eye(3), np.repeat(places[: least - 1], 10, axis=0))
    assert "distinct" in estimate_transform(repeated, SHAPE, Estimator(kind)).reason


@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_tie_points_on_a_line_say_so(rng, kind):
    along = np.linspace(0, 400, 50)
    line = np.stack([along, 0.5 * along + 3], axis=1)
    found = estimate_transform(tie(AFFINE, line), SHAPE, Estimator(kind))
    assert found.fixed_from_moving is None
    assert "one line" in found.reason


def test_many_to_one_place_is_no_transform(rng):
    matches = tie(np.eye(3), spread(rng, 50))
    crowded = Matches(np.full_like(matches.fixed_xy, 7), matches.moving_xy, matches.scores)
    assert estimate_transform(crowded, SHAPE).fixed_from_moving is None


def test_a_mirrored_image_is_not_believed(rng):
    mirror = np.diag([-1.0, 1.0, 1.0])
    found = estimate_transform(tie(mirror, spread(rng, 50)), SHAPE, Estimator("affine"))
    assert found.fixed_from_moving is None
    assert "mirrors" in found.reason
    assert not found.inliers.any()


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (np.eye(3), None),
        (HOMOGRAPHY, None),
        (similarity(rotation_deg=180, scale=0.7, centre=(320, 240)), None),
        (-HOMOGRAPHY, None),
        (np.diag([1.0, -1.0, 1.0]), "mirrors"),
        (np.diag([1.0, 0.0, 1.0]), "collapses"),
        (np.diag([0.1, 0.1, 1.0]), "0.01-fold"),
        (np.diag([9.0, 9.0, 1.0]), "81-fold"),
        (np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]]), "horizon"),
        (np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 639, 0, 1]]), "horizon"),
        (np.full((3, 3), np.nan), "not finite"),
    ],
)
def test_what_no_picture_of_the_ground_does_is_named(transform, said):
    found = find_absurdity(transform, SHAPE)
    assert found is None if said is None else said in found


def test_a_transform_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        find_absurdity(np.zeros((2, 3)), SHAPE)
