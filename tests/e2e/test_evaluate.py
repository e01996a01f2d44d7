"""Compare matchers from the command line: right figures, a picture, one line for wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.cli import run
from models.matching.transforms import invert, similarity, warp_image
from tests.support.matching import blobs, write_pair

TRUTH = similarity(rotation_deg=8, scale=1.04, shift=(6, -3), centre=(100, 80))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs of two classes: two that SIFT matches, and one of two different places."""
    folder = tmp_path_factory.mktemp("pairs")
    for kind, name in (("Easy", "one"), ("Easy", "three"), ("Hopeless", "other")):
        write_pair(folder / kind, name, fixed_from_moving_row_vector_3x3=TRUTH.T.tolist(), **_landmarks())
        fixed = blobs((160, 200), seed=len(name))
        seen = np.random.default_rng(1).integers(0, 255, fixed.shape) if kind == "Hopeless" else fixed
        moving, inside = warp_image(seen.astype(np.float32), invert(TRUTH), fixed.shape)
        picture = np.dstack([moving.astype(np.uint8)] * 3 + [inside.astype(np.uint8) * 255])
        Image.fromarray(picture).save(folder / kind / f"{name}_moving.png")
    return folder


def _landmarks() -> dict[str, list[list[float]]]:
    moving = np.array([[30.0, 30.0], [160.0, 40.0], [90.0, 120.0]])
    fixed = moving @ TRUTH[:2, :2].T + TRUTH[:2, 2]
    return {"landmarks_fixed_xy": fixed.tolist(), "landmarks_moving_xy": moving.tolist()}


def test_the_json_holds_protocol_and_figures(pairs, capsys):
    words = ["--matcher", "sift", "--matcher", "identity", "--level", "easy", "--seed", "2", "--json"]
    assert run(["evaluate", "matching", "--pairs", str(pairs), *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] == 3
    assert told["protocol"]["version"]
    assert (told["protocol"]["level"], told["protocol"]["seed"]) == ("easy", 2)
    sift, identity = told["matchers"]
    assert (sift["name"], identity["name"]) == ("sift", "identity")
    assert sift["success_at_px"] == {"3": 2, "5": 2, "10": 2}
    assert identity["success_at_px"]["3"] == 0
    assert set(sift["auc_at_px"]) == {"5", "10", "20"}
    assert 0.5 < sift["auc_at_px"]["20"] <= 2 / 3
    assert sift["median_seconds_per_pair"] > 0
    assert sift["by_class"]["Easy"]["success_at_px"]["3"] == 2
    assert sift["by_class"]["Hopeless"]["success_at_px"]["10"] == 0


def test_the_same_seed_gives_the_same_figures(pairs, capsys):
    def figures(seed: int) -> list[float]:
        words = ["--matcher", "sift", "--level", "hard", "--seed", str(seed), "--json"]
        assert run(["evaluate", "matching", "--pairs", str(pairs), *words]) == 0
        results = json.loads(capsys.readouterr().out)["matchers"][0]["results"]
        return [result["landmark_error_px"] for result in results]

    assert figures(1) == figures(1) != figures(2)


def test_the_table_and_the_sheet_are_for_people(pairs, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    words = ["--matcher", "sift", "--sheet", str(sheet)]
    assert run(["evaluate", "matching", "--pairs", str(pairs), *words]) == 0
    said = capsys.readouterr()
    assert "3 pairs, level none, seed 0" in said.out
    assert "2/2/2" in said.out
    assert "Hopeless" in said.out
    assert str(sheet) in said.err
    with Image.open(sheet) as picture:
        assert picture.width > 1000
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert len(colours) > 500
    assert (25, 211, 162) in colours, "lines of tie points that fit"


def test_a_file_may_have_any_name(tmp_path):
    write_pair(tmp_path, "two\nlines [bold]")
    words = ["--matcher", "identity", "--sheet", str(tmp_path / "a.png")]
    assert run(["evaluate", "matching", "--pairs", str(tmp_path), *words]) == 0


def test_a_sheet_that_cannot_be_written_leaves_the_figures(pairs, tmp_path, capsys):
    (tmp_path / "a.png").mkdir()
    words = ["--matcher", "identity", "--sheet", str(tmp_path / "a.png"), "--json"]
    assert run(["evaluate", "matching", "--pairs", str(pairs), *words]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["pairs"] == 3
    assert "a.png cannot be written" in said.err


def test_several_matchers_have_a_sheet_each(pairs, tmp_path):
    words = ["--matcher", "sift", "--matcher", "identity", "--sheet", str(tmp_path / "a.png"), "--json"]
    assert run(["evaluate", "matching", "--pairs", str(pairs), *words]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a-sift.png", "a-identity.png"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--matcher", "sfit"], ["'sfit'", "sift"]),
        (["--level", "extreme"], ["'extreme'", "normal"]),
        (["--seed", "-1"], ["-1"]),
        (["--seed", "one"], ["one"]),
        (["--matcher", "sift", "--device", "gpu"], ["'gpu'", "cpu"]),
        (["--sheet", "nowhere/a.png"], ["nowhere"]),
        (["--sheet", "a.xyz"], ["a.xyz", ".png"]),
        (["--matcher", "sift", "--weights", "a.safetensors"], ["learned matcher", "name one"]),
        (["--matcher", "mapglue-tiny", "--weights", "a.safetensors"], ["a.safetensors"]),
        (["--known-warps"], ["absent"]),
    ],
    ids=lambda words: " ".join(words) if words[0].startswith("--") else "-",
)
def test_wrong_options_are_one_line(pairs, capsys, words, named):
    _assert_refused(["--pairs", str(pairs), *words], named, capsys)


def test_wrong_pairs_are_one_line(pairs, tmp_path, capsys):
    _assert_refused(["--pairs", str(tmp_path / "nowhere")], ["nowhere"], capsys)
    _assert_refused(["--pairs", str(tmp_path)], ["No image pairs", "JSON"], capsys)
    path = write_pair(tmp_path)
    whole = path.read_text()
    for text, named in (
        (whole[:-5], "no valid JSON"),
        (whole.replace("pair_moving.png", "../../../etc/passwd"), "outside"),
        (whole.replace("pair_moving.png", "gone.png"), "absent"),
        (whole.replace("landmarks_moving_xy", "landmarks"), "landmarks_moving_xy"),
    ):
        path.write_text(text)
        _assert_refused(["--pairs", str(tmp_path)], [named, "pair.json"], capsys)
    path.write_text(whole)
    (tmp_path / "pair_moving.png").write_bytes(b"no image")
    _assert_refused(["--pairs", str(tmp_path), "--matcher", "sift"], ["pair_moving.png"], capsys)


def _assert_refused(words: list[str], named: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "matching", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    for word in named:
        assert word in said.err


@pytest.mark.real
def test_sift_on_real_pairs_is_as_it_was_measured(real_data, capsys):
    folder = real_data / "matching" / "multimodal_rs" / "DayNight"
    assert run(["evaluate", "matching", "--pairs", str(folder), "--matcher", "sift", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] == 3
    assert told["matchers"][0]["success_at_px"] == {"3": 2, "5": 2, "10": 2}
