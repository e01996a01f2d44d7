"""Map an area: a bounding box, dates and collections in; catalogued products out."""

from __future__ import annotations

from prefect import flow

from flows.ingest_scenes import ingest_scenes
from flows.params import MapAreaParams
from flows.summary import RunSummary


@flow(name="map-area", log_prints=False)
def map_area(params: MapAreaParams) -> RunSummary:
    """Run the steps of a request in order; each later step reads what the one before published.

    Args:
        params: The request.

    Returns:
        Counts and item ids of the run.

    Raises:
        AppError: see ``flows.ingest_scenes.ingest_scenes``.
    """
    return ingest_scenes(params)
