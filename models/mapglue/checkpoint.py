"""Weights from files: our own, and those others published for SuperPoint and LightGlue.

Files are safetensors, or pickles read by torch with ``weights_only=True``, which runs no code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from infra.errors import DataError, InputError, NotFoundError

_MAX_BYTES = 512 * 1024 * 1024
_NESTS = ("state_dict", "model", "model_state_dict", "weights")
_SUPERPOINT = re.compile(r"^conv(?:[1-4][ab]|[PD][ab])\.(?:weight|bias)$")
_UNREADABLE = (
    SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError,
    AssertionError, AttributeError, TypeError, struct.error,
)  # fmt: skip
"""What the readers raise on broken files: torch's own checks are assertions and plain look-ups."""
_PREFIXES = ("module.", "matcher.", "net.")


@dataclass(frozen=True)
class LoadReport:
    """What of a checkpoint was taken.

    Attributes:
        loaded: names of parameters that were set.
        skipped: names in the file that were not taken, with the reason.
        missing: names of parameters that keep what they had.
    """

    loaded: tuple[str, ...]
    skipped: Mapping[str, str]
    missing: tuple[str, ...]


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is too large, or holds anything but named tensors.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no weights file {path}.")
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes; weights have at most {_MAX_BYTES}.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise DataError(
            f"{path} holds no weights that can be read ({type(error).__name__}); expected safetensors, or a "
            "torch file of nothing but tensors."
        ) from error
    return _tensors(content, path)


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    for nest in _NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(f"{path} holds no tensors by name, but a {type(content).__name__}.")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def load_weights(module: nn.Module, state: Mapping[str, Tensor], where: str) -> LoadReport:
    """Set a module's parameters from weights of its own kind; all must be there and fit.

    Raises:
        DataError: a parameter is missing, of another shape, or not finite.
    """
    report = _take(module, {_own_name(name): value for name, value in state.items()})
    if report.missing:
        reasons = [f"{name}: {why}" for name, why in report.skipped.items()][:3]
        raise DataError(
            f"{where} is no weights file of this preset: {len(report.missing)} parameters are missing, first "
            f"{report.missing[0]!r}{'; ' + '; '.join(reasons) if reasons else ''}."
        )
    return report


def load_superpoint(module: nn.Module, state: Mapping[str, Tensor], where: str) -> LoadReport:
    """Set a SuperPoint's parameters from the weights its authors published, by their names.

    Raises:
        DataError: nothing agrees.
    """
    mapped, foreign = _rename(state, lambda name: name if _SUPERPOINT.match(name) else None)
    return _require_some(_take(module, mapped, foreign), where, "SuperPoint", "conv1a.weight")


def load_lightglue(module: nn.Module, state: Mapping[str, Tensor], where: str) -> LoadReport:
    """Set a matching network's parameters from a public LightGlue checkpoint, where shapes agree.

    Both layouts are known: blocks as ``transformers.{i}.self_attn``, and ``self_attn.{i}`` of the first
    release. What MapGlue has beyond LightGlue keeps its start, at which it changes nothing.

    Raises:
        DataError: nothing agrees.
    """
    mapped, foreign = _rename(state, _lightglue_name)
    return _require_some(
        _take(module, mapped, foreign), where, "LightGlue", "transformers.0.self_attn.Wqkv.weight"
    )


def _lightglue_name(name: str) -> str | None:
    old = re.match(r"^(self_attn|cross_attn)\.(\d+)\.(.+)$", name)
    if old:
        name = f"transformers.{old[2]}.{old[1]}.{old[3]}"
    known = r"^(input_proj|posenc\.Wr|transformers\.\d+|log_assignment\.\d+|token_confidence\.\d+)\."
    return name if re.match(known, name) else None


def _own_name(name: str) -> str:
    # A training keeps the network alone; the matcher wraps it.
    return name.removeprefix("parameter.")


def _rename(
    state: Mapping[str, Tensor], rename: Callable[[str], str | None]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    mapped, foreign = {}, {}
    for name, value in state.items():
        bare = name
        for prefix in _PREFIXES:
            bare = bare.removeprefix(prefix)
        bare = bare.removeprefix("extractor.") if _SUPERPOINT.match(bare.removeprefix("extractor.")) else bare
        target = rename(bare)
        if target is None:
            foreign[name] = "no such part here"
        else:
            mapped[target] = value
    return mapped, foreign


def _take(
    module: nn.Module, state: Mapping[str, Tensor], foreign: Mapping[str, str] | None = None
) -> LoadReport:
    own = module.state_dict()
    skipped, taken = dict(foreign or {}), {}
    for name, value in state.items():
        if name not in own:
            skipped[name] = "no such parameter"
        elif own[name].shape != value.shape:
            skipped[name] = f"shape {tuple(value.shape)}, expected {tuple(own[name].shape)}"
        elif value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
            skipped[name] = "no plain tensor of real numbers"
        elif not (own_value := value.to(own[name].dtype)).isfinite().all():
            skipped[name] = "not finite"
        else:
            taken[name] = own_value
    module.load_state_dict(taken, strict=False)
    return LoadReport(tuple(sorted(taken)), skipped, tuple(sorted(own.keys() - taken.keys())))


def _require_some(report: LoadReport, where: str, kind: str, example: str) -> LoadReport:
    if not report.loaded:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(report.skipped.items())[:3])
        raise DataError(
            f"{where} holds nothing of a {kind} that fits: expected names such as {example!r}"
            f"{', found ' + reasons if reasons else ', found no tensor'}."
        )
    return report


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
