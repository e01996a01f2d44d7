"""Source files: small JSON texts that say which chips there are and where they lie, without a pixel.

Such a file may come from anywhere. It chooses neither code nor, below the store or folder it names, anything
but plain names; what it says is checked again when it is opened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from affine import AffineError
from pydantic import Field, TypeAdapter, ValidationError

from catalog.chips.cubes import AlignedCubes, cover_cubes
from catalog.chips.patch_folders import PatchFolder
from catalog.chips.radar_units import RadarUnit
from catalog.chips.records import ChipMoments, ChipReader
from catalog.registrations.plan import SceneFacts
from infra.digests import canonical_json, sha256_of_json
from infra.errors import AppError, DataError, InputError, NotFoundError
from infra.storage import LocalStorage, open_storage
from infra.urls import check_id

SUFFIX = ".chips.json"
_MOST_BYTES = 256 * 1024**2
_MOST_LETTERS = 500
_HASH_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class CubesPlace:
    """Chips of two cubes.

    Attributes:
        kind: tells it from the other places.
        store: of both, an absolute path or URI.
        optical: what its item says.
        sar: likewise.
        size_px: side of the chips.
        registration: item that the radar cube's grid was corrected by; empty without one.
        kept: numbers of the windows that are chips, rising.
    """

    kind: Literal["cubes"] = "cubes"
    store: str
    optical: SceneFacts
    sar: SceneFacts
    size_px: int
    kept: tuple[int, ...]
    registration: str = ""


@dataclass(frozen=True, kw_only=True)
class PatchesPlace:
    """Chips of a folder with ``rgb`` and ``sar`` below it.

    Attributes:
        kind: tells it from the other places.
        folder: absolute path.
        sensor: its name.
        sar_unit: of the radar files.
        files: names that both sides have.
        checksums: CRC-32 of each pair's bytes.
    """

    kind: Literal["patches"] = "patches"
    folder: str
    sensor: str
    sar_unit: RadarUnit
    files: tuple[str, ...]
    checksums: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ChipSourceFile:
    """What a source file says.

    Attributes:
        version: of this layout.
        place: where the chips lie.
        statistics: mean and deviation by channel, and the radar's unit, as weights files hold them.
        facts: one line for a model's card.
        digest: of all the rest but for the place's root, which may be moved.
    """

    version: Literal[1] = 1
    place: Annotated[CubesPlace | PatchesPlace, Field(discriminator="kind")]
    statistics: dict[str, Any]
    facts: str
    digest: str


_SOURCE_FILE = TypeAdapter(ChipSourceFile)
_ROOTS = ("store", "folder")


def write_source(
    folder: Path, reader: AlignedCubes | PatchFolder, moments: ChipMoments, *, licence: str
) -> Path:
    """Write the source file of chips that are to be read where they lie.

    Args:
        folder: Of source files; made where it is missing. A file of the same source is replaced.
        reader: The chips.
        moments: Of all of them; they stand for the pixels in the digest.
        licence: Under which they may be trained on.

    Returns:
        Path of the file.

    Raises:
        DataError: no chip holds data, or a channel is the same everywhere.
        ConfigError: the disk is full or may not be written.
    """
    if moments.blank == moments.chips:
        raise DataError(f"None of {moments.chips} chips of {reader.name} holds data on both sides.")
    told = ChipSourceFile(
        place=_place_of(reader),
        statistics={**moments.mean_and_std(), "sar_unit": reader.sar_unit},
        facts=_one_line(f"{reader.name}: {len(reader)} chips, {_describe(reader)} ({licence})"),
        digest="",
    )
    spelt = json.loads(_SOURCE_FILE.dump_json(told))
    spelt["digest"] = _digest(spelt)
    # Items' ids may be as long as a file's name may be.
    name = f"{spelt['place']['kind']}-{sha256_of_json(reader.name)[:_HASH_DIGITS]}{SUFFIX}"
    open_storage(str(folder)).write(name, canonical_json(spelt))
    return folder / name


def open_source(path: Path) -> tuple[ChipReader, ChipSourceFile]:
    """Open the chips that a source file speaks of.

    Args:
        path: Of the file.

    Returns:
        Their reader, picklable, and what the file says besides.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is no source file, was altered, or speaks of chips that cannot be.
    """
    told = _read(path)
    try:
        reader = _open_cubes(told.place) if isinstance(told.place, CubesPlace) else _open_patches(told.place)
        if not len(reader):
            raise InputError("it holds no chip")
    except (AppError, AffineError, ValueError, LookupError, ArithmeticError) as exc:
        raise DataError(f"{path} speaks of chips that cannot be ({exc!s:.300}); plan them anew.") from exc
    return reader, told


def _place_of(reader: AlignedCubes | PatchFolder) -> CubesPlace | PatchesPlace:
    if isinstance(reader, AlignedCubes):
        return CubesPlace(
            store=open_storage(reader.store).uri,
            optical=reader.optical,
            sar=reader.sar,
            size_px=reader.size_px,
            kept=reader.kept,
            registration=reader.registration,
        )
    return PatchesPlace(
        folder=str(reader.folder.absolute()),
        sensor=reader.name,
        sar_unit=reader.sar_unit,
        files=reader.files,
        checksums=(reader if reader.checksums else reader.sealed()).checksums,
    )


def _describe(reader: AlignedCubes | PatchFolder) -> str:
    if isinstance(reader, AlignedCubes):
        how = f", registered by {reader.registration}" if reader.registration else ""
        titles = f"{reader.optical.title} and {reader.sar.title}"
        return f"{reader.size_px} px, cut from cubes of {titles}{how}, dB"
    return f"pairs of files, radar in {reader.sar_unit}"


def _one_line(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:_MOST_LETTERS]


def _read(path: Path) -> ChipSourceFile:
    if not path.is_file():
        raise NotFoundError(f"There is no source file {path}; write it with 'terraloom chips'.")
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{path} is larger than {_MOST_BYTES:,} bytes; no source file is.")
    try:
        spelt = json.loads(path.read_bytes())
        told = _SOURCE_FILE.validate_python(spelt)
        digest = _digest(spelt)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        line = exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else str(exc)
        raise DataError(
            f"{path} is no source file of chips ({line:.200}); write it with 'terraloom chips'."
        ) from exc
    if told.digest != digest:
        raise DataError(f"{path} was altered: its digest is not that of what it says; plan its chips anew.")
    if told.facts != _one_line(told.facts):
        raise DataError(f"{path} describes its chips in more than one line of {_MOST_LETTERS} letters.")
    return told


def _digest(spelt: dict[str, Any]) -> str:
    place = {name: value for name, value in spelt["place"].items() if name not in _ROOTS}
    return sha256_of_json({**spelt, "place": place, "digest": ""})


def _open_cubes(place: CubesPlace) -> AlignedCubes:
    if place.registration:
        check_id(place.registration, what="registration")
    whole = cover_cubes(
        place.store, place.optical, place.sar, size_px=place.size_px, registration=place.registration
    )
    numbers = sorted(set(place.kept))
    if list(place.kept) != numbers or (numbers and not 0 <= numbers[0] <= numbers[-1] < len(whole)):
        raise InputError(f"its windows do not rise from 0 to {len(whole) - 1}")
    storage = open_storage(place.store)
    for scene in (place.optical, place.sar):
        storage.href(scene.path)  # refuses what leaves the store
    return whole.take(numbers)


def _open_patches(place: PatchesPlace) -> PatchFolder:
    storage = open_storage(place.folder)
    if not isinstance(storage, LocalStorage):
        raise InputError(f"folder {place.folder!r} is no local one")
    for name in place.files:
        check_id(name, what="patch")
    if len(place.checksums) != len(place.files):
        raise InputError(f"{len(place.files)} pairs have {len(place.checksums)} sums")
    if not Path(storage.uri).is_dir():
        raise NotFoundError(f"folder {storage.uri} is not there any more")
    return PatchFolder(
        folder=Path(storage.uri),
        name=check_id(place.sensor),
        files=place.files,
        sar_unit=place.sar_unit,
        checksums=place.checksums,
    )
