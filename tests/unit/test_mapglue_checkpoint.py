"""Weights of others, by the names and shapes they are published under."""

from __future__ import annotations

import pickle

import pytest
import torch

from infra.errors import DataError, InputError, NotFoundError
from models.mapglue.checkpoint import (
    find_weights,
    load_lightglue,
    load_superpoint,
    load_weights,
    read_state,
)
from models.mapglue.config import GlueConfig, MapGlueConfig
from models.mapglue.network import GlueNetwork
from models.mapglue.superpoint import SuperPoint
from models.training.checkpoints import encode_weights, half_weights, module_tensors

SMALL = MapGlueConfig("small", glue=GlueConfig(blocks=3))


def superpoint_state():
    """Return what the authors of SuperPoint published, as names and shapes."""
    sizes = {
        "1a": (64, 1), "1b": (64, 64), "2a": (64, 64), "2b": (64, 64), "3a": (128, 64), "3b": (128, 128),
        "4a": (128, 128), "4b": (128, 128), "Pa": (256, 128), "Pb": (65, 256),
        "Da": (256, 128), "Db": (256, 256),
    }  # fmt: skip
    state = {}
    for name, (out, into) in sizes.items():
        side = 1 if name in {"Pb", "Db"} else 3
        state[f"conv{name}.weight"] = torch.rand(out, into, side, side)
        state[f"conv{name}.bias"] = torch.rand(out)
    return state


def lightglue_state(blocks, width=256, heads=4):
    """Return what LightGlue publishes for SuperPoint, as names and shapes."""

    def linear(name, into, out):
        return {f"{name}.weight": torch.rand(out, into), f"{name}.bias": torch.rand(out)}

    def feed_forward(name):
        norm = {f"{name}.1.weight": torch.rand(2 * width), f"{name}.1.bias": torch.rand(2 * width)}
        return linear(f"{name}.0", 2 * width, 2 * width) | norm | linear(f"{name}.3", 2 * width, width)

    state = {
        "posenc.Wr.weight": torch.rand(width // heads // 2, 2),
        "confidence_thresholds": torch.rand(blocks),
    }
    for i in range(blocks):
        own, across = f"transformers.{i}.self_attn", f"transformers.{i}.cross_attn"
        state |= linear(f"{own}.Wqkv", width, 3 * width) | linear(f"{own}.out_proj", width, width)
        state |= feed_forward(f"{own}.ffn") | feed_forward(f"{across}.ffn")
        for part in ("to_qk", "to_v", "to_out"):
            state |= linear(f"{across}.{part}", width, width)
        state |= linear(f"log_assignment.{i}.matchability", width, 1)
        state |= linear(f"log_assignment.{i}.final_proj", width, width)
        if i < blocks - 1:
            state |= linear(f"token_confidence.{i}.token.0", width, 1)
    return state


@pytest.mark.parametrize("prefix", ["", "module.", "extractor."])
def test_superpoint_takes_the_published_weights_whole(prefix):
    network, state = SuperPoint(), superpoint_state()
    report = load_superpoint(network, {prefix + name: value for name, value in state.items()}, "sp.pth")
    assert len(report.loaded) == 24
    assert not report.missing
    assert not report.skipped
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("layout", ["transformers", "first release", "glue-factory"])
def test_lightglue_loads_into_every_block(layout):
    state = lightglue_state(3)
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        if layout == "first release" and parts[0] == "transformers":
            name = ".".join([parts[2], parts[1], *parts[3:]])
        renamed[("matcher." if layout == "glue-factory" else "") + name] = value
    network = GlueNetwork(SMALL)
    report = load_lightglue(network, renamed, "superpoint_lightglue.pth")
    assert len(report.loaded) == len(state) - 1
    assert [name.rpartition(".")[2] for name in report.skipped] == ["confidence_thresholds"]
    own = network.state_dict()
    assert torch.equal(
        own["transformers.2.self_attn.Wqkv.weight"], state["transformers.2.self_attn.Wqkv.weight"]
    )
    assert torch.equal(own["token_confidence.1.token.0.bias"], state["token_confidence.1.token.0.bias"])
    assert all("edges" in name or "fuse" in name or name.startswith("context.") for name in report.missing)


def test_what_is_beyond_lightglue_starts_by_changing_nothing():
    network = GlueNetwork(SMALL)
    descriptors, semantic = torch.rand(1, 5, 256), torch.rand(1, 5, 128)
    assert torch.equal(network.context(descriptors, semantic), descriptors)
    attention = network.transformers[0].self_attn
    assert not attention.plane_edges.weight.any()
    assert not attention.fuse.weight.any()


def test_blocks_of_another_width_are_skipped_with_their_shapes_and_nothing_at_all_is_an_error():
    state = lightglue_state(3, width=128)
    network = GlueNetwork(SMALL)
    with pytest.raises(DataError, match=r"nothing of a LightGlue.*shape"):
        load_lightglue(network, {k: v for k, v in state.items() if "Wqkv" in k}, "narrow.pth")
    with pytest.raises(DataError, match="SuperPoint"):
        load_superpoint(SuperPoint(), {"backbone.conv1.weight": torch.rand(3)}, "resnet.pth")


def test_own_weights_survive_the_file_in_half_precision(tmp_path):
    first, second = GlueNetwork(SMALL), GlueNetwork(SMALL)
    half = half_weights(module_tensors(first))
    (tmp_path / "w.safetensors").write_bytes(encode_weights(half, {"name": "small"}))
    report = load_weights(second, read_state(tmp_path / "w.safetensors"), "w")
    assert not report.missing
    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name].half().float())


def test_weights_of_another_kind_are_refused(tmp_path):
    network = GlueNetwork(SMALL)
    state = dict(network.state_dict())
    state.pop("posenc.Wr.weight")
    with pytest.raises(DataError, match=r"posenc\.Wr\.weight"):
        load_weights(network, state, "w")
    broken = dict(network.state_dict()) | {"posenc.Wr.weight": torch.full((32, 2), torch.nan)}
    with pytest.raises(DataError, match="not finite"):
        load_weights(network, broken, "w")


def test_torch_files_are_read_without_running_code(tmp_path):
    torch.save({"model": {"conv1a.bias": torch.ones(64)}}, tmp_path / "w.pth")
    assert torch.equal(read_state(tmp_path / "w.pth")["conv1a.bias"], torch.ones(64))

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    (tmp_path / "noise.safetensors").write_bytes(b"no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("evil.pth", "noise.safetensors", "list.pth"):
        with pytest.raises(DataError, match=name):
            read_state(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(NotFoundError, match="absent"):
        read_state(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    "strange",
    [
        torch.full((64,), 1e300, dtype=torch.float64),
        torch.ones(64, dtype=torch.complex64),
        torch.ones(64).to_sparse(),
        torch.ones(64, device="meta"),
    ],
    ids=["beyond float32", "complex", "sparse", "nothing in it"],
)
def test_tensors_that_are_no_weights_are_told(strange):
    module = SuperPoint()
    with pytest.raises(DataError, match=r"conv1a\.bias"):
        load_weights(module, {**module.state_dict(), "conv1a.bias": strange}, "x.pt")
    assert all(value.isfinite().all() for value in module.state_dict().values())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_torch_files_are_one_line(tmp_path, rng):
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pt").read_bytes()
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            broken[place] = rng.integers(0, 256)
        (tmp_path / "broken.pt").write_bytes(broken)
        try:
            read_state(tmp_path / "broken.pt")
        except DataError:
            refused += 1
    assert refused > 100


def test_presets_without_weights_say_so():
    with pytest.raises(InputError, match="terraloom train"):
        find_weights("mapglue")
