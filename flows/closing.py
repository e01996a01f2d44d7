"""Close a run: publish what stands, reconcile, sum up. The same for every kind of product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.report.facts import hide_secrets
from flows.artifacts import announce_items
from flows.journal import Journal, Plan
from flows.runs import RunFolder, RunPlaces
from flows.summary import Quarantine, RunSummary
from tasks.publish_items import publish_items
from tasks.reconcile_run import reconcile_run


def publish_standing(
    run: RunFolder, places: RunPlaces, standing: Sequence[Plan], journal: Journal[Plan]
) -> None:
    """Publish products that stand.

    Raises:
        AppError: see ``tasks.publish_items.publish_items``.
    """
    with journal.stage("publish"):
        publish_items(run.storage.uri, standing, **_target(places), execution_href=places.execution_href)
    journal.catalogued.update(plan.id for plan in standing)


def publish_and_reconcile(run: RunFolder, places: RunPlaces, journal: Journal[Plan]) -> None:
    """Publish all of a run's products but those in quarantine, and compare plan, store and catalogue.

    Raises:
        InternalError: they differ.
        AppError: see ``tasks.publish_items.publish_items``.
    """
    bad = [outcome.id for outcome in journal.quarantined]
    standing = [plan for plan in journal.plans if plan.id not in bad]
    if standing:
        publish_standing(run, places, standing, journal)
    with journal.stage("reconcile"):
        reconcile_run(run.storage.uri, journal.plans, quarantined=bad, **_target(places))
    announce_items(standing, catalogue=places.catalogue)


def summarise(run: RunFolder, places: RunPlaces, journal: Journal[Plan], report: str | None) -> RunSummary:
    """Sum up a run that is over."""
    return RunSummary(
        run=run.name,
        store=run.storage.uri,
        catalogue=places.catalogue,
        planned=len(journal.plans),
        written=len(journal.made),
        reused=len(journal.reused),
        catalogued=len(journal.catalogued),
        quarantined=len(journal.quarantined),
        quarantine=tuple(
            Quarantine(id=o.id, reason=hide_secrets(o.quarantined or "")) for o in journal.quarantined
        ),
        tiles_read=sum(outcome.tiles_read for outcome in journal.made),
        bytes_written=journal.bytes_written,
        seconds=journal.seconds,
        stage_seconds=journal.stage_seconds,
        report=report,
        item_ids=tuple(sorted(journal.catalogued)),
    )


def _target(places: RunPlaces) -> dict[str, Any]:
    return {"catalogue": places.catalogue, "token": places.settings.catalogue.token}
