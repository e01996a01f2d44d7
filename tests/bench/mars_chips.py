"""Write the real chips that MaRS may learn from, out of the folder that TERRALOOM_REAL_DATA names.

Usage: ``python tests/bench/mars_chips.py FOLDER``; then ``terraloom train mars-tiny-chips --chips FOLDER``.
Only sources whose licence allows training on them are written, and none that the probes are measured on
(terramesh). Sample worlds of seeds that nothing else draws stand beside them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from catalog.chips.files import write_chips
from catalog.chips.rasters import cut_rasters, find_bigearthnet, find_pictures, find_sen1floods11
from catalog.chips.records import ChipReader
from catalog.chips.sample_worlds import SampleWorlds

_WORLDS = 48


def main(out: Path, data: Path) -> None:
    """Write one file per source."""
    paired = data / "optical_sar"
    sources: list[tuple[ChipReader, str, str]] = [
        (
            SampleWorlds(_WORLDS),
            f"{_WORLDS} sample worlds, VV in dB and reflectance, 10 m",
            "our own",
        ),
        (
            cut_rasters("bigearthnet", find_bigearthnet(paired / "bigearthnet"), size_px=120),
            "BigEarthNet, Sentinel-1 VV in dB and Sentinel-2 L2A reflectance, 10 m",
            "CDLA-Permissive",
        ),
        (
            cut_rasters("sen1floods11", find_sen1floods11(paired / "sen1floods11_spain"), size_px=256),
            "Sen1Floods11 (Spain), Sentinel-1 VV in dB and Sentinel-2 L1C reflectance, 10 m",
            "CC-BY",
        ),
        (
            cut_rasters("naip", find_pictures(data / "timeseries" / "naip_north_dakota"), size_px=256),
            "NAIP, North Dakota 2009-2020, red, green, blue, 5 m",
            "public domain",
        ),
        (
            cut_rasters("kampala", find_pictures(data / "imagery_osm" / "kampala"), size_px=256),
            "OpenAerialMap, Kampala, drone imagery, 0.15 and 0.3 m",
            "CC-BY",
        ),
    ]
    for reader, source, licence in sources:
        path = out / f"{reader.name}.safetensors"
        found = write_chips(path, reader, source=source, licence=licence)
        sys.stdout.write(f"{path}: {found.chips - found.blank} chips, {found.blank} left out\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(os.environ["TERRALOOM_REAL_DATA"]))
