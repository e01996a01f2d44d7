"""What a training is asked for becomes a plan; what is resumed is checked, whatever its file says."""

from __future__ import annotations

import json

import pytest

from catalog.trained_models import keep_plan
from flows.params import parse_as
from flows.train_model import plan_request
from flows.training_params import TrainParams
from infra.errors import DataError, InputError
from models.training.registry import TRAINABLES


@pytest.fixture(autouse=True)
def _line_model(monkeypatch):
    monkeypatch.setitem(TRAINABLES, "line", "tests.support.line_model:line_model")


def _asked(tmp_path, **values):
    return parse_as(TrainParams, {"model": "line", "store": str(tmp_path), **values})


def test_a_request_takes_the_models_numbers_but_for_its_own(tmp_path):
    plan = plan_request(_asked(tmp_path, steps=7, learning_rate=0.5, threads=2), tmp_path)
    assert (plan.config["steps"], plan.config["learning_rate"], plan.config["threads"]) == (7, 0.5, 2)
    assert plan.config["warmup_steps"] == 5
    assert plan_request(_asked(tmp_path, steps=7, learning_rate=0.5), tmp_path).id == plan.id


def test_a_plan_is_resumed_as_it_was(tmp_path):
    plan = plan_request(_asked(tmp_path, seed=8, steps=9), tmp_path)
    keep_plan(plan, tmp_path / plan.id)
    assert plan_request(_asked(tmp_path, resume=plan.id, minutes=3.0), tmp_path) == plan
    assert [path.name for path in (tmp_path / plan.id).iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"config": {"steps": 41}}, DataError, "was altered"),
        ({"id": "../../elsewhere", "digest": "0" * 64, "config": {"seed": 2}}, DataError, "was altered"),
        ({"code": "0" * 64}, DataError, "was altered"),
        ({"config": {"stepz": 1}}, DataError, "stored training numbers cannot be used"),
        ({"config": {"steps": "many"}}, DataError, "stored training numbers cannot be used"),
        ({"model": "mapglue-tiny"}, InputError, "is of mapglue-tiny, not of line"),
    ],
)
def test_an_altered_plan_is_not_resumed(tmp_path, change, kind, said):
    plan = plan_request(_asked(tmp_path), tmp_path)
    keep_plan(plan, tmp_path / plan.id)
    file = tmp_path / plan.id / "plan.json"
    told = json.loads(file.read_text())
    config = told["config"] | change.pop("config", {})
    file.write_text(json.dumps(told | change | {"config": config}))
    with pytest.raises(kind, match=said):
        plan_request(_asked(tmp_path, resume=plan.id), tmp_path)


def test_what_a_file_says_never_chooses_the_code(tmp_path):
    plan = plan_request(_asked(tmp_path), tmp_path)
    keep_plan(plan, tmp_path / plan.id)
    file = tmp_path / plan.id / "plan.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"entry": "os:getcwd"}))
    assert plan_request(_asked(tmp_path, resume=plan.id), tmp_path).entry == TRAINABLES["line"]


def test_resuming_with_other_numbers_is_refused(tmp_path):
    with pytest.raises(InputError, match="leave out --learning-rate, or --resume"):
        _asked(tmp_path, resume="line-0", learning_rate=0.1)
