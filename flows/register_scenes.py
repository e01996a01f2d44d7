"""Register published scenes to another product: look up, plan, match, publish, reconcile."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from prefect import flow

from catalog.footprints import find_footprint
from catalog.products import receipt_of
from catalog.registrations.plan import RegistrationPlan, RegistrationReceipt, SceneFacts, plan_registration
from catalog.report.facts import RequestFacts, hide_secrets
from flows.closing import publish_and_reconcile, summarise
from flows.journal import Journal
from flows.model_items import publish_models
from flows.params import RegisterParams
from flows.run_report import keep_report
from flows.runs import RunFolder, RunPlaces, find_places, new_run
from flows.summary import Registered, RunSummary
from infra.errors import AppError, InputError, InternalError
from infra.logging import log_progress
from infra.storage import Storage, open_storage
from tasks.find_scenes import find_scenes
from tasks.keep_model import keep_shipped, plan_matcher
from tasks.register_pair import register_pair, registration_settings

logger = logging.getLogger(__name__)
_MOST_NAMED = 4  # scenes that a page names in its request; the table lists all


@flow(name="register-scenes", log_prints=False)
def register_scenes(params: RegisterParams) -> RunSummary:
    """Register scenes to one that stays, and publish what came out: a transform, or why there is none.

    Args:
        params: The request.

    Returns:
        Counts, item ids and verdicts; also kept as ``runs/<run>/summary.json`` in the store.

    Raises:
        InputError: the request is wrong, or names products that cannot be registered.
        NotFoundError: the catalogue has no such item.
        DataError: an item does not describe its pixels.
        ConfigError: store or catalogue cannot be used.
        TransientError: the catalogue did not answer.
    """
    journal: Journal[RegistrationPlan] = Journal()
    places = find_places(params.store)
    storage = open_storage(params.store)
    with journal.stage("look up"):
        fixed, *moving = find_scenes(
            storage.uri,
            [params.fixed, *dict.fromkeys(params.moving)],
            catalogue=places.catalogue,
            token=places.settings.catalogue.token,
        )
    with journal.stage("plan"):
        journal.plans.extend(plan_request(params, fixed, moving))
        journal.reused.update(plan.id for plan in journal.plans if receipt_of(storage, plan) is not None)
    request = _describe_request(params, journal.plans, places)
    with new_run(storage, params) as run:
        try:
            if plan_matcher(params.matcher) is not None:  # what the items will say they derive from
                publish_models(run, places, [keep_shipped(storage.uri, params.matcher)])
            _register(params, storage, journal)
            publish_and_reconcile(run, places, journal)
        except InputError:
            run.discard()
            raise
        except AppError as exc:
            keep_report(request, places, run, journal, failure=exc)
            raise
        return run.finish(_sum_up(run, places, journal, keep_report(request, places, run, journal)))


def plan_request(
    params: RegisterParams, fixed: SceneFacts, moving: Sequence[SceneFacts]
) -> list[RegistrationPlan]:
    """Plan the registrations of a request; the same request and items give the same plan."""
    settings, model = registration_settings(), plan_matcher(params.matcher)
    return [
        plan_registration(
            fixed,
            scene,
            matcher=params.matcher,
            settings=settings,
            model_digest=None if model is None else model.sha256,
            model_item=None if model is None else model.id,
        )
        for scene in moving
    ]


def _register(params: RegisterParams, storage: Storage, journal: Journal[RegistrationPlan]) -> None:
    """Register what is missing, one pair after the other: each takes all cores, or the one GPU."""
    for plan in journal.plans:
        log_progress("reused" if plan.id in journal.reused else "planned", plan.id)
    with journal.stage("register"):
        for plan in journal.unfinished():
            journal.outcomes.append(register_pair(storage.uri, plan, device=params.device))
            log_progress("quarantined" if journal.outcomes[-1].quarantined else "cube", plan.id)


def _sum_up(
    run: RunFolder, places: RunPlaces, journal: Journal[RegistrationPlan], report: str | None
) -> RunSummary:
    verdicts, bad = [], {outcome.id for outcome in journal.quarantined}
    for plan in (plan for plan in journal.plans if plan.id not in bad):
        receipt = receipt_of(run.storage, plan)
        if not isinstance(receipt, RegistrationReceipt):
            raise InternalError(f"product {plan.id} was reconciled, but has no receipt")
        verdicts.append(Registered.of(plan, receipt))
    return summarise(run, places, journal, report).model_copy(
        update={"product": "registration", "registrations": tuple(verdicts)}
    )


def _describe_request(
    params: RegisterParams, plans: Sequence[RegistrationPlan], places: RunPlaces
) -> RequestFacts:
    days = sorted(plan.moving.datetime.date().isoformat() for plan in plans)
    more = len(params.moving) - _MOST_NAMED
    return RequestFacts(
        bbox=find_footprint((), plans[0].grid).bbox,
        dates=" to ".join(dict.fromkeys((days[0], days[-1]))),
        source=hide_secrets(places.catalogue),
        collections=(),
        options=(
            ("Fixed", params.fixed),
            ("Moving", ", ".join(params.moving[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")),
            ("Matcher", params.matcher),
            ("Device", params.device),
        ),
        product="registration",
        unit="scene",
    )
