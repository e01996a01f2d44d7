"""Name the loaders a run may choose."""

from __future__ import annotations

from catalog.readers.odc import OdcReader
from catalog.readers.protocol import Reader
from catalog.readers.stackstac import StackstacReader
from infra.errors import InputError

READERS: dict[str, type[OdcReader] | type[StackstacReader]] = {"odc": OdcReader, "stackstac": StackstacReader}


def make_reader(loader: str, *, uncached: bool = False) -> Reader:
    """Build a reader by the loader's name.

    Args:
        loader: Key of ``READERS``.
        uncached: Read past GDAL's HTTP cache, for a second try at a blank block.

    Raises:
        InputError: unknown loader.
    """
    if loader not in READERS:
        raise InputError(f"loader {loader!r} is unknown; choose one of: {', '.join(READERS)}")
    return READERS[loader](uncached=uncached)
