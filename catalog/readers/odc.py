"""Read scenes with odc-stac, the default loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import odc.stac
import pystac

from catalog.readers.gdal import cog_environment
from catalog.readers.protocol import Pixels, ReadRequest, fill_value, settle_fill
from catalog.records import Band, Scene
from catalog.signing import sign


class OdcReader:
    """Read through ``odc.stac.load``: any CRS, any band of a multi-band file."""

    def __init__(self, *, uncached: bool = False) -> None:
        self._uncached = uncached

    def read(self, request: ReadRequest) -> Iterator[tuple[str, Pixels]]:
        """Yield each band, mosaicked; see ``Reader.read``."""
        for name in request.bands:
            yield name, self._read_band(request, name)

    def _read_band(self, request: ReadRequest, name: str) -> Pixels:
        bands = [_band_named(scene, name) for scene in request.scenes]
        first = bands[0]
        signer = request.scenes[0].signer
        items = [_to_item(scene, band) for scene, band in zip(request.scenes, bands, strict=True)]
        with cog_environment(uncached=self._uncached):
            cube = odc.stac.load(
                items,
                bands=[f"pixels.{first.index}"],
                geobox=request.geobox,
                groupby=_one_mosaic,
                preserve_original_order=True,
                resampling="nearest" if first.quality else request.resampling,
                stac_cfg=_load_configuration(first),
                patch_url=lambda href: sign(href, signer),
                fail_on_error=True,
            )
        (pixels,) = cube.data_vars.values()
        # odc-stac fills integer bands without nodata with 0, as fill_value does.
        return settle_fill(np.asarray(pixels.values[0]), fill_value(first))


def _band_named(scene: Scene, name: str) -> Band:
    return next(band for band in scene.bands if band.name == name)


def _one_mosaic(_item: object, _parsed: object, _index: int) -> int:
    # Every scene of a request belongs to one solar day: plan grouped them.
    return 0


def _load_configuration(band: Band) -> dict[str, Any]:
    pixels = {"data_type": band.dtype, "nodata": fill_value(band)}
    return {"*": {"assets": {"*": pixels}, "warnings": "ignore"}}


def _to_item(scene: Scene, band: Band) -> pystac.Item:
    # One asset named "pixels" for each scene: hrefs and band numbers may differ between scenes.
    entry = {"data_type": band.dtype, "nodata": fill_value(band)}
    asset = pystac.Asset(
        href=band.href,
        media_type="image/tiff; application=geotiff",
        roles=["data"],
        extra_fields={"raster:bands": [entry] * band.index},
    )
    item = pystac.Item(
        id=scene.id,
        geometry=scene.geometry,
        bbox=None,
        datetime=scene.datetime,
        properties={},
        collection="scenes",
        stac_extensions=["https://stac-extensions.github.io/raster/v1.1.0/schema.json"],
    )
    item.add_asset("pixels", asset)
    return item
