"""Write chips into one safetensors file, as ``models/mars/chips.py`` reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from catalog.chips.records import Chip, ChipMoments, ChipReader, describe_chip, merge_chips
from catalog.chips.windows import LEAST_VALID
from infra.errors import DataError
from infra.storage import translate_os_error

_METADATA_KEY = "chips"
_MOST_BYTES = 8 * 1024**3


def write_chips(
    path: Path, reader: ChipReader, *, source: str, licence: str, least_valid: float = LEAST_VALID
) -> ChipMoments:
    """Write a source's chips with their statistics; those with too little data are left out and counted.

    Meant for small sets that a training carries along; large ones are read from their cubes.

    Args:
        path: Of the new file, ``.safetensors``; replaced whole.
        reader: The chips; all of one size.
        source: Who made the images, for the model's card.
        licence: Under which they may be trained on.
        least_valid: Part of a chip's pixels that must hold data.

    Returns:
        Statistics of what was written; ``blank`` counts what was left out.

    Raises:
        DataError: no chip is left, chips differ in size or modality, or they do not fit one file.
        ConfigError: the disk is full or may not be written.
    """
    kept = _read_kept(reader, least_valid)
    if not kept:
        raise DataError(
            f"None of {len(reader)} chips of {reader.name} holds enough data; nothing was written."
        )
    arrays = {name: _stack(reader, kept, name) for name in ("rgb", "sar")}
    arrays = {name: array for name, array in arrays.items() if array.size}
    moments = merge_chips([describe_chip(chip) for chip in kept])
    facts = {
        "name": reader.name,
        "source": source,
        "licence": licence,
        "statistics": {**moments.mean_and_std(), "sar_unit": reader.sar_unit},
    }
    _replace(path, save(arrays, {_METADATA_KEY: json.dumps(facts, sort_keys=True)}))
    return ChipMoments(moments.rgb, moments.sar, chips=len(reader), blank=len(reader) - len(kept))


def _read_kept(reader: ChipReader, least_valid: float) -> list[Chip]:
    """Read chips with enough data, and stop as soon as they are too many: memory must hold them twice."""
    kept, taken = [], 0
    for index in range(len(reader)):
        chip = reader.read(index)
        if chip.valid.mean() < least_valid:
            continue
        kept.append(chip)
        taken += sum(side.nbytes for side in (chip.rgb, chip.sar) if side is not None)
        if taken > _MOST_BYTES:
            raise DataError(
                f"The first {len(kept)} chips of {reader.name} take more than {_MOST_BYTES:,} bytes; write "
                "fewer at a time, or plan them where they lie."
            )
    return kept


def _stack(reader: ChipReader, chips: list[Chip], name: str) -> NDArray[np.float32]:
    sides = [side for chip in chips if (side := getattr(chip, name)) is not None]
    if sides and (len(sides) != len(chips) or len({side.shape for side in sides}) != 1):
        raise DataError(
            f"Chips of {reader.name} differ in size, or some have no {name}; write alike ones together."
        )
    return np.stack(sides) if sides else np.empty(0, np.float32)


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as exc:
        raise translate_os_error(exc, str(path)) from exc
    finally:
        part.unlink(missing_ok=True)
