"""What a training says while it runs: events, kept as JSON lines."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from infra.errors import ConfigError, DataError

Kind = Literal["step", "evaluation", "checkpoint"]
HISTORY_NAME = "history.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainingEvent:
    """Tell one thing that happened.

    Attributes:
        kind: A step's losses, an evaluation, or a checkpoint on disk.
        step: Steps done, 1 and up.
        steps: Steps in all.
        values: Numbers by name; of a step: ``loss`` and its parts, ``grad_norm``, ``learning_rate``, and
            ``seconds`` trained so far.
    """

    kind: Kind
    step: int
    steps: int
    values: Mapping[str, float]


class Progress(Protocol):
    """Follows a training; whoever shows one gives its own."""

    def __call__(self, event: TrainingEvent) -> None:
        """Take note of an event."""


def ignore_progress(event: TrainingEvent) -> None:
    """Follow nothing."""


def to_line(event: TrainingEvent) -> str:
    """Spell an event as one line of JSON; what is not finite becomes null."""
    values = {name: value if math.isfinite(value) else None for name, value in event.values.items()}
    row = {"kind": event.kind, "step": event.step, "steps": event.steps, **values}
    return json.dumps(row, allow_nan=False) + "\n"


def from_line(line: str) -> TrainingEvent:
    """Read an event from its line.

    Raises:
        DataError: the line is none.
    """
    try:
        row: dict[str, Any] = json.loads(line)
        kind, step, steps = row.pop("kind"), int(row.pop("step")), int(row.pop("steps"))
        values = {str(name): math.nan if value is None else float(value) for name, value in row.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise DataError(f"training history holds {line[:80]!r}, which is no event of one") from exc
    if kind not in get_args(Kind):
        raise DataError(
            f"training history holds an event of kind {kind!r}; expected {', '.join(get_args(Kind))}"
        )
    return TrainingEvent(kind=kind, step=step, steps=steps, values=values)


def read_history(folder: Path) -> list[TrainingEvent]:
    """Return the events of a training, in order; none where there is no history.

    A last line without its end, left by a process that was killed, is passed over.

    Raises:
        DataError: a line is no event.
    """
    path = folder / HISTORY_NAME
    if not path.exists():
        return []
    return [from_line(line) for line in whole_lines(path.read_text())]


def whole_lines(text: str) -> Iterator[str]:
    """Give the lines that end, without their ends."""
    yield from text.split("\n")[:-1]


def cut_history(folder: Path, step: int) -> list[TrainingEvent]:
    """Forget what came after a step: it will be done again. Returns what is left."""
    kept = [event for event in read_history(folder) if event.step <= step]
    part = folder / f".{HISTORY_NAME}.{os.getpid()}.part"
    with _writing(part):
        part.write_text("".join(map(to_line, kept)))
        part.replace(folder / HISTORY_NAME)
    return kept


def append_history(folder: Path, events: Iterable[TrainingEvent]) -> None:
    """Add events to a training's history.

    Raises:
        ConfigError: the disk is full or may not be written.
    """
    path = folder / HISTORY_NAME
    with _writing(path), path.open("a") as file:
        file.write("".join(map(to_line, events)))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}; free some room and resume") from exc


def losses_of(events: Iterable[TrainingEvent]) -> dict[int, float]:
    """Return step → loss."""
    return {event.step: event.values["loss"] for event in events if event.kind == "step"}
