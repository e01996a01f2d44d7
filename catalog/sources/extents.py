"""Compare items with the area and the time asked for, as STAC item search does."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import shapely
import shapely.geometry

from catalog.sources.scenes import geometry_of, parse_instant
from infra.errors import DataError, InputError

Bbox = tuple[float, float, float, float]
"""West, south, east, north; degrees WGS 84. West > east crosses the antimeridian."""
Period = tuple[dt.datetime | None, dt.datetime | None]
"""First and last instant, both included, UTC; None is open."""

_DATE = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")
_HALF_TURN = 180.0


def check_bbox(bbox: Sequence[float]) -> Bbox:
    """Return a bounding box if it is one.

    Raises:
        InputError: not four finite numbers, off the globe, or without area.
    """
    shown = ",".join(str(value) for value in bbox)
    if len(bbox) != 4 or not all(math.isfinite(value) for value in bbox):
        raise InputError(f"bbox {shown} is not four numbers W,S,E,N, e.g. 13.0,52.3,13.8,52.7")
    west, south, east, north = (float(value) for value in bbox)
    if not (-_HALF_TURN <= west <= _HALF_TURN and -_HALF_TURN <= east <= _HALF_TURN):
        raise InputError(
            f"bbox {shown}: longitudes must be between -180 and 180 degrees; the order is W,S,E,N"
        )
    if not -90 <= south < north <= 90:
        raise InputError(f"bbox {shown}: latitudes must satisfy -90 ≤ S < N ≤ 90; the order is W,S,E,N")
    if west == east:
        raise InputError(f"bbox {shown} is a line: W and E are equal")
    return west, south, east, north


def parse_period(text: str) -> Period:
    """Read ``A/B`` as STAC and pystac-client do: RFC 3339 times, dates, months or years, ``..`` for open.

    A date, month or year stands for all of it: ``2020-06/2020-07`` ends with 31 July.

    Raises:
        InputError: it cannot be read, both ends are open, or the end is before the start.
    """
    parts = text.strip().split("/")
    if len(parts) > 2 or not parts[0]:
        raise InputError(f"datetime {text!r} is not A/B, e.g. 2020-06-01/2020-06-30")
    start = _edge(parts[0], text, last=False)
    end = _edge(parts[-1], text, last=True)
    if start is None and end is None:
        raise InputError(f"datetime {text!r} is open on both sides; give at least one end")
    return check_period((start, end))


def check_period(period: Period) -> Period:
    """Return a period with times in UTC if its ends are in order.

    Raises:
        InputError: the end is before the start.
    """
    start, end = (_to_utc(instant) if instant else None for instant in period)
    if start and end and end < start:
        raise InputError(
            f"datetime {start:%Y-%m-%dT%H:%M:%SZ}/{end:%Y-%m-%dT%H:%M:%SZ}: the end is before the start"
        )
    return start, end


def is_inside(item: Mapping[str, Any], bbox: Bbox | None, period: Period) -> bool:
    """Tell whether an item meets the area and the time.

    Raises:
        DataError: the item's time or place cannot be read.
    """
    return _meets_period(item, period) and (bbox is None or _meets_bbox(item, bbox))


def _meets_period(item: Mapping[str, Any], period: Period) -> bool:
    start, end = period
    properties = item.get("properties") or {}
    place = f"item {item.get('id')!r}"
    if properties.get("datetime"):
        first = last = parse_instant(str(properties["datetime"]), place)
    elif properties.get("start_datetime") and properties.get("end_datetime"):
        first = parse_instant(str(properties["start_datetime"]), place)
        last = parse_instant(str(properties["end_datetime"]), place)
    else:
        raise DataError(f"{place} states neither datetime nor start_datetime and end_datetime")
    return (end is None or first <= end) and (start is None or last >= start)


def _meets_bbox(item: Mapping[str, Any], bbox: Bbox) -> bool:
    try:
        footprint = shapely.geometry.shape(geometry_of(item))
        footprint = shapely.make_valid(_unwrap(footprint, item.get("bbox")))
    except (ValueError, TypeError, AttributeError, KeyError, shapely.errors.ShapelyError) as exc:
        raise DataError(f"item {item.get('id')!r}: its geometry cannot be read ({exc})") from exc
    west, south, east, north = bbox
    if west > east:
        east += 2 * _HALF_TURN
    # Footprints may reach beyond 180° once unwrapped, so the box is looked for on both turns.
    turns = (-2 * _HALF_TURN, 0.0, 2 * _HALF_TURN)
    return any(footprint.intersects(shapely.box(west + turn, south, east + turn, north)) for turn in turns)


def _unwrap(footprint: shapely.Geometry, bbox: Sequence[float] | None) -> shapely.Geometry:
    # A ring that jumps from 179° to -179° is meant to cross the antimeridian when the bbox says W > E.
    if not bbox or len(bbox) not in (4, 6) or bbox[0] <= bbox[len(bbox) // 2]:
        return footprint
    return shapely.transform(footprint, lambda points: _to_one_turn(points))


def _to_one_turn(points: Any) -> Any:  # noqa: ANN401 - shapely hands over and takes an array
    turned = points.copy()
    turned[:, 0] %= 2 * _HALF_TURN
    return turned


def _edge(text: str, whole: str, *, last: bool) -> dt.datetime | None:
    if text in ("..", ""):
        return None
    date = _DATE.match(text)
    if date is None:
        try:
            return parse_instant(text, "datetime")
        except DataError as exc:
            raise InputError(f"datetime {whole!r}: {text!r} is neither a date nor an RFC 3339 time") from exc
    year, month, day = (int(part) if part else None for part in date.groups())
    try:
        if not last:
            return dt.datetime(year or 1, month or 1, day or 1, tzinfo=dt.UTC)
        month = month or 12
        day = day or calendar.monthrange(year or 1, month)[1]
        return dt.datetime(year or 1, month, day, 23, 59, 59, 999999, tzinfo=dt.UTC)
    except (ValueError, calendar.IllegalMonthError) as exc:
        raise InputError(f"datetime {whole!r}: {text!r} is not a date of the calendar") from exc


def _to_utc(instant: dt.datetime) -> dt.datetime:
    return instant.replace(tzinfo=dt.UTC) if instant.tzinfo is None else instant.astimezone(dt.UTC)
