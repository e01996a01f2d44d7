"""Choose what part of the Earth a small map shows, and its lines: plain arithmetic on degrees.

The map is equirectangular, with degrees of longitude shortened by the cosine of the middle latitude, so that
shapes look right there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

METRES_PER_DEGREE = 111_320.0  # of latitude, and of longitude at the equator
WIDTH = 760.0
"""Width of every map in its own units; a page scales it."""
_ASPECTS = (0.42, 0.8)  # height over width
_MARGIN = 0.1  # of the longer side, on every side
_MIN_SPAN_DEG = 1e-4  # about ten metres
_MIN_SHRINK = 0.05
_STEPS_DEG = (
    *(factor * 10.0**power for power in range(-6, 1) for factor in (1, 2, 5)),
    *(10.0, 15.0, 30.0, 45.0, 90.0),
)
_MAX_LINES = 6
_SCALE_BAR_SHARE = 0.22  # of the width, at most


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Hold the part of the Earth that a map shows. Longitudes are continuous: east may be above 180."""

    west: float
    south: float
    east: float
    north: float
    height: float
    """In map units; the width is ``WIDTH``."""

    def place(self, lon: float, lat: float) -> tuple[float, float]:
        """Return map units from the upper left corner."""
        x = (lon - self.west) / (self.east - self.west) * WIDTH
        y = (self.north - lat) / (self.north - self.south) * self.height
        return x, y

    @property
    def middle_lat(self) -> float:
        """Latitude in degrees at which the map is true to shape."""
        return (self.south + self.north) / 2

    @property
    def metres_per_unit(self) -> float:
        """Ground length of one map unit, west to east, at the middle latitude."""
        return (self.east - self.west) * _shrink(self.middle_lat) * METRES_PER_DEGREE / WIDTH


@dataclass(frozen=True, kw_only=True)
class ScaleBar:
    """Hold a scale bar of a round length."""

    length: float
    """Map units."""
    label: str


def fit_frame(west: float, south: float, east: float, north: float) -> Frame:
    """Put a margin round a box and give it a shape that suits a page.

    Args:
        west: Degrees.
        south: Degrees.
        east: Degrees, above ``west``: above 180 where the box crosses the antimeridian.
        north: Degrees, above ``south``.
    """
    shrink = _shrink((south + north) / 2)
    across, down = max((east - west) * shrink, _MIN_SPAN_DEG), max(north - south, _MIN_SPAN_DEG)
    margin = _MARGIN * max(across, down)
    across, down = across + 2 * margin, down + 2 * margin
    across, down = max(across, down / _ASPECTS[1]), max(down, across * _ASPECTS[0])
    span_lon, span_lat = min(across / shrink, 360.0), min(down, 180.0)
    left = (west + east) / 2 - span_lon / 2
    bottom = min(max((south + north) / 2 - span_lat / 2, -90.0), 90.0 - span_lat)
    ratio = span_lat / (span_lon * shrink)
    height = WIDTH * min(max(ratio, _ASPECTS[0]), _ASPECTS[1])
    return Frame(west=left, south=bottom, east=left + span_lon, north=bottom + span_lat, height=height)


def graticule(low: float, high: float) -> tuple[float, list[float]]:
    """Choose round degrees between two.

    Returns:
        The step between lines, and the lines.
    """
    step = next((step for step in _STEPS_DEG if (high - low) / step <= _MAX_LINES), _STEPS_DEG[-1])
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return step, [round(number * step, 9) for number in range(first, last + 1)]


def label_lon(lon: float, step: float) -> str:
    """Spell a longitude with as many decimals as its step has, e.g. ``13.25° E``."""
    wrapped = round((lon + 180) % 360 - 180, 9)
    if abs(wrapped) in (0.0, 180.0):
        return f"{abs(wrapped):.0f}°"
    return f"{abs(wrapped):.{_decimals(step)}f}° {'E' if wrapped > 0 else 'W'}"


def label_lat(lat: float, step: float) -> str:
    """Spell a latitude with as many decimals as its step has, e.g. ``52.5° N``."""
    if lat == 0:
        return "0°"
    return f"{abs(lat):.{_decimals(step)}f}° {'N' if lat > 0 else 'S'}"


def antimeridians(frame: Frame) -> list[float]:
    """Return where the antimeridian runs inside a frame, in the frame's longitudes."""
    turns = range(math.floor((frame.west + 180) / 360), math.ceil((frame.east + 180) / 360) + 1)
    return [180.0 + 360 * (turn - 1) for turn in turns if frame.west < 180.0 + 360 * (turn - 1) < frame.east]


def choose_scale_bar(frame: Frame) -> ScaleBar:
    """Choose a length of 1, 2 or 5 times a power of ten; it names its latitude where that matters."""
    most = frame.metres_per_unit * WIDTH * _SCALE_BAR_SHARE
    power = 10.0 ** math.floor(math.log10(most))
    metres = next(factor * power for factor in (5, 2, 1) if factor * power <= most)
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    if frame.north - frame.south > 4:
        label += f" at {label_lat(round(frame.middle_lat), 1)}"
    return ScaleBar(length=metres / frame.metres_per_unit, label=label)


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _shrink(lat: float) -> float:
    """Return how much shorter a degree of longitude is than one of latitude."""
    return max(math.cos(math.radians(lat)), _MIN_SHRINK)
