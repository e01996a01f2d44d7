"""Encode published scenes with a model: look up, plan, encode on Dask, publish, reconcile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from catalog.embeddings.inputs import choose_inputs, is_encodable
from catalog.embeddings.plan import EmbeddingPlan, plan_embedding
from catalog.footprints import find_footprint
from catalog.products import ProductOutcome, receipt_of
from catalog.registrations.plan import SceneFacts
from catalog.report.facts import RequestFacts
from flows.artifacts import follow_cubes
from flows.closing import publish_and_reconcile, summarise
from flows.journal import Journal
from flows.model_items import publish_models
from flows.params import EncodeParams
from flows.run_report import keep_report
from flows.runners import make_task_runner
from flows.runs import RunFolder, RunPlaces, find_places, new_run
from flows.summary import RunSummary
from infra.cluster import has_gpu, running_cluster
from infra.errors import AppError, InputError, NotFoundError
from infra.logging import log_progress
from infra.storage import Storage, open_storage
from tasks.encode_scene import EncodingPlace, count_gpus, describe_encoder, encode_scene
from tasks.find_scenes import find_scenes
from tasks.keep_model import keep_result, keep_shipped
from tasks.list_scenes import list_scenes
from tasks.name_encoder import NamedEncoder, name_encoder

logger = logging.getLogger(__name__)
_CPU_BATCH, _GPU_BATCH = 8, 64  # more makes a CPU no faster, but takes memory


@flow(name="encode-scenes", task_runner=make_task_runner(), log_prints=False)
def encode_scenes(params: EncodeParams) -> RunSummary:
    """Give every place of some scenes a vector, and publish them.

    Args:
        params: The request.

    Returns:
        Counts and item ids; also kept as ``runs/<run>/summary.json`` in the store.

    Raises:
        InputError: the request is wrong, or names scenes that the model cannot see.
        NotFoundError: the catalogue has no such item.
        DataError: an item does not describe its pixels.
        ConfigError: store, catalogue or cluster cannot be used.
        TransientError: catalogue or cluster failed more often than retries allow; what is done is kept.
    """
    journal: Journal[EmbeddingPlan] = Journal()
    places = find_places(params.store)
    storage = open_storage(params.store)
    with journal.stage("look up"):
        scenes = _look_up(params, storage, places)
    with journal.stage("plan"):
        model = name_encoder(storage.uri, params.model, params.weights)
        item = None if model.model is None else model.model.id
        journal.plans.extend(plan_request(params, scenes, model.digest, item))
        journal.reused.update(plan.id for plan in journal.plans if receipt_of(storage, plan) is not None)
    request = _describe_request(params, journal.plans)
    with new_run(storage, params) as run:
        try:
            _publish_model(run, places, model)
            _encode(params, places, run, journal)
            publish_and_reconcile(run, places, journal)
        except InputError:
            run.discard()
            raise
        except AppError as exc:
            keep_report(request, places, run, journal, failure=exc)
            raise
        report = keep_report(request, places, run, journal)
        return run.finish(summarise(run, places, journal, report).model_copy(update={"product": "embedding"}))


def plan_request(
    params: EncodeParams, scenes: Sequence[SceneFacts], model_digest: str | None, model_item: str | None
) -> list[EmbeddingPlan]:
    """Plan the embeddings of a request; the same request and items give the same plan."""
    settings = describe_encoder(
        params.model,
        params.overlap_px,
        tile_px=params.tile_px,
        dtype=params.stored_as,
        precision=params.precision,
    )
    together = [scenes] if params.radar is not None else [[scene] for scene in scenes]
    return [
        plan_embedding(
            choose_inputs(seen),
            model=params.model,
            settings=settings,
            model_digest=model_digest,
            model_item=model_item,
        )
        for seen in together
    ]


def _look_up(params: EncodeParams, storage: Storage, places: RunPlaces) -> list[SceneFacts]:
    """Read the scenes of the request; of a collection only those that a model can see."""
    target: dict[str, Any] = {"catalogue": places.catalogue, "token": places.settings.catalogue.token}
    if params.collection is None:
        named = [*dict.fromkeys(params.items), *([params.radar] if params.radar else [])]
        chosen: list[SceneFacts] = find_scenes(storage.uri, named, **target)
        return chosen
    scenes = find_scenes(storage.uri, list_scenes(params.collection, **target), **target)
    seen = [scene for scene in scenes if is_encodable(scene)]
    if len(seen) < len(scenes):
        logger.info("%d scenes are left out: neither three colours nor radar", len(scenes) - len(seen))
    if not seen:
        raise NotFoundError(f"no scene of {params.collection!r} shows three colours or radar")
    return seen


def _publish_model(run: RunFolder, places: RunPlaces, encoder: NamedEncoder) -> None:
    """Publish what the items will say they derive from, whatever stands in the catalogue."""
    if encoder.shipped is not None:
        keep_shipped(run.storage.uri, encoder.shipped)
    elif encoder.result is not None:
        keep_result(run.storage.uri, encoder.result)
    if encoder.model is not None:
        publish_models(run, places, [encoder.model])


def _encode(params: EncodeParams, places: RunPlaces, run: RunFolder, journal: Journal[EmbeddingPlan]) -> None:
    """Encode what is missing; what stands after a failure is kept for the next run."""
    for plan in journal.plans:
        log_progress("reused" if plan.id in journal.reused else "planned", plan.id)
    todo = journal.unfinished()
    if not todo:
        return
    gpus = _count_local_gpus(params, places)
    with run.report() as report, ExitStack() as stack:
        with journal.stage("cluster"):
            cluster = stack.enter_context(running_cluster(places.settings.dask, report=report, gpus=gpus))
            on_gpu = params.device == "cuda" or (params.device == "auto" and has_gpu(cluster))
        place = EncodingPlace(
            device="cuda" if on_gpu else "cpu",
            batch=params.batch or (_GPU_BATCH if on_gpu else _CPU_BATCH),
            weights=None if params.weights is None else str(Path(params.weights).resolve()),
        )
        with journal.stage("write"):
            futures: list[PrefectFuture[ProductOutcome]] = [
                encode_scene.submit(params.store, plan, cluster, place) for plan in todo
            ]
            outcomes, failure = follow_cubes(futures)
    journal.outcomes.extend(outcomes)
    if failure is not None:
        raise failure


def _count_local_gpus(params: EncodeParams, places: RunPlaces) -> int:
    """Return how many workers a cluster of our own gets for GPUs: one each, none for work on the CPU.

    Raises:
        InputError: a GPU is asked for, and there is none.
    """
    if params.device == "cpu" or places.settings.dask.address is not None:
        return 0
    found = count_gpus()
    if params.device == "cuda" and not found:
        raise InputError("device 'cuda' is asked for, but no GPU is here; give --device cpu, or auto")
    return found


def _describe_request(params: EncodeParams, plans: Sequence[EmbeddingPlan]) -> RequestFacts:
    days = sorted(plan.scene.datetime.date().isoformat() for plan in plans)
    return RequestFacts(
        bbox=find_footprint((), plans[0].grid).bbox,
        dates=" to ".join(dict.fromkeys((days[0], days[-1]))),
        source=params.collection or ", ".join(params.items),
        collections=("embeddings",),
        options=(
            ("Model", params.model),
            ("Stored as", params.stored_as),
            ("Computed in", params.precision),
            ("Device", params.device),
        ),
        product="embedding",
        unit="section",
    )
