"""Put a training's result among the weights that come with the package: ``python -m models.mars.ship``.

The teacher stays behind, the statistics come along, and the card tells of the file as it is shipped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from infra.errors import AppError, DataError
from models.mars.checkpoint import encode_mars, load_mars
from models.mars.config import MarsConfig
from models.mars.network import Mars
from models.mars.presets import find_preset
from models.mars.statistics import METADATA_KEY, load_statistics, write_statistics
from models.training.card import Card, add_measured
from models.training.history import HISTORY_NAME
from models.training.results import CARD_NAME, CARD_PAGE_NAME, WEIGHTS_NAME, card_files

_FOLDER = Path(__file__).parent / "weights"
_STEPS_KEPT = 20
_NOTHING_TOLD: Mapping[str, Any] = MappingProxyType({})


def ship_weights(config: MarsConfig, trained: Path) -> bytes:
    """Spell what is kept of a training: the network in float16, and the statistics it learned with.

    Args:
        config: the preset that was trained.
        trained: the weights file that the training left; the teacher in it is left out.

    Raises:
        NotFoundError: there is no such file.
        DataError: it holds another network, or weights beyond half precision.
    """
    mars = load_mars(config, trained)
    return encode_mars(mars, {METADATA_KEY: write_statistics(load_statistics(trained))})


def ship_result(
    result: Path, preset: str, told: Mapping[str, Any] = _NOTHING_TOLD, folder: Path = _FOLDER
) -> Path:
    """Write weights, card and course of a training where the package's models lie.

    Args:
        result: folder that a training left.
        preset: that was trained, and name of the shipped files.
        told: what the training could not know: ``data`` and ``limits``, lists of lines for the card, and
            ``measured``, title → name → figures.
        folder: of the shipped files.

    Returns:
        Where the weights are.

    Raises:
        NotFoundError: the result holds no weights.
        DataError: its weights or its card are of something else.
    """
    config = find_preset(preset)
    content = ship_weights(config, result / WEIGHTS_NAME)
    card = _describe(_read_card(result / CARD_NAME), config, content)
    card |= {name: [*card[name], *told.get(name, ())] for name in ("data", "limits")}
    for title, figures in told.get("measured", {}).items():
        card = add_measured(card, title, figures)
    files = card_files(card)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{preset}.safetensors"
    weights.write_bytes(content)
    (folder / f"{preset}.card.json").write_bytes(files[CARD_NAME])
    (folder / CARD_PAGE_NAME).write_bytes(files[CARD_PAGE_NAME])
    (folder / f"{preset}.history.jsonl").write_text(_thin((result / HISTORY_NAME).read_text()))
    return weights


def _read_card(path: Path) -> Card:
    try:
        card: Card = json.loads(path.read_bytes())
        return card | {"weights": dict(card["weights"])}
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise DataError(f"{path} is no card of a training ({exc!r}); name the training's result") from exc


def _describe(card: Card, config: MarsConfig, content: bytes) -> Card:
    """Return the training's card for the file that is shipped of it."""
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Mars(config).parameters())
    weights = card["weights"] | {
        "name": f"{config.name}.safetensors",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": parameters,
    }
    return card | {"name": config.name, "title": f"MaRS ({config.name})", "weights": weights}


def _thin(history: str) -> str:
    """Keep every evaluation, and of the steps as many as a curve shows."""
    lines = history.splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    kept = [
        line
        for line, event in zip(lines, events, strict=True)
        if event["kind"] != "step" or event["step"] % _STEPS_KEPT == 0 or event["step"] == 1
    ]
    return "".join(kept)


def main() -> int:
    """Ship what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.mars.ship", description=__doc__)
    parser.add_argument("result", type=Path, help="folder that a training left")
    parser.add_argument("--preset", default="mars-tiny")
    parser.add_argument(
        "--told", type=Path, help="JSON: data, limits: lines; measured: title → name → figures"
    )
    asked = parser.parse_args()
    try:
        told = json.loads(asked.told.read_text()) if asked.told else _NOTHING_TOLD
        sys.stdout.write(f"{ship_result(asked.result, asked.preset, told)}\n")
    except AppError as exc:
        sys.stderr.write(f"ship: {exc.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
