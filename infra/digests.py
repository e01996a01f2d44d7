"""Name content by its bytes: stable hashes of JSON, files and bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_BLOCK_BYTES = 1 << 20
_SHA256_MULTIHASH_PREFIX = "1220"  # multihash code 0x12 (sha2-256), length 0x20 bytes


def canonical_json(value: object) -> bytes:
    """Serialise to the one JSON spelling whose bytes are hashed: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: NaN or infinity, which JSON cannot spell.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_of_json(value: object) -> str:
    """Hash a JSON value; 64 lower-case hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hash a local file in blocks; 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def to_multihash(sha256_hex: str) -> str:
    """Spell a sha2-256 digest as the multihash that STAC's ``file:checksum`` holds."""
    return _SHA256_MULTIHASH_PREFIX + sha256_hex
