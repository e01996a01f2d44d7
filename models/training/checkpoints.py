"""Keep a training's state on disk: whole files only, safetensors, nothing that could run code."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import nn

from infra.errors import AppError, ConfigError, DataError, InputError, NotFoundError

logger = logging.getLogger(__name__)

BEST_NAME = "best.safetensors"
FORMAT = 1
_KEPT = 2
_MARKS, _FACTS = "marks", "model"
_PARAMETER, _BUFFER, _OPTIMISER = "parameter.", "buffer.", "optimiser."
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Hold where a training stands, beside its tensors.

    Attributes:
        identity: Digest of what is trained and how; a checkpoint of another one is not resumed.
        step: Steps done.
        seconds: Wall clock spent on them, all sessions together.
        best_step: Step of the best evaluation; None before the first one with a score.
        best_score: Its score.
        setting: What the numbers also depend on: device, precision, processes, threads.
    """

    identity: str
    step: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_score: float | None = None
    setting: str = ""
    format: int = FORMAT


def checkpoint_name(step: int) -> str:
    """Return the file name of a step's checkpoint; names sort as steps do."""
    return f"checkpoint-{step:09d}.safetensors"


def keep_checkpoint(folder: Path, module: nn.Module, optimiser: torch.optim.Optimizer, marks: Marks) -> Path:
    """Write a checkpoint whole, and remove all but the newest two.

    Raises:
        ConfigError: the disk is full or may not be written.
    """
    tensors = module_tensors(module)
    for row, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"{_OPTIMISER}{row}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    path = _write(folder / checkpoint_name(marks.step), tensors, marks)
    for old in list_checkpoints(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def keep_best(folder: Path, module: nn.Module, marks: Marks) -> None:
    """Write the weights of the best step so far, without the optimiser's state."""
    _write(folder / BEST_NAME, module_tensors(module), marks)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return a training's checkpoints, newest first."""
    return sorted(folder.glob("checkpoint-[0-9]*[0-9].safetensors"), reverse=True)


def forget_checkpoints(folder: Path) -> None:
    """Remove a training's checkpoints: its result stands elsewhere."""
    for path in (*list_checkpoints(folder), folder / BEST_NAME):
        path.unlink(missing_ok=True)


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, by its name; 0 where there is none."""
    found = list_checkpoints(folder)
    return int(found[0].stem.rpartition("-")[2]) if found else 0


def module_tensors(module: nn.Module) -> Tensors:
    """Return copies of a module's parameters and buffers on the CPU, named apart."""
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return {
        (_PARAMETER if name in parameters else _BUFFER) + name: value.detach().cpu().clone().contiguous()
        for name, value in module.state_dict().items()
    }


def read_newest(folder: Path) -> tuple[Tensors, Marks] | None:
    """Return the newest checkpoint that can be read; None where there is none at all.

    Raises:
        DataError: there are some, and none can be read.
    """
    complaint: AppError | None = None
    for path in list_checkpoints(folder):
        try:
            return read_checkpoint(path)
        except DataError as exc:
            logger.warning("%s", exc.message)
            complaint = exc
    if complaint is not None:
        raise complaint
    return None


def read_checkpoint(path: Path) -> tuple[Tensors, Marks]:
    """Read a file that this module wrote.

    Raises:
        DataError: it is absent, cut, altered, or of another kind.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            marks = Marks(**json.loads((file.metadata() or {})[_MARKS]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError) as exc:
        raise DataError(f"{path} is not a readable checkpoint ({exc}); delete it and resume") from exc
    if marks.format != FORMAT:
        raise DataError(f"{path} is a checkpoint of format {marks.format}, expected {FORMAT}; delete it")
    return tensors, marks


def restore_module(module: nn.Module, tensors: Tensors) -> None:
    """Put a checkpoint's weights into a module.

    Raises:
        InputError: names or shapes differ: the model was changed since.
    """
    state = {
        name.partition(".")[2]: value
        for name, value in tensors.items()
        if name.startswith((_PARAMETER, _BUFFER))
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as exc:
        difference = " ".join(str(exc).split())[:300]
        raise InputError(
            f"the checkpoint does not fit the model, which was changed since ({difference}); train it anew"
        ) from exc


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put a checkpoint's moments into an optimiser over the same weights."""
    state: dict[int, Tensors] = {}
    for name, value in tensors.items():
        if name.startswith(_OPTIMISER):
            row, _, field = name.removeprefix(_OPTIMISER).partition(".")
            state.setdefault(int(row), {})[field] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def half_weights(tensors: Tensors) -> Tensors:
    """Return the weights in half precision under the module's own names; buffers and whole numbers stay.

    Raises:
        DataError: a weight is beyond what half precision holds.
    """
    made: Tensors = {}
    for name, value in tensors.items():
        kind, _, own = name.partition(".")
        if f"{kind}." == _PARAMETER and value.is_floating_point():
            made[own] = value.half()
            if not bool(torch.isfinite(made[own]).all()):
                raise DataError(
                    f"weights {own!r} do not fit half precision: up to {float(value.abs().max()):g}"
                )
        elif f"{kind}." != _OPTIMISER:
            made[own] = value
    return made


def count_parameters(tensors: Tensors) -> int:
    """Return how many numbers a checkpoint's parameters hold."""
    return sum(value.numel() for name, value in tensors.items() if name.startswith(_PARAMETER))


def encode_weights(tensors: Tensors, facts: Mapping[str, Any]) -> bytes:
    """Write weights as safetensors; the same weights and facts give the same bytes."""
    # One entry: safetensors writes several in an order of chance.
    return bytes(save(tensors, {_FACTS: json.dumps(dict(facts), sort_keys=True)}))


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts that ``encode_weights`` wrote into a file; none where it says nothing of the kind.

    Raises:
        NotFoundError: there is no such file.
    """
    if not path.is_file():
        raise NotFoundError(f"weights {path} do not exist; give a file that a training has left")
    try:
        with safe_open(str(path), framework="pt") as file:
            said = json.loads((file.metadata() or {})[_FACTS])
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}  # others' weights, which their reader will judge
    return said if isinstance(said, dict) else {}


def trained_name(path: Path) -> str | None:
    """Return the name of the model that ``encode_weights`` wrote into a file; None where it says none.

    Raises:
        NotFoundError: there is no such file.
    """
    said = read_facts(path).get("name")
    return said if isinstance(said, str) else None


def _write(path: Path, tensors: Tensors, marks: Marks) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, str(part), {_MARKS: json.dumps(dataclasses.asdict(marks))})
        with part.open("rb") as file:
            os.fsync(file.fileno())  # a name must not outlive the bytes when the machine goes down
        part.replace(path)
    except (OSError, SafetensorError) as exc:
        raise ConfigError(f"checkpoint {path} cannot be written: {exc}; free some room and resume") from exc
    finally:
        part.unlink(missing_ok=True)
    return path
