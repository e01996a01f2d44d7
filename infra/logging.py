"""Set log levels for our packages, and mark the records that a progress display follows."""

from __future__ import annotations

import logging

PACKAGES = ("flows", "tasks", "models", "catalog", "infra")
_PROGRESS = logging.getLogger("infra.progress")


def configure_logging(level: str) -> None:
    """Set the level of the five package loggers; handlers are the process's own affair."""
    for name in PACKAGES:
        logging.getLogger(name).setLevel(level)


def log_progress(stage: str, unit: str) -> None:
    """Say that one unit of a stage is done.

    It is an ordinary DEBUG record with ``stage`` and ``unit`` attributes: whoever wants to show progress
    adds a handler to ``infra.progress``, and nobody else pays.
    """
    _PROGRESS.debug("%s %s done", stage, unit, extra={"stage": stage, "unit": unit})


def follow_progress(handler: logging.Handler) -> None:
    """Send progress records to a handler, and only there."""
    _PROGRESS.setLevel(logging.DEBUG)
    _PROGRESS.propagate = False
    _PROGRESS.addHandler(handler)
