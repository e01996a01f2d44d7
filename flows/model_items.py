"""Publish the items of trained models that stand in a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from catalog.models.plan import ModelPlan
from flows.closing import publish_and_reconcile
from flows.journal import Journal
from flows.runs import RunFolder, RunPlaces


def publish_models(
    run: RunFolder, places: RunPlaces, models: Sequence[ModelPlan], *, trained_here: bool = False
) -> None:
    """Publish models, and see that the catalogue holds them.

    Args:
        run: Whose store holds them.
        places: Where the catalogue is.
        models: Each stands in the store.
        trained_here: Whether this run made them: only then do their items lead to it.

    Raises:
        AppError: see ``flows.closing.publish_and_reconcile``.
    """
    journal: Journal[ModelPlan] = Journal()
    journal.plans.extend(models)
    known = places if trained_here else dataclasses.replace(places, execution_href=None)
    publish_and_reconcile(run, known, journal)
