"""Labels from shapes: roads as lines and buildings as polygons, laid onto an image's own grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalog.labelled.records import BoxedImage, ClassMap
from catalog.pairs.pictures import read_picture
from infra.errors import DataError, InputError, NotFoundError

if TYPE_CHECKING:
    from affine import Affine
    from pyproj import CRS

MAX_BYTES = 200_000_000
_LEAST_PX = 1.0
_WIDEST_M = 200.0


def read_road_map(image: Path, roads: Path, *, width_m: float = 8.0) -> ClassMap:
    """Read an image with the roads that lines run along: 1 within half a width of one, else 0.

    Args:
        image: GeoTIFF with a coordinate system.
        roads: GeoJSON of lines, longitude and latitude.
        width_m: of every road, metres.

    Raises:
        NotFoundError: a file is absent.
        InputError: a width that is not above 0 and at most 200 m, or a file that is too large.
        DataError: a file cannot be read, or the image lies nowhere.
    """
    if not 0 < width_m <= _WIDEST_M:
        raise InputError(f"Roads are {width_m:g} m wide; expected more than 0 and at most {_WIDEST_M:g}.")
    shapes = _read_shapes(roads, ("LineString", "MultiLineString"))
    transform, wide = _lay_onto(image, shapes, width_m / 2)
    picture = read_picture(image)
    return ClassMap(picture, _burn(wide, transform, picture.pixels.shape[:2]))


def read_building_map(image: Path, buildings: Path) -> ClassMap:
    """Read an image with the buildings that polygons outline: 1 within one, else 0.

    Args:
        image: GeoTIFF with a coordinate system.
        buildings: GeoJSON of polygons, longitude and latitude.

    Raises:
        NotFoundError, InputError, DataError: as :func:`read_road_map`.
    """
    transform, shapes = _lay_onto(image, _read_shapes(buildings, ("Polygon", "MultiPolygon")))
    picture = read_picture(image)
    return ClassMap(picture, _burn(shapes, transform, picture.pixels.shape[:2]))


def read_building_boxes(image: Path, buildings: Path) -> BoxedImage:
    """Read an image with a box around every building that polygons outline, cut to the image.

    Args:
        image: GeoTIFF with a coordinate system.
        buildings: GeoJSON of polygons, longitude and latitude.

    Raises:
        NotFoundError, InputError, DataError: as :func:`read_road_map`.
    """
    transform, shapes = _lay_onto(image, _read_shapes(buildings, ("Polygon", "MultiPolygon")))
    picture = read_picture(image)
    height, width = picture.pixels.shape[:2]
    boxes = np.array([_box_pixels(shape.bounds, transform) for shape in shapes], np.float64).reshape(-1, 4)
    boxes = np.clip(boxes, 0, [width, height, width, height])
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= _LEAST_PX).all(axis=1)
    count = int(kept.sum())
    return BoxedImage(picture, boxes[kept], np.zeros(count, np.int64), np.zeros(count, np.bool_))


def _read_shapes(path: Path, kinds: Sequence[str]) -> list[Any]:
    """Return the shapes of a GeoJSON file that are of some kinds, mended where they cross themselves."""
    import shapely

    if not path.is_file():
        raise NotFoundError(f"There is no file {path} of shapes.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES:,} bytes; split it.")
    try:
        shapes = shapely.get_parts(shapely.from_geojson(path.read_text(encoding="utf-8")))
    except (shapely.errors.GEOSException, ValueError) as exc:
        raise DataError(f"{path} cannot be read as GeoJSON: {exc}.") from exc
    wanted = [shape for shape in shapes if shape.geom_type in kinds and not shape.is_empty]
    bounds = shapely.total_bounds(wanted) if wanted else np.zeros(4)
    if not (np.abs(bounds) <= [180, 90, 180, 90]).all():  # NaN is not within either
        raise DataError(f"{path} reaches over {bounds.tolist()}; expected longitude and latitude in degrees.")
    return list(shapely.make_valid(wanted))


def _lay_onto(image: Path, shapes: list[Any], widen_m: float = 0.0) -> tuple[Affine, list[Any]]:
    """Return an image's transform, and shapes in its coordinates, widened by metres on the ground."""
    from pyproj import CRS

    transform, crs, middle = _read_grid(image)
    world = CRS.from_user_input("OGC:CRS84")
    if not widen_m:
        return transform, _project(shapes, world, crs)
    # Around the image's middle this system's metres are metres on the ground, whatever the image's own are.
    ground = CRS.from_dict({"proj": "aeqd", "lon_0": middle[0], "lat_0": middle[1], "datum": "WGS84"})
    wide = [shape.buffer(widen_m) for shape in _project(shapes, world, ground)]
    return transform, _project(wide, ground, crs)


def _project(shapes: list[Any], source: CRS, target: CRS) -> list[Any]:
    import shapely
    from pyproj import Transformer

    into = Transformer.from_crs(source, target, always_xy=True)
    moved = shapely.transform(shapes, lambda xy: np.column_stack(into.transform(xy[:, 0], xy[:, 1])))
    return list(moved)


def _read_grid(image: Path) -> tuple[Affine, CRS, tuple[float, float]]:
    """Return an image's transform and coordinate system, and its middle's longitude and latitude."""
    import rasterio
    from pyproj import CRS, Transformer
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if not image.is_file():
        raise NotFoundError(f"There is no image {image}.")
    alone = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO")
    try:
        with warnings.catch_warnings(), alone:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(image, driver="GTiff") as file:
                stated, transform = file.crs, file.transform
                middle = transform @ (file.width / 2, file.height / 2)
    except (RasterioError, OSError) as exc:
        raise DataError(f"{image} cannot be read as a GeoTIFF: {exc}.") from exc
    if stated is None:
        raise DataError(f"{image} has no coordinate system; shapes cannot be laid onto it.")
    crs = CRS.from_user_input(stated)
    longitude, latitude = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*middle)
    return transform, crs, (float(longitude), float(latitude))


def _burn(shapes: list[Any], transform: Affine, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - an array
    from rasterio.features import rasterize

    classes = np.zeros(shape, np.int64)
    if shapes:
        drawn = rasterize(
            shapes, out_shape=shape, transform=transform, fill=0, default_value=1, dtype="uint8"
        )
        classes = drawn.astype(np.int64)
    return classes


def _box_pixels(bounds: tuple[float, float, float, float], transform: Affine) -> list[float]:
    left, bottom, right, top = bounds
    corners = [~transform @ corner for corner in ((left, bottom), (left, top), (right, bottom), (right, top))]
    xs, ys = zip(*corners, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]
