"""Publish trained models: those that come with the package, a training's result, all that a store holds."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict

from catalog.models.plan import ModelPlan
from catalog.models.product import list_models, plan_of
from flows.model_items import publish_models as publish_all
from flows.params import PublishModelsParams
from flows.runs import find_places, new_run
from infra.errors import AppError
from infra.storage import open_storage
from models.shipped import shipped_models
from tasks.keep_model import keep_result, keep_shipped


class PublishedModels(BaseModel):
    """Tell which models a run published; the one object that ``--json`` prints."""

    model_config = ConfigDict(frozen=True)

    run: str
    """Name of the run; its records lie in ``runs/<name>/`` of the store."""
    store: str
    catalogue: str
    item_ids: tuple[str, ...]
    seconds: float


@flow(name="publish-models", log_prints=False)
def publish_models(params: PublishModelsParams) -> PublishedModels:
    """Copy models into a store and publish every model that stands there; again, it changes nothing.

    Args:
        params: The request.

    Returns:
        The items; also kept as ``runs/<run>/summary.json`` in the store.

    Raises:
        InputError: no model of that name comes with the package.
        NotFoundError: the folder is no result of a training.
        DataError: a card is not that of its weights.
        ConfigError: store or catalogue cannot be used.
        TransientError: the catalogue did not answer.
    """
    started = time.perf_counter()
    places = find_places(params.store)
    storage = open_storage(params.store)
    with new_run(storage, params) as run:
        try:
            _keep(params, storage.uri)
        except AppError:
            run.discard()
            raise
        models = [plan_of(receipt) for receipt in list_models(storage)]
        publish_all(run, places, models)
        return run.finish(
            PublishedModels(
                run=run.name,
                store=storage.uri,
                catalogue=places.catalogue,
                item_ids=tuple(model.id for model in models),
                seconds=time.perf_counter() - started,
            )
        )


def _keep(params: PublishModelsParams, store: str) -> list[ModelPlan]:
    """Copy what is asked for: a training's result, else models of the package, by default all."""
    if params.result is not None:
        return [keep_result(store, Path(params.result))]
    return [keep_shipped(store, name) for name in params.names or shipped_models()]
