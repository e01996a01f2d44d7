"""Hold the commands that say which aligned chips MaRS learns from: of cubes, of folders, of sample worlds."""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.map import Json, Store, chosen_store
from infra.errors import InputError
from infra.settings import catalogue_uri, data_home, load_settings

if TYPE_CHECKING:
    from catalog.chips.records import ChipMoments, ChipReader
    from catalog.registrations.plan import SceneFacts
    from infra.storage import Storage

app = typer.Typer(
    help="Say which aligned chips a training learns from.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of chips; made where missing")]
Registration = Annotated[
    str | None, typer.Option(metavar="ITEM", help="Radar cube registered to an optical one; names both")
]
Optical = Annotated[str | None, typer.Option(metavar="ITEM", help="Cube with red, green and blue")]
Sar = Annotated[str | None, typer.Option(metavar="ITEM", help="Radar cube on the same grid")]
Size = Annotated[int, typer.Option("--size-px", min=1, help="Side of a chip")]
LeastValid = Annotated[float, typer.Option(help="Part of a chip that must hold radar data, 0 to 1")]
Licence = Annotated[str, typer.Option(help="Under which the images may be trained on, for the model's card")]
Patches = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Holds Umbra_patches or Capella_patches, {rgb,sar} below")
]
SarUnit = Annotated[str, typer.Option(help="What the radar files hold: amplitude, linear or dB")]
Count = Annotated[int, typer.Option(min=1, help="Worlds to draw; each makes four chips of 256 px")]
WorldSize = Annotated[int, typer.Option("--size-px", help="Side of a chip, 32 to 512")]


@app.command("cubes")
def cubes(  # noqa: PLR0913 - the options are the command's contract
    out: Out,
    registration: Registration = None,
    optical: Optical = None,
    sar: Sar = None,
    store: Store = None,
    size_px: Size = 1024,
    least_valid: LeastValid = 0.7,
    licence: Licence = "licence not stated",
    as_json: Json = False,
) -> int:
    """Plan chips of an optical and a radar cube, registered or on one grid, to be read straight from Zarr.

    Example: terraloom chips cubes --store ./store --registration ITEM --size-px 256 --out ./chips
    """
    from catalog.chips.cubes import plan_chips
    from catalog.chips.sources import write_source
    from infra.storage import open_storage

    storage = open_storage(chosen_store(store))
    colour, radar = _find_pair(storage, registration, optical, sar)
    reader, choice = plan_chips(
        storage.uri,
        colour,
        radar,
        size_px=size_px,
        least_valid=least_valid,
        registration=registration or "",
    )
    if not choice.windows:
        raise InputError(
            f"No chip of {size_px} px of {colour.id} and {radar.id} holds enough data "
            f"({choice.blank} hold none, {choice.sparse} too little); "
            "give a smaller --size-px or --least-valid."
        )
    path = write_source(out, reader, _measure(reader), licence=licence)
    told = {"file": str(path), "chips": len(reader), "blank": choice.blank, "sparse": choice.sparse}
    return _tell([told], as_json=as_json)


@app.command("patches")
def patches(
    folder: Patches,
    out: Out,
    sar_unit: SarUnit = "amplitude",
    licence: Licence = "licence not stated",
    as_json: Json = False,
) -> int:
    """Plan chips of folders with pairs of GeoTIFF files of one name, to be read where they lie.

    Example: terraloom chips patches ./mars_16m --out ./chips
    """
    from catalog.chips.patch_folders import find_patches
    from catalog.chips.radar_units import read_unit
    from catalog.chips.sources import write_source

    told = []
    for found in find_patches(folder.absolute(), sar_unit=read_unit(sar_unit)):
        reader = found.sealed()
        moments = _measure(reader)
        path = write_source(out, reader, moments, licence=licence)
        told.append({"file": str(path), "chips": len(reader), "blank": moments.blank})
    return _tell(told, as_json=as_json)


@app.command("worlds")
def worlds(out: Out, count: Count = 48, size_px: WorldSize = 256, as_json: Json = False) -> int:
    """Draw chips of sample worlds that nothing else draws, into one file.

    Example: terraloom chips worlds --count 48 --out ./chips
    """
    from catalog.chips.files import write_chips
    from catalog.chips.sample_worlds import SampleWorlds

    reader = SampleWorlds(count, size_px=size_px)
    path = out / f"{reader.name}.safetensors"
    source = f"{count} sample worlds, VV in dB and reflectance, 10 m"
    found = write_chips(path, reader, source=source, licence="our own")
    told = {"file": str(path), "chips": found.chips - found.blank, "blank": found.blank}
    return _tell([told], as_json=as_json)


def _find_pair(
    storage: Storage, registration: str | None, optical: str | None, sar: str | None
) -> tuple[SceneFacts, SceneFacts]:
    """Return the facts of both cubes, the radar one's grid corrected where a registration says how."""
    if registration is None:
        if optical is None or sar is None:
            raise InputError("Chips are of two cubes: give --registration, or --optical and --sar.")
        colour, radar = _look_up(storage, optical, sar)
        return colour, radar
    if (optical, sar) != (None, None):
        raise InputError("A registration names both its cubes; leave out --optical and --sar.")
    from catalog.registrations.corrections import read_correction

    correction = read_correction(storage, registration)
    fixed, moving = _look_up(storage, correction.fixed, correction.moving)
    if fixed.radar or not moving.radar:
        raise InputError(
            f"{registration} moves {moving.id} to {fixed.id}; give one that moves a radar cube to an "
            "optical one."
        )
    return fixed, correction.correct(moving)


def _look_up(storage: Storage, optical: str, sar: str) -> list[SceneFacts]:
    from tasks.find_scenes import find_scenes

    settings = load_settings(os.environ)
    catalogue = catalogue_uri(settings, storage.uri, data_home=data_home(os.environ))
    # As a plain function: nothing here needs a Prefect server.
    return find_scenes.fn(storage.uri, [optical, sar], catalogue=catalogue, token=settings.catalogue.token)


def _measure(reader: ChipReader) -> ChipMoments:
    """Measure chips on the Dask cluster that settings name, else in threads of this process."""
    from catalog.chips.statistics import measure_chips
    from infra.cluster import running_cluster

    settings = load_settings(os.environ).dask
    cluster: AbstractContextManager[Any] = (
        nullcontext() if settings.address is None else running_cluster(settings)
    )
    with cluster:
        return measure_chips(reader)


def _tell(rows: list[dict[str, Any]], *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"sources": rows}) + "\n")
        return 0
    from flows.terminal import print_rows

    print_rows("Chips to learn from", rows)
    return 0
