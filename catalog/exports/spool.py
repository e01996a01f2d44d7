"""Keep a stream of documents on disk, to go through it more than once in little memory."""

from __future__ import annotations

import itertools
import json
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from infra.errors import ConfigError, DataError

Document = dict[str, Any]
BATCH_ITEMS = 2_000
_LENGTHS = struct.Struct(">QQ")


class Spool:
    """Hold documents in a nameless file that is gone with the process, whatever ends it.

    A catalogue may change between two searches; what was spooled is of one reading.

    Args:
        folder: Where the file is made; None takes the system's folder for such files.
        batch_items: Documents held in memory at a time.
    """

    def __init__(self, folder: Path | None = None, *, batch_items: int = BATCH_ITEMS) -> None:
        self._batch_items = batch_items
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        except OSError as exc:
            raise place_error(exc, folder or tempfile.gettempdir()) from exc
        self._count = 0

    def __len__(self) -> int:
        """Count the documents."""
        return self._count

    def __enter__(self) -> Self:
        """Give the spool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file."""
        self._file.close()

    def fill(self, documents: Iterable[Document]) -> Iterator[list[Document]]:
        """Write documents, and hand them on in batches.

        Raises:
            DataError: a document cannot be written as JSON in UTF-8.
            ConfigError: the disk is full.
        """
        stream = iter(documents)
        while batch := list(itertools.islice(stream, self._batch_items)):
            self._append(batch)
            yield batch

    def batches(self) -> Iterator[list[Document]]:
        """Read all documents again, in order, in the same batches."""
        self._file.seek(0)
        while header := self._file.read(_LENGTHS.size):
            packed, plain = _LENGTHS.unpack(header)
            text = pa.decompress(self._file.read(packed), plain, codec="zstd", asbytes=True)
            yield json.loads(text)

    def _append(self, batch: list[Document]) -> None:
        try:
            text = json.dumps(batch, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, TypeError, RecursionError) as exc:
            raise DataError(
                f"an item among {batch[0].get('id')!r} to {batch[-1].get('id')!r} cannot be written as JSON "
                f"({str(exc)[:120]}): correct it in the catalogue"
            ) from exc
        packed = pa.compress(text, codec="zstd", asbytes=True)
        try:
            self._file.write(_LENGTHS.pack(len(packed), len(text)) + packed)
        except OSError as exc:
            raise place_error(exc, "the export's working file") from exc
        self._count += len(batch)


def place_error(exc: OSError, place: Path | str) -> ConfigError:
    """Say that an export cannot be written where it was to go."""
    return ConfigError(
        f"{place} cannot be written: {exc.strerror or exc}; free some room or name another place",
        place=str(place),
    )
