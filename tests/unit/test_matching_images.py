import numpy as np
import pytest

from infra.errors import InputError
from models.matching.images import prepare_image

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 100, (24, 31))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bands", [None, 1, 2, 3, 13])
def test_any_type_and_number_of_bands_becomes_grey(rng, dtype, bands):
    shape = (24, 31) if bands is None else (24, 31, bands)
    image = rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    grey = prepare_image(image)
    assert grey.grey.dtype == np.float32
    assert grey.shape == (24, 31)
    assert grey.valid.all()
    assert not grey.flat
    assert grey.grey.min() >= 0
    assert grey.grey.max() <= 1
    assert grey.grey.std() > 0.05


def test_gain_and_offset_do_not_matter(picture):
    one, other = prepare_image(picture.astype(np.uint8)), prepare_image(picture * 37.5 - 1000.0)
    np.testing.assert_allclose(one.grey, other.grey, atol=1e-5)


def test_the_middle_98_percent_fill_the_range(picture):
    image = picture.astype(np.float64)
    image[0, 0] = 1e6  # one bright pixel must not leave the rest dark
    low, high = np.percentile(image, (1, 99))
    grey = prepare_image(image).grey
    np.testing.assert_allclose(grey, np.clip((image - low) / (high - low), 0, 1), atol=1e-5)


def test_three_bands_are_blended_as_the_eye_does(picture):
    green = np.zeros((24, 31, 3))
    green[..., 1] = picture
    green[..., 2] = 7
    np.testing.assert_allclose(prepare_image(green).grey, prepare_image(picture).grey, atol=1e-5)


def test_bands_of_other_numbers_weigh_the_same_whatever_their_range(picture):
    image = np.stack([picture, 10_000 * picture[::-1]], axis=2)
    expected = (prepare_image(picture).grey + prepare_image(picture[::-1]).grey) / 2
    np.testing.assert_allclose(prepare_image(image).grey, expected, atol=1e-5)


def test_nan_infinity_and_masks_are_nodata(picture):
    image = picture.astype(np.float32)
    image[3, 4], image[5, 6] = np.nan, np.inf
    mask = np.ones(picture.shape, np.bool_)
    mask[:, :2] = False
    grey = prepare_image(image, mask)
    expected = mask.copy()
    expected[3, 4] = expected[5, 6] = False
    np.testing.assert_array_equal(grey.valid, expected)
    assert not grey.grey[~expected].any()
    assert np.isfinite(grey.grey).all()


def test_what_is_masked_does_not_stretch_the_rest(picture):
    image = picture.astype(np.float32)
    image[:, :5] = 1e9
    mask = np.ones(picture.shape, np.bool_)
    mask[:, :5] = False
    np.testing.assert_allclose(
        prepare_image(image, mask).grey[:, 5:], prepare_image(picture[:, 5:]).grey, atol=1e-5
    )


def test_a_band_without_any_value_is_left_out(picture):
    image = np.stack([picture.astype(np.float32), np.full(picture.shape, np.nan, np.float32)], axis=2)
    np.testing.assert_allclose(prepare_image(image).grey, prepare_image(picture).grey, atol=1e-6)


@pytest.mark.parametrize(
    "image",
    [np.full((5, 5), 9), np.full((5, 5), np.nan), np.zeros((1, 1, 3), np.uint8)],
    ids=["one", "nan", "px"],
)
def test_nothing_to_find_is_flat(image):
    grey = prepare_image(image)
    assert grey.flat
    assert not grey.grey.any()


def test_a_few_pixels_on_a_constant_ground_are_still_seen():
    image = np.zeros((40, 40), np.uint8)
    image[20, 20] = 5
    assert prepare_image(image).grey[20, 20] == 1


@pytest.mark.parametrize(
    "image",
    [np.zeros(5), np.zeros((0, 5)), np.zeros((5, 5, 0)), np.zeros((2, 2, 2, 2)), np.zeros((4, 4), complex)],
    ids=lambda image: f"{image.shape} {image.dtype}",
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(InputError, match="cannot be matched"):
        prepare_image(image)


def test_a_mask_of_another_size_is_refused(picture):
    with pytest.raises(InputError, match=r"\(3, 3\)"):
        prepare_image(picture, np.ones((3, 3), np.bool_))
