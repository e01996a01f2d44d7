"""Weights of MaRS: our own, and those its authors released."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from infra.errors import DataError, InputError, NotFoundError
from models.mars.checkpoint import (
    encode_mars,
    feature_names,
    find_weights,
    load_encoder,
    load_mars,
    read_metadata,
    read_state,
)
from models.mars.config import MarsConfig
from models.mars.encoder import MarsEncoder
from models.mars.presets import find_preset
from models.training.checkpoints import encode_weights
from tests.support.mars import SMALL, draw_images, make_mars

pytestmark = pytest.mark.usefixtures("one_thread")


def make_released(config: MarsConfig, channels: int, **changes):
    """Return the network timm makes for the layout of the released files."""
    return timm.create_model(
        "swinv2_base_window8_256",
        pretrained=False,
        features_only=True,
        **{
            "img_size": config.image_px,
            "in_chans": channels,
            "embed_dim": config.embed_dim,
            "depths": config.depths,
            "num_heads": config.heads,
            "window_size": config.window,
            "mlp_ratio": config.mlp_ratio,
            **changes,
        },
    )


def awake(module, seed=3):
    """Give a module weights that all do something."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=draw) * 0.2)
    return module.eval()


@pytest.mark.parametrize(
    ("name", "channels", "published"), [("mars-base", 1, 86_887_672), ("mars-large", 3, 195_199_860)]
)
def test_released_encoders_have_exactly_the_names_and_shapes_of_ours(name, channels, published):
    config = find_preset(name)
    with torch.device("meta"):
        theirs = make_released(config, channels).state_dict()
        ours = feature_names(MarsEncoder(config, channels))
    named = {key.replace("layers_", "layers."): value.shape for key, value in theirs.items()}
    assert len(named) == 421
    assert named == {key: value.shape for key, value in ours.items()}
    assert sum(value.numel() for value in ours.values()) == published


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("modality", "channels"), [("rgb", 3), ("sar", 1)])
def test_a_released_encoder_answers_as_it_does_in_timm(tmp_path, modality, channels, suffix):
    theirs = awake(make_released(SMALL, channels))
    path = tmp_path / f"encoder{suffix}"
    if suffix == ".pth":
        torch.save({"model": theirs.state_dict()}, path)
    else:
        save_file(theirs.state_dict(), path)
    network = make_mars()
    encoder = network.encoder_rgb if modality == "rgb" else network.encoder_sar
    token = encoder.mask_token.clone()
    load_encoder(encoder, path, SMALL, modality)
    image = draw_images()[modality == "sar"]
    with torch.no_grad():
        for mine, expected in zip(encoder(image), theirs(image), strict=True):
            assert torch.equal(mine, expected.permute(0, 3, 1, 2))
    assert torch.equal(encoder.mask_token, token)


def spoil(state, how):
    """Return an encoder's tensors with something wrong."""
    name = "layers_2.blocks.1.attn.qkv.weight"
    if how == "missing":
        return {key: value for key, value in state.items() if key != name}
    if how == "unknown":
        return {**state, "layers_4.extra": torch.ones(1)}
    if how == "shape":
        return {**state, name: state[name][:, :-1].contiguous()}
    strange = {
        "not finite": torch.full_like(state[name], float("nan")),
        "no plain tensor": torch.ones_like(state[name]).to(torch.complex64),
    }
    return {**state, name: strange[how]}


@pytest.mark.parametrize("how", ["missing", "unknown", "shape", "not finite", "no plain tensor"])
def test_an_encoder_that_is_not_whole_is_refused_and_nothing_is_taken(tmp_path, how):
    encoder = awake(MarsEncoder(SMALL, 3), seed=1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.save(spoil(awake(make_released(SMALL, 3)).state_dict(), how), tmp_path / "spoilt.pth")
    with pytest.raises(DataError, match=rf"spoilt\.pth.*small.*{how}"):
        load_encoder(encoder, tmp_path / "spoilt.pth", SMALL, "rgb")
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_another_modality_or_preset_is_told_by_both_names(tmp_path):
    torch.save(make_released(SMALL, 1).state_dict(), tmp_path / "sar.pth")
    with pytest.raises(InputError, match=r"1 channels; expected 3 for rgb"):
        load_encoder(MarsEncoder(SMALL, 3), tmp_path / "sar.pth", SMALL, "rgb")
    base = {"patch_embed.proj.weight": torch.zeros(128, 3, 4, 4)}
    torch.save(base, tmp_path / "base.pth")
    with pytest.raises(InputError, match=r"'mars-base', not of 'small'"):
        load_encoder(MarsEncoder(SMALL, 3), tmp_path / "base.pth", SMALL, "rgb")
    torch.save(make_released(SMALL, 3).state_dict(), tmp_path / "rgb.pth")
    with pytest.raises(DataError, match="load_encoder"):
        load_mars(SMALL, tmp_path / "rgb.pth")


@pytest.mark.parametrize("size", [634_126_336, 639_631_360])
def test_the_large_files_as_published_are_known_to_be_cut_off(tmp_path, size):
    path = tmp_path / "large.pth"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(size)  # takes no room on disk
    with pytest.raises(DataError, match=rf"{size:,} bytes.*mars-large.*cut off"):
        read_state(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", [0.9, 0.5])
def test_any_file_that_ends_too_early_is_said_to_be_cut_off(tmp_path, suffix, part):
    encoder, path = MarsEncoder(SMALL, 3), tmp_path / f"half{suffix}"
    state = awake(make_released(SMALL, 3)).state_dict()
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DataError, match="was cut off; it has"):
        load_encoder(encoder, path, SMALL, "rgb")


class Evil:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def test_files_that_are_no_weights_are_one_line_and_run_nothing(tmp_path):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil(tmp_path / "ran")}, protocol=2))
    (tmp_path / "noise.safetensors").write_bytes(b"no weights at all")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "odd.safetensors").write_bytes((7).to_bytes(8, "little") + b'{"a":1}')
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("evil.pth", "noise.safetensors", "empty.safetensors", "odd.safetensors", "list.pth"):
        with pytest.raises(DataError, match=name) as caught:
            read_state(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(NotFoundError, match="absent"):
        read_state(tmp_path / "absent.pth")
    with pytest.raises(NotFoundError, match="absent"):
        load_mars(SMALL, tmp_path / "absent.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="MaRS"):
        load_mars(SMALL, tmp_path / "other.safetensors")


def test_a_network_comes_back_from_half_precision_with_its_texts(tmp_path):
    network, (rgb, sar) = make_mars(), draw_images()
    content = encode_mars(network, {"statistics": "{}"})
    assert all(encode_mars(network, {"statistics": "{}"}) == content for _ in range(3))
    path = tmp_path / "small.safetensors"
    path.write_bytes(content)
    assert read_metadata(path) == {"preset": "small", "statistics": "{}"}
    again = load_mars(SMALL, path)
    assert not again.training
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float())
    with torch.no_grad():
        one, other = again(rgb, sar).dense, network(rgb, sar).dense
    torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)


def test_a_network_is_found_inside_what_was_trained(tmp_path):
    network = make_mars()
    state = {f"student.{name}": value.half() for name, value in network.state_dict().items()}
    teacher = {f"teacher.{name}": value for name, value in network.encoder_rgb.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    path.write_bytes(encode_weights({**state, **teacher}, {"name": "small", "step": 3}))
    assert read_metadata(path)["preset"] == "small"
    assert json.loads(read_metadata(path)["model"])["step"] == 3
    again = load_mars(SMALL, path).state_dict()
    assert all(torch.equal(again[name.removeprefix("student.")], v.float()) for name, v in state.items())


def test_a_checkpoint_of_another_preset_names_both(tmp_path):
    path = tmp_path / "small.safetensors"
    path.write_bytes(encode_mars(make_mars()))
    with pytest.raises(InputError, match=r"'small', not of 'mars-tiny'"):
        load_mars(find_preset("mars-tiny"), path)
    with pytest.raises(
        DataError, match=r"does not fit 'small' with reference_compat: 'temperature' is missing"
    ):
        load_mars(replace(SMALL, reference_compat=True), path)
    other = replace(SMALL, name="other", mma_rounds=1)
    with pytest.raises(DataError, match=r"does not fit 'other'.*unknown"):
        load_mars(other, path)


def test_weights_beyond_half_precision_are_not_written():
    network = make_mars()
    with torch.no_grad():
        network.mma.norm.weight[0] = 1e6
    with pytest.raises(DataError, match=r"mma\.norm\.weight"):
        encode_mars(network)


def test_presets_without_weights_say_so():
    with pytest.raises(InputError, match="terraloom train"):
        find_weights("mars-large")
    with pytest.raises(InputError, match="mars-large"):
        load_mars(find_preset("mars-large"))
