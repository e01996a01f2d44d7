"""Set GDAL up for reading COGs over HTTP, and translate its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio.errors import CRSError, RasterioError, RasterioIOError

from infra.errors import AppError, ConfigError, DataError, NotFoundError, TransientError

COG_OPTIONS: dict[str, str | int] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # one GET for the header, no directory listing
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # GDAL's parallel multi-range path has no retry: a 429 there becomes a blank block (OSGeo/gdal#12933).
    "GDAL_HTTP_MULTIRANGE": "SERIAL",
    "GDAL_HTTP_VERSION": "1.1",
    "GDAL_HTTP_MAX_TOTAL_CONNECTIONS": "8",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": str(16 << 20),
    "GDAL_CACHEMAX": 256,  # MiB per process: whole shards are read once, a larger cache only holds memory
    "GDAL_NUM_THREADS": "1",  # Dask already uses every core
}
_ABSENT = ("404", "no such file", "does not exist", "not found")
_REMOTE = ("http", "curl", "vsicurl", "vsis3")
_BUSY = ("429", "500", "502", "503", "504", "timed out", "timeout", "connection", "could not resolve", "403")
_NO_CREDENTIALS = ("aws_secret_access_key", "invalidcredentials", "accessdenied")


@contextmanager
def cog_environment(*, uncached: bool = False) -> Iterator[None]:
    """Run a block under the COG options and with GDAL's errors translated to ours.

    Args:
        uncached: Forget what GDAL cached over HTTP: it caches failures too, so a re-read must not see them.
    """
    options = COG_OPTIONS | ({"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/"} if uncached else {})
    with rasterio.Env(**options):
        try:
            yield
        except (RasterioError, CRSError) as exc:
            raise _translate(exc) from exc
        except RuntimeError as exc:
            # stackstac wraps the read error of a file in a plain RuntimeError.
            if isinstance(exc.__cause__, RasterioIOError):
                raise _translate(exc) from exc
            raise


def _translate(exc: Exception) -> AppError:
    causes = [exc, *filter(None, (exc.__cause__, exc.__context__))]
    # The first cause knows most: "TIFFReadEncodedTile() failed" rather than "Read failed".
    text = "; ".join(dict.fromkeys(str(cause).splitlines()[0] for cause in reversed(causes) if str(cause)))
    low = text.lower()
    if any(word in low for word in _ABSENT):
        return NotFoundError(f"image file is absent: {text}")
    if any(word in low for word in _NO_CREDENTIALS):
        return ConfigError(f"image file needs credentials: {text}; set the AWS_* variables")
    if any(word in low for word in _REMOTE) and any(word in low for word in _BUSY):
        return TransientError(f"image file could not be fetched: {text}")
    return DataError(f"image file cannot be read: {text}")
