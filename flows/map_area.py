"""Map an area: a bounding box, dates and collections in; catalogued products out."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from catalog.embeddings.inputs import is_encodable
from flows.encode_scenes import encode_scenes
from flows.ingest_osm import ingest_osm
from flows.ingest_scenes import ingest_scenes
from flows.pairing import pair_radar, pair_with_map
from flows.params import EncodeParams, MapAreaParams, OsmParams, RegisterParams
from flows.register_scenes import register_scenes
from flows.runs import find_places
from flows.summary import RunSummary, join_summaries
from tasks.find_scenes import find_scenes


@flow(name="map-area", log_prints=False)
def map_area(params: MapAreaParams) -> RunSummary:
    """Run the steps of a request in order; each later step reads what the one before published.

    The map data come first: they take seconds, and an extract that cannot be used shows before any pixel
    is read. Radar cubes are registered to optical ones last; where the run has none of either, that is said
    and costs nothing. A pair that cannot be registered is a published outcome and fails nothing.

    Args:
        params: The request.

    Returns:
        Counts and item ids of the run; its ``parts`` when several steps had runs of their own.

    Raises:
        AppError: see ``flows.ingest_osm.ingest_osm``, ``flows.ingest_scenes.ingest_scenes``,
            ``flows.register_scenes.register_scenes`` and ``flows.encode_scenes.encode_scenes``.
    """
    parts = []
    if params.osm is not None:
        parts.append(ingest_osm(_osm_request(params, params.osm)))
    if "ingest" in params.steps:
        parts.append(ingest_scenes(params))
    if "register" in params.steps and (params.register_to_map or parts[-1].unpaired is None):
        parts.extend(_register(params, [item for part in parts for item in part.item_ids]))
    if "encode" in params.steps:
        parts.extend(_encode(params, next(part.item_ids for part in parts if part.product == "cube")))
    return join_summaries(parts)


def _osm_request(params: MapAreaParams, source: str) -> OsmParams:
    return OsmParams(source=source, bbox=params.bbox, store=params.store, crs=params.crs)


def _register(params: MapAreaParams, items: Sequence[str]) -> list[RunSummary]:
    """Register the run's radar cubes to its optical ones, and these to the drawn map where that is asked."""
    places = find_places(params.store)
    token = places.settings.catalogue.token
    scenes = find_scenes(params.store, items, catalogue=places.catalogue, token=token)
    pairs = [*pair_radar(scenes).items()]
    if params.register_to_map:
        pairs += pair_with_map(scenes).items()
    return [
        register_scenes(
            RegisterParams(store=params.store, fixed=fixed, moving=moving, matcher=params.matcher)
        )
        for fixed, moving in pairs
    ]


def _encode(params: MapAreaParams, items: Sequence[str]) -> list[RunSummary]:
    """Encode those of the run's cubes that a model can see."""
    places = find_places(params.store)
    token = places.settings.catalogue.token
    scenes = find_scenes(params.store, items, catalogue=places.catalogue, token=token)
    seen = tuple(scene.id for scene in scenes if is_encodable(scene))
    return [encode_scenes(EncodeParams(store=params.store, items=seen, model=params.encoder))] if seen else []
