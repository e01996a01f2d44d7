"""Draw a trained model's picture: how its losses fell and its score rose, else what it was measured at."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from catalog.models.card import ModelCard
from infra.errors import DataError

_WIDTH, _HEIGHT = 512, 320
_OVERSAMPLED = 3  # Pillow's lines have hard edges; a larger picture averaged down has soft ones
_LEFT, _RIGHT, _TOP, _BOTTOM = 24, 488, 106, 296
_PAPER, _INK, _FAINT, _GRID = (246, 246, 243), (40, 40, 40), (120, 120, 116), (222, 222, 216)
_LOSS, _PALE, _SCORE = (31, 95, 168), (176, 200, 228), (194, 87, 26)
_MAX_BARS = 5
_MAX_TITLE = 40
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
Course = NDArray[np.float64]
"""(n, 2): steps done, value."""
XY = tuple[float, float]


class _Pen:
    """Draws on the enlarged sheet in the picture's own pixels."""

    def __init__(self) -> None:
        self._sheet = Image.new("RGB", (_WIDTH * _OVERSAMPLED, _HEIGHT * _OVERSAMPLED), _PAPER)
        self._draw = ImageDraw.Draw(self._sheet)

    def line(self, points: Sequence[XY], colour: tuple[int, int, int], width: float) -> None:
        """Draw a line through points."""
        scaled = [(x * _OVERSAMPLED, y * _OVERSAMPLED) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * _OVERSAMPLED), joint="curve")

    def dot(self, at: XY, colour: tuple[int, int, int], radius: float) -> None:
        """Draw a disc."""
        middle = (at[0] * _OVERSAMPLED, at[1] * _OVERSAMPLED)
        self._draw.circle(middle, radius * _OVERSAMPLED, fill=colour)

    def box(self, corner: XY, opposite: XY, colour: tuple[int, int, int]) -> None:
        """Fill a rectangle."""
        self._draw.rectangle([value * _OVERSAMPLED for value in (*corner, *opposite)], fill=colour)

    def text(
        self, at: XY, text: str, size: float, colour: tuple[int, int, int] = _INK, anchor: str = "ls"
    ) -> None:
        """Write a line; what the font does not know is left out."""
        shown = "".join(letter for letter in text if letter.isprintable())
        font = ImageFont.load_default(size * _OVERSAMPLED)
        self._draw.text((at[0] * _OVERSAMPLED, at[1] * _OVERSAMPLED), shown, colour, font, anchor)

    def finish(self) -> bytes:
        """Return the picture as PNG."""
        buffer = io.BytesIO()
        self._sheet.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def draw_model_thumbnail(card: ModelCard, history: bytes | None) -> bytes:
    """Draw a model: name and size above; below the course of its training, or bars of its figures.

    Args:
        card: What is said of it.
        history: JSON lines of its training; None where they are not kept.

    Returns:
        A PNG, 512 × 320 pixels.

    Raises:
        DataError: the history is none.
    """
    pen = _Pen()
    pen.text((_LEFT, 40), _shorten(card.name), 24)
    training = card.training
    facts = f"{_spell_count(card.weights.parameters)} parameters · {training.steps:,} steps"
    pen.text((_LEFT, 66), facts, 14, _FAINT)
    losses, scores = read_courses(history) if history else (np.empty((0, 2)), np.empty((0, 2)))
    if len(losses) > 1:
        _draw_courses(pen, losses, scores)
    else:
        _draw_bars(pen, card)
    return pen.finish()


def read_courses(history: bytes) -> tuple[Course, Course]:
    """Read a training's losses and scores by step; what is not finite is left out.

    Raises:
        DataError: a line is no record of a training.
    """
    found: dict[str, list[tuple[float, float]]] = {"loss": [], "score": []}
    wanted = {"step": "loss", "evaluation": "score"}
    for line in history.splitlines():
        try:
            record = json.loads(line)
            name = wanted.get(record["kind"])
            value = record.get(name)
            if name is not None and value is not None and np.isfinite(value):
                found[name].append((float(record["step"]), float(value)))
        except _UNREADABLE as exc:
            shown = line[:80].decode(errors="replace")
            raise DataError(f"the history of a training holds {shown!r}; expected its records") from exc
    losses, scores = (np.array(rows, np.float64).reshape(-1, 2) for rows in found.values())
    return losses, scores


def _draw_courses(pen: _Pen, losses: Course, scores: Course) -> None:
    for y in np.linspace(_TOP, _BOTTOM, 5):
        pen.line([(_LEFT, float(y)), (_RIGHT, float(y))], _GRID, 1)
    last = max(losses[-1, 0], scores[-1, 0] if len(scores) else 0)
    values = losses[:, 1]
    heights = np.log10(values) if values.min() > 0 else values
    window = max(len(heights) // 40, 1)
    mean = np.convolve(np.pad(heights, (window - 1, 0), mode="edge"), np.ones(window) / window, mode="valid")
    low, high = float(heights.min()), float(heights.max())
    pen.line(_place(losses[:, 0], heights, last, (low, high)), _PALE, 1)
    pen.line(_place(losses[:, 0], mean, last, (low, high)), _LOSS, 2.5)
    pen.text((_LEFT, 97), "loss", 13, _LOSS)
    if len(scores):
        limits = float(scores[:, 1].min()), float(scores[:, 1].max())
        points = _place(scores[:, 0], scores[:, 1], last, limits)
        pen.line(points, _SCORE, 1.5)
        for point in points:
            pen.dot(point, _SCORE, 3.5)
        pen.text((_RIGHT, 97), f"score {limits[0]:.3g} to {limits[1]:.3g}", 13, _SCORE, "rs")


def _place(steps: Course, values: Course, last: float, limits: tuple[float, float]) -> list[XY]:
    low, high = limits
    spread = (high - low) or 1.0
    across = _LEFT + (_RIGHT - _LEFT) * steps / max(last, 1)
    down = _BOTTOM - (_BOTTOM - _TOP) * (values - low) / spread
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _draw_bars(pen: _Pen, card: ModelCard) -> None:
    """Draw the figures that are shares; others as numbers only."""
    figures = [(name, value) for name, value in card.figures.items() if value is not None][:_MAX_BARS]
    for row, (name, value) in enumerate(figures):
        top = _TOP - 8 + row * 40
        pen.text((_LEFT, top + 10), _shorten(name.replace("_", " ")), 13)
        pen.text((_RIGHT, top + 10), f"{value:.3g}", 13, anchor="rs")
        pen.box((_LEFT, top + 16), (_RIGHT, top + 24), _GRID)
        if 0 <= value <= 1:
            pen.box((_LEFT, top + 16), (_LEFT + (_RIGHT - _LEFT) * value, top + 24), _SCORE)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_TITLE else f"{text[: _MAX_TITLE - 1]}…"


def _spell_count(count: int) -> str:
    return f"{count / 1e6:.3g} million" if count >= 1e5 else f"{count:,}"
