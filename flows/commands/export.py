"""Hold the command that writes what we keep in other forms: cubes as GeoTIFFs, models as TorchScript."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import InputError
from infra.settings import load_settings

_MODEL = "mapglue"
_SHIPPED = "mapglue-tiny"
Store = Annotated[str | None, typer.Option(help="Path or s3://bucket/prefix  [default: setting store]")]


def export(
    what: Annotated[str, typer.Argument(metavar="ITEM|mapglue", help="Id of a published scene, or mapglue")],
    cog: Annotated[Path | None, typer.Option(help="Of a scene: folder that the GeoTIFFs go to")] = None,
    store: Store = None,
    to: Annotated[Path | None, typer.Option(help="Of mapglue: TorchScript file to write")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Of mapglue: its weights  [default: those that are shipped]")
    ] = None,
) -> int:
    """Write a cube's bands as cloud-optimised GeoTIFFs, or MapGlue as TorchScript.

    The file of MapGlue answers (image0, image1, num_keypoints) with N×4 positions, by torch.jit.load alone.

    Example: terraloom export sentinel-2-l2a-20240601-0123456789ab --store ./store --cog ./out

    Example: terraloom export mapglue --weights weights.safetensors --to mapglue.pt
    """
    if what == _MODEL or what.startswith(f"{_MODEL}-"):
        if to is None or cog is not None:
            raise InputError(f"model {what} goes into one file; give --to FILE.pt, and no --cog")
        return _export_model(what, weights, to)
    if cog is None or to is not None or weights is not None:
        raise InputError(
            f"scene {what} goes into a folder of GeoTIFFs; give --cog FOLDER, no --to or --weights"
        )
    return _export_scene(what, cog, store)


def _export_scene(item: str, cog: Path, store: str | None) -> int:
    from catalog.cubes.export import export_cogs
    from infra.storage import open_storage

    for path in export_cogs(open_storage(store or load_settings(os.environ).store), item, cog):
        sys.stdout.write(f"{path}\n")
    return 0


def _export_model(name: str, weights: Path | None, to: Path) -> int:
    from models.mapglue.export import export_mapglue

    if not to.parent.is_dir():
        raise InputError(f"{to.parent} is no folder; make it, or give another --to")
    if to.is_dir():
        raise InputError(f"{to} is a folder; give the name of a file in it as --to")
    export_mapglue(_preset_of(name, weights), to, weights)
    sys.stdout.write(f"{to}\n")
    return 0


def _preset_of(name: str, weights: Path | None) -> str:
    """Return the preset that is named; for ``mapglue`` alone the weights' own, if they say it."""
    if name != _MODEL:
        return name
    if weights is None:
        return _SHIPPED
    from models.training.checkpoints import trained_name

    return trained_name(weights) or name
