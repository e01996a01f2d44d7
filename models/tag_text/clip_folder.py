"""Find the folder of a CLIP text model, fetch it when asked, and name it by its content."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from infra.digests import sha256_of_file, sha256_of_json
from infra.errors import ConfigError, InputError, NotFoundError, TransientError

_TOKENIZER_SETS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_USED = ("config.json", "tokenizer*.json", "vocab.json", "merges.txt", "*.safetensors", "*.index.json")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
_OLDEST_TRANSFORMERS = 5  # older ones take no tree-shaped attention in CLIP


def import_transformers() -> ModuleType:
    """Import transformers, which is large and optional.

    Raises:
        ConfigError: it is not installed, or older than 5.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as exc:
        raise ConfigError(
            "the CLIP text encoder needs the package transformers; install it, or use the hashed encoder"
        ) from exc
    if int(transformers.__version__.partition(".")[0]) < _OLDEST_TRANSFORMERS:
        raise ConfigError(
            f"transformers is {transformers.__version__}; the CLIP text encoder needs 5 or newer"
        )
    return transformers


def find_clip_folder(source: str | Path, *, download: bool = False) -> Path:
    """Return the local folder of a CLIP model.

    Args:
        source: A folder with ``config.json``, weights as safetensors and the tokenizer's files; or, with
            ``download``, a name on the Hugging Face hub: ``owner/model``, or ``owner/model@revision``.
        download: Fetch a hub name into the hub's own cache; the network is used for nothing else.

    Raises:
        InputError: no such folder, or something is missing in it.
        NotFoundError: the hub has no such model.
        TransientError: the hub cannot be reached.
        ConfigError: the package huggingface_hub is not installed.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not download or not _HUB_NAME.fullmatch(str(source)):
            raise InputError(
                f"no folder {source}; expected the folder of a CLIP text model, with config.json, "
                "safetensors and tokenizer, or with download=True a name owner/model on the hub"
            )
        folder = _fetch(str(source))
    missing = list(_missing(folder))
    if missing:
        raise InputError(f"the CLIP folder {folder} lacks {', '.join(missing)}; save it with save_pretrained")
    return folder


def name_clip_folder(folder: Path) -> str:
    """Name a model by the content of its files: ``clip-text/`` and 16 hexadecimal digits."""
    files = sorted({file for pattern in _USED for file in folder.glob(pattern)})
    return f"clip-text/{sha256_of_json([[file.name, sha256_of_file(file)] for file in files])[:16]}"


def _missing(folder: Path) -> Iterator[str]:
    if not (folder / "config.json").is_file():
        yield "config.json"
    if not any(folder.glob("*.safetensors")):
        yield "weights as .safetensors (pickled .bin and .pth are not read)"
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZER_SETS):
        yield "tokenizer.json, or vocab.json and merges.txt"


def _fetch(name: str) -> Path:
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as exc:
        raise ConfigError(f"fetching {name} needs the package huggingface_hub; install transformers") from exc
    errors = importlib.import_module("huggingface_hub.errors")
    model, _, revision = name.partition("@")
    try:
        return Path(hub.snapshot_download(model, revision=revision or None, allow_patterns=list(_USED)))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as exc:
        raise NotFoundError(f"the hub has no model {name}, or it is not public") from exc
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as exc:
        raise TransientError(f"model {name} cannot be fetched from the hub: {type(exc).__name__}") from exc
