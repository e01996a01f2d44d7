"""Overviews and statistics: constants stay, bounds hold, parts merge into the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from catalog.cubes.pyramid import halve, merge_moments, summarise
from catalog.readers.protocol import valid_mask

DTYPES = ("uint8", "uint16", "int16", "float32")
shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


@st.composite
def images(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    numbers = st.integers(0, 200) if dtype.kind != "f" else st.floats(-50, 50, width=16)
    pixels = draw(arrays(dtype, draw(shapes), elements=numbers))
    return pixels, 0


@given(shapes, st.sampled_from(DTYPES), st.integers(1, 200), st.booleans())
def test_a_constant_stays(shape, dtype, value, nearest):
    pixels = np.full(shape, value, dtype=dtype)
    halved = halve(pixels, 0, nearest=nearest)
    assert halved.shape == (-(-shape[0] // 2), -(-shape[1] // 2))
    assert halved.dtype == dtype
    assert (halved == value).all()


@given(images(), st.booleans())
def test_an_overview_stays_within_the_valid_numbers(image, nearest):
    pixels, fill = image
    halved = halve(pixels, fill, nearest=nearest)
    valid = pixels[valid_mask(pixels, fill)]
    known = halved[valid_mask(halved, fill)]
    if known.size:
        assert known.min() >= valid.min() - 1e-3
        assert known.max() <= valid.max() + 1e-3
    assert valid.size or not known.size


@given(images())
def test_a_block_is_fill_exactly_where_none_of_its_pixels_is_valid(image):
    pixels, fill = image
    if pixels.dtype.kind == "f":
        pixels = np.abs(pixels)  # a mean of 0 would look like fill
    valid = valid_mask(pixels, fill)
    rows, cols = (-(-edge // 2) for edge in pixels.shape)
    padded = np.zeros((rows * 2, cols * 2), dtype=bool)
    padded[: pixels.shape[0], : pixels.shape[1]] = valid
    any_valid = padded.reshape(rows, 2, cols, 2).any((1, 3))
    np.testing.assert_array_equal(valid_mask(halve(pixels, fill, nearest=False), fill), any_valid)


@given(images())
def test_turning_the_image_turns_the_overview(image):
    pixels, fill = image
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    if even.size:
        turned = halve(np.ascontiguousarray(even[::-1, ::-1]), fill, nearest=False)
        np.testing.assert_allclose(turned[::-1, ::-1], halve(even, fill, nearest=False), atol=1e-4)


@given(images())
def test_halving_by_tiles_is_halving_the_whole(image):
    pixels, fill = image
    whole = halve(pixels, fill, nearest=False)
    parts = [halve(pixels[row : row + 4], fill, nearest=False) for row in range(0, pixels.shape[0], 4)]
    np.testing.assert_allclose(np.vstack(parts), whole, atol=1e-4)


@given(images(), st.integers(1, 8))
def test_statistics_of_parts_are_those_of_the_whole(image, cut):
    pixels, fill = image
    parts = [pixels[:cut], pixels[cut:]]
    merged = merge_moments(summarise(part, valid_mask(part, fill)) if part.size else None for part in parts)
    valid = pixels[valid_mask(pixels, fill)].astype(np.float64)
    if not valid.size:
        assert merged is None
        return
    assert merged is not None
    assert merged.count == valid.size
    assert (merged.minimum, merged.maximum) == (valid.min(), valid.max())
    assert merged.mean == pytest.approx(valid.mean(), abs=1e-6)
    assert merged.stddev == pytest.approx(valid.std(), abs=1e-5)
