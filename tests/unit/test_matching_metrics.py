import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import InputError
from models.matching.matches import Matches
from models.matching.metrics import (
    area_under_curve,
    count_within,
    measure_corner_error,
    measure_landmark_error,
    measure_precision,
)
from models.matching.transforms import similarity
from tests.support.matching import tie


@pytest.mark.parametrize(
    ("errors", "limit", "area"),
    [
        ([0, 0, 0], 5, 1),
        ([math.inf, math.inf], 5, 0),
        ([5, 6, 7], 5, 0),
        ([2.5], 5, 0.5),
        ([0, math.inf], 10, 0.5),
        ([1, 3, math.inf, 12], 10, (0.9 + 0.7) / 4),
        ([1, 3, math.inf, 12], 20, (0.95 + 0.85 + 0.4) / 4),
    ],
)
def test_area_under_the_curve_in_closed_form(errors, limit, area):
    assert area_under_curve(errors, limit) == pytest.approx(area)


@given(
    st.lists(st.floats(0, 30) | st.just(math.inf), min_size=1, max_size=20),
    st.sampled_from([5.0, 10.0, 20.0]),
)
def test_area_is_that_of_the_step_curve(errors, limit):
    at = (np.arange(20_000) + 0.5) * limit / 20_000
    shares = (np.array(errors)[:, None] <= at).mean(axis=0)
    assert area_under_curve(errors, limit) == pytest.approx(shares.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("errors", "limit"), [([], 5), ([-1], 5), ([math.nan], 5), ([1], 0), ([1], math.nan)]
)
def test_no_curve_without_errors(errors, limit):
    with pytest.raises(InputError, match="No curve"):
        area_under_curve(errors, limit)


def test_corner_error_of_known_differences():
    truth = similarity(rotation_deg=20, scale=0.9, shift=(4, 5), centre=(50, 40))
    assert measure_corner_error(truth, truth, (81, 101)) == 0
    assert measure_corner_error(similarity(shift=(3, 4)) @ truth, truth, (81, 101)) == pytest.approx(5)
    assert measure_corner_error(None, truth, (81, 101)) == math.inf
    # Twice the size about the first corner: the others go 100, 80 and hypot(100, 80) too far.
    doubled = measure_corner_error(similarity(scale=2), np.eye(3), (81, 101))
    assert doubled == pytest.approx((100 + 80 + math.hypot(100, 80)) / 4)


def test_a_corner_at_infinity_is_infinitely_wrong():
    fold = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])
    assert measure_corner_error(fold, np.eye(3), (81, 101)) == math.inf


def test_landmark_error_is_a_mean_distance(rng):
    moving = rng.uniform(0, 100, (20, 2))
    fixed = moving + np.array([6.0, 8.0])
    assert measure_landmark_error(np.eye(3), fixed, moving) == pytest.approx(10)
    assert measure_landmark_error(similarity(shift=(6, 8)), fixed, moving) == pytest.approx(0, abs=1e-9)
    assert measure_landmark_error(None, fixed, moving) == math.inf
    for wrong in (moving[:3], np.zeros((0, 2))):
        with pytest.raises(InputError, match="landmarks"):
            measure_landmark_error(np.eye(3), wrong, wrong[:1] if len(wrong) else wrong)


def test_success_counts_what_is_within():
    assert [count_within([1, 3, 3.01, math.inf], limit) for limit in (3, 5, 10)] == [2, 3, 3]


def test_precision_is_against_the_truth_not_the_fit(rng):
    truth = similarity(rotation_deg=10, shift=(5, 5))
    moving = rng.uniform(0, 300, (100, 2))
    good, bad = tie(truth, moving[:60]), tie(similarity(shift=(0, 400)), moving[60:])
    both = Matches(*(np.concatenate(two) for two in zip(_parts(good), _parts(bad), strict=True)))
    assert measure_precision(both, truth) == pytest.approx(0.6)
    assert measure_precision(bad, truth) == 0
    near = Matches(good.fixed_xy + np.float32(1.5), good.moving_xy, good.scores)
    assert measure_precision(near, truth, 3.0) == 1
    assert measure_precision(near, truth, 2.0) == 0
    assert measure_precision(Matches.none(), truth) == 0


def _parts(matches: Matches) -> tuple[np.ndarray, ...]:
    return matches.fixed_xy, matches.moving_xy, matches.scores


def test_a_corner_on_the_vanishing_line_is_infinitely_far_off():
    vanishing = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 99, 0, 1]])
    for estimated in (np.eye(3), vanishing):
        assert measure_corner_error(estimated, vanishing, (100, 100)) == math.inf
