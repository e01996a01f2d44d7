"""Draw what a cube shows: choose bands, render RGBA, encode a thumbnail, write a preview COG.

Arrays in, bytes or one file out; nothing here knows Zarr or STAC. Same input, same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.grid import level_shape
from catalog.pictures.stretch import (
    Channels,
    Style,
    paint_qa_pixel,
    paint_scl,
    stretch_to_8bit,
    to_radar_channels,
)
from catalog.readers.protocol import fill_value, valid_mask
from catalog.records import Band, Grid
from infra.errors import InputError

Kind = Literal["true_colour", "false_colour", "radar", "grey", "classes"]
Rgba = NDArray[np.uint8]

PREVIEW_MAX_PX = 1024
"""Longest side of the level a preview is made from, pixels."""
THUMBNAIL_MAX_PX = 512
_UPSAMPLE_TO_PX, _MAX_UPSAMPLE = 384, 4  # smaller pictures are enlarged by a whole factor to about that

_NAMES = {
    "red": ("red", "b04", "b4", "sr_b4"),
    "green": ("green", "b03", "b3", "sr_b3"),
    "blue": ("blue", "b02", "b2", "sr_b2"),
    "nir": ("nir", "nir08", "b08", "b8", "b8a", "sr_b5"),
    "swir16": ("swir16", "b11", "sr_b6"),
}
_CUSTOMARY = frozenset(name for names in _NAMES.values() for name in names)
_POLARISATION = re.compile(r"(?:^|[^a-z])(vv|vh|hh|hv)(?:[^a-z]|$)")
_COMPOSITES: tuple[tuple[Kind, str, tuple[str, str, str]], ...] = (
    ("true_colour", "True colour", ("red", "green", "blue")),
    ("false_colour", "Colour infrared", ("nir", "red", "green")),
    ("false_colour", "Short-wave infrared", ("swir16", "nir", "red")),
)


@dataclass(frozen=True, kw_only=True)
class RgbChoice:
    """Say which variables a picture shows, and how."""

    kind: Kind
    names: tuple[str, ...]
    """Variables: red, green, blue for colours; co- and cross-polarised for two-channel radar; else one."""
    title: str
    """What to call the picture, e.g. ``True colour (B04, B03, B02)``."""


def choose_rgb(bands: Sequence[Band]) -> RgbChoice:
    """Choose what to show of a cube.

    True colour before colour infrared before a radar composite before one grey band; a quality band only
    when there is nothing else.

    Raises:
        InputError: there is no band at all.
    """
    if not bands:
        raise InputError("There is no band to draw; give at least one.")
    shown = [band for band in bands if not band.quality]
    if not shown:
        return RgbChoice(kind="classes", names=(bands[0].name,), title=f"Classes ({bands[0].name})")
    return _choose_optical(shown) or _choose_radar(shown) or _choose_grey(shown)


def _choose_optical(bands: Sequence[Band]) -> RgbChoice | None:
    """Choose three optical bands; None when the bands do not make a colour picture."""
    visual = _find_visual(bands)
    if visual:
        return _describe("true_colour", "True colour", visual)
    for kind, title, wanted in _COMPOSITES:
        found = [_find_optical(bands, name) for name in wanted]
        names = tuple(band.name for band in found if band is not None)
        if len(set(names)) == 3:
            return _describe(kind, title, names)
    return None


def _find_visual(bands: Sequence[Band]) -> tuple[str, ...] | None:
    """Find an unlabelled 8-bit picture: bands 1, 2, 3 of one file that claim no wavelength."""
    if any(map(_claims_wavelength, bands)) or len({band.asset for band in bands}) != 1:
        return None
    by_index = {band.index: band.name for band in bands if band.dtype == "uint8"}
    return (by_index[1], by_index[2], by_index[3]) if {1, 2, 3} <= set(by_index) else None


def _claims_wavelength(band: Band) -> bool:
    """Tell whether a band says its colour; ``b3`` for the third band of a file only counts."""
    counts_only = band.name.lower().lstrip("band_") == str(band.index)
    return bool(band.common_name) or (band.name.lower() in _CUSTOMARY and not counts_only)


def _find_optical(bands: Sequence[Band], wanted: str) -> Band | None:
    """Find a band by what its source calls its colour, else by a customary name."""
    named = [band for band in bands if band.common_name == wanted]
    if wanted == "nir":
        named += [band for band in bands if band.common_name == "nir08"]
    if named:
        return named[0]
    unnamed = [band for band in bands if not band.common_name]
    return next((band for name in _NAMES[wanted] for band in unnamed if band.name.lower() == name), None)


def _choose_radar(bands: Sequence[Band]) -> RgbChoice | None:
    """Choose co- and cross-polarised backscatter, or one polarisation alone."""
    found = {
        polarisation: band.name
        for band in bands
        for polarisation in _POLARISATION.findall(band.name.lower())[:1]
    }
    for co, cross in (("vv", "vh"), ("hh", "hv")):
        if co in found and cross in found:
            title = f"Radar ({co.upper()}, {cross.upper()} and their ratio)"
            return RgbChoice(kind="radar", names=(found[co], found[cross]), title=title)
    first = next(iter(found.items()), None)
    if first is None:
        return None
    return RgbChoice(kind="radar", names=(first[1],), title=f"Radar ({first[0].upper()})")


def _choose_grey(bands: Sequence[Band]) -> RgbChoice:
    """Choose the one band that shows most: red or near infrared where there is one, else the first."""
    for wanted in ("red", "nir", "green", "swir16"):
        band = _find_optical(bands, wanted)
        if band is not None:
            return RgbChoice(kind="grey", names=(band.name,), title=f"Grey ({band.name})")
    return RgbChoice(kind="grey", names=(bands[0].name,), title=f"Grey ({bands[0].name})")


def _describe(kind: Kind, title: str, names: tuple[str, ...]) -> RgbChoice:
    return RgbChoice(kind=kind, names=names, title=f"{title} ({', '.join(names)})")


def render_rgba(arrays: Mapping[str, NDArray[Any]], bands: Sequence[Band]) -> Rgba:
    """Render the chosen bands as red, green, blue and alpha.

    Args:
        arrays: Variable name → ``(y, x)`` stored numbers; at least the variables :func:`choose_rgb` names.
        bands: What the numbers mean: nodata, scale, offset, unit.

    Returns:
        ``(4, y, x)`` uint8; alpha is 255 where every shown band has data, else 0, and colours are 0 there.

    Raises:
        InputError: a variable is missing, or the shapes differ.
    """
    choice = choose_rgb(bands)
    by_name = {band.name: band for band in bands}
    chosen = [by_name[name] for name in choice.names]
    stored = _get_arrays(arrays, choice.names)
    if choice.kind == "classes":
        return _render_classes(stored[0], chosen[0])
    visual = all(_is_visual(band) for band in chosen)
    channels = np.stack([_to_physical(array, band) for array, band in zip(stored, chosen, strict=True)])
    channels[:, ~_find_shown(stored, chosen, visual=visual)] = np.nan
    style: Style = "grey"
    if choice.kind == "radar":
        decibel = (chosen[0].unit or "").lower() == "db"
        channels, style = to_radar_channels(channels, decibel=decibel), "radar"
    elif choice.kind != "grey":
        style = "visual" if visual else "optical"
    alpha = np.where(np.isfinite(channels).all(axis=0), 255, 0).astype(np.uint8)
    channels[:, alpha == 0] = np.nan
    colours = stretch_to_8bit(channels, style)
    return np.concatenate([np.broadcast_to(colours, (3, *alpha.shape)), alpha[None]])


def _get_arrays(arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> list[NDArray[Any]]:
    """Take the named arrays, all of one shape."""
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(f"The picture needs {', '.join(missing)}; given were {', '.join(arrays) or 'none'}.")
    found = [np.asarray(arrays[name]) for name in names]
    shapes = {array.shape for array in found}
    if len(shapes) != 1 or found[0].ndim != 2 or found[0].size == 0:
        raise InputError(f"The bands of one picture have shapes {sorted(shapes)}; give one 2-D shape.")
    return found


def _to_physical(array: NDArray[Any], band: Band) -> Channels:
    """Apply scale and offset; what is no data is not looked at."""
    return np.asarray(array.astype(np.float32) * np.float32(band.scale) + np.float32(band.offset), np.float32)


def _find_shown(arrays: Sequence[NDArray[Any]], bands: Sequence[Band], *, visual: bool) -> NDArray[np.bool_]:
    """Tell which pixels to show: those where every band has data.

    In an 8-bit picture one channel may well be 0 where the ground is dark, so there any band will do.
    """
    masks = [valid_mask(array, fill_value(band)) for array, band in zip(arrays, bands, strict=True)]
    combine = np.logical_or if visual else np.logical_and
    return np.asarray(combine.reduce(masks), bool)


def _is_visual(band: Band) -> bool:
    """Tell whether the numbers are 8-bit picture values that somebody has stretched already."""
    return band.dtype == "uint8" and band.scale == 1.0 and band.offset == 0.0


def _render_classes(array: NDArray[Any], band: Band) -> Rgba:
    """Paint classes in fixed colours: SCL, QA_PIXEL, else a spread of greys."""
    valid = valid_mask(array, fill_value(band))
    name = f"{band.name} {band.asset}".lower()
    if "scl" in name:
        colours, painted = paint_scl(array)
    elif "qa_pixel" in name:
        colours, painted = paint_qa_pixel(array)
    else:
        values = np.where(valid, array, np.nan).astype(np.float32)
        colours, painted = np.repeat(stretch_to_8bit(values[None], "grey"), 3, axis=0), valid
    alpha = np.where(valid & painted, 255, 0).astype(np.uint8)
    return np.concatenate([np.where(alpha > 0, colours, 0).astype(np.uint8), alpha[None]])


def render_thumbnail(
    arrays: Mapping[str, NDArray[Any]], bands: Sequence[Band], *, max_px: int = THUMBNAIL_MAX_PX
) -> bytes:
    """Render a thumbnail a person wants to look at.

    Args:
        arrays: As for :func:`render_rgba`; an overview level is enough.
        bands: What the numbers mean.
        max_px: Longest side at most, pixels.

    Returns:
        A PNG, transparent where there is no data.

    Raises:
        InputError: a variable is missing, or the shapes differ.
    """
    smooth = choose_rgb(bands).kind != "classes"
    return encode_thumbnail(render_rgba(arrays, bands), max_px=max_px, smooth=smooth)


def encode_thumbnail(rgba: Rgba, *, max_px: int = THUMBNAIL_MAX_PX, smooth: bool = True) -> bytes:
    """Resize a rendered picture and encode it as PNG.

    Args:
        rgba: ``(4, y, x)`` uint8 from :func:`render_rgba`.
        max_px: Longest side at most, pixels.
        smooth: False keeps hard edges between classes.

    Returns:
        PNG bytes; a small picture is enlarged up to four times, a large one is averaged down.
    """
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(rgba, 0, -1)), "RGBA")
    size = _choose_size(image.size, max_px)
    if size != image.size:
        enlarge = size[0] > image.size[0]
        method = Image.Resampling.BICUBIC if enlarge else Image.Resampling.LANCZOS
        image = image.resize(size, method if smooth else Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    opaque = bool((rgba[3] == 255).all())
    (image.convert("RGB") if opaque else image).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _choose_size(size: tuple[int, int], max_px: int) -> tuple[int, int]:
    """Choose width and height: shrink to fit, or enlarge by a whole factor."""
    longest = max(size)
    if longest > max_px:
        factor = max_px / longest
    else:
        factor = float(max(1, min(_MAX_UPSAMPLE, -(-_UPSAMPLE_TO_PX // longest), max_px // longest)))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def choose_preview_level(grid: Grid, levels: int) -> int:
    """Choose the resolution level to draw: the finest whose longer side is ≤ 1024 px, else the coarsest."""
    fitting = (level for level in range(levels) if max(level_shape(grid, level)) <= PREVIEW_MAX_PX)
    return next(fitting, levels - 1)
