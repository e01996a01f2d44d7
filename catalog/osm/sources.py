"""Fetch map data of an area from wherever they are: an extract file, or Overpass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from catalog.grid import BoundsLonLat
from catalog.osm.extract import describe_extract, measure_bounds
from catalog.osm.overpass.options import OverpassOptions
from catalog.osm.records import ExtractFacts
from infra.errors import InputError, NotFoundError

OVERPASS = "overpass"


class FeatureSource(Protocol):
    """Have the map data of an area as one local file."""

    def fetch(self, area: BoundsLonLat | None) -> ExtractFacts:
        """Return the file that holds an area, lon/lat degrees; None asks for all there is."""
        ...


@dataclass(frozen=True)
class ExtractSource:
    """Use an extract that is already here; nothing is clipped, so that its digest is the file's own."""

    path: Path

    def fetch(self, area: BoundsLonLat | None) -> ExtractFacts:
        """Describe the file.

        Raises:
            InputError, NotFoundError, DataError: as ``describe_extract``.
        """
        facts = describe_extract(self.path)
        if area is None and facts.bounds is None:
            return replace(facts, bounds=measure_bounds(facts.path))
        return facts


@dataclass(frozen=True)
class OverpassSource:
    """Ask Overpass, once for each area."""

    options: OverpassOptions
    cache: Path

    def fetch(self, area: BoundsLonLat | None) -> ExtractFacts:
        """Fetch the area, or find it in the cache, and describe the file and the server that sent it.

        Raises:
            InputError: no area is given, or one too large.
            TransientError, NotFoundError, DataError, ConfigError: as ``fetch_overpass``.
        """
        if area is None:
            raise InputError("Overpass holds the whole planet; give --bbox W,S,E,N")
        from catalog.osm.overpass.fetch import fetch_overpass, read_server  # osmnx: a second and more

        path = fetch_overpass(area, self.options, cache=self.cache)
        return replace(describe_extract(path), server=read_server(path))


def resolve_feature_source(text: str, options: OverpassOptions, cache: Path) -> FeatureSource:
    """Return the source that a user names: ``overpass``, or the path of an extract.

    Raises:
        NotFoundError: there is no such file, or it is a web address.
    """
    if text == OVERPASS:
        return OverpassSource(options, cache)
    if "://" in text:  # not quoted: it may carry a password
        raise NotFoundError("an OSM extract is a file; download it first and give its path, not its address")
    path = Path(text).expanduser()
    if not path.is_file():
        raise NotFoundError(f"{text!r} is no file; give an OSM extract (.osm.pbf, .osm, …) or '{OVERPASS}'")
    return ExtractSource(path)
