"""A training's course as a picture: losses, and the scores of its evaluations."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.training.history import TrainingEvent
from models.training.trainable import SCORE

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 64, 34, 40
_LOSS, _PALE, _SCORE, _INK, _GRID = "#1f5fa8", "#a9c4e4", "#c2571a", "#333333", "#dddddd"
_MAX_POINTS = 600
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def draw_curve(events: Sequence[TrainingEvent], title: str) -> str:
    """Return an SVG picture, 720 × 320: every loss, their running mean, and scores on an axis of their own.

    Args:
        events: The training's, in order.
        title: Written above; escaped.
    """
    losses = _points(events, "step", "loss")
    scores = _points(events, "evaluation", SCORE)
    last = max([event.step for event in events], default=1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{html.escape(title)}</text>',
        *_draw_losses(losses, last),
        *_draw_scores(scores, last),
        _text(_LEFT, _HEIGHT - 22, "0", "middle"),
        _text(_WIDTH - _RIGHT, _HEIGHT - 22, f"{last:,}", "middle"),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "steps", "middle"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _points(events: Sequence[TrainingEvent], kind: str, name: str) -> Points:
    found = [
        (event.step, event.values[name])
        for event in events
        if event.kind == kind and math.isfinite(event.values.get(name, math.nan))
    ]
    table = np.array(found, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _draw_losses(points: Points, last: int) -> list[str]:
    """Draw the losses against the left axis; logarithmic where they allow and span enough."""
    steps, losses = points
    if not len(steps):
        return []
    logarithmic = losses.min() > 0 and losses.max() > 10 * losses.min()
    heights = np.log10(losses) if logarithmic else losses
    window = max(len(losses) // 50, 1)
    mean = np.convolve(np.pad(heights, (window - 1, 0), mode="edge"), np.ones(window) / window, mode="valid")
    low, high = _range(heights)
    lines = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>'
        + _text(_LEFT - 6, y + 4, f"{10**value if logarithmic else value:.3g}", "end")
        for value in np.linspace(low, high, 5)
        for y in [float(_down(np.array(value), low, high))]
    ]
    name = "loss, logarithmic" if logarithmic else "loss"
    return [
        *lines,
        _line(steps, heights, last, (low, high), f'stroke="{_PALE}" stroke-width="1"'),
        _line(steps, mean, last, (low, high), f'stroke="{_LOSS}" stroke-width="2"'),
        f'<text x="{_WIDTH - _RIGHT}" y="20" text-anchor="end" fill="{_LOSS}">{name}</text>',
    ]


def _draw_scores(points: Points, last: int) -> list[str]:
    """Draw the scores against the right axis."""
    steps, scores = points
    if not len(steps):
        return []
    low, high = _range(scores)
    x, y = _across(steps, last), _down(scores, low, high)
    dots = [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{_SCORE}"/>' for a, b in zip(x, y, strict=True)]
    marks = [
        _text(
            _WIDTH - _RIGHT + 6, float(_down(np.array(value), low, high)) + 4, f"{value:.3g}", "start", _SCORE
        )
        for value in (low, (low + high) / 2, high)
    ]
    label = f'<text x="{_WIDTH - 6}" y="20" text-anchor="end" fill="{_SCORE}">score</text>'
    return [
        _line(steps, scores, last, (low, high), f'stroke="{_SCORE}" stroke-width="1"'),
        *dots,
        *marks,
        label,
    ]


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    spare = (high - low) * 0.04 or max(abs(high) * 0.1, 1e-6)
    return low - spare, high + spare


def _across(steps: NDArray[np.float64], last: int) -> NDArray[np.float64]:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * steps / last


def _down(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - values) / (high - low)


def _line(
    steps: NDArray[np.float64],
    values: NDArray[np.float64],
    last: int,
    limits: tuple[float, float],
    look: str,
) -> str:
    every = max(len(steps) // _MAX_POINTS, 1)
    x, y = _across(steps[::every], last), _down(values[::every], *limits)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" {look}/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
