"""What a training leaves: cards that tell the truth, pictures that are whole, products that are kept once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import xml.etree.ElementTree as ET

import pytest
import torch

from catalog.garbage import collect_garbage
from catalog.models.card import read_card
from catalog.models.plan import plan_model
from catalog.models.product import write_model
from catalog.trained_models import (
    TrainingReceipt,
    find_plan,
    keep_plan,
    keep_training,
    plan_training,
    training_receipt,
)
from infra.errors import DataError, NotFoundError
from infra.storage import open_storage
from models.training.card import WeightsFile, add_measured, make_card, render_card
from models.training.checkpoints import encode_weights, half_weights
from models.training.curve import draw_curve
from models.training.history import TrainingEvent, from_line, to_line
from models.training.loop import TrainingOutcome
from models.training.results import card_files
from models.training.sources import describe_code, source_digest
from tests.support.line_model import LineModel

MODEL = LineModel()
OUTCOME = TrainingOutcome(
    name="line",
    steps=30,
    finished=False,
    seconds=90.0,
    device="a machine",
    precision="float32",
    processes=1,
    best_step=20,
    figures={"score": -1.25, "odd": math.nan},
)
WEIGHTS = WeightsFile(name="weights.safetensors", size=1234, sha256="ab" * 32, parameters=99)


def _events(losses, scores=()):
    steps = [
        TrainingEvent(kind="step", step=i, steps=len(losses), values={"loss": loss})
        for i, loss in enumerate(losses, start=1)
    ]
    return steps + [
        TrainingEvent(kind="evaluation", step=step, steps=len(losses), values={"score": score})
        for step, score in scores
    ]


def _plan(**changes):
    config = MODEL.defaults.override(changes)
    return plan_training(
        "line",
        entry="tests.support.line_model:line_model",
        config=dataclasses.asdict(config),
        identity=config.identity(),
        code="c" * 64,
    )


def test_card_says_what_where_how_long_and_how_good():
    card = make_card(MODEL.facts, MODEL.defaults, OUTCOME, WEIGHTS, {"version": "1", "digest": "d" * 64})
    told = add_measured(card, "22 real pairs, protocol 1", {"success at 3 px": 17})
    files = card_files(told)
    assert json.loads(files["card.json"]) == told
    page = files["MODEL_CARD.md"].decode()
    for words in (
        "stopped early, of 40 steps",
        "kept: step 20",
        "1.5 minutes",
        "a machine",
        "| Seed | 0 |",
        "points drawn from a seed",
        "| score | -1.25 |",
        "| odd | not a number |",
        "22 real pairs, protocol 1:",
        "| success at 3 px | 17 |",
        "99 parameters",
        "takes `x`, float32 (batch × value 4): four numbers",
        f"digest {'d' * 64}",
    ):
        assert words in page, words
    assert "Starts from" not in page
    begun = render_card(card | {"start": {"name": "plane", "sha256": "e" * 64}})
    assert f"| Starts from | the weights of plane, sha256 `{'e' * 64}` |" in begun
    assert "measured" in card
    assert card["measured"] == {}
    assert "22 real pairs" not in render_card(card)


@pytest.mark.parametrize(
    "events",
    [
        _events([]),
        _events([1.0]),
        _events([5.0 / step for step in range(1, 2000)], [(500, 0.1), (1999, 0.8)]),
        _events([-1.0, 2.0, -3.0]),
        _events([1.0, math.nan, 1.0], [(1, math.nan)]),
        _events([0.0, 0.0]),
    ],
)
def test_curves_are_whole_pictures(events):
    picture = draw_curve(events, "a <b> & c")
    root = ET.fromstring(picture)
    assert "a <b> & c" in "".join(root.itertext())
    assert "nan" not in picture
    for points in re.findall(r'points="([^"]*)"', picture):
        numbers = [float(number) for pair in points.split() for number in pair.split(",")]
        assert all(0 <= number <= 720 for number in numbers)
        assert len(numbers) <= 2 * 1200


def test_a_falling_loss_falls_in_the_picture():
    picture = draw_curve(_events([100.0 / step for step in range(1, 300)]), "x")
    line = re.findall(r'points="([^"]*)"', picture)[1]
    heights = [float(pair.split(",")[1]) for pair in line.split()]
    assert heights == sorted(heights)  # y runs down
    assert "logarithmic" in picture


def test_events_survive_their_line():
    event = TrainingEvent(kind="evaluation", step=3, steps=9, values={"score": 0.1 + 0.2, "odd": math.inf})
    back = from_line(to_line(event).rstrip())
    assert (back.kind, back.step, back.steps, back.values["score"]) == ("evaluation", 3, 9, 0.1 + 0.2)
    assert math.isnan(back.values["odd"])


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"kind":"party","step":1,"steps":2}', "[" * 100_000])
def test_other_lines_are_no_events(line):
    with pytest.raises(DataError, match="training history holds"):
        from_line(line)


def test_half_precision_takes_weights_only_and_refuses_what_does_not_fit():
    tensors = {
        "parameter.a": torch.tensor([1.0, 1e-3]),
        "buffer.mean": torch.tensor([1e6]),
        "buffer.count": torch.tensor(7),
        "optimiser.0.exp_avg": torch.tensor([1.0]),
    }
    made = half_weights(tensors)
    assert {name: value.dtype for name, value in made.items()} == {
        "a": torch.float16,
        "mean": torch.float32,
        "count": torch.int64,
    }
    assert encode_weights(made, {"name": "a", "step": 1}) == encode_weights(made, {"step": 1, "name": "a"})
    with pytest.raises(DataError, match="'a' do not fit half precision: up to 100000"):
        half_weights({"parameter.a": torch.tensor([1e5])})


def _trained(storage, weights):
    """Make a model stand, and say what its training's receipt would say."""
    described = dataclasses.replace(WEIGHTS, sha256=hashlib.sha256(weights).hexdigest())
    card = make_card(MODEL.facts, MODEL.defaults, OUTCOME, described, {})
    model = plan_model("line", described.sha256)
    write_model(storage, model, {"weights.safetensors": weights, **card_files(card)})
    return TrainingReceipt(
        id=_plan().id,
        plan_digest=_plan().digest,
        model=model,
        steps=40,
        best_step=40,
        seconds=1.5,
        device="cpu",
        figures={"score": 1.0},
    )


def test_a_training_is_known_by_the_model_that_came_first(tmp_path):
    storage, plan = open_storage(str(tmp_path)), _plan()
    assert training_receipt(storage, plan) is None
    first = keep_training(storage, _trained(storage, b"first"))
    assert first == training_receipt(storage, plan)
    second = _trained(storage, b"second")
    assert keep_training(storage, second) == first == training_receipt(storage, plan)
    assert storage.read(f"{second.model.path}/weights.safetensors") == b"second"
    assert collect_garbage(storage, dry_run=False).products == ()


def test_a_training_whose_model_was_removed_is_not_over(tmp_path):
    storage, plan = open_storage(str(tmp_path)), _plan()
    keep_training(storage, _trained(storage, b"first"))
    storage.delete_folder("models")
    assert training_receipt(storage, plan) is None
    second = _trained(storage, b"second")
    assert keep_training(storage, second) == second == training_receipt(storage, plan)
    receipt = f"training/{plan.id}/receipt.json"
    storage.write(receipt, storage.read(receipt).replace(b'"name":"line"', b'"name":"../line"'))
    with pytest.raises(DataError, match="is not a receipt"):
        training_receipt(storage, plan)


def test_what_a_card_says_is_read_back(tmp_path):
    card = make_card(MODEL.facts, MODEL.defaults, OUTCOME, WEIGHTS, {})
    read = read_card(card_files(card)["card.json"], "card")
    assert read == read_card(card, "card")
    assert read.signature.inputs[0].shape == (-1, 4)
    assert (read.figures, read.score) == ({"score": -1.25, "odd": None}, -1.25)
    assert (read.training.best_step, read.weights.parameters) == (20, 99)


def test_plans_differ_by_what_decides_the_weights():
    assert _plan().id == _plan(threads=7, workers=3).id
    assert len({_plan().id, _plan(seed=1).id, _plan(steps=41).id}) == 3
    assert re.fullmatch(r"line-[0-9a-f]{12}", _plan().id)


def test_plans_are_found_by_name(tmp_path):
    plan = _plan(seed=4)
    with pytest.raises(NotFoundError, match="none was begun"):
        find_plan(tmp_path, plan.id)
    keep_plan(plan, tmp_path / plan.id)
    assert find_plan(tmp_path, plan.id) == plan
    with pytest.raises(NotFoundError, match=f"there are: {plan.id}"):
        find_plan(tmp_path, "../elsewhere")
    (tmp_path / plan.id / "plan.json").write_text("[]")
    with pytest.raises(DataError, match="is not a plan"):
        find_plan(tmp_path, plan.id)


def test_unfinished_products_are_swept_and_checkpoints_are_not(tmp_path):
    storage, plan = open_storage(str(tmp_path)), _plan()
    storage.write("models/line-0/weights.safetensors", b"half")
    keep_plan(plan, tmp_path / "training" / plan.id)
    assert collect_garbage(storage, dry_run=False).products == ("models/line-0",)
    assert find_plan(tmp_path / "training", plan.id) == plan


def test_only_sources_that_take_part_are_digested(tmp_path, monkeypatch):
    def write(name, text):
        (tmp_path / name).write_text(text)

    monkeypatch.syspath_prepend(str(tmp_path))
    write("taught.py", "import models.training.config\n")
    before = source_digest("taught:make")
    assert source_digest("taught:make") == before
    write("beside.py", "x = 1\n")
    assert source_digest("taught:make") == before
    write(
        "taught.py", "import models.training.config\n\ndef make():\n    from models.tag_text import hashed\n"
    )
    imported = source_digest("taught:make")
    assert imported != before
    write(
        "taught.py", "import models.training.config\n\ndef make():\n    from models.tag_text import texts\n"
    )
    assert source_digest("taught:make") not in {before, imported}


def test_code_is_told_by_version_and_digest():
    code = describe_code("tests.support.line_model:line_model")
    assert re.fullmatch(r"[0-9a-f]{64}", code["digest"])
    assert code["version"]
    assert re.fullmatch(r"[0-9a-f]{40}", code.get("commit", "0" * 40))
