"""Weights of MaRS from files: our own whole networks, and the encoders its authors released.

Files are safetensors, or pickles read by torch with ``weights_only=True``, which runs no code.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from infra.errors import DataError, InputError, NotFoundError
from models.mars.config import CHANNELS, MarsConfig
from models.mars.encoder import MarsEncoder
from models.mars.network import Mars
from models.mars.presets import PRESETS

Modality = Literal["rgb", "sar"]
PRESET_KEY = "preset"
"""Entry of a safetensors file's metadata that names the preset its weights are of."""
PUBLISHED_CUT_OFF = {634_126_336: "rgb", 639_631_360: "sar"}
"""Sizes of the large encoders' files as published (Zenodo 17800805): both end before their tensors do."""
_TRAINED_KEY = "model"  # as models/training writes it
_MAX_BYTES = 2 * 1024**3
_MAX_HEADER = 16 * 1024**2
_NESTS = ("state_dict", "model", "model_state_dict")
_OUTSIDE_FEATURES = ("norm.", "head.")
_ANCHOR = "encoder_rgb.mask_token"
_EMBEDDING = "patch_embed.proj.weight"
_UNREADABLE = (
    SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError,
    AssertionError, AttributeError, TypeError, struct.error,
)  # fmt: skip
"""What the readers raise on broken files: torch's own checks are assertions and plain look-ups."""


def find_weights(preset: str) -> Path:
    """Return the weights that come with a preset.

    Raises:
        InputError: none do.
    """
    path = Path(__file__).parent / "weights" / f"{preset}.safetensors"
    if not path.is_file():
        raise InputError(
            f"No weights come with {preset!r}; train it (terraloom train) and name the file with weights=…"
        )
    return path


def load_mars(config: MarsConfig, path: Path | None = None) -> Mars:
    """Return a network with weights from a file, in evaluation mode on the CPU.

    Args:
        config: the preset the weights are of.
        path: safetensors or torch file of a whole network, alone or as a part of what was trained; None
            for the weights that come with the preset.

    Raises:
        InputError: no weights come with the preset, or the file holds another preset's.
        NotFoundError: there is no such file.
        DataError: the file is cut off or not readable, or its tensors are not those of a network.
    """
    path = path if path is not None else find_weights(config.name)
    state = read_state(path)
    prefix = next((name.removesuffix(_ANCHOR) for name in state if name.endswith(_ANCHOR)), None)
    if prefix is None:
        hint = "load a released encoder with load_encoder" if _looks_released(state) else "is it of MaRS?"
        raise DataError(
            f"{path} holds no whole MaRS: {_ANCHOR!r} is missing among {len(state)} names; {hint}"
        )
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    embedding = own.get(f"encoder_rgb.swin.{_EMBEDDING}")
    _check_preset(config, embedding, path, stated=read_metadata(path).get(PRESET_KEY))
    network = Mars(config)
    _fill(network, own, path, f"{config.name!r}{' with reference_compat' if config.reference_compat else ''}")
    return network.eval()


def load_encoder(encoder: MarsEncoder, path: Path, config: MarsConfig, modality: Modality) -> None:
    """Set an encoder's weights from a file its authors released, in timm's ``features_only`` layout.

    All tensors of the four stages must be there, and nothing else; the mask's token, the final norm and a
    classifier, which these files leave out, keep what they have.

    Args:
        encoder: of the network; its weights are replaced.
        path: ``.pth`` or safetensors.
        config: the preset of the encoder.
        modality: it looks at.

    Raises:
        NotFoundError: there is no such file.
        InputError: the file holds another preset's or modality's encoder.
        DataError: it is cut off, is not readable, or holds other tensors.
    """
    wanted = feature_names(encoder)
    needed = sum(value.numel() * 4 for value in wanted.values())
    state = read_state(path, needed_bytes=needed)
    renamed = {re.sub(r"^(?:module\.)?layers_(\d)\.", r"layers.\1.", name): v for name, v in state.items()}
    _check_preset(config, renamed.get(_EMBEDDING), path)
    channels = renamed[_EMBEDDING].shape[1] if _EMBEDDING in renamed else CHANNELS[modality]
    if channels != CHANNELS[modality]:
        raise InputError(
            f"{path} encodes images of {channels} channels; expected {CHANNELS[modality]} for {modality}."
        )
    kept = {f"swin.{name}": value for name, value in renamed.items()}
    rest = {name: v for name, v in encoder.state_dict().items() if name.removeprefix("swin.") not in wanted}
    _fill(encoder, {**rest, **kept}, path, f"the {modality} encoder of {config.name!r}")


def feature_names(encoder: MarsEncoder) -> dict[str, Tensor]:
    """Return the tensors of an encoder's stages, by the names of timm's network; 421 for base and large."""
    state = encoder.swin.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(_OUTSIDE_FEATURES)}


def encode_mars(network: Mars, metadata: Mapping[str, str] | None = None) -> bytes:
    """Spell a network as float16 safetensors; the same weights and metadata give the same bytes.

    Args:
        network: with its weights.
        metadata: texts to keep beside them, such as the statistics of the data.

    Raises:
        DataError: a weight is beyond what half precision holds.
    """
    state = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise DataError(
                f"Weights {name!r} do not fit half precision; train with a smaller learning rate."
            )
    texts = {PRESET_KEY: network.config.name, **(metadata or {})}
    content = bytes(save(state, dict(sorted(texts.items()))))
    return _sort_header(content)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts a safetensors file keeps beside its tensors; of other files none.

    ``preset`` is also read from what a training wrote.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is not readable.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no weights file {path}.")
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(str(path), framework="pt") as file:
            texts = dict(file.metadata() or {})
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if PRESET_KEY not in texts and _TRAINED_KEY in texts:
        try:
            texts[PRESET_KEY] = str(json.loads(texts[_TRAINED_KEY])["name"])
        except (ValueError, TypeError, LookupError, RecursionError):
            return texts  # others' entry of that name; shapes will tell
    return texts


def read_state(path: Path, *, needed_bytes: int = 0) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name.

    Args:
        path: safetensors by its suffix, else what torch saves.
        needed_bytes: what the tensors take that are looked for; told when the file was cut off.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is cut off, too large, or holds anything but named tensors.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no weights file {path}.")
    _check_size(path, needed_bytes)
    try:
        content: object
        if path.suffix == ".safetensors":
            with safe_open(str(path), framework="pt") as file:
                content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    for nest in _NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(f"{path} holds no tensors by name, but a {type(content).__name__}.")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _check_size(path: Path, needed: int) -> None:
    """Refuse files that end before their tensors do, saying how much is missing."""
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise DataError(f"{path} has {size:,} bytes; weights have at most {_MAX_BYTES:,}.")
    if size in PUBLISHED_CUT_OFF:
        raise DataError(
            f"{path} has {size:,} bytes: the published {PUBLISHED_CUT_OFF[size]} encoder of mars-large, "
            "which was cut off in its upload; its tensors take more than 780 million. Get a whole copy."
        )
    with path.open("rb") as file:
        start = file.read(8)
        if path.suffix == ".safetensors" and len(start) == 8:
            (header,) = struct.unpack("<Q", start)
            texts = file.read(min(header, _MAX_HEADER))
            needed = 8 + header + _stated_end(texts)
    zipped = start[:4] == b"PK\x03\x04"
    cut = size < needed if path.suffix == ".safetensors" else zipped and not zipfile.is_zipfile(path)
    if cut:
        missing = f": its tensors take {needed:,}" if needed > size else ", and no end"
        raise DataError(f"{path} was cut off; it has {size:,} bytes{missing}. Copy or download it again.")


def _stated_end(header: bytes) -> int:
    try:
        entries = json.loads(header)
        return max(int(one["data_offsets"][1]) for name, one in entries.items() if name != "__metadata__")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return 0  # the reader itself says what is wrong with it


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} holds no weights that can be read ({type(error).__name__}); expected safetensors, or a "
        "torch file of nothing but tensors."
    )


def _looks_released(state: Mapping[str, Tensor]) -> bool:
    return any(re.match(r"layers_\d\.blocks\.", name) for name in state)


def _check_preset(
    config: MarsConfig, embedding: Tensor | None, path: Path, *, stated: str | None = None
) -> None:
    """Refuse weights of another width than the preset's, by the names of both."""
    width = embedding.shape[0] if embedding is not None and embedding.ndim == 4 else config.embed_dim
    if width == config.embed_dim:
        return
    known = (name for name, preset in PRESETS.items() if preset.embed_dim == width)
    found = next(known, stated or f"an unknown preset of {width} features")
    raise InputError(f"{path} holds weights of {found!r}, not of {config.name!r}; load it as the former.")


def _fill(module: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Set all of a module's tensors, strictly."""
    own = module.state_dict()
    wrong = [f"{name!r} is missing" for name in own if name not in state]
    wrong += [f"{name!r} is unknown" for name in state if name not in own]
    taken = {name: value for name, value in state.items() if name in own}
    wrong += [text for name, value in taken.items() if (text := _misfit(name, value, own[name]))]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(f"{path} does not fit {what}: {'; '.join(wrong[:3])}{more}.")
    module.load_state_dict(taken)


def _misfit(name: str, value: Tensor, own: Tensor) -> str:
    if value.shape != own.shape:
        return f"{name!r} has the shape {tuple(value.shape)}, expected {tuple(own.shape)}"
    if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
        return f"{name!r} is no plain tensor of real numbers"
    if not bool(value.to(own.dtype).isfinite().all()):
        return f"{name!r} is not finite"
    return ""


def _sort_header(content: bytes) -> bytes:
    """Put the metadata's entries in order: safetensors writes several in an order of chance."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors start at multiples of 8 bytes; blanks fill up, as the format has it.
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]
