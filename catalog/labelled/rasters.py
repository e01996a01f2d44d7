"""Sets of images with rasters of labels beside them: class maps, heights, changes, damage."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.labelled.files import check_shape, find_images, match_names, read_classes
from catalog.labelled.records import ClassChange, ClassMap, HeightMap, LabelledSource
from catalog.pairs.pictures import read_picture
from infra.errors import DataError, InputError

CHANGE_VALUES = {0: 0, 1: 1, 255: 1}
BRIGHT_FOLDERS = ("pre-event", "post-event", "target")
BRIGHT_ENDINGS = ("_pre_disaster", "_post_disaster", "_building_damage")
BRIGHT_VALUES = {0: 0, 1: 1, 2: 2, 3: 3}
"""Ground, intact, damaged, destroyed."""
XVIEW2_ENDINGS = ("_pre_disaster", "_post_disaster", "_post_disaster_target")
XVIEW2_VALUES = {0: 0, 1: 1, 2: 2, 3: 2, 4: 3, 255: -1}
"""Minor and major damage are one class here, as BRIGHT has it."""
_HEIGHTS_M = (-500.0, 9_000.0)


def find_class_maps(
    images: Path,
    labels: Path,
    values: Mapping[int, int],
    *,
    endings: tuple[str, str] = ("", ""),
    pattern: str = "*",
) -> tuple[LabelledSource[ClassMap], ...]:
    """Find images with class maps of the same names; images without one are an error.

    Args:
        images: folder of PNG, JPEG or GeoTIFF.
        labels: folder of PNG or GeoTIFF; it may be the same one.
        values: what the maps store → class, −1 for nothing known.
        endings: of image and label names before the suffix, e.g. ``("_S2Hand", "_LabelHand")``.
        pattern: of the images' whole names that are wanted.

    Raises:
        InputError: there is no such folder.
        NotFoundError: there are no images, or a map is absent.
        DataError: two files have one name, or lead outside.
    """
    found = match_names(find_images(images, endings[0], pattern), find_images(labels, endings[1]))
    table = dict(values)
    return tuple(LabelledSource(name, partial(_read_map, table, *both)) for name, both in found)


def find_height_maps(
    images: Path, heights: Path, *, endings: tuple[str, str] = ("", ""), pattern: str = "*"
) -> tuple[LabelledSource[HeightMap], ...]:
    """Find images with rasters of heights above the ground (nDSM) of the same names.

    Args:
        images: folder of PNG, JPEG or GeoTIFF.
        heights: folder of GeoTIFF, metres; nodata and NaN are heights that nobody knows.
        endings: of image and height names before the suffix, e.g. ``("_IMG", "_AGL")``.
        pattern: of the images' whole names that are wanted.

    Raises:
        InputError, NotFoundError, DataError: as :func:`find_class_maps`.
    """
    found = match_names(find_images(images, endings[0], pattern), find_images(heights, endings[1]))
    return tuple(LabelledSource(name, partial(_read_heights, *both)) for name, both in found)


def find_changes(
    folder: Path, folders: tuple[str, str, str] = ("A", "B", "label"), *, pattern: str = "*"
) -> tuple[LabelledSource[ClassChange], ...]:
    """Find pairs of images with a mask of what changed, as WHU-CD and LEVIR-CD lie.

    Args:
        folder: holds the three.
        folders: of the earlier images, the later ones and the masks: 0 the same, 1 or 255 changed.
        pattern: of the earlier images' whole names that are wanted.

    Raises:
        InputError, NotFoundError, DataError: as :func:`find_class_maps`.
    """
    first, *others = (folder / name for name in folders)
    found = match_names(find_images(first, pattern=pattern), *map(find_images, others))
    return tuple(LabelledSource(name, partial(_read_change, CHANGE_VALUES, *files)) for name, files in found)


def find_damage(folder: Path, *, pattern: str = "*") -> tuple[LabelledSource[ClassChange], ...]:
    """Find images before and after a disaster with every building's damage, as BRIGHT or xView2 lie.

    Classes are 0 ground, 1 intact, 2 damaged, 3 destroyed. BRIGHT has ``pre-event``, ``post-event`` and
    ``target``; xView2 has ``images`` and ``targets``.

    Args:
        folder: holds these folders.
        pattern: of the earlier images' whole names that are wanted.

    Raises:
        InputError: there is no such folder, or it lies otherwise.
        NotFoundError, DataError: as :func:`find_class_maps`.
    """
    if all((folder / name).is_dir() for name in BRIGHT_FOLDERS):
        places = zip((folder / name for name in BRIGHT_FOLDERS), BRIGHT_ENDINGS, strict=True)
        values = BRIGHT_VALUES
    elif all((folder / name).is_dir() for name in ("images", "targets")):
        three = (folder / "images", folder / "images", folder / "targets")
        places, values = zip(three, XVIEW2_ENDINGS, strict=True), XVIEW2_VALUES
    else:
        raise InputError(
            f"{folder} lies neither as BRIGHT ({', '.join(BRIGHT_FOLDERS)}) nor as xView2 (images, targets)."
        )
    (first, earlier), *others = places
    found = match_names(
        find_images(first, earlier, pattern), *(find_images(one, ending) for one, ending in others)
    )
    return tuple(LabelledSource(name, partial(_read_change, values, *files)) for name, files in found)


def _read_map(values: dict[int, int], image: Path, label: Path) -> ClassMap:
    picture, classes = read_picture(image), read_classes(label, values)
    check_shape(picture, classes, label)
    return ClassMap(picture, classes)


def _read_heights(image: Path, raster: Path) -> HeightMap:
    picture, stored = read_picture(image), read_picture(raster)
    if stored.pixels.ndim != 2:
        raise DataError(f"{raster} has the shape {stored.pixels.shape}; expected one band of heights.")
    check_shape(picture, stored.pixels, raster)
    height: NDArray[np.float32] = stored.pixels.astype(np.float32)
    known = np.isfinite(height) if stored.valid is None else np.isfinite(height) & stored.valid
    if not known.any():
        raise DataError(f"{raster} holds no height at all; expected metres above the ground.")
    low, high = float(height[known].min()), float(height[known].max())
    if low < _HEIGHTS_M[0] or high > _HEIGHTS_M[1]:
        raise DataError(
            f"{raster} holds heights from {low:g} to {high:g}; expected metres within {_HEIGHTS_M}: "
            "say which value stands for none (nodata)."
        )
    return HeightMap(picture, np.where(known, height, np.float32(np.nan)))


def _read_change(values: dict[int, int], before: Path, after: Path, label: Path) -> ClassChange:
    earlier, later, classes = read_picture(before), read_picture(after), read_classes(label, values)
    check_shape(earlier, classes, label)
    check_shape(later, classes, label)
    return ClassChange(earlier, later, classes)
