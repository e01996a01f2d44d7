import numpy as np
import pytest
from scipy import ndimage

from infra.errors import InputError
from models.matching.transforms import apply_transform, image_corners, invert, similarity, warp_image

HOMOGRAPHY = np.array([[0.9, -0.2, 12.0], [0.15, 1.1, -7.0], [2e-4, -1e-4, 1.0]])


def test_a_positive_turn_is_clockwise_as_shown():
    right_and_down = apply_transform(similarity(rotation_deg=90), np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(right_and_down, [[0, 1], [-1, 0]], atol=1e-12)


def test_a_similarity_keeps_its_centre_but_for_the_shift():
    transform = similarity(rotation_deg=33, scale=1.7, shift=(5, -2), centre=(40, 30))
    np.testing.assert_allclose(apply_transform(transform, np.array([[40.0, 30.0]])), [[45, 28]])
    ends = apply_transform(transform, np.array([[40.0, 30.0], [50.0, 30.0]]))
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(17)


def test_a_transform_and_its_inverse_undo_each_other(rng):
    xy = rng.uniform(0, 500, (50, 2))
    there = apply_transform(HOMOGRAPHY, xy)
    np.testing.assert_allclose(apply_transform(invert(HOMOGRAPHY), there), xy, atol=1e-9)
    np.testing.assert_allclose(
        apply_transform(HOMOGRAPHY @ HOMOGRAPHY, xy), apply_transform(HOMOGRAPHY, there)
    )


def test_points_on_the_vanishing_line_go_to_infinity():
    fold = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])
    assert np.isinf(apply_transform(fold, np.array([[100.0, 5.0]]))).all()


def test_a_collapse_has_no_inverse():
    with pytest.raises(InputError, match="turned round"):
        invert(np.zeros((3, 3)))


def test_corners_are_pixel_centres_in_turn():
    assert image_corners((3, 5)).tolist() == [[0, 0], [4, 0], [4, 2], [0, 2]]


@pytest.mark.parametrize("transform", [similarity(rotation_deg=25, scale=0.8, centre=(30, 20)), HOMOGRAPHY])
def test_warping_is_what_scipy_does(rng, transform):
    image = ndimage.gaussian_filter(rng.uniform(0, 1, (50, 70)), 1).astype(np.float32)
    warped, inside = warp_image(image, transform, (64, 80))
    rows, columns = np.mgrid[:64, :80]
    source = apply_transform(invert(transform), np.stack([columns.ravel(), rows.ravel()], axis=1))
    expected = ndimage.map_coordinates(image, source[:, ::-1].T, order=1, cval=0.0).reshape(64, 80)
    within = ((source >= 0) & (source <= (69, 49))).all(axis=1).reshape(64, 80)
    np.testing.assert_array_equal(inside, within)
    assert 0.2 < inside.mean() < 1
    np.testing.assert_allclose(warped[inside], expected[inside], atol=2e-4)
    assert not warped[~inside].any()


def test_a_ramp_is_moved_exactly_and_band_by_band():
    rows, columns = np.mgrid[:40, :60].astype(np.float32)
    transform = similarity(rotation_deg=-17, scale=1.2, shift=(3, 4), centre=(30, 20))
    warped, inside = warp_image(np.stack([columns, rows], axis=2), transform, (40, 60))
    places = np.stack([columns[inside], rows[inside]], axis=1)
    np.testing.assert_allclose(warped[inside], apply_transform(invert(transform), places), atol=1e-3)


def test_the_identity_changes_nothing(rng):
    image = rng.uniform(0, 1, (17, 23)).astype(np.float32)
    warped, inside = warp_image(image, np.eye(3), image.shape)
    np.testing.assert_allclose(warped, image, atol=1e-5)
    assert inside.all()


def test_a_pixel_counts_when_all_four_neighbours_are_in_the_source():
    _, inside = warp_image(np.ones((4, 4), np.float32), similarity(shift=(0.5, 0)), (4, 4))
    assert inside[0].tolist() == [False, True, True, True]


def test_one_pixel_and_one_row_can_be_warped():
    one, inside = warp_image(np.full((1, 1), 5, np.float32), np.eye(3), (2, 2))
    assert one.tolist() == [[5, 0], [0, 0]]
    assert inside.tolist() == [[True, False], [False, False]]
