"""The stretch: colours stay natural, clouds keep shape, water is not black, odd input does no harm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.pictures.stretch import stretch_to_8bit
from infra.errors import InputError

RNG = np.random.default_rng(11)


def land(rows: int = 100, cols: int = 100) -> NDArray[np.float32]:
    """Vegetation and soil in reflectance, a strip of water at the top."""
    picture = np.stack([RNG.normal(level, 0.012, (rows, cols)) for level in (0.07, 0.08, 0.05)])
    picture[:, :, cols // 2 :] *= np.array([2.6, 1.9, 1.8])[:, None, None]
    picture[:, :10] = np.array([0.02, 0.03, 0.04])[:, None, None] + RNG.normal(0, 0.002, (3, 10, cols))
    return picture.astype(np.float32)


def test_typical_land_comes_out_mid_grey() -> None:
    picture = stretch_to_8bit(land(), "optical")
    assert 60 < np.median(picture) < 150


def test_water_is_dark_but_not_black() -> None:
    water = stretch_to_8bit(land(), "optical")[:, :10]
    assert 5 < water[2].mean() < 90


def test_a_few_clouds_do_not_darken_the_land() -> None:
    clear = land()
    cloudy = clear.copy()
    cloudy[:, 40:55, 10:40] = RNG.uniform(0.6, 1.0, (1, 15, 30))  # 4.5 %
    ground = np.ones((100, 100), bool)
    ground[40:55, 10:40] = False
    before, after = (stretch_to_8bit(p, "optical")[:, ground].mean() for p in (clear, cloudy))
    assert after > 0.6 * before


def test_clouds_keep_their_shape() -> None:
    cloudy = land()
    cloudy[:, 20:90] = np.linspace(0.3, 0.9, 70, dtype=np.float32)[None, :, None]
    cloud = stretch_to_8bit(cloudy, "optical")[0, 20:90, 0].astype(int)
    assert (np.diff(cloud) >= 0).all()
    assert len(np.unique(cloud)) > 30
    assert (cloud == 255).mean() < 0.2


def test_grey_stays_grey() -> None:
    grey = np.repeat(RNG.uniform(0.05, 0.4, (1, 50, 50)), 3, axis=0).astype(np.float32)
    picture = stretch_to_8bit(grey, "optical").astype(int)
    assert np.ptp(picture, axis=0).max() <= 1


def test_haze_is_taken_out_but_the_colour_of_sand_is_kept() -> None:
    hazy = land() + np.array([0.02, 0.05, 0.10], np.float32)[:, None, None]
    water = stretch_to_8bit(hazy, "optical")[:, :10].astype(int)
    assert water[2].mean() - water[0].mean() < 80
    sand = np.stack([RNG.normal(level, 0.01, (60, 60)) for level in (0.40, 0.30, 0.20)]).astype(np.float32)
    red, _, blue = stretch_to_8bit(sand, "optical").astype(int)
    assert (red.mean() - blue.mean()) > 40


@pytest.mark.parametrize("style", ["optical", "visual", "radar"])
def test_nodata_is_zero_and_has_no_say(style: str) -> None:
    picture = land() * (255 if style == "visual" else 1)
    framed = np.full((3, 120, 120), np.nan, np.float32)
    framed[:, 10:110, 10:110] = picture
    result = stretch_to_8bit(framed, style)  # type: ignore[arg-type]
    assert (result[:, :10] == 0).all()
    inner, alone = result[:, 13:107, 13:107].astype(int), stretch_to_8bit(picture, style)[:, 3:97, 3:97]  # type: ignore[arg-type]
    assert np.abs(inner - alone).max() <= 1


@pytest.mark.parametrize("style", ["optical", "visual", "radar", "grey"])
@pytest.mark.parametrize("value", [0.0, 0.2, 1.0, -5.0, 250.0, 1e6, np.nan])
def test_flat_input_gives_a_flat_picture(style: str, value: float) -> None:
    channels = np.full((1 if style == "grey" else 3, 20, 30), value, np.float32)
    picture = stretch_to_8bit(channels, style)  # type: ignore[arg-type]
    assert picture.dtype == np.uint8
    assert picture.shape == channels.shape
    assert all(np.ptp(channel) == 0 for channel in picture[:, 5:15, 5:25])


def test_a_well_exposed_8_bit_picture_hardly_changes() -> None:
    picture = RNG.integers(0, 256, (3, 80, 80)).astype(np.float32)
    difference = stretch_to_8bit(picture, "visual").astype(int) - picture.astype(int)
    assert np.abs(difference).mean() < 25


def test_a_thin_strip_of_data_is_seen() -> None:
    channels = np.full((1, 2001, 2001), np.nan, np.float32)
    channels[0, :, 1001] = np.linspace(0, 1, 2001)
    assert np.ptp(stretch_to_8bit(channels, "grey")[0, :, 1001]) == 255


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match="2 dimensions"):
        stretch_to_8bit(np.zeros((4, 4), np.float32), "grey")
