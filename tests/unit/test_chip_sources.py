"""Source files: cubes and folders are learned from where they lie; what a foreign file says is checked."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch

from catalog.chips.cubes import plan_chips
from catalog.chips.patch_folders import find_patches
from catalog.chips.sources import SUFFIX, open_source, write_source
from catalog.chips.statistics import measure_chips
from infra.digests import sha256_of_json
from infra.errors import ConfigError, DataError, InputError, NotFoundError
from models.mars.chips import SOURCE_SUFFIX, find_chips
from models.mars.training import MarsLearner
from models.training.config import TrainingConfig
from models.training.loop import train
from models.training.registry import load_trainable
from models.training.steps import Team
from tasks.mars_learners import open_source as open_for_training
from tests.support.chips import LESSONS, SMALL, write_cubes, write_patches


@pytest.fixture
def planned(tmp_path):
    """A folder with the source file of two cubes and that of one sensor's patches."""
    optical, sar, _, _ = write_cubes(tmp_path / "store")
    cubes, _ = plan_chips(str(tmp_path / "store"), optical, sar, size_px=40)
    (patches,) = find_patches(write_patches(tmp_path / "mars", sensors=("Umbra",)))
    for reader in (cubes, patches):
        write_source(tmp_path / "chips", reader, measure_chips(reader), licence="none")
    return tmp_path / "chips"


def of_kind(folder, kind):
    (path,) = folder.glob(f"{kind}-*{SUFFIX}")
    return path


def rewrite(path, change, *, sealed=True):
    """Change what a source file says, with a digest that fits as a forger would."""
    told = json.loads(path.read_text())
    change(told)
    if sealed:
        place = {name: value for name, value in told["place"].items() if name not in ("store", "folder")}
        told["digest"] = sha256_of_json({**told, "place": place, "digest": ""})
    path.write_text(json.dumps(told))


def make_vast(place):
    """Say that both cubes are so large that a list of their windows would fill all memory."""
    for side in ("optical", "sar"):
        place[side]["grid"].update(shape_yx=[10**9, 10**9])
    place.update(size_px=1)


def test_a_source_file_holds_windows_and_no_pixels(planned, tmp_path):
    path = of_kind(planned, "cubes")
    told = json.loads(path.read_text())
    assert path.stat().st_size < 5000
    assert told["place"]["store"] == str(tmp_path / "store")
    assert (told["place"]["optical"]["id"], told["place"]["sar"]["id"]) == ("optical", "radar")
    reader, found = open_source(path)
    again, choice = plan_chips(told["place"]["store"], reader.optical, reader.sar, size_px=40)
    assert reader == again
    assert [choice.windows.index(window) for window in reader.windows] == list(range(len(reader)))
    assert 0 not in told["place"]["kept"] or choice.sparse == 0
    np.testing.assert_array_equal(reader.read(3).sar, again.read(3).sar)
    assert found.statistics == {**measure_chips(again).mean_and_std(), "sar_unit": "dB"}


def test_a_registered_pair_comes_back_from_its_file(tmp_path):
    optical, sar, _, _ = write_cubes(tmp_path / "store")
    transform = (10.0, 0.0, 400_093.0, 0.0, -10.0, 5_000_204.0)
    moved = dataclasses.replace(sar, grid=dataclasses.replace(sar.grid, transform=transform))
    reader, _ = plan_chips(str(tmp_path / "store"), optical, moved, size_px=40, registration="registered")
    again, told = open_source(write_source(tmp_path, reader, measure_chips(reader), licence="none"))
    assert (again.sar.grid, again.windows) == (reader.sar.grid, reader.windows)
    assert "registered by registered" in told.facts
    np.testing.assert_array_equal(again.read(1).sar, reader.read(1).sar)
    with pytest.raises(InputError, match="register the radar cube"):
        plan_chips(str(tmp_path / "store"), optical, moved, size_px=40)


def test_a_training_learns_from_cubes_and_folders_where_they_lie(planned, tmp_path):
    sources = find_chips(planned, open_for_training)
    assert [source.name for source in sources] == ["optical+radar", "umbra"]
    learner = MarsLearner(SMALL, LESSONS, sources)
    config = TrainingConfig(steps=2, log_every=1, evaluate_every=0, warmup_steps=1, threads=1)
    outcome = train(learner, config, tmp_path / "work", Team(torch.device("cpu")))
    assert outcome.finished
    assert np.isfinite(list(outcome.figures.values())).all()
    assert set(learner.statistics()) == {"procedural", "optical+radar", "umbra"}
    assert [line.split(":")[0] for line in learner.facts.data[1:]] == ["optical+radar", "umbra"]
    optical = MarsLearner(SMALL, LESSONS.__class__(**{**vars(LESSONS), "optical": True, "alone": 0}), sources)
    loss, _ = optical.loss(optical.build(0).train(), optical.batch(0, 0, torch.device("cpu")))
    assert bool(loss.isfinite())


def test_every_process_opens_the_chips_by_itself(planned, monkeypatch):
    """A process of a team makes its learner by name, and a process that makes batches is sent one."""
    monkeypatch.setenv("TERRALOOM_CHIPS", str(planned))
    learner = load_trainable("mars-tiny-chips")
    assert len(learner.sources) == 2
    assert learner == load_trainable("mars-tiny-chips")
    assert learner.name == "mars-tiny-chips"
    small = MarsLearner(SMALL, LESSONS, learner.sources)
    own = small.batch(0, 0, torch.device("cpu"))
    sent = pickle.loads(pickle.dumps(small)).batch(0, 0, torch.device("cpu"))
    for name in ("rgb", "sar", "valid"):
        assert torch.equal(getattr(own, name), getattr(sent, name))


def test_a_moved_store_holds_the_same_chips(planned, tmp_path):
    path = of_kind(planned, "cubes")
    before = open_for_training(path)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    rewrite(path, lambda told: told["place"].update(store=str(tmp_path / "elsewhere")), sealed=False)
    after = open_for_training(path)
    assert after.digest == before.digest
    assert after.read([0])[2].any()
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="cannot be read"):
        open_for_training(path).read([0])


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["place"].update(kept=[0, 10**6]),
        lambda told: told["place"].update(kept=[1, 0]),
        lambda told: told["place"].update(kept=[-1, 0]),
        lambda told: told["place"].update(kept=[]),
        lambda told: told["place"].update(size_px=0),
        lambda told: told["place"].update(size_px=10**9),
        lambda told: told["place"].update(store="https://example.org/store"),
        lambda told: told["place"]["sar"].update(path="../../etc"),
        lambda told: told["place"]["optical"].update(path="/etc"),
        lambda told: told["place"]["sar"].update(bands=[]),
        lambda told: told["place"]["sar"].update(radar=False),
        lambda told: told["place"]["optical"]["grid"].update(transform=[0, 0, 0, 0, 0, 0]),
        lambda told: told["place"]["optical"]["grid"].update(transform=[float("inf"), 0, 0, 0, 1, 0]),
        lambda told: make_vast(told["place"]),
        lambda told: told["statistics"].update(rgb={"mean": [0], "std": [1]}),
        lambda told: told["statistics"].update(sar={"mean": [0], "std": [0]}),
        lambda told: told.update(facts="two\nlines"),
        lambda told: told["place"].update(kind="shell"),
        lambda told: told.update(version=2),
        lambda told: told.pop("place"),
    ],
)  # fmt: skip
def test_cubes_that_cannot_be_are_refused(planned, change):
    path = of_kind(planned, "cubes")
    try:
        rewrite(path, change)
    except (ValueError, KeyError):  # a digest of it cannot even be made
        path.write_text(path.read_text())
        rewrite(path, change, sealed=False)
    with pytest.raises(DataError):
        open_for_training(path)


@pytest.mark.parametrize(
    "change",
    [
        {"files": ["../sar/a.tif"]}, {"files": ["/etc/passwd"]}, {"files": ["a\u0000.tif"]},
        {"files": [".."]}, {"files": []}, {"folder": "s3://bucket/mars"}, {"folder": "/nowhere/at/all"},
        {"folder": ""}, {"sar_unit": "metres"}, {"sensor": "../umbra"},
    ],
)  # fmt: skip
def test_folders_that_cannot_be_are_refused(planned, change):
    path = of_kind(planned, "patches")
    rewrite(path, lambda told: told["place"].update(change))
    with pytest.raises(DataError):
        open_for_training(path)


def test_a_source_file_that_was_altered_is_refused(planned):
    path = of_kind(planned, "patches")
    rewrite(path, lambda told: told["statistics"].update(sar_unit="dB"), sealed=False)
    with pytest.raises(DataError, match="was altered"):
        open_source(path)
    for text in ("", "[]", "{", "null", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DataError, match="is no source file of chips"):
            open_source(path)
    with pytest.raises(NotFoundError, match="terraloom chips"):
        open_source(path.with_name("none.chips.json"))


def test_a_patch_that_was_changed_since_is_told(planned, tmp_path):
    reader, _ = open_source(of_kind(planned, "patches"))
    before = reader.read(0)
    path = tmp_path / "mars" / "Umbra_patches" / "sar" / "a.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
    with pytest.raises(DataError, match="was changed since"):
        reader.read(0)
    reader.read(1)
    path.write_bytes(whole)
    np.testing.assert_array_equal(reader.read(0).sar, before.sar)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        reader.read(0)


def test_two_sources_of_one_name_are_refused(planned):
    path = of_kind(planned, "patches")
    (planned / f"copy{SOURCE_SUFFIX}").write_text(path.read_text())
    with pytest.raises(DataError, match="two sources called 'umbra'"):
        find_chips(planned, open_for_training)


def test_models_alone_cannot_open_source_files(planned):
    assert SOURCE_SUFFIX == SUFFIX
    with pytest.raises(ConfigError, match="only the catalogue reads"):
        find_chips(planned)


def test_chips_without_data_are_not_planned(tmp_path):
    folder = write_patches(tmp_path / "mars", sensors=("Umbra",), names=("a.tif",))
    (reader,) = find_patches(folder)
    moments = measure_chips(reader)
    empty = moments.__class__((), (), chips=1, blank=1)
    with pytest.raises(DataError, match="None of 1 chips"):
        write_source(tmp_path / "chips", reader, empty, licence="none")
    assert not (tmp_path / "chips").exists()
    with pytest.raises(InputError, match="no chip"):
        measure_chips(reader, [])
