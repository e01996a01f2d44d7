"""What a training leaves behind for use: half-precision weights, card, history, curve."""

from __future__ import annotations

import hashlib
import json

from models.training.card import Card, WeightsFile, make_card, render_card
from models.training.checkpoints import count_parameters, encode_weights, half_weights
from models.training.curve import draw_curve
from models.training.history import HISTORY_NAME, read_history, to_line
from models.training.jobs import TrainingJob
from models.training.loop import TrainingOutcome, result_tensors
from models.training.registry import load_entry
from models.training.sources import describe_code

WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "card.json"
CARD_PAGE_NAME = "MODEL_CARD.md"
CURVE_NAME = "curve.svg"


def make_result(job: TrainingJob, outcome: TrainingOutcome) -> dict[str, bytes]:
    """Make the files of a trained model: name → content.

    Args:
        job: The training, whose folder holds its checkpoints.
        outcome: How its last session ended.

    Raises:
        NotFoundError, DataError: the folder holds no readable checkpoint.
    """
    facts = load_entry(job.entry).facts
    tensors = result_tensors(job.folder)
    weights = encode_weights(half_weights(tensors), {"name": outcome.name, "step": outcome.best_step})
    described = WeightsFile(
        name=WEIGHTS_NAME,
        size=len(weights),
        sha256=hashlib.sha256(weights).hexdigest(),
        parameters=count_parameters(tensors),
    )
    events = read_history(job.folder)
    return {
        WEIGHTS_NAME: weights,
        **card_files(make_card(facts, job.config, outcome, described, describe_code(job.entry))),
        HISTORY_NAME: "".join(map(to_line, events)).encode(),
        CURVE_NAME: draw_curve(events, f"{facts.title}: {outcome.steps:,} steps").encode(),
    }


def card_files(card: Card) -> dict[str, bytes]:
    """Spell a card for programs and for people: name → content."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return {CARD_NAME: text.encode(), CARD_PAGE_NAME: render_card(card).encode()}
