"""Look at what a plan would read and write before a byte is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import rasterio

from catalog.gdal import cog_environment
from catalog.records import Band, CubePlan
from infra.errors import AppError, ConfigError, DataError
from infra.storage import Storage
from infra.urls import UrlPolicy

_THREADS = 8
_OVERVIEW_SHARE = 4 / 3
_COMPRESSED_SHARE = 0.5  # of the raw size; the codec reaches 0.4 to 0.6 on 16-bit imagery


def check_local_files(plans: Iterable[CubePlan]) -> dict[str, AppError]:
    """Open every local file that a plan reads, and see that its last block lies inside it.

    Remote files are checked when they are read: a header request for each would cost what a read does.

    Returns:
        Path → what is wrong with it; empty when all are whole.
    """
    bands = {
        (band.href, band.index): band
        for plan in plans
        for scene in plan.group.scenes
        for band in scene.bands
        if "://" not in band.href
    }
    with ThreadPoolExecutor(_THREADS) as pool:
        found = zip(bands.values(), pool.map(_complaint, bands.values()), strict=True)
        return {band.href: complaint for band, complaint in found if complaint is not None}


def check_hosts(policy: UrlPolicy, plans: Iterable[CubePlan]) -> None:
    """Resolve every remote host that a plan reads from, once, and see that the policy allows its addresses.

    Raises:
        InputError: a name leads to a private or loopback address that the catalogue does not live on.
    """
    hosts = {
        urlsplit(band.href)[:2]: band.href
        for plan in plans
        for scene in plan.group.scenes
        for band in scene.bands
        if band.href.startswith(("http://", "https://"))
    }
    for href in hosts.values():
        policy.check_resolved(href)


def check_space(storage: Storage, plans: Sequence[CubePlan]) -> None:
    """See that the store has room for a plan.

    Raises:
        ConfigError: it has not, by a cautious estimate.
    """
    free = storage.free_bytes()
    needed = sum(_estimate_bytes(plan) for plan in plans)
    if free is not None and needed > free:
        raise ConfigError(
            f"no space left for this plan: {storage.uri} has {free / 1e6:.0f} MB free, about "
            f"{needed / 1e6:.0f} MB are needed; free some, choose a smaller --bbox or another --store"
        )


def _estimate_bytes(plan: CubePlan) -> float:
    pixels = math.prod(plan.grid.shape_yx)
    widths = [np.dtype(plan.group.scenes[0].band(name).dtype).itemsize for name in plan.bands]
    return pixels * sum(widths) * _OVERVIEW_SHARE * _COMPRESSED_SHARE


def _complaint(band: Band) -> AppError | None:
    try:
        with cog_environment(), rasterio.open(band.href) as file:
            if band.index > file.count:
                return DataError(f"{band.href} has {file.count} bands, band {band.index} is wanted")
            return _truncation(file, band)
    except AppError as exc:
        return exc


def _truncation(file: rasterio.DatasetReader, band: Band) -> DataError | None:
    if file.driver not in {"GTiff", "COG"}:
        return None
    size = Path(band.href).stat().st_size
    rows, cols = file.block_shapes[band.index - 1]
    last_row, last_col = (file.height - 1) // rows, (file.width - 1) // cols
    offset, length = (
        file.get_tag_item(f"BLOCK_{what}_{last_col}_{last_row}", "TIFF", bidx=band.index)
        for what in ("OFFSET", "SIZE")
    )
    # A sparse block has no offset; it is legitimate and reads as nodata.
    if offset is None or length is None or int(offset) + int(length) <= size:
        return None
    return DataError(
        f"{band.href} is cut short: its last block ends at byte {int(offset) + int(length)}, the file at "
        f"{size}; fetch it again or leave its item out"
    )
