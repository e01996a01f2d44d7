"""Real images of two kinds on one pixel grid: pairs whose true transform is known exactly.

They lie below the folder of real data that tests and figures use: radar and optical images of Sentinel-1
and -2 (TerraMesh, three places; Sen1Floods11, one), and a drone's pictures of Kampala with a map drawn of
the buildings that OpenStreetMap has there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.osm.drawing.map_picture import draw_map
from catalog.osm.records import ELEMENTS, OsmFeatures
from catalog.pairs.pictures import read_picture
from catalog.pairs.records import ImagePair, PairSource, Picture
from catalog.records import Grid
from infra.errors import DataError, NotFoundError

REPEATS = 5
"""Warps drawn of each pair of images: eight pairs alone would make a coarse curve."""

_PLACES = {"brazil": "282D_485L_3_3", "tanzania": "38D_378R_2_3", "chile": "433D_629L_3_1"}
_RED_GREEN_BLUE = [3, 2, 1]  # among all bands of Sentinel-2
_CLEAR_DN = 3000  # reflectance 0.3: brighter is cloud, and would leave the ground dark
_SITES = ("oam_z19_0", "oam_z19_1", "oam_z20_0", "oam_z20_1")


def find_known_warps(folder: Path, repeats: int = REPEATS) -> tuple[PairSource, ...]:
    """List the pairs below the folder of real data, each several times under ids that end in ``#<n>``.

    A level's warp is drawn by a pair's id, so each time is another warp.

    Raises:
        NotFoundError: a file of them is absent.
    """
    sentinel, drone = folder / "optical_sar", folder / "imagery_osm" / "kampala"
    pairs: list[tuple[str, str, tuple[Path, Path], _Read]] = []
    for place, tile in _PLACES.items():
        files = (sentinel / f"terramesh/S2RGB/{tile}.tif", sentinel / f"terramesh/S1RTC/{tile}.tif")
        pairs.append((f"terramesh {place}", "terramesh S1/S2", files, _read_terramesh))
    spain = sentinel / "sen1floods11_spain"
    files = (spain / "Spain_7370579_S2Hand.tif", spain / "Spain_7370579_S1Hand.tif")
    pairs.append(("sen1floods11 spain", "sen1floods11 S1/S2", files, _read_floods))
    for site in _SITES:
        files = (drone / f"{site}.tif", drone / "osm_buildings.geojson")
        pairs.append((f"kampala {site}", "kampala drone/map", files, _read_drone))
    absent = [path for _, _, both, _ in pairs for path in both if not path.is_file()]
    if absent:
        raise NotFoundError(
            f"{absent[0]} is absent; give the folder that holds the real data as the pairs' folder."
        )
    return tuple(
        PairSource(f"{name}#{n}", kind, partial(_read_pair, f"{name}#{n}", kind, both, read))
        for name, kind, both, read in pairs
        for n in range(repeats)
    )


_Read = Callable[[Path, Path], tuple[Picture, Picture]]


def _read_pair(name: str, kind: str, files: tuple[Path, Path], read: _Read) -> ImagePair:
    fixed, moving = _read_both(files, read)
    return ImagePair(
        id=name,
        kind=kind,
        fixed=fixed.pixels,
        moving=moving.pixels,
        fixed_valid=fixed.valid,
        moving_valid=moving.valid,
        fixed_from_moving=np.eye(3),
    )


@lru_cache(maxsize=1)
def _read_both(files: tuple[Path, Path], read: _Read) -> tuple[Picture, Picture]:
    """Read once what follows one another several times."""
    return read(*files)


def _read_terramesh(optical: Path, radar: Path) -> tuple[Picture, Picture]:
    return read_picture(optical), _pick(read_picture(radar), 0)


def _read_floods(optical: Path, radar: Path) -> tuple[Picture, Picture]:
    colours = _pick(read_picture(optical), _RED_GREEN_BLUE)
    return Picture(np.minimum(colours.pixels, _CLEAR_DN), colours.valid), _pick(read_picture(radar), 0)


def _pick(picture: Picture, bands: int | list[int]) -> Picture:
    return Picture(picture.pixels[..., bands], picture.valid)


def _read_drone(photo: Path, buildings: Path) -> tuple[Picture, Picture]:
    drawn: NDArray[np.uint8] = draw_map(_read_buildings(buildings), _read_grid(photo))
    return read_picture(photo), Picture(np.moveaxis(drawn[:3], 0, 2))


def _read_grid(path: Path) -> Grid:
    import rasterio

    with rasterio.open(path) as file:
        return Grid(
            crs=file.crs.to_string(),
            transform=tuple(file.transform)[:6],
            shape_yx=file.shape,
            shard_px=256,
            chunk_px=256,
        )


def _read_buildings(path: Path) -> OsmFeatures:
    import shapely

    try:
        shapes = shapely.get_parts(shapely.from_geojson(path.read_text(encoding="utf-8")))
    except (shapely.errors.GEOSException, ValueError) as exc:
        raise DataError(f"{path} cannot be read as GeoJSON: {exc}.") from exc
    shapes = shapely.make_valid(shapes)
    return OsmFeatures(
        elements=np.full(len(shapes), ELEMENTS.index("way"), np.uint8),
        ids=np.arange(1, len(shapes) + 1, dtype=np.int64),
        geometries=shapes,
        tags=({"building": "yes"},) * len(shapes),
        timestamps=np.full(len(shapes), "NaT", "datetime64[s]"),
    )
