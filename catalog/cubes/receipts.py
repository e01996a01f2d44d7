"""Keep the receipts that say what is done: one for each tile of a cube, and one for the whole, last."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from catalog.cubes.pyramid import Moments
from catalog.receipts import RECEIPT_NAME, read_receipt, seal
from catalog.records import CUBE_RECEIPT, CubePlan, CubeReceipt, StoredFile, Tile
from infra.digests import canonical_json
from infra.errors import NotFoundError
from infra.storage import Storage

PRODUCTS_FOLDER = "scenes"
_TILES_FOLDER = "tiles"


@dataclass(frozen=True, kw_only=True)
class TileReceipt:
    """Prove that one shard of every band and level is written and verified."""

    tile: Tile
    files: tuple[StoredFile, ...]
    """Paths relative to the product's folder, sorted."""
    expected_fraction: float
    """Share of the tile that the scenes' footprints cover, 0 to 1."""
    valid_fraction: dict[str, float]
    """Per band: share of the tile's pixels that hold data as read, before any mask, 0 to 1."""
    moments: dict[str, Moments | None]
    """Per band: statistics of the stored numbers; None where no pixel is valid."""


_TILE_RECEIPT = TypeAdapter(TileReceipt)


def tile_receipt_path(plan: CubePlan, tile: Tile) -> str:
    """Return where a tile's receipt lies in the store."""
    return f"{plan.path}/{_TILES_FOLDER}/{tile.name}.json"


def is_receipt(path: str) -> bool:
    """Say whether an object of a product, path relative to its folder, is one of its receipts."""
    return path == RECEIPT_NAME or path.startswith(f"{_TILES_FOLDER}/")


def read_tile_receipt(storage: Storage, plan: CubePlan, tile: Tile) -> TileReceipt | None:
    """Return a tile's receipt; None while the tile is not done, or where a crash spoilt the receipt."""
    try:
        return _TILE_RECEIPT.validate_json(storage.read(tile_receipt_path(plan, tile)))
    except (NotFoundError, ValidationError):
        return None


def write_tile_receipt(storage: Storage, plan: CubePlan, receipt: TileReceipt) -> None:
    """Write a tile's receipt; two writers of the same tile write the same bytes."""
    text = canonical_json(_TILE_RECEIPT.dump_python(receipt, mode="json"))
    storage.write(tile_receipt_path(plan, receipt.tile), text)


def read_cube_receipt(storage: Storage, plan: CubePlan) -> CubeReceipt | None:
    """Return a cube's receipt; None while the cube does not exist.

    Raises:
        DataError: what is stored there is no receipt.
    """
    return read_receipt(storage, plan.path, CUBE_RECEIPT)


def seal_cube(storage: Storage, plan: CubePlan, receipt: CubeReceipt) -> CubeReceipt:
    """Write a cube's receipt on condition that there is none; see ``catalog.receipts.seal``."""
    return seal(storage, plan.path, receipt, CUBE_RECEIPT)
