"""Show a run on a terminal: progress while it lasts, a summary at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.style import Style
from rich.table import Table
from rich.text import Text

from flows.summary import RunSummary
from infra.logging import follow_progress

_CONSOLE = Console(stderr=True)


class _ProgressHandler(logging.Handler):
    """Turn progress records into a moving bar."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.DEBUG)
        self._progress = progress
        self._bar = progress.add_task("searching", total=None)
        self._planned = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record in."""
        stage = str(getattr(record, "stage", ""))
        if stage == "planned":
            self._planned += 1
            self._progress.update(self._bar, description="writing cubes", total=self._planned)
        elif stage in {"cube", "quarantined"}:
            self._progress.advance(self._bar)
        elif stage == "tile":
            self._progress.update(self._bar, description=f"tile {getattr(record, 'unit', '')}")


@contextmanager
def watching_progress(*, quiet: bool) -> Iterator[None]:
    """Show progress on standard error while the block lasts; nothing when quiet or not on a terminal."""
    keep_logs_off_terminal()
    if quiet or not _CONSOLE.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=_CONSOLE, transient=True) as progress:
        follow_progress(_ProgressHandler(progress))
        yield


def keep_logs_off_terminal() -> None:
    """Take console handlers off Prefect's and the root logger; Prefect's API still gets the records.

    A run says what it does by its progress and its summary; a failure is one line of ``flows.cli``.
    """
    from prefect.logging.configuration import setup_logging

    setup_logging()
    known = [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    for logger in known:
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler):
                logger.removeHandler(handler)
    # Without any handler Python would print warnings itself.
    logging.getLogger().addHandler(logging.NullHandler())


def print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print records of one shape as a table on standard output."""
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_tame(str(value))) for value in row.values()))  # no markup in foreign ids
    Console().print(table)


def print_summary(summary: RunSummary) -> None:
    """Print what a run did, for a person."""
    console = Console()
    products = summary.product + ("" if summary.planned == 1 else "s")
    console.print(
        f"[bold]{summary.planned} {products} planned[/bold]: {summary.written} written "
        f"({summary.bytes_written / 1e6:.1f} MB), {summary.reused} reused, "
        f"{summary.quarantined} quarantined; {summary.catalogued} in the catalogue; {summary.seconds:.1f} s",
        soft_wrap=True,
    )
    if summary.features is not None:
        counts = summary.features
        console.print(
            f"{counts.found} map elements found: {counts.kept} kept ({counts.repaired} of them mended), "
            f"{counts.quarantined} quarantined",
            soft_wrap=True,
        )
    for pair in summary.registrations:
        verdict = f"registered to {pair.fixed}" if pair.registered else f"not registered ({pair.reason})"
        _print_plain(console, f"  {pair.moving}: {verdict}. {pair.explanation}")
    if summary.unpaired is not None and summary.planned:
        _print_plain(console, summary.unpaired)
    if not summary.planned:
        console.print("no scene matches; widen --bbox or --datetime, or look with 'terraloom plan'")
    for entry in summary.quarantine:
        _print_plain(console, f"  quarantined {entry.id}: {entry.reason}")
    _print_plain(console, f"store      {summary.store}")
    _print_plain(console, f"catalogue  {summary.catalogue}")
    for part in summary.parts or (summary,):
        console.print(Text("report     ").append_text(_link_report(part.report)), soft_wrap=True)
    _print_plain(console, f"look       terraloom serve --store {summary.store}")


def _print_plain(console: Console, line: str) -> None:
    """Print foreign text: rich would read its brackets as markup, the terminal its escape sequences."""
    console.print(_tame(line), markup=False, highlight=False, soft_wrap=True)


def _tame(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _link_report(report: str | None) -> Text:
    """Spell where the report is; terminals that can, open a local one by a click."""
    if report is None:
        return Text("none: it could not be written; the run's log says why")
    link = Path(report).as_uri() if Path(report).is_absolute() else None
    return Text(_tame(report), Style(link=link))
