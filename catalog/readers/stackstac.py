"""Read scenes with stackstac, the second loader.

stackstac knows single-band files and EPSG grids only; what it cannot read is refused, not approximated.
Its own file reader warps through a VRT, block by block and past overviews, so resampled pixels would
depend on the loader: it is given odc's warp instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely.geometry
import stackstac
from odc.geo.geobox import GeoBox
from odc.loader import RasterLoadParams, RasterSource, RioDriver
from rasterio.enums import Resampling
from rasterio.windows import Window

from catalog.gdal import cog_environment
from catalog.readers.protocol import Pixels, ReadRequest, fill_value, settle_fill, valid_mask
from catalog.records import Band, Scene
from catalog.sources.probe import probe_file
from catalog.sources.signing import sign
from infra.errors import InputError


class StackstacReader:
    """Read through ``stackstac.stack``, then mosaic first-valid-wins."""

    def __init__(self, *, uncached: bool = False) -> None:
        self._uncached = uncached

    def read(self, request: ReadRequest) -> Iterator[tuple[str, Pixels]]:
        """Yield each band, mosaicked; see ``Reader.read``."""
        for name in request.bands:
            yield name, self._read_band(request, name)

    def _read_band(self, request: ReadRequest, name: str) -> Pixels:
        bands = [scene.band(name) for scene in request.scenes]
        _check_readable(bands, request.geobox)
        resampling = "nearest" if bands[0].quality else request.resampling
        fill = fill_value(bands[0])
        mosaic = np.full(request.geobox.shape, fill, dtype=bands[0].dtype)
        with cog_environment(uncached=self._uncached):
            for scene, band in zip(request.scenes, bands, strict=True):
                layer = _read_layer(scene, band, request.geobox, Resampling[resampling])
                if layer is not None:
                    gaps = ~valid_mask(mosaic, fill) & valid_mask(layer, fill)
                    mosaic[gaps] = layer[gaps]
        return mosaic


def _check_readable(bands: list[Band], geobox: GeoBox) -> None:
    if any(band.index != 1 for band in bands):
        raise InputError(
            f"band {bands[0].name!r} lies in a multi-band file, which stackstac cannot read; use loader 'odc'"
        )
    if geobox.crs is None or geobox.crs.epsg is None:
        raise InputError("stackstac reads EPSG grids only; use loader 'odc' or a --crs with an EPSG code")


def _read_layer(scene: Scene, band: Band, geobox: GeoBox, resampling: Resampling) -> Pixels | None:
    if len(probe_file(band.href, scene.signer)) != 1:  # refuses what is no image, too
        raise InputError(f"{band.href} has several bands; stackstac cannot read it, use loader 'odc'")
    fill = np.dtype(band.dtype).type(fill_value(band))
    epsg = geobox.crs.epsg if geobox.crs is not None else None
    stack = stackstac.stack(
        [_to_item(scene, band)],
        assets=["pixels"],
        epsg=epsg,
        bounds=tuple(geobox.boundingbox.bbox),
        resolution=(abs(geobox.resolution.x), abs(geobox.resolution.y)),
        snap_bounds=False,
        resampling=resampling,
        chunksize=max(geobox.shape),
        dtype=np.dtype(band.dtype),
        fill_value=fill,
        rescale=False,
        xy_coords=False,
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        reader=_OneWarp,
    )
    if not stack.shape[0]:  # stackstac leaves out scenes whose footprint misses the bounds
        return None
    return settle_fill(np.asarray(stack.data[0, 0].compute(scheduler="synchronous")), fill)


class _OneWarp:
    """Read windows for stackstac by the warp that odc-stac uses (a ``stackstac.reader_protocol.Reader``)."""

    def __init__(self, **facts: Any) -> None:  # noqa: ANN401 - stackstac's own keywords
        self._facts = facts

    def read(self, window: Window) -> Pixels:
        """Return the pixels of a window of the stack's grid."""
        facts = self._facts
        spec, fill = facts["spec"], facts["fill_value"]
        rows, cols = window.toslices()
        geobox = GeoBox(spec.shape, spec.transform, f"EPSG:{spec.epsg}")[rows, cols]
        pixels = np.full(geobox.shape, fill, dtype=facts["dtype"])
        how = RasterLoadParams(
            dtype=pixels.dtype.name,
            fill_value=fill,
            src_nodata_fallback=fill,
            resampling=facts["resampling"].name,
        )
        driver = RioDriver()
        with driver.restore_env({}, driver.new_load(geobox)) as context:
            driver.open(RasterSource(facts["url"]), context).read(how, geobox, dst=pixels)
        return pixels

    def close(self) -> None:
        """Nothing stays open."""

    def __getstate__(self) -> dict[str, Any]:
        return self._facts

    def __setstate__(self, facts: dict[str, Any]) -> None:
        self._facts = facts


def _to_item(scene: Scene, band: Band) -> dict[str, Any]:
    footprint = shapely.geometry.shape(scene.geometry)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": scene.id,
        "collection": "scenes",
        "geometry": scene.geometry,
        "bbox": list(footprint.bounds),
        "properties": {"datetime": scene.datetime.isoformat()},
        "assets": {"pixels": {"href": sign(band.href, scene.signer), "type": "image/tiff"}},
        "links": [],
    }
