"""Find the places that look most alike to a model: exact search over the tiles of any number of scenes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.embeddings.vectors import TileVectors
from infra.errors import InputError

_METRES_PER_DEGREE = 111_320.0
_APART_TILES = 1.5  # nearer ground is the same place again: another date, or the tile beside
_LEAST_SHARE = 0.75  # of a tile's cells with data: a rim says little


@dataclass(frozen=True, kw_only=True)
class AlikePlace:
    """Name one tile and how alike it is."""

    item: str
    """Of the embeddings."""
    lon: float
    lat: float
    """Of the tile's middle, degrees WGS 84."""
    cosine: float
    """Of the angle between the vectors, both taken from the mean of all that were searched: −1 to 1."""


@dataclass(frozen=True, kw_only=True)
class SimilarPlaces:
    """Hold what a search found."""

    query: AlikePlace
    """The tile that was asked about."""
    holds_point: bool
    """Whether that tile holds the point; else it is the nearest, for no tile with data does."""
    places: tuple[AlikePlace, ...]
    """Most alike first; no two of them, nor the query, are the same ground."""
    searched: int
    """Tiles that were compared."""


def find_similar(
    tables: Mapping[str, TileVectors], item: str, lonlat: tuple[float, float], *, tile_m: float, top: int
) -> SimilarPlaces:
    """Find the tiles whose vectors point most nearly the way of the tile at a point.

    Vectors are taken from their mean over everything searched: what all places have in common would else
    make all of them alike.

    Args:
        tables: Item id → its tiles; vectors of one model and kind of imagery.
        item: Whose tile is asked about.
        lonlat: Longitude and latitude of a point in it, degrees. Where no tile with data holds it, the
            nearest one within a tile's edge is asked about.
        tile_m: Edge of a tile, metres.
        top: How many to return at most.

    Raises:
        InputError: no tile with data lies at the point or near it, or vectors differ in length.
    """
    if len({table.vectors.shape[1] for table in tables.values()}) != 1:
        raise InputError("items whose vectors differ in length cannot be compared; search those of one model")
    asked, holds_point = _find_tile(tables[item], lonlat, tile_m, item)
    names, owner, places, directions = _join(tables)
    first = int(np.argmax(owner == names.index(item))) + asked
    cosines = directions @ directions[first]
    fit = np.concatenate([table.shares >= _LEAST_SHARE for table in tables.values()])
    free = fit & (_distances_m(places, places[first]) >= _APART_TILES * tile_m)
    found: list[int] = []
    for index in np.argsort(-cosines, kind="stable"):
        if len(found) == top:
            break
        if free[index]:
            found.append(int(index))
            free &= _distances_m(places, places[index]) >= _APART_TILES * tile_m

    def name(index: int) -> AlikePlace:
        lon, lat = places[index].tolist()
        cosine = round(min(1.0, max(-1.0, float(cosines[index]))), 6)
        return AlikePlace(item=names[owner[index]], lon=lon, lat=lat, cosine=cosine)

    return SimilarPlaces(
        query=name(first),
        holds_point=holds_point,
        places=tuple(map(name, found)),
        searched=int(np.count_nonzero(fit)),
    )


def _join(
    tables: Mapping[str, TileVectors],
) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64], NDArray[np.float32]]:
    """Return item ids; and of all tiles the item's number, place and direction from the mean."""
    names = list(tables)
    owner = np.repeat(np.arange(len(names)), [len(table) for table in tables.values()])
    places = np.concatenate([table.lonlat for table in tables.values()])
    vectors = np.concatenate([table.vectors for table in tables.values()])
    vectors = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: NDArray[np.float32] = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return names, owner, places, directions


def _find_tile(table: TileVectors, lonlat: tuple[float, float], tile_m: float, item: str) -> tuple[int, bool]:
    """Return the number of the tile that holds a point, or of the nearest; and whether it holds it."""
    lon, lat = lonlat
    if not (math.isfinite(lon) and math.isfinite(lat) and -180 <= lon <= 180 and -90 <= lat <= 90):
        raise InputError(f"point {lon:g},{lat:g} is not on Earth; give lon,lat in degrees, e.g. 13.4,52.5")
    distances = _distances_m(table.lonlat, np.array(lonlat)) if len(table) else np.array([np.inf])
    holding = np.flatnonzero(_holds(table.corners, lonlat))
    if holding.size:  # two, where the point lies on their common edge
        return int(holding[distances[holding].argmin()]), True
    nearest = int(distances.argmin())
    if distances[nearest] > tile_m:
        reach = ""
        if len(table):
            (west, south), (east, north) = table.lonlat.min(axis=0), table.lonlat.max(axis=0)
            reach = f", which reaches from {west:.5g},{south:.5g} to {east:.5g},{north:.5g}"
        raise InputError(f"no tile with data lies at {lon:g},{lat:g} in {item}{reach}; give a point inside")
    return nearest, False


def _holds(corners: NDArray[np.float64], lonlat: tuple[float, float]) -> NDArray[np.bool_]:
    """Say which outlines, convex and either way round, hold a point or have it on their edge: bool (n,)."""
    lon, lat = lonlat
    turns = 360 * np.round((corners[:, :1, 0] - lon) / 360)  # outlines may lie beyond ±180
    to_point = np.stack([lon + turns - corners[..., 0], lat - corners[..., 1]], axis=-1)
    along = np.roll(corners, -1, axis=1) - corners
    side = along[..., 0] * to_point[..., 1] - along[..., 1] * to_point[..., 0]
    return np.asarray((side >= 0).all(axis=1) | (side <= 0).all(axis=1))


def _distances_m(places: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances on the ground, metres: exact enough where they matter, which is near by."""
    lon = (places[:, 0] - point[0] + 180) % 360 - 180
    east = lon * math.cos(math.radians(float(point[1])))
    distances: NDArray[np.float64] = np.hypot(east, places[:, 1] - point[1]) * _METRES_PER_DEGREE
    return distances
