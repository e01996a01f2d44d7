"""Turn stored numbers into 8-bit pictures: pure array arithmetic, no files and no knowledge of bands.

Every stretch takes float32 ``(channel, y, x)`` with NaN where there is no data and gives uint8 of the same
shape, 0 where there is no data. All figures come from a fixed subset of the pixels: same array, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

Style = Literal["optical", "visual", "radar", "grey"]
Channels = NDArray[np.float32]

_SAMPLE_PIXELS = (
    250_000  # percentiles of a regular subset differ from those of the whole by less than one grey level
)
_GREY_TARGET = 0.36  # where the typical pixel of a scene should come to lie, 0 to 1
_MAX_GAMMA = 2.0  # beyond it, sensor noise in dark water shows
_SHOULDER = 0.75  # above it, brightness is compressed, so that clouds keep their shape
_SATURATION = 1.05  # gives back a little of the colour that a gamma above 1 takes away
_HAZE_SHARE = 0.8  # of the darkest pixels: all of it would turn water black
_BRIGHTNESS_PX = 3  # window that averages speckle
_COLOUR_PX = 7  # the difference of two speckled channels is noisier than either
_RATIO_SHARE = 0.4  # of blue; the rest is brightness, so that strong echoes are white and water is navy
_RADAR_SATURATION = 0.9
_VISUAL_SHARE = 0.5  # a picture somebody has already stretched is only helped half-way


SCL_COLOURS: dict[int, tuple[int, int, int]] = {
    1: (255, 0, 0),
    2: (47, 47, 47),
    3: (100, 50, 0),
    4: (0, 160, 0),
    5: (255, 230, 90),
    6: (0, 0, 255),
    7: (128, 128, 128),
    8: (192, 192, 192),
    9: (255, 255, 255),
    10: (100, 200, 255),
    11: (255, 150, 255),
}
"""Colours of Sentinel-2 scene classes as ESA draws them; class 0 is no data."""
QA_PIXEL_COLOURS: tuple[tuple[int, tuple[int, int, int]], ...] = (
    (6, (0, 160, 0)),  # clear
    (7, (0, 0, 255)),  # water
    (5, (255, 150, 255)),  # snow
    (2, (100, 200, 255)),  # cirrus
    (4, (100, 50, 0)),  # cloud shadow
    (1, (192, 192, 192)),  # dilated cloud
    (3, (255, 255, 255)),  # cloud
)
"""Bit of Landsat Collection 2 QA_PIXEL → colour; later lines paint over earlier ones. Bit 0 is fill."""
_UNNAMED_GREY = 90


def stretch_to_8bit(channels: Channels, style: Style) -> NDArray[np.uint8]:
    """Stretch measured values to 8 bit so that a person sees what is there.

    Args:
        channels: ``(channel, y, x)`` float32, NaN where any channel has no data. For ``optical`` and
            ``visual`` three channels in order of falling wavelength (red, green, blue); for ``radar``
            decibels or anything else that is nearly symmetric; for ``grey`` one channel.
        style: ``optical`` shares one white point and removes haze, so colours stay natural; ``visual`` is
            the same, gently, for pictures that are 8-bit already; ``radar`` calms speckle, stretches each
            channel alone and mutes the colours; ``grey`` stretches between percentiles.

    Returns:
        ``(channel, y, x)`` uint8; 0 where there is no data.

    Raises:
        InputError: the array is not three-dimensional.
    """
    if channels.ndim != 3:
        raise InputError(f"The array to stretch has {channels.ndim} dimensions; give (channel, y, x).")
    sample = _take_sample(channels)
    if sample.shape[1] == 0:
        return np.zeros(channels.shape, np.uint8)
    return _quantise(_STYLES[style](channels, sample))


def to_radar_channels(backscatter: Channels, *, decibel: bool) -> Channels:
    """Make decibels of backscatter, and of two polarisations the three channels of a composite.

    Args:
        backscatter: ``(1 or 2, y, x)``; power, amplitude or decibels. Amplitude instead of power merely
            halves the decibels, which a percentile stretch does not notice.
        decibel: True where the source says so; negative numbers, which power cannot have, say so too.

    Returns:
        ``(1 or 3, y, x)`` float32 decibels, the third their difference; NaN where power is not above zero.
    """
    values = backscatter
    if not (decibel or _has_negative(backscatter)):
        values = np.asarray(10.0 * np.log10(np.where(backscatter > 0, backscatter, np.nan)), np.float32)
    return values if len(values) == 1 else np.stack([values[0], values[1], values[0] - values[1]])


def _has_negative(values: Channels) -> bool:
    sample = _take_sample(values)
    return bool(sample.size and np.percentile(sample, 5) < 0)


def paint_scl(codes: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint Sentinel-2 scene classes.

    Args:
        codes: ``(y, x)`` class numbers.

    Returns:
        ``(3, y, x)`` uint8 colours, and ``(y, x)`` True where the class is known.
    """
    table = np.zeros((256, 3), np.uint8)
    for code, colour in SCL_COLOURS.items():
        table[code] = colour
    painted = np.moveaxis(table[np.clip(codes, 0, 255).astype(np.uint8)], -1, 0)
    return painted, np.isin(codes, list(SCL_COLOURS))


def paint_qa_pixel(bits: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint Landsat Collection 2 QA_PIXEL: the most disturbing class of each pixel.

    Args:
        bits: ``(y, x)`` bit fields.

    Returns:
        ``(3, y, x)`` uint8 colours, and ``(y, x)`` True where the fill bit is not set.
    """
    unsigned = bits.astype(np.uint32)
    colours = np.full((3, *bits.shape), _UNNAMED_GREY, np.uint8)
    for bit, colour in QA_PIXEL_COLOURS:
        colours[:, (unsigned >> bit) & 1 == 1] = np.array(colour, np.uint8)[:, None]
    return colours, (unsigned & 1) == 0


def _stretch_optical(channels: Channels, sample: Channels) -> Channels:
    """Remove haze, share one white point, lift the typical pixel to mid grey, keep clouds soft."""
    haze = _estimate_haze(sample)
    luminance = np.mean(sample - haze[:, None], axis=0)
    typical, bright, brightest = np.percentile(luminance, [50, 98, 99.8])
    level = float(np.percentile(sample, 98))
    white = max(min(float(brightest), 1.3 * float(bright)), 0.25 * abs(level), 1e-12)
    if typical > 0.0:  # a few clouds must not push the land into the dark; the shoulder keeps their shape
        white = min(white, max(6.0 * float(typical), 0.25 * abs(level)))
    scaled = np.maximum((channels - haze[:, None, None]) / np.float32(white), 0.0)
    gamma = _choose_gamma(np.maximum(luminance / white, 0.0))
    return _saturate(_compress_highlights(np.asarray(scaled ** (1.0 / gamma), np.float32)), _SATURATION)


def _stretch_visual(channels: Channels, sample: Channels) -> Channels:
    """Move an 8-bit picture half-way to what the optical stretch would make of it."""
    if float(np.percentile(sample, 98)) <= 1.0:
        return _stretch_optical(channels, sample)
    stretched = _stretch_optical(channels, sample)
    return np.asarray((1 - _VISUAL_SHARE) * channels / 255.0 + _VISUAL_SHARE * stretched, np.float32)


def _stretch_radar(channels: Channels, sample: Channels) -> Channels:
    """Stretch every channel alone; calm speckle, more in colour than in brightness, where the detail is."""
    scaled = np.clip(_stretch_each(channels, sample), 0.0, 1.0)
    if len(scaled) == 1:
        return _average(scaled[0], _BRIGHTNESS_PX)[None]
    brightness = scaled[:2].mean(axis=0)
    scaled[2] = _RATIO_SHARE * scaled[2] + (1 - _RATIO_SHARE) * brightness
    colour = np.stack([_average(channel, _COLOUR_PX) for channel in scaled])
    detail = _average(brightness, _BRIGHTNESS_PX) - colour[:2].mean(axis=0)
    return _saturate(colour + detail, _RADAR_SATURATION)


def _average(channel: Channels, size: int) -> Channels:
    """Average over a square window of valid pixels; NaN stays NaN."""
    valid = np.isfinite(channel)
    total = _sum_window(np.where(valid, channel, np.float32(0.0)), size)
    count = _sum_window(valid.astype(np.float32), size)
    return np.asarray(np.where(valid, total / np.maximum(count, np.float32(1.0)), np.nan), np.float32)


def _sum_window(channel: Channels, size: int) -> Channels:
    """Sum over a square window of odd size; outside the picture there is nothing."""
    half = size // 2
    rows, cols = channel.shape
    padded = np.pad(channel, ((half, half), (0, 0)))
    down = padded[:rows].copy()
    for start in range(1, size):
        down += padded[start : start + rows]
    padded = np.pad(down, ((0, 0), (half, half)))
    across = padded[:, :cols].copy()
    for start in range(1, size):
        across += padded[:, start : start + cols]
    return across


def _stretch_each(channels: Channels, sample: Channels) -> Channels:
    """Stretch every channel between its own 2nd and 99th percentile."""
    low, high = np.percentile(sample, [2, 99], axis=1)
    middle = (low + high) / 2
    half = np.maximum((high - low) / 2, 0.05 * np.maximum(np.abs(middle), 1e-6))
    low, high = middle - half, middle + half
    return np.asarray((channels - low[:, None, None]) / (high - low)[:, None, None], np.float32)


def _estimate_haze(sample: Channels) -> Channels:
    """Take the darkest values as haze, as far as haze can explain them.

    Scattering falls with wavelength: a red brighter than blue in the darkest pixels is the colour of the
    ground (sand), not of the air, so haze may only grow from one channel to the next.
    """
    darkest = np.percentile(sample, 1, axis=1)
    possible = np.minimum.accumulate(darkest[::-1])[::-1]
    return np.asarray(_HAZE_SHARE * np.maximum(possible, np.minimum(darkest.min(), 0.0)), np.float32)


def _choose_gamma(luminance: Channels) -> float:
    """Choose the exponent that brings the typical pixel to the grey target, within limits.

    The lower quartile counts too: below a broken cloud cover it is the land, which people want to see.
    """
    typical = float(np.mean(np.percentile(luminance, [25, 50])))
    if not 0.0 < typical < 1.0:
        return 1.0
    return float(np.clip(np.log(typical) / np.log(_GREY_TARGET), 0.8, _MAX_GAMMA))


def _compress_highlights(scaled: Channels) -> Channels:
    """Bend everything above the shoulder towards 1 smoothly."""
    room = 1.0 - _SHOULDER
    above = _SHOULDER + room * np.tanh((scaled - _SHOULDER) / room)
    return np.asarray(np.where(scaled > _SHOULDER, above, scaled), np.float32)


def _saturate(rgb: Channels, strength: float) -> Channels:
    """Push colours away from grey (above 1) or towards it; grey and white stay as they are."""
    grey = rgb.mean(axis=0, keepdims=True)
    return np.asarray(grey + strength * (rgb - grey), np.float32)


def _take_sample(channels: Channels) -> Channels:
    """Take about a quarter of a million valid pixels on a regular raster: ``(channel, pixel)``."""
    rows, cols = channels.shape[-2:]
    step = max(1, int(np.ceil(np.sqrt(rows * cols / _SAMPLE_PIXELS))))
    flat = channels[..., ::step, ::step].reshape(-1, *_flat_size(rows, cols, step))
    valid = flat[:, np.isfinite(flat).all(axis=0)]
    if valid.shape[1] == 0 and step > 1:  # a narrow strip of data may fall between the raster's lines
        whole = channels.reshape(-1, rows * cols)
        valid = whole[:, np.isfinite(whole).all(axis=0)][:, :_SAMPLE_PIXELS]
    return valid


def _flat_size(rows: int, cols: int, step: int) -> tuple[int]:
    return (-(-rows // step) * -(-cols // step),)


def _quantise(scaled: Channels) -> NDArray[np.uint8]:
    """Round 0 to 1 to 0 to 255; NaN becomes 0."""
    filled = np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0)
    return np.asarray(np.rint(np.clip(filled, 0.0, 1.0) * 255.0), np.uint8)


_STYLES: dict[Style, Callable[[Channels, Channels], Channels]] = {
    "optical": _stretch_optical,
    "visual": _stretch_visual,
    "radar": _stretch_radar,
    "grey": _stretch_each,
}
