"""Measure reading an OSM extract: a country whole, and a small box out of a file of about 1 GB.

    python -m tests.bench.osm_extract EXTRACT.osm.pbf [--area W,S,E,N] [--size-mb 1000] [--folder DIR]

The big file repeats the blobs of EXTRACT, so it has their mix of objects, and every id many times. Peak is
the most of all resident pages; "owned" leaves out mapped files, such as the index of nodes of a big extract,
which the system takes back when memory is short.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from catalog.osm.extract import describe_extract
from tests.support.osm import measure_reading, repeat_pbf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("extract", type=Path)
    parser.add_argument("--area", help="W,S,E,N; by default the middle tenth of the extract's bounds")
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    words = parser.parse_args()
    area = tuple(map(float, words.area.split(","))) if words.area else _middle(words.extract)
    _report("whole", words.extract, None)
    _report("box", words.extract, area)
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        big = Path(folder) / "big.osm.pbf"
        times = repeat_pbf(words.extract, big, at_least=words.size_mb * 1_000_000)
        _report(f"box of {times} copies", big, area)


def _middle(path: Path) -> tuple[float, ...]:
    bounds = describe_extract(path).bounds
    if bounds is None:
        raise SystemExit(f"{path} does not say which box it covers; give --area")
    west, south, east, north = bounds
    lon, lat = (east - west) * 0.45, (north - south) * 0.45
    return west + lon, south + lat, east - lon, north - lat


def _report(name: str, path: Path, area: tuple[float, ...] | None) -> None:
    told = measure_reading(path, area)
    print(
        f"{name:>20}: {path.stat().st_size / 1e6:7.1f} MB, "
        f"{told['found']:6} elements, {told['seconds']:6.1f} s, "
        f"peak {told['peak']:6.0f} MiB, owned {told['anonymous']:5.0f} MiB "
        f"({told['before']:.0f} before reading)"
    )


if __name__ == "__main__":
    main()
