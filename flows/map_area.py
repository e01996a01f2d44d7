"""Map an area: a bounding box, dates and collections in; catalogued products out."""

from __future__ import annotations

from prefect import flow

from flows.ingest_osm import ingest_osm
from flows.ingest_scenes import ingest_scenes
from flows.params import MapAreaParams, OsmParams
from flows.summary import RunSummary, join_summaries


@flow(name="map-area", log_prints=False)
def map_area(params: MapAreaParams) -> RunSummary:
    """Run the steps of a request in order; each later step reads what the one before published.

    The map data come first: they take seconds, and an extract that cannot be used shows before any pixel
    is read.

    Args:
        params: The request.

    Returns:
        Counts and item ids of the run; its ``parts`` when several steps had runs of their own.

    Raises:
        AppError: see ``flows.ingest_osm.ingest_osm`` and ``flows.ingest_scenes.ingest_scenes``.
    """
    parts = []
    if params.osm is not None:
        parts.append(ingest_osm(_osm_request(params, params.osm)))
    if "ingest" in params.steps:
        parts.append(ingest_scenes(params))
    return join_summaries(parts)


def _osm_request(params: MapAreaParams, source: str) -> OsmParams:
    return OsmParams(source=source, bbox=params.bbox, store=params.store, crs=params.crs)
