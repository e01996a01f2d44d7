"""Remember, for each catalogue this user made here, which folders outside it its files may lie in.

A catalogue may name files below its own folder only (``infra.urls``). One made by ``terraloom stac`` points
at the user's own images elsewhere: making it was the permission. It is kept in the user's state folder, not
in the catalogue, where anybody could write one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path


def grant_roots(catalogue: Path, roots: Iterable[Path]) -> Path:
    """Allow a catalogue folder to name files below other folders.

    Returns:
        The file that holds the permission; deleting it takes it back.

    Raises:
        OSError: the user's state folder cannot be written.
    """
    file = _file_of(catalogue.resolve())
    merged = sorted({str(root.resolve()) for root in roots} | set(_read(file, catalogue.resolve())))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps({"catalogue": str(catalogue.resolve()), "roots": merged}, indent=1))
    partial.replace(file)
    return file


def granted_roots(catalogue: Path) -> tuple[str, ...]:
    """List the folders that a catalogue, or the catalogue it lies in, may name files below."""
    place = catalogue.resolve()
    found = {root for folder in (place, *place.parents) for root in _read(_file_of(folder), folder)}
    return tuple(sorted(found))


def _file_of(folder: Path) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    name = sha256(str(folder).encode()).hexdigest()[:32]
    return Path(state) / "terraloom" / "grants" / f"{name}.json"


def _read(file: Path, catalogue: Path) -> list[str]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return []
    if not isinstance(content, dict) or content.get("catalogue") != str(catalogue):
        return []
    return [root for root in content.get("roots", []) if isinstance(root, str)]
