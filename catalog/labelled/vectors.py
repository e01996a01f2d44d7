"""Labels from shapes: roads as lines and buildings as polygons, laid onto an image's own grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalog.labelled.files import check_inside, find_images, match_names
from catalog.labelled.records import BoxedImage, ClassMap, LabelledSource
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
    shapes, others = _read_shapes(roads, ("LineString", "MultiLineString"))
    return _draw(image, _lay_onto(image, shapes, width_m / 2), others)


def read_building_boxes(image: Path, buildings: Path) -> BoxedImage:
    """Read an image with a box around every building that polygons outline, cut to the image.

    Args:
        image: GeoTIFF with a coordinate system.
        buildings: GeoJSON of polygons, longitude and latitude.

    Raises:
        NotFoundError, InputError, DataError: as :func:`read_road_map`.
    """
    shapes, others = _read_shapes(buildings, ("Polygon", "MultiPolygon"))
    laid = _lay_onto(image, shapes)
    picture = read_picture(image)
    height, width = picture.pixels.shape[:2]
    boxes = [_box_pixels(shape.bounds, laid.transform) for shape in laid.shapes]
    corners = np.clip(np.array(boxes, np.float64).reshape(-1, 4), 0, [width, height, width, height])
    kept = ((corners[:, 2:] - corners[:, :2]) >= _LEAST_PX).all(axis=1)
    count, small = int(kept.sum()), int((~kept).sum())
    none = np.zeros(count, np.bool_)
    return BoxedImage(picture, corners[kept], np.zeros(count, np.int64), none, others + small)


def find_road_maps(
    images: Path, shapes: Path | None = None, *, pattern: str = "*", width_m: float = 8.0
) -> tuple[LabelledSource[ClassMap], ...]:
    """Find images with lines of roads.

    Args:
        images: folder of GeoTIFF.
        shapes: GeoJSON of all of them; None for one of each image's name beside it.
        pattern: of the images' whole names that are wanted.
        width_m: of every road, metres.

    Raises:
        InputError: there is no such folder.
        NotFoundError: there are no images, or an image has no file of shapes.
        DataError: two images have one name, or a file leads outside.
    """
    found = _find_shapes(images, shapes, pattern)
    read = partial(read_road_map, width_m=width_m)
    return tuple(LabelledSource(name, partial(read, *both)) for name, both in found)


def find_building_boxes(
    images: Path, shapes: Path | None = None, *, pattern: str = "*"
) -> tuple[LabelledSource[BoxedImage], ...]:
    """Find images with outlines of buildings, to be read as boxes.

    Args:
        images: folder of GeoTIFF.
        shapes: GeoJSON of all of them; None for one of each image's name beside it.
        pattern: of the images' whole names that are wanted.

    Raises:
        InputError, NotFoundError, DataError: as :func:`find_road_maps`.
    """
    found = _find_shapes(images, shapes, pattern)
    return tuple(LabelledSource(name, partial(read_building_boxes, *both)) for name, both in found)


def _find_shapes(images: Path, shapes: Path | None, pattern: str) -> list[tuple[str, tuple[Path, Path]]]:
    found = match_names(find_images(images, pattern=pattern))
    pairs = [(name, (image, shapes or image.with_suffix(".geojson"))) for name, (image,) in found]
    for _, (image, file) in pairs:
        if not file.is_file():
            raise NotFoundError(f"There is no file {file} of shapes for {image.name}.")
        check_inside(file, file.parent)
    return pairs


@dataclass(frozen=True)
class _Laid:
    """Shapes in an image's coordinates."""

    transform: Affine
    shapes: list[Any]


def _read_shapes(path: Path, kinds: Sequence[str]) -> tuple[list[Any], int]:
    """Return a file's shapes of some kinds, mended where they cross themselves, and the number of others."""
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
    return list(shapely.make_valid(wanted)), len(shapes) - len(wanted)


def _lay_onto(image: Path, shapes: list[Any], widen_m: float = 0.0) -> _Laid:
    """Return shapes in an image's coordinates, widened by metres on the ground."""
    from pyproj import CRS

    transform, crs, middle = _read_grid(image)
    world = CRS.from_user_input("OGC:CRS84")
    if not widen_m:
        return _Laid(transform, _project(shapes, world, crs))
    # Around the image's middle this system's metres are metres on the ground, whatever the image's own are.
    ground = CRS.from_dict({"proj": "aeqd", "lon_0": middle[0], "lat_0": middle[1], "datum": "WGS84"})
    wide = [shape.buffer(widen_m) for shape in _project(shapes, world, ground)]
    return _Laid(transform, _project(wide, ground, crs))


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


def _draw(image: Path, laid: _Laid, others: int) -> ClassMap:
    """Return an image with 1 where shapes lie; those beside it are counted with the others."""
    import shapely
    from rasterio.features import rasterize

    picture = read_picture(image)
    height, width = picture.pixels.shape[:2]
    corners = (0, 0), (width, 0), (width, height), (0, height)
    frame = shapely.Polygon([laid.transform @ corner for corner in corners])
    inside = [shape for shape in laid.shapes if shape.intersects(frame)]
    classes = np.zeros((height, width), np.int64)
    if inside:
        drawn = rasterize(inside, (height, width), transform=laid.transform, default_value=1, dtype="uint8")
        classes = drawn.astype(np.int64)
    return ClassMap(picture, classes, others + len(laid.shapes) - len(inside))


def _box_pixels(bounds: tuple[float, float, float, float], transform: Affine) -> list[float]:
    left, bottom, right, top = bounds
    corners = [~transform @ corner for corner in ((left, bottom), (left, top), (right, bottom), (right, top))]
    xs, ys = zip(*corners, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]
