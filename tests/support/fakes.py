"""Stand in for the outside with things that behave: a reader without files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from catalog.readers.protocol import Pixels, ReadRequest, fill_value
from tests.support.synthetic import truth


class FakeReader:
    """Read the synthetic world itself: pixels are ``truth`` on whatever grid is asked for.

    Hrefs steer it: ``blank:`` never holds data, ``flaky:`` holds none until it is read past every cache.
    """

    def __init__(self, *, uncached: bool = False) -> None:
        self._uncached = uncached

    def read(self, request: ReadRequest) -> Iterator[tuple[str, Pixels]]:
        """Yield each band asked for, last one first: the protocol promises no order."""
        for name in reversed(request.bands):
            band = request.scenes[0].band(name)
            if band.href.startswith("blank:") or (band.href.startswith("flaky:") and not self._uncached):
                yield name, np.full(request.geobox.shape, fill_value(band), dtype=band.dtype)
            else:
                yield name, truth(request.geobox, band.dtype)
