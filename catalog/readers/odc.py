"""Read scenes with odc-stac, the default loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import odc.stac
import pystac

from catalog.gdal import cog_environment
from catalog.readers.protocol import Pixels, ReadRequest, fill_value, settle_fill
from catalog.records import Band, Scene
from catalog.sources.probe import probe_file
from catalog.sources.signing import sign

_BANDS_AT_ONCE = 4
"""One call of odc-stac costs ~30 ms beside the reading; more bands in one call cost memory."""


class OdcReader:
    """Read through ``odc.stac.load``: any CRS, any band of a multi-band file."""

    def __init__(self, *, uncached: bool = False) -> None:
        self._uncached = uncached

    def read(self, request: ReadRequest) -> Iterator[tuple[str, Pixels]]:
        """Yield each band, mosaicked; see ``Reader.read``."""
        for start in range(0, len(request.bands), _BANDS_AT_ONCE):
            yield from self._read_bands(request, request.bands[start : start + _BANDS_AT_ONCE])

    def _read_bands(self, request: ReadRequest, names: Sequence[str]) -> Iterator[tuple[str, Pixels]]:
        signer = request.scenes[0].signer
        bands = {name: request.scenes[0].band(name) for name in names}
        keys = {name: f"{name}.{band.index}" for name, band in bands.items()}
        for scene in request.scenes:
            for name in names:
                probe_file(scene.band(name).href, signer)  # refuses what is no image
        with cog_environment(uncached=self._uncached):
            cube = odc.stac.load(
                [_to_item(scene, names) for scene in request.scenes],
                bands=list(keys.values()),
                geobox=request.geobox,
                groupby=_one_mosaic,
                preserve_original_order=True,
                resampling={
                    keys[name]: "nearest" if band.quality else request.resampling
                    for name, band in bands.items()
                },
                patch_url=lambda href: sign(href, signer),
                fail_on_error=True,
            )
        for name, variable in zip(names, cube.data_vars.values(), strict=True):
            yield name, settle_fill(np.asarray(variable.values[0]), fill_value(bands[name]))


def _one_mosaic(_item: object, _parsed: object, _index: int) -> int:
    # Every scene of a request belongs to one solar day: the plan grouped them.
    return 0


def _pixels_of(band: Band) -> dict[str, Any]:
    return {"data_type": band.dtype, "nodata": fill_value(band)}


def _to_item(scene: Scene, names: Sequence[str]) -> pystac.Item:
    """Describe a scene to odc-stac: one asset for each variable, so that names never clash."""
    item = pystac.Item(
        id=scene.id,
        geometry=scene.geometry,
        bbox=None,
        datetime=scene.datetime,
        properties={},
        collection="scenes",
        stac_extensions=["https://stac-extensions.github.io/raster/v1.1.0/schema.json"],
    )
    for name in names:
        band = scene.band(name)
        asset = pystac.Asset(
            href=band.href,
            media_type="image/tiff; application=geotiff",
            roles=["data"],
            extra_fields={"raster:bands": [_pixels_of(band)] * band.index},
        )
        item.add_asset(name, asset)
    return item
