"""Turn tags into vectors with the text model of CLIP, as GeoLink does, each beginning read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import ConfigError, DataError
from models.tag_text.clip_folder import find_clip_folder, import_transformers, name_clip_folder
from models.tag_text.packing import PackedBatch, TokenTree, average_paths, grow_even_trees, stack_trees

if TYPE_CHECKING:
    import torch


class ClipTextEncoder:
    """Encode texts as the mean of CLIP's last hidden states, the start token left out, the end token in.

    Texts longer than the model's 77 tokens are cut there, their end token kept. Texts share sequences
    (``models.tag_text.packing``), which changes a vector by some 1e-6 of its length at most.

    Args:
        source: Folder of a CLIP model (text only or whole), safetensors only; see ``find_clip_folder``.
        device: Where torch computes: ``cpu``, ``cuda``, ``cuda:1``.
        batch_size: Shared sequences (of up to 77 tokens, some 20 tags each) per step of the model.
        download: Let ``source`` be a name on the hub.

    Raises:
        InputError: ``source`` is no such folder.
        ConfigError: transformers is missing or old, or torch has no such device.
        DataError: the files are damaged, or do not belong together.

    Source: Radford et al., "Learning transferable visual models from natural language supervision", 2021,
        arXiv:2103.00020; its use for tags: GeoLink, arXiv:2509.26016.
    """

    def __init__(
        self,
        source: str | Path,
        device: str = "cpu",
        batch_size: int = 8,
        *,
        download: bool = False,
    ) -> None:
        transformers = import_transformers()
        folder = find_clip_folder(source, download=download)
        self._tokenizer, self._model = _load(transformers, folder)
        self._device = _move(self._model, device)
        self._batch_size = max(1, batch_size)
        self._name = name_clip_folder(folder)

    @property
    def name(self) -> str:
        """``clip-text/`` and a digest of the model's files."""
        return self._name

    @property
    def width(self) -> int:
        """Numbers per vector: 512 for CLIP ViT-B/16."""
        return int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode n texts as ``(n, width)`` float32; the same text gives the same vector, to 1e-5."""
        out = np.empty((len(texts), self.width), np.float32)
        limit = int(self._model.config.max_position_embeddings)
        trees = grow_even_trees(self._number_tokens(texts, limit), limit)
        trees.sort(key=lambda tree: tree.tokens.size)  # sequences of a step are then of about one length
        for start in range(0, len(trees), self._batch_size):
            some = trees[start : start + self._batch_size]
            for tree, states in zip(some, self._run(stack_trees(some, 0)), strict=True):
                out[tree.rows] = _average(tree, states)
        return out

    def _number_tokens(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        if not texts:
            return []
        plain = [text.encode(errors="replace").decode() for text in texts]  # halves of letters are no text
        numbered = self._tokenizer(plain, truncation=True, max_length=limit)
        return list(numbered["input_ids"])

    def _run(self, batch: PackedBatch) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            done = self._model(
                input_ids=torch.from_numpy(batch.tokens).to(self._device),
                position_ids=torch.from_numpy(batch.positions).to(self._device),
                attention_mask=torch.from_numpy(batch.attends).to(self._device),
            )
        states: torch.Tensor = done.last_hidden_state.float().cpu()
        return states


def word_as_geolink(tag: str) -> str:
    """Spell ``key:yes`` as ``key:key``, as the labels do that GeoLink's published weights have seen.

    Only texts for those weights need it; everywhere else a tag keeps OSM's value.
    """
    key, colon, value = tag.partition(":")
    return f"{key}:{key}" if colon and value == "yes" else tag


def _average(tree: TokenTree, states: torch.Tensor) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = average_paths(tree) @ states[: tree.tokens.size].numpy()
    return mean


def _load(transformers: ModuleType, folder: Path) -> tuple[Any, Any]:
    """Load tokenizer and text model: safetensors only, no code from the folder, every weight present."""
    import torch
    from safetensors import SafetensorError

    try:
        with _quiet(transformers):
            tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            model, report = transformers.CLIPTextModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="sdpa",  # the one that takes a mask of booleans
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as exc:
        raise DataError(f"the CLIP model in {folder} cannot be loaded: {str(exc)[:200]}") from exc
    _check_weights(folder, report)
    if len(tokenizer) > model.config.vocab_size:
        raise DataError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, the model {model.config.vocab_size}: "
            "they do not belong together"
        )
    return tokenizer, model.eval()


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Keep progress bars and the list of a whole CLIP's unused image weights off the terminal."""
    logs = transformers.utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


def _check_weights(folder: Path, report: dict[str, Iterable[object]]) -> None:
    # transformers fills weights that are missing, or have another shape, with random numbers and goes on
    strange = sorted({*map(str, report["missing_keys"]), *map(str, report["mismatched_keys"])})
    if strange:
        raise DataError(f"the CLIP model in {folder} lacks {len(strange)} weights: {strange[0][:120]} …")


def _move(model: torch.nn.Module, device: str) -> torch.device:
    import torch

    try:
        place = torch.device(device)
        model.to(place)
    except (RuntimeError, AssertionError) as exc:
        raise ConfigError(f"torch cannot compute on {device!r} here: {str(exc).splitlines()[0]}") from exc
    return place
