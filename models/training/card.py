"""A trained model's card: what it is, on what, how long, where and with which seed it was trained."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from models.training.config import TrainingConfig
from models.training.loop import TrainingOutcome
from models.training.trainable import ModelFacts

FORMAT = 2
Card = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Describe a file of weights: name, bytes, digest (64 hexadecimal digits), numbers in it."""

    name: str
    size: int
    sha256: str
    parameters: int


def make_card(
    facts: ModelFacts,
    config: TrainingConfig,
    outcome: TrainingOutcome,
    weights: WeightsFile,
    code: Mapping[str, str],
) -> Card:
    """Put down a trained model, as a JSON object; ``code`` is what ``sources.describe_code`` says."""
    return {
        "format": FORMAT,
        "name": outcome.name,
        **{name: _plain(value) for name, value in dataclasses.asdict(facts).items()},
        "weights": dataclasses.asdict(weights) | {"numbers": "float16"},
        "training": {
            "steps": outcome.steps,
            "finished": outcome.finished,
            "best_step": outcome.best_step,
            "minutes": round(outcome.seconds / 60, 2),
            "device": outcome.device,
            "processes": outcome.processes,
            "precision": outcome.precision,
            "seed": config.seed,
            "config": dataclasses.asdict(config),
        },
        "figures": {name: value if math.isfinite(value) else None for name, value in outcome.figures.items()},
        "measured": {},
        "code": dict(code),
        "software": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }


def add_measured(card: Card, title: str, figures: Mapping[str, str | float]) -> Card:
    """Return a card that also tells what was measured after the training, e.g. on real pairs.

    Args:
        card: The card.
        title: On what, by which protocol.
        figures: Name → number, or a few of them as text.
    """
    return card | {"measured": card["measured"] | {title: dict(figures)}}


def render_card(card: Card) -> str:
    """Spell a card as Markdown."""
    numbers = card["training"]["config"].items()
    lines = [
        f"# {card['title']}" + ("" if card["name"] in card["title"] else f" (`{card['name']}`)"),
        "",
        card["summary"],
        "",
        f"Licence: {card['licence']}.",
        *_section("Input and output"),
        *(f"* takes {_spell_array(array)}" for array in card["signature"]["inputs"]),
        *(f"* gives {_spell_array(array)}" for array in card["signature"]["outputs"]),
        *_section("Training"),
        *_table(_training_rows(card)),
        "",
        "Configuration: " + ", ".join(f"{name} {value}" for name, value in numbers) + ".",
        "",
        "Data:",
        "",
        *(f"* {source}" for source in card["data"]),
        *_section("Figures"),
        f"{card['validation'].rstrip('.')}; weights as they are kept, in half precision:",
        "",
        *_table({name: _spell(value) for name, value in card["figures"].items()}),
    ]
    for title, figures in card["measured"].items():
        lines += ["", f"{title}:", "", *_table(figures)]
    if card["limits"]:
        lines += [*_section("Limits"), *(f"* {limit}" for limit in card["limits"])]
    return "\n".join(lines) + "\n"


def _training_rows(card: Card) -> dict[str, object]:
    training, weights = card["training"], card["weights"]
    end = "to the end" if training["finished"] else f"stopped early, of {training['config']['steps']:,} steps"
    return {
        "Steps": f"{training['steps']:,} ({end}); kept: step {training['best_step']:,}",
        "Time": f"{training['minutes']:.1f} minutes",
        "Device": f"{training['device']}, {training['precision']}",
        "Processes": training["processes"],
        **({"Starts from": _spell_start(card["start"])} if card.get("start") else {}),
        "Seed": training["seed"],
        "Code": _list_pairs(card["code"]),
        "Software": _list_pairs(card["software"]),
        "Weights": f"{weights['parameters']:,} parameters, {weights['size'] / 1e6:.2f} MB, "
        f"{weights['numbers']}, sha256 `{weights['sha256']}`",
    }


def _spell_start(start: Mapping[str, str]) -> str:
    return f"the weights of {start['name']}, sha256 `{start['sha256']}`"


def _list_pairs(pairs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in pairs.items()) or "not known"


def _section(title: str) -> list[str]:
    return ["", f"## {title}", ""]


def _spell_array(array: Mapping[str, Any]) -> str:
    axes = " × ".join(
        name if length < 0 else f"{name} {length}"
        for name, length in zip(array["axes"], array["shape"], strict=True)
    )
    bands = f"; bands {', '.join(array['bands'])}" if array["bands"] else ""
    return f"`{array['name']}`, {array['dtype']} ({axes}{bands}): {array['description']}"


def _spell(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.6g}"


def _table(rows: Mapping[str, object]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]


def _plain(value: object) -> object:
    """Spell a value as JSON will, so that a card that was read is equal to the one that was written."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value
