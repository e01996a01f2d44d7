"""Overviews: halved with the valid pixels only; statistics merged from parts."""

import numpy as np
import pytest

from catalog.cubes.pyramid import Moments, count_levels, halve, merge_moments, summarise
from catalog.records import Grid


def grid_of(shape_yx, shard_px):
    return Grid(
        crs="EPSG:32633",
        transform=(10.0, 0, 0, 0, -10.0, 0),
        shape_yx=shape_yx,
        shard_px=shard_px,
        chunk_px=64,
    )


@pytest.mark.parametrize(
    ("shape_yx", "shard_px", "levels"),
    [((1, 1), 256, 1), ((512, 512), 256, 1), ((513, 10), 256, 2), ((1025, 10), 1024, 3),
     ((4096, 4096), 64, 1), ((4096, 4096), 256, 3), ((8192, 100), 4096, 5)],
)  # fmt: skip
def test_levels(shape_yx, shard_px, levels):
    assert count_levels(grid_of(shape_yx, shard_px)) == levels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_mean_of_four(dtype):
    pixels = np.array([[1, 3, 10, 20], [5, 7, 30, 40]], dtype=dtype)
    assert halve(pixels, 0, nearest=False).tolist() == [[4, 25]]
    assert halve(pixels, 0, nearest=False).dtype == dtype


@pytest.mark.parametrize(
    ("fill", "dtype"), [(0, "uint16"), (-32768, "int16"), (-99, "float32"), (np.nan, "float32")]
)
def test_only_valid_pixels_count(fill, dtype):
    pixels = np.array([[8, fill, fill, fill], [fill, 10, fill, fill]], dtype=dtype)
    halved = halve(pixels, fill, nearest=False)
    assert halved[0, 0] == 9
    np.testing.assert_array_equal(halved[0, 1], np.asarray(fill, dtype=dtype))


def test_odd_sizes_round_up_and_the_last_stands_alone():
    pixels = np.arange(1, 16, dtype=np.float32).reshape(3, 5)
    halved = halve(pixels, np.nan, nearest=False)
    assert halved.shape == (2, 3)
    assert halved.tolist() == [[4, 6, 7.5], [11.5, 13.5, 15]]


def test_classes_are_picked_not_averaged():
    pixels = np.array([[4, 8, 9, 3], [8, 8, 3, 3]], dtype=np.uint8)
    assert halve(pixels, 0, nearest=True).tolist() == [[4, 9]]


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int8", "int64"])
def test_types_that_opencv_cannot_average_are_picked(dtype):
    pixels = np.array([[4, 8], [8, 8]], dtype=dtype)
    assert halve(pixels, 0, nearest=False).tolist() == [[4]]


def test_one_pixel_stays():
    assert halve(np.array([[7]], dtype=np.uint16), 0, nearest=False).tolist() == [[7]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "int32", "uint32"])
def test_summary_of_known_numbers(dtype):
    pixels = np.array([[1, 2, 3], [4, 0, 0]], dtype=dtype)
    found = summarise(pixels, pixels != 0)
    assert found is not None
    assert (found.count, found.mean, found.minimum, found.maximum) == (4, 2.5, 1, 4)
    assert found.stddev == pytest.approx(np.std([1, 2, 3, 4]))


def test_summary_passes_over_nan():
    pixels = np.array([[np.nan, 2.0], [4.0, np.nan]], dtype=np.float32)
    found = summarise(pixels, np.isfinite(pixels))
    assert found is not None
    assert (found.count, found.mean, found.minimum, found.maximum) == (2, 3, 2, 4)


def test_nothing_has_no_summary():
    assert summarise(np.zeros((2, 2), dtype=np.uint8), np.zeros((2, 2), dtype=bool)) is None
    assert merge_moments([]) is None
    assert merge_moments([None, None]) is None


def test_one_part_is_itself():
    part = Moments(count=3, mean=1.0, m2=2.0, minimum=0.0, maximum=2.0)
    assert merge_moments([None, part, None]) == part
