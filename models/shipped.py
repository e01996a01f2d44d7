"""The trained models that come with the package: weights, card and course of the training, by name.

They lie in ``models/<family>/weights/`` as ``<name>.safetensors``, ``<name>.card.json`` and, where it was
kept, ``<name>.history.jsonl``. A training's result has the same files under names of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import DataError, InputError

_ROOT = Path(__file__).parent
_WEIGHTS, _CARD, _HISTORY = ".safetensors", ".card.json", ".history.jsonl"


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """Name the files of one model that comes with the package."""

    name: str
    weights: Path

    @property
    def card(self) -> Path:
        """What the model is, as a training writes it."""
        return self.weights.with_name(self.name + _CARD)

    @property
    def history(self) -> Path:
        """JSON lines of its training; need not be there."""
        return self.weights.with_name(self.name + _HISTORY)


def shipped_models(root: Path = _ROOT) -> Mapping[str, ShippedModel]:
    """Return the models that come with the package: name → files, sorted.

    Args:
        root: The folder of the families.
    """
    found = sorted(root.glob(f"*/weights/*{_WEIGHTS}"), key=lambda path: path.name)
    return {path.stem: ShippedModel(name=path.stem, weights=path) for path in found}


def find_shipped(name: str) -> ShippedModel:
    """Return a model that comes with the package.

    Raises:
        InputError: none of that name does; those that do are named.
    """
    known = shipped_models()
    if name not in known:
        raise InputError(
            f"No weights come with {name!r}, only with {', '.join(known) or 'no model'}; "
            "train it (terraloom train)"
        )
    return known[name]


def read_shipped(model: ShippedModel) -> dict[str, bytes]:
    """Read a model's files under the names that a training's result has: name → content.

    Raises:
        DataError: its card is missing or cannot be read.
    """
    # Only here: these bring torch, which a list of names does not need.
    from models.training.curve import draw_curve
    from models.training.history import HISTORY_NAME, from_line, whole_lines
    from models.training.results import CURVE_NAME, WEIGHTS_NAME, card_files

    try:
        card = json.loads(model.card.read_bytes())
        files = {WEIGHTS_NAME: model.weights.read_bytes(), **card_files(card)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DataError(f"the card {model.card} cannot be used ({exc!r}); install the package anew") from exc
    if model.history.exists():
        text = model.history.read_text()
        curve = draw_curve([from_line(line) for line in whole_lines(text)], str(card["title"]))
        files |= {HISTORY_NAME: text.encode(), CURVE_NAME: curve.encode()}
    return files
