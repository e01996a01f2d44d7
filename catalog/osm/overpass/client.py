"""Download an area from one Overpass server with osmnx: one JSON file for each part of the area."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import osmnx
import requests
import shapely
from osmnx._errors import CacheOnlyInterruptError, InsufficientResponseError, ResponseStatusCodeError

from catalog.grid import BoundsLonLat
from catalog.osm.osmnx_session import osmnx_session
from catalog.osm.overpass.answers import check_answer
from catalog.osm.overpass.options import OverpassOptions
from infra.errors import InputError, TransientError

_HOOKS = {"hooks": {"response": check_answer}, "allow_redirects": False}
_GREETING_TIMEOUT_S = (10.0, 30.0)
_MAX_PARTS = 256
_COLUMN_DEG = 6.0  # osmnx divides areas in one UTM zone, whose metres are true only near its middle
_EDGE_DEG = 0.1  # straight in UTM is bent in degrees: by about a metre over this length
_EARTH_RADIUS_M = 6_371_009.0


def list_polygons(area: BoundsLonLat, max_query_area_m2: float) -> list[shapely.Polygon]:
    """Cut a box where the map is cut (at 180°) and into columns of at most 6°, for osmnx to divide further.

    Args:
        area: Degrees; west > east crosses the antimeridian.
        max_query_area_m2: Area that one request may ask for.

    Raises:
        InputError: more requests than a public server should be asked for one area.
    """
    parts = _area_m2(area) / max_query_area_m2
    if parts > _MAX_PARTS:
        raise InputError(
            f"the area would take {parts:.0f} Overpass requests, and {_MAX_PARTS} are the most; "
            "choose a smaller --bbox or download an extract (e.g. from Geofabrik)"
        )
    return list(_list_columns(area))


def _list_columns(area: BoundsLonLat) -> Iterator[shapely.Polygon]:
    west, south, east, north = area
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    for left, right in spans:
        columns = math.ceil((right - left) / _COLUMN_DEG)
        edges = [left + (right - left) * column / max(columns, 1) for column in range(columns)] + [right]
        for low, high in pairwise(edges):
            yield shapely.segmentize(shapely.box(low, south, high, north), _EDGE_DEG)


def _area_m2(area: BoundsLonLat) -> float:
    west, south, east, north = area
    width = math.radians((east - west) % 360 or 360)
    height = math.sin(math.radians(north)) - math.sin(math.radians(south))
    return _EARTH_RADIUS_M**2 * width * height


def download_answers(
    url: str, polygons: Sequence[shapely.Polygon], options: OverpassOptions, *, folder: Path
) -> None:
    """Have all answers for some polygons in a folder, one JSON file each; what lies there is not asked again.

    Args:
        url: Server, without a trailing slash.
        polygons: Lon/lat degrees.
        options: What to ask for; its servers are not looked at.
        folder: Of this server, area, keys and date alone.

    Raises:
        TransientError: the server cannot be reached, is busy, or sent something broken or partial.
        NotFoundError: it refuses.
    """
    # The words are osmnx's own; that an area takes many requests has been weighed in list_polygons.
    warnings.filterwarnings(
        "ignore", message="This area is .* your configured Overpass", category=UserWarning
    )
    with osmnx_session(**_settings(url, options, folder)):
        try:
            _greet(url)
            for polygon in polygons:
                # This is how osmnx says that everything is in the folder.
                with suppress(CacheOnlyInterruptError):
                    osmnx.features_from_polygon(polygon, dict.fromkeys(options.keys, True))
        except requests.RequestException as exc:
            raise TransientError(_reason(exc)) from exc
        except (ValueError, RecursionError, InsufficientResponseError, ResponseStatusCodeError) as exc:
            raise TransientError(f"its answer cannot be read: {' '.join(str(exc).split())[:160]}") from exc


def _settings(url: str, options: OverpassOptions, folder: Path) -> dict[str, object]:
    return {
        "cache_folder": str(folder),
        "cache_only_mode": True,
        "doh_url_template": None,  # no other service is asked for a server's address
        "http_user_agent": "Terraloom (osmnx)",
        "max_query_area_size": options.max_query_area_m2,
        "overpass_memory": None,
        "overpass_rate_limit": True,
        "overpass_settings": "[out:json][timeout:{timeout}]{maxsize}" + options.date_clause,
        "overpass_url": url,
        "requests_kwargs": _HOOKS,
        "requests_timeout": options.timeout_s,
        "use_cache": True,
    }


def _greet(url: str) -> None:
    # osmnx sleeps for a minute when the status cannot be had; a server that is not there is told at once.
    requests.get(f"{url}/status", timeout=_GREETING_TIMEOUT_S, **_HOOKS)  # type: ignore[arg-type]


def _reason(exc: requests.RequestException) -> str:
    if isinstance(exc, requests.Timeout):
        return "no answer in time"
    inner: object = exc
    while isinstance(inner, BaseException):
        deeper = getattr(inner, "reason", None) or (inner.args[-1] if inner.args else None)
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    return " ".join(str(inner).split())[:160] or type(exc).__name__
