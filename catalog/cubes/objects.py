"""Connect Zarr to our storage: whole objects in and out, with a record of what was written."""

from __future__ import annotations

import asyncio
from pathlib import Path

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, ObjectStore, WrapperStore

from catalog.receipts import describe_bytes
from catalog.records import StoredFile
from infra.storage import S3Storage, Storage


def open_zarr_objects(storage: Storage, folder: str, *, read_only: bool = True) -> Store:
    """Open a folder of a store as a Zarr store."""
    if isinstance(storage, S3Storage):
        return ObjectStore(storage.below(folder), read_only=read_only)
    return LocalStore(Path(storage.href(folder)), read_only=read_only)


class RecordingStore(WrapperStore[Store]):
    """Write Zarr objects through our storage and record each one's size and digest.

    Chunk objects look absent when read: a shard is always written whole, so what an earlier, killed
    attempt left behind must never be merged into it.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        super().__init__(open_zarr_objects(storage, folder, read_only=False))
        self._storage = storage
        self._folder = folder
        self._written: dict[str, StoredFile] = {}

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read metadata; say that chunks are absent."""
        return await super().get(key, prototype, byte_range) if key.endswith("zarr.json") else None

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object atomically and record it."""
        self._written[key] = await asyncio.to_thread(self._write, key, value.to_bytes())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one object; ours are immutable, so the same name holds the same bytes."""
        await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete one object: Zarr does so for chunks that hold nothing but the fill value."""
        await asyncio.to_thread(self._storage.delete, f"{self._folder}/{key}")
        self._written.pop(key, None)

    def take_written(self, prefix: str) -> list[StoredFile]:
        """Return the record of what was written since the last call, paths below ``prefix``; clear it."""
        taken, self._written = self._written, {}
        return [
            StoredFile(path=f"{prefix}{key}", size=file.size, sha256=file.sha256)
            for key, file in sorted(taken.items())
        ]

    def _write(self, key: str, data: bytes) -> StoredFile:
        self._storage.write(f"{self._folder}/{key}", data)
        return describe_bytes(key, data)
