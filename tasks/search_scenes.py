"""Find the scenes of a request."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from catalog.grid import BoundsLonLat
from catalog.records import Scene
from catalog.search.find import search_scenes as find_scenes
from catalog.sources.presets import Source
from tasks.policies import NETWORK


@task(**NETWORK)
def search_scenes(
    source: Source,
    *,
    collections: Sequence[str],
    bbox: BoundsLonLat,
    datetime_range: str,
    bands: Sequence[str] | None,
    max_scenes: int,
) -> list[Scene]:
    """Search a source; see ``catalog.search.find.search_scenes``.

    Args:
        source: Where to look, from ``catalog.sources.presets.resolve_source``.
        collections: Collection ids.
        bbox: W, S, E, N degrees.
        datetime_range: Interval ``A/B``.
        bands: Variables wanted; None takes the source's default.
        max_scenes: Refuse more than that.

    Returns:
        Scenes sorted by time and id: hrefs and numbers, no pixels.
    """
    return find_scenes(
        source,
        collections=collections,
        bbox=bbox,
        datetime_range=datetime_range,
        bands=bands,
        max_items=max_scenes,
    )
