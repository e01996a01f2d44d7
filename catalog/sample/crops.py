"""Let crops and leaves follow the year: how much green, how much straw, how much bare soil."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CROP_NAMES = ("wheat", "barley", "rapeseed", "maize", "sugar_beet", "potato", "grass", "fallow")
CROP_ODDS = (0.27, 0.13, 0.12, 0.2, 0.08, 0.06, 0.09, 0.05)

# day of year: green-up (half way), yellowing (half way), harvest; NaN-free so that arrays stay simple
_CALENDAR = np.array(
    [
        (70, 182, 208),
        (65, 168, 192),
        (60, 176, 200),
        (158, 255, 272),
        (150, 330, 300),
        (152, 235, 262),
        (75, 330, 400),
        (110, 215, 400),
    ],
    np.float64,
)
_PEAK = np.array([0.93, 0.9, 0.92, 0.95, 0.96, 0.88, 0.86, 0.45])


def _rise(
    day: npt.NDArray[np.float64], middle: npt.NDArray[np.float64], width: float
) -> npt.NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-(day - middle) / width))


def grow_crops(
    crop: npt.NDArray[np.int64], lead_days: npt.NDArray[np.float64], day_of_year: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return what covers each field on a day.

    Args:
        crop: ``(field,)`` index into ``CROP_NAMES``.
        lead_days: ``(field,)`` how much earlier this field is than the average, days.
        day_of_year: 1..366.

    Returns:
        Three ``(field,)`` arrays in [0, 1]: share of green leaves, share of straw or stubble, and bloom
        (yellow flowers of rapeseed).
    """
    day = day_of_year + lead_days
    up, yellow, harvest = _CALENDAR[crop].T
    cut = day > harvest
    green = _PEAK[crop] * _rise(day, up, 9.0) * (1 - _rise(day, yellow, 6.0))
    dry = np.clip(_rise(day, yellow, 6.0) * 0.9, 0, 1)
    # after harvest: stubble, then ploughed soil, then a catch crop on about half of the fields
    since = day - harvest
    stubble = np.where(since < 35 + lead_days * 2, 0.75, 0.1)
    sprout = np.where(lead_days > 1.0, 0.75 * _rise(since, np.full_like(since, 45.0), 10.0), 0.03)
    green = np.where(cut, sprout, green)
    dry = np.where(cut, stubble, dry)
    bloom = np.where(crop == 2, np.exp(-0.5 * ((day - 122) / 13.0) ** 2), 0.0)
    return np.clip(green, 0, 1), np.clip(dry * (1 - green), 0, 1), bloom


def open_leaves(day_of_year: int) -> tuple[float, float]:
    """Return for broad-leaved trees the share of leaves out, and how far they have turned, both in [0, 1]."""
    out = 1 / (1 + np.exp(-(day_of_year - 112) / 7.0)) * (1 - 1 / (1 + np.exp(-(day_of_year - 308) / 7.0)))
    turned = 1 / (1 + np.exp(-(day_of_year - 285) / 9.0))
    return float(out), float(turned)


def dry_grass(day_of_year: int) -> float:
    """Return how far meadows have dried out, in [0, 1]: most in August, some in winter."""
    summer = 0.35 * np.exp(-0.5 * ((day_of_year - 220) / 28.0) ** 2)
    winter = 0.3 * np.exp(-0.5 * ((((day_of_year + 150) % 365) - 185) / 45.0) ** 2)
    return float(summer + winter)
