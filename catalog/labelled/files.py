"""Find the files of a labelled set by their names, and read rasters of labels."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.labelled.records import NOTHING
from catalog.pairs.pictures import MAX_VALUES, SUFFIXES, read_picture
from catalog.pairs.records import Picture
from infra.errors import DataError, InputError, NotFoundError

MAX_FILES = 1_000_000


def find_images(folder: Path, ending: str = "", pattern: str = "*") -> dict[str, Path]:
    """Return the images directly in a folder: name without ``ending`` and suffix → file, sorted.

    Args:
        folder: searched; not those below it.
        ending: of the names that are wanted, before the suffix, e.g. ``_S2Hand``.
        pattern: of the files' whole names that are wanted, e.g. ``*_north_*``.

    Raises:
        InputError: there is no such folder.
        DataError: two images have one name, a file is a link to outside, or there are too many.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} to search for images.")
    found: dict[str, Path] = {}
    for number, path in enumerate(sorted(folder.iterdir())):
        if number >= MAX_FILES:
            raise DataError(f"{folder} holds more than {MAX_FILES:,} files; split it.")
        fits = path.stem.endswith(ending) and fnmatchcase(path.name, pattern)
        if path.suffix.lower() not in SUFFIXES or not fits or not path.is_file():
            continue
        name = path.stem[: len(path.stem) - len(ending)]
        if name in found:
            raise DataError(f"{folder} holds {found[name].name} and {path.name}; expected one of a name.")
        found[name] = check_inside(path, folder)
    return found


def check_inside(path: Path, folder: Path) -> Path:
    """Return a file that lies within a folder, links followed.

    Raises:
        DataError: it lies outside.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path} leads to {path.resolve()}, outside {folder}; put the file inside.")
    return path


def match_names(*groups: dict[str, Path]) -> list[tuple[str, tuple[Path, ...]]]:
    """Return the files of every name of the first group, one of each group.

    Raises:
        NotFoundError: there are none, or another group lacks a name.
    """
    first, *others = groups
    if not first:
        raise NotFoundError("The folder holds no image of such a name; look at its files and the pattern.")
    for other in others:
        lacking = sorted(first.keys() - other.keys())
        if lacking:
            raise NotFoundError(
                f"{len(lacking)} of {len(first)} images have no partner, {lacking[0]!r} first; expected "
                "files of the same names."
            )
    return [(name, tuple(group[name] for group in groups)) for name in sorted(first)]


def read_classes(path: Path, values: dict[int, int]) -> NDArray[np.int64]:
    """Read a raster of classes, int64 (height, width), −1 where nothing is known.

    Args:
        path: PNG or GeoTIFF of one band of whole numbers; three equal bands will do. JPEG blurs classes.
        values: what is stored → class, or −1.

    Raises:
        DataError: it cannot be read, is no such raster, or holds other values.
    """
    stored, valid = _read_whole_numbers(path)
    # Zero is often both a class and declared as nodata: what is a class is taken for one.
    strange = [int(value) for value in np.unique(stored[valid]) if int(value) not in values]
    if strange:
        raise DataError(
            f"{path} holds the values {strange[:5]}, which are no class; expected {sorted(values)[:20]}."
        )
    classes = np.full(stored.shape, NOTHING, np.int64)
    for value, number in values.items():
        classes[stored == value] = number
    return classes


def check_shape(image: Picture, labels: NDArray[Any], path: Path) -> None:
    """Refuse labels of another size than their image's.

    Raises:
        DataError: they are.
    """
    if labels.shape != image.pixels.shape[:2]:
        raise DataError(
            f"{path} has {labels.shape[1]} × {labels.shape[0]} pixels, its image "
            f"{image.pixels.shape[1]} × {image.pixels.shape[0]}; expected as many."
        )


def _read_whole_numbers(path: Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        raise DataError(f"{path} holds labels as a JPEG, which blurs them; store them as PNG or GeoTIFF.")
    # Palettes number classes: their colours, which a picture's reader would give, say nothing.
    picture = Picture(_read_png(path)) if path.suffix.lower() == ".png" else read_picture(path)
    stored = picture.pixels
    if stored.ndim == 3 and (stored == stored[..., :1]).all():
        stored = stored[..., 0]
    if stored.dtype.kind == "f" and bool((stored == np.round(stored)).all()):
        stored = stored.astype(np.int64)
    if stored.ndim != 2 or stored.dtype.kind not in "biu":
        raise DataError(
            f"{path} has the shape {stored.shape} and type {stored.dtype}; expected one band of whole "
            "numbers."
        )
    valid = np.ones(stored.shape, np.bool_) if picture.valid is None else picture.valid
    return stored, valid


def _read_png(path: Path) -> NDArray[Any]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Its warning about large pictures is the check below, which refuses them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(path, formats=("PNG",))
        with file:
            if file.width * file.height > MAX_VALUES:
                raise DataError(f"{path} holds {file.width} × {file.height} pixels; cut it into pieces.")
            # Bilevel is read as False and True, a palette as its indices.
            return np.asarray(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise DataError(f"{path} cannot be read as a PNG: {exc}.") from exc
