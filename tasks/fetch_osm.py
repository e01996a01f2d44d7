"""Fetch the OpenStreetMap data of a request: a file that is there, or what an Overpass server answers."""

from __future__ import annotations

import os

from prefect import task

from catalog.grid import BoundsLonLat
from catalog.osm.overpass.options import OverpassOptions
from catalog.osm.records import ExtractFacts
from catalog.osm.sources import resolve_feature_source
from infra.settings import cache_home
from tasks.policies import CHECK


@task(**CHECK)  # Overpass is asked again, elsewhere and later, by the client itself
def fetch_osm(source: str, *, area: BoundsLonLat | None, options: OverpassOptions) -> ExtractFacts:
    """Fetch an extract; see ``catalog.osm.sources``.

    Args:
        source: ``overpass``, or the path of an extract.
        area: W, S, E, N degrees; None takes a whole extract.
        options: Which Overpass servers are asked, and how.

    Returns:
        Which file holds the data, and what it says about itself.

    Raises:
        InputError: an unknown kind of file, or Overpass without an area.
        NotFoundError: there is no such file.
        DataError: the file is broken.
        TransientError: no Overpass server answered.
    """
    return resolve_feature_source(source, options, cache_home(os.environ) / "overpass").fetch(area)
