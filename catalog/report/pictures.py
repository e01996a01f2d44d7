"""Shrink thumbnails to what a page can carry, and choose which of many to show."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from infra.errors import DataError

Entry = TypeVar("Entry")

MAX_PICTURES = 48
MAX_BYTES = 1_400_000
"""Room for all pictures of a page together, as they are spelt in it."""
PICTURE_PX = 288
"""Longest side of a picture in the page."""
_QUALITY = 78
_MAX_PIXELS = 4096 * 4096  # our thumbnails have 512 × 512 at most; a store may hold anything


def shrink_thumbnail(png: bytes) -> tuple[str, tuple[int, int]]:
    """Turn a thumbnail into a small WebP picture.

    Args:
        png: A PNG file, RGB or RGBA.

    Returns:
        ``data:`` URI, and its width and height in pixels.

    Raises:
        DataError: the bytes are no PNG, or an absurdly large one.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                size = f"{picture.width} × {picture.height}"
                raise DataError(f"a thumbnail has {size} pixels; ours have 512 × 512 at most")
            small = picture.convert("RGBA")
    except (
        *(UnidentifiedImageError, OSError, SyntaxError, ValueError, IndexError),
        Image.DecompressionBombError,
    ) as exc:
        raise DataError(f"a thumbnail is no PNG that can be read: {exc}") from exc
    small.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY, method=4)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/webp;base64,{encoded}", small.size


def spread(entries: Sequence[Entry], limit: int) -> list[Entry]:
    """Choose at most ``limit`` entries, evenly over the whole, first and last among them."""
    if len(entries) <= limit:
        return list(entries)
    if limit < 2:
        return list(entries[:limit])
    return [entries[round(index * (len(entries) - 1) / (limit - 1))] for index in range(limit)]
