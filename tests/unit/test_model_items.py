"""Trained models as items: valid, named by their weights, the same every time; bad cards are refused."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from starlette.testclient import TestClient

from catalog.client import EmbeddedClient
from catalog.garbage import collect_garbage
from catalog.items.collections import MODELS, collection_document
from catalog.items.model import model_item
from catalog.models.card import read_card
from catalog.models.plan import ModelPlan, plan_model
from catalog.models.product import list_models, plan_of, write_model
from catalog.models.thumbnail import draw_model_thumbnail, read_courses
from catalog.products import collection_of, digest_of, item_of, receipt_of
from catalog.server.app import create_app
from infra.errors import DataError, InputError, InternalError, NotFoundError
from infra.storage import LocalStorage, open_storage
from models.matchers import digest_weights
from models.shipped import find_shipped, read_shipped, shipped_models
from models.training.card import render_card
from tasks.keep_model import keep_result, keep_shipped, plan_matcher, plan_shipped
from tests.support.schemas import validate_item
from tests.support.snapshots import store_tree

WEIGHTS = b"not read here"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
EVENTS: list[dict[str, Any]] = [
    *({"kind": "step", "step": step, "steps": 60, "loss": 5.0 / step} for step in range(1, 61)),
    *({"kind": "evaluation", "step": step, "steps": 60, "score": step / 100} for step in (20, 40, 60)),
]
HISTORY = "".join(json.dumps(event) + "\n" for event in EVENTS)
CARD: dict[str, Any] = {
    "format": 2,
    "name": "tiny-net",
    "title": "A tiny net",
    "summary": "Pictures in, classes out.",
    "data": ["drawn places"],
    "validation": "accuracy on drawn places",
    "licence": "Apache-2.0",
    "limits": ["Never saw snow."],
    "signature": {
        "architecture": "two layers",
        "tasks": ["semantic-segmentation"],
        "inputs": [
            {
                "name": "rgb",
                "description": "reflectance",
                "axes": ["batch", "bands", "height", "width"],
                "shape": [-1, 3, -1, -1],
                "dtype": "float32",
                "bands": ["red", "green", "blue"],
                "scaling": [{"type": "z-score", "mean": 0.1, "stddev": 0.05}],
            }
        ],
        "outputs": [
            {
                "name": "class",
                "description": "class numbers",
                "axes": ["batch", "height", "width"],
                "shape": [-1, -1, -1],
                "dtype": "uint8",
            }
        ],
    },
    "weights": {"name": "w", "size": len(WEIGHTS), "sha256": SHA256, "parameters": 99, "numbers": "float16"},
    "training": {
        "steps": 60, "finished": True, "best_step": 40, "minutes": 1.5, "device": "NVIDIA H100",
        "processes": 1, "precision": "bfloat16", "seed": 7,
        "config": {"steps": 60, "learning_rate": 0.01, "threads": None},
    },
    "figures": {"score": 0.5, "odd": None},
    "software": {"torch": "2.11.0+cu130", "python": "3.12.1"},
}  # fmt: skip


def files(card: dict[str, Any] = CARD, **more: bytes) -> dict[str, bytes]:
    """Spell what a training leaves."""
    named = {"weights.safetensors": WEIGHTS, "card.json": json.dumps(card).encode(), "MODEL_CARD.md": b"# A"}
    return named | {name.replace("_", "."): content for name, content in more.items()}


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


def publish(storage: LocalStorage, **more: bytes) -> tuple[ModelPlan, dict[str, Any]]:
    plan = plan_model("tiny-net", SHA256)
    write_model(storage, plan, files(**more))
    return plan, item_of(storage, plan, execution_href=None)


def test_an_item_is_named_by_its_weights_and_says_what_the_model_is(storage: LocalStorage) -> None:
    plan, item = publish(storage)
    assert item["id"] == plan.id == f"tiny-net-{SHA256[:12]}"
    assert (item["collection"], collection_of(plan), digest_of(plan)) == (MODELS, MODELS, SHA256)
    told = item["properties"]
    assert (told["mlm:name"], told["mlm:total_parameters"]) == ("tiny-net", 99)
    assert told["mlm:accelerator"] == "cuda"
    assert told["mlm:framework_version"] == "2.11.0+cu130"
    assert told["mlm:input"][0]["input"]["shape"] == [-1, 3, -1, -1]
    assert told["mlm:input"][0]["value_scaling"] == [{"type": "z-score", "mean": 0.1, "stddev": 0.05}]
    bands = [band["name"] for band in item["assets"]["weights"]["eo:bands"]]
    assert bands == told["mlm:input"][0]["bands"]
    assert (told["model:seed"], told["model:steps"], told["model:best_step"]) == (7, 60, 40)
    assert (told["model:score"], told["model:figures"]) == (0.5, {"score": 0.5})
    assert told["license"] == "Apache-2.0"
    weights = item["assets"]["weights"]
    assert weights["file:checksum"] == "1220" + SHA256
    assert weights["file:size"] == len(WEIGHTS)
    assert item["assets"]["card"]["type"] == "text/markdown"
    assert all(Path(asset["href"]).is_file() for asset in item["assets"].values())
    assert not [link for link in item["links"] if link["rel"] == "processing-execution"]


@pytest.mark.real
@pytest.mark.parametrize("history", [b"", HISTORY.encode()])
def test_items_are_valid(storage: LocalStorage, history: bytes) -> None:
    validate_item(publish(storage, **{"history_jsonl": history} if history else {})[1])


def test_a_model_that_goes_on_from_another_leads_there(storage: LocalStorage) -> None:
    plan = plan_model("tiny-net", SHA256)
    write_model(storage, plan, files(CARD | {"start": {"name": "old-net", "sha256": "a" * 64}}))
    item = item_of(storage, plan, execution_href=None)
    assert item["properties"]["mlm:pretrained"] is True
    assert item["properties"]["mlm:pretrained_source"] == "old-net-aaaaaaaaaaaa"
    (link,) = (link for link in item["links"] if link["rel"] == "derived_from")
    assert link["href"] == "../../models/items/old-net-aaaaaaaaaaaa"
    validate_item(item, extensions=False)


@pytest.mark.real
def test_a_task_that_mlm_does_not_know_is_noticed(storage: LocalStorage) -> None:
    item = publish(storage)[1]
    item["properties"]["mlm:tasks"] = ["matching"]
    with pytest.raises(AssertionError, match="mlm"):
        validate_item(item)


def test_the_same_weights_are_one_product_that_nothing_changes(tmp_path: Path) -> None:
    first, second = LocalStorage(tmp_path / "a"), LocalStorage(tmp_path / "b")
    plan, item = publish(first)
    publish(second)
    assert store_tree(tmp_path / "a") == store_tree(tmp_path / "b")
    receipt = write_model(first, plan, files())
    assert store_tree(tmp_path / "a") == store_tree(tmp_path / "b")
    assert model_item(plan, receipt, root_href=first.uri) == item
    assert json.dumps(item, allow_nan=False)


def later_card() -> dict[str, Any]:
    """The same weights again, trained on a busier machine."""
    return copy.deepcopy(CARD) | {"training": CARD["training"] | {"minutes": 99.0}}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (lambda: files(later_card()), r"another card\.json"),
        (lambda: files(history_jsonl=HISTORY.encode()), r"another history\.jsonl"),
        (lambda: files() | {"MODEL_CARD.md": b"# B"}, r"another MODEL_CARD\.md"),
    ],
)
def test_another_card_of_weights_that_stand_is_refused(
    storage: LocalStorage, tmp_path: Path, second: Callable[[], dict[str, bytes]], said: str
) -> None:
    plan, _ = publish(storage)
    whole = store_tree(tmp_path)
    with pytest.raises(DataError, match=said):
        write_model(storage, plan, second())
    assert store_tree(tmp_path) == whole


class Crossed(LocalStorage):
    """Lets somebody else have a turn right before the n-th write."""

    def __init__(self, root: Path, turn: int, other: Callable[[], object]) -> None:
        super().__init__(root)
        self._left, self._other = turn, other

    def write(self, path: str, data: bytes) -> None:
        self._take_turn()
        super().write(path, data)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        self._take_turn()
        return super().write_if_absent(path, data)

    def _take_turn(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._other()


@pytest.mark.parametrize("turn", range(1, 7))
@pytest.mark.parametrize("card", [CARD, later_card()], ids=["same", "other"])
def test_two_writers_at_once_leave_files_of_one(tmp_path: Path, turn: int, card: dict[str, Any]) -> None:
    plan, plain = plan_model("tiny-net", SHA256), LocalStorage(tmp_path)
    refused: list[str] = []

    def write(storage: LocalStorage, card: dict[str, Any]) -> None:
        try:
            write_model(storage, plan, files(card))
        except DataError as exc:
            refused.append(exc.message)

    write(Crossed(tmp_path, turn, lambda: write(plain, card)), CARD)
    receipt = receipt_of(plain, plan)
    assert receipt is not None
    kept = {entry.path: plain.read(entry.path) for entry in plain.list_objects(plan.path)}
    assert set(kept) == {f"{plan.path}/{name}" for name in (*files(), "thumbnail.png", "receipt.json")}
    for file in receipt.files:
        assert hashlib.sha256(kept[f"{plan.path}/{file.path}"]).hexdigest() == file.sha256
    assert json.loads(kept[f"{plan.path}/card.json"])["training"]["minutes"] == receipt.card.training.minutes
    assert len(refused) == (card is not CARD)


def test_what_a_killed_writer_left_keeps_another_card_out_until_it_is_swept(storage: LocalStorage) -> None:
    plan = plan_model("tiny-net", SHA256)

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_model(Crossed(Path(storage.uri), 4, die), plan, files())
    with pytest.raises(DataError, match="begun with another card"):
        write_model(storage, plan, files(later_card()))
    assert receipt_of(storage, plan) is None
    assert collect_garbage(storage, dry_run=False).products == (plan.path,)
    assert write_model(storage, plan, files(later_card())).card.training.minutes == 99.0


def test_what_a_killed_writer_left_is_finished_by_the_same_card(
    storage: LocalStorage, tmp_path: Path
) -> None:
    plan = plan_model("tiny-net", SHA256)

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_model(Crossed(Path(storage.uri), 4, die), plan, files())
    write_model(storage, plan, files())
    publish(LocalStorage(tmp_path / "whole"))
    assert store_tree(tmp_path / plan.path) == store_tree(tmp_path / "whole" / plan.path)


def test_files_are_served_as_the_item_says(storage: LocalStorage, tmp_path: Path) -> None:
    plan, item = publish(storage, history_jsonl=HISTORY.encode(), curve_svg=b"<svg/>")
    with EmbeddedClient(tmp_path / "catalogue.sqlite") as client:
        client.upsert_collection(collection_document(MODELS))
        client.upsert_items([item])
    with TestClient(create_app(tmp_path / "catalogue.sqlite", token=None, store=storage)) as web:
        assets = web.get(f"/collections/{MODELS}/items/{plan.id}").json()["assets"]
        answers = {name: web.get(asset["href"]) for name, asset in assets.items()}
    assert len(answers) == 7
    for name, answer in answers.items():
        assert answer.status_code == 200, name
        assert answer.headers["Content-Type"].split(";")[0] == assets[name]["type"].split(";")[0]
    assert answers["weights"].content == WEIGHTS


def test_models_of_a_store_are_listed_and_half_a_model_is_none(storage: LocalStorage) -> None:
    plan, _ = publish(storage)
    storage.write("models/tiny-net-000000000000/weights.safetensors", b"half")
    assert [plan_of(receipt) for receipt in list_models(storage)] == [plan]
    lacking = plan_model("tiny-net", "0" * 64)
    assert receipt_of(storage, lacking) is None
    with pytest.raises(InternalError, match="no receipt"):
        item_of(storage, lacking, execution_href=None)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("signature",), None, "signature"),
        (("signature", "inputs", 0, "shape"), ["wide"], "shape"),
        (("weights", "parameters"), -1, "greater than or equal to 0"),
        (("weights", "sha256"), "abc", "sha256"),
        (("name",), "../tiny", "name"),
        (("training", "minutes"), "long", "minutes"),
        (("figures",), {"score": "high"}, "figures.score"),
    ],
)
def test_cards_that_say_too_little_are_refused(
    storage: LocalStorage, path: tuple[Any, ...], value: Any, said: str
) -> None:
    card = copy.deepcopy(CARD)
    place: Any = card
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(DataError, match=said):
        write_model(storage, plan_model("tiny-net", SHA256), files(card))
    assert not list(storage.list_objects("models"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b" " * ((1 << 20) + 1), b"\xff{}"])
def test_what_is_no_card_is_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match="card") as caught:
        read_card(content, "card.json")
    assert "\n" not in caught.value.message


def test_weights_that_are_not_the_cards_are_refused(storage: LocalStorage) -> None:
    with pytest.raises(DataError, match="files of one training"):
        write_model(storage, plan_model("tiny-net", SHA256), files() | {"weights.safetensors": b"others"})
    with pytest.raises(DataError, match="files of one training"):
        write_model(storage, plan_model("other", SHA256), files())
    with pytest.raises(DataError, match=r"MODEL_CARD\.md is missing"):
        write_model(
            storage, plan_model("tiny-net", SHA256), {"weights.safetensors": WEIGHTS, "card.json": b""}
        )
    assert not list(storage.list_objects("models"))


@pytest.mark.parametrize("name", ["", "../x", "Tiny", "a/b", "-a", "a--b", "a\n"])
def test_names_that_no_path_may_have_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot be published"):
        plan_model(name, SHA256)


def test_a_thumbnail_shows_the_course_or_the_figures() -> None:
    card = read_card(CARD, "card")
    with_course, without = (
        np.asarray(Image.open(io.BytesIO(draw_model_thumbnail(card, history))))
        for history in (HISTORY.encode(), None)
    )
    assert with_course.shape == without.shape == (320, 512, 3)
    blue = (with_course[..., 2].astype(int) - with_course[..., 0]) > 80
    assert blue[:, :200].any(axis=0).mean() > 0.8  # the losses run all along
    assert not ((without[..., 2].astype(int) - without[..., 0]) > 80).any()
    orange = (without[..., 0].astype(int) - without[..., 2]) > 120
    assert orange.sum(axis=1).max() == pytest.approx(0.5 * (488 - 24), abs=3)  # the score's bar


def test_courses_leave_out_what_is_no_number() -> None:
    lines = [
        {"kind": "step", "step": 1, "loss": 2.0},
        {"kind": "step", "step": 2, "loss": None},
        {"kind": "checkpoint", "step": 2},
        {"kind": "evaluation", "step": 2, "accuracy": 0.1},
    ]
    losses, scores = read_courses("\n".join(map(json.dumps, lines)).encode())
    assert (losses.tolist(), scores.tolist()) == ([[1.0, 2.0]], [])
    assert draw_model_thumbnail(read_card(CARD, "card"), json.dumps(lines[1]).encode())
    vast = b'{"kind": "step", "step": 1' + b"0" * 400 + b', "loss": 1}'
    for bad in (b"[]", b"{", b"\xff", b"[" * 100_000, vast, b'{"kind": "step", "step": "x", "loss": 1}'):
        with pytest.raises(DataError, match="history"):
            read_courses(bad)


def test_every_shipped_model_has_a_card_of_its_weights() -> None:
    assert "mapglue-tiny" in shipped_models()
    for name, model in shipped_models().items():
        plan, card = plan_shipped(name), read_card(model.card.read_bytes(), name)
        assert (card.name, card.weights.sha256) == (name, plan.sha256)
        assert card.weights.size == model.weights.stat().st_size
        assert card.weights.parameters == sum(value.numel() for value in load_file(model.weights).values())
        page = model.weights.with_name("MODEL_CARD.md").read_text()
        assert page == render_card(json.loads(model.card.read_bytes()))


@pytest.mark.real
def test_shipped_models_become_valid_items(tmp_path: Path) -> None:
    for name in shipped_models():
        plan = keep_shipped.fn(str(tmp_path), name)
        validate_item(item_of(open_storage(str(tmp_path)), plan, execution_href="https://runs.example/1"))


def test_matchers_are_known_by_their_weights() -> None:
    assert plan_matcher("phase") is None
    learned = plan_matcher("mapglue-tiny")
    assert learned == plan_shipped("mapglue-tiny")
    with pytest.raises(InputError, match="No weights come with 'mapglue'"):
        plan_matcher("mapglue")


def test_a_comparison_names_the_weights_it_rests_on(tmp_path: Path) -> None:
    told = digest_weights(["sift", "mapglue-tiny"])
    assert told == {"mapglue-tiny": plan_shipped("mapglue-tiny").sha256}
    (tmp_path / "w").write_bytes(WEIGHTS)
    assert digest_weights(["mapglue", "phase"], tmp_path / "w") == {"mapglue": SHA256}
    assert digest_weights(["sift", "phase"]) == {}


def test_shipped_files_are_found_by_name_and_bad_cards_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "family" / "weights"
    folder.mkdir(parents=True)
    (folder / "tiny-net.safetensors").write_bytes(WEIGHTS)
    model = shipped_models(tmp_path)["tiny-net"]
    with pytest.raises(DataError, match="cannot be used"):
        read_shipped(model)
    model.card.write_text("[]")
    with pytest.raises(DataError, match="cannot be used"):
        read_shipped(model)
    shipped = find_shipped("mapglue-tiny")
    model.card.write_bytes(shipped.card.read_bytes())
    model.history.write_text(HISTORY)
    made = read_shipped(model)
    assert sorted(made) == ["MODEL_CARD.md", "card.json", "curve.svg", "history.jsonl", "weights.safetensors"]
    assert made["curve.svg"].startswith(b"<svg")


def test_a_result_of_a_training_is_kept_from_its_folder(tmp_path: Path) -> None:
    result, store = tmp_path / "result", str(tmp_path / "store")
    result.mkdir()
    with pytest.raises(NotFoundError, match=r"holds no weights\.safetensors"):
        keep_result.fn(store, result)
    for name, content in files(history_jsonl=HISTORY.encode()).items():
        (result / name).write_bytes(content)
    (result / "notes.txt").write_text("nothing of a result")
    plan = keep_result.fn(store, result)
    receipt = receipt_of(open_storage(store), plan)
    assert receipt is not None
    assert [file.path for file in receipt.files] == [
        "MODEL_CARD.md", "card.json", "history.jsonl", "thumbnail.png", "weights.safetensors",
    ]  # fmt: skip
    assert keep_result.fn(store, result) == plan
