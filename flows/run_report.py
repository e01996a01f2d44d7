"""Have a run's report written, and say where it is; a report that cannot be written never fails a run."""

from __future__ import annotations

import logging

from catalog.report.facts import RequestFacts, RunRecord, StageFacts, hide_secrets
from flows.artifacts import announce_report
from flows.journal import Journal, Plan
from flows.params import MapAreaParams
from flows.runs import RunFolder, RunPlaces
from infra.errors import AppError
from tasks.write_report import write_report

logger = logging.getLogger(__name__)
_WRITING = ("write", "register")
"""Stages that make the products; a run has one of them."""


def keep_report(
    request: RequestFacts,
    places: RunPlaces,
    run: RunFolder,
    journal: Journal[Plan],
    *,
    failure: AppError | None = None,
) -> str | None:
    """Write the report of a run that is over, well or not.

    Args:
        request: What was asked.
        places: Where the run computes and publishes.
        run: Its folder.
        journal: What it did.
        failure: Why it ended early.

    Returns:
        Where the report is; None when it could not be written, and a warning said why.
    """
    record = make_record(request, places, run, journal, failure=failure)
    # A run that failed has waited for the network already.
    policy = write_report if failure is None else write_report.with_options(retries=0)
    state = policy(run.storage.uri, record, journal.plans, folder=run.folder, return_state=True)
    result: object = state.result(raise_on_failure=False)
    if isinstance(result, str):
        announce_report(result, record)
        return result
    logger.warning("the report of run %s is not written: %s", run.name, result)
    return None


def make_record(
    request: RequestFacts,
    places: RunPlaces,
    run: RunFolder,
    journal: Journal[Plan],
    *,
    failure: AppError | None = None,
) -> RunRecord:
    """Put down what a run did, in the words of its report; no secret of an address goes with it."""
    return RunRecord(
        run=run.name,
        started=journal.started,
        seconds=journal.seconds,
        request=request,
        stages=tuple(
            StageFacts(name=name, seconds=seconds, size=_stage_size(name, journal))
            for name, seconds in journal.stage_seconds.items()
        ),
        deeds=journal.deeds(),
        store=hide_secrets(run.storage.uri),
        catalogue=hide_secrets(places.catalogue),
        execution_href=places.execution_href,
        failure=None if failure is None else hide_secrets(failure.message),
    )


def _stage_size(name: str, journal: Journal[Plan]) -> int | None:
    return journal.bytes_written if name in _WRITING else None


def describe_request(params: MapAreaParams, registration: str | None = None) -> RequestFacts:
    """Put down a request for cubes, for its report.

    Args:
        params: The request.
        registration: What becomes of the step that registers; None where it is not known, or not asked for.
    """
    options = {
        "Bands": ", ".join(params.bands) if params.bands else "the source's default",
        "Pixel edge": f"{params.resolution_m:g} m",
        "Grid's CRS": params.crs or "UTM zone of the area",
        "Loader": params.loader,
        "Resampling": f"{params.resampling}; class bands nearest",
        "Mask": params.mask,
        "Steps": ", ".join(params.steps),
        "Largest shard": f"{params.shard_px} px",
        "Broken files": params.broken_assets,
        "Quarantine allowed": f"{params.max_quarantined:.0%} of the cubes",
        "Most scenes": str(params.max_scenes),
        **({"Registration": registration} if registration else {}),
    }
    return RequestFacts(
        bbox=params.bbox,
        dates=params.datetime,
        source=hide_secrets(params.source),
        collections=params.collections,
        options=tuple(options.items()),
    )
