"""Hold the command that makes plain GeoTIFFs a source."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def stac(
    folder: Annotated[Path, typer.Argument(help="Folder of GeoTIFFs, searched through")],
    collection: Annotated[str, typer.Option(help="Id of the collection to make")],
    out: Annotated[Path, typer.Option(help="Folder that the catalogue goes to")],
) -> int:
    """Make a static STAC catalogue over anyone's GeoTIFFs; the files stay where they are.

    Example: terraloom stac ./naip --collection naip --out ./naip-stac
    """
    from catalog.plain_files.build import build_static_catalogue

    report = build_static_catalogue(folder, collection=collection, out=out)
    for skipped in report.skipped:
        sys.stderr.write(f"left out {skipped.path}: {skipped.reason}\n")
    sys.stdout.write(f"{report.path}: {len(report.items)} items, {len(report.skipped)} files left out\n")
    return 0
