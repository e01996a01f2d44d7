"""Which code trains a model: version, commit, and a digest of the sources that take part."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from infra.errors import InternalError

_ROOT = Path(__file__).resolve().parents[2]
_LOOP = "models.training.loop"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def describe_code(entry: str) -> dict[str, str]:
    """Return version, commit where it is known, and digest.

    Args:
        entry: Where the model is made, as ``registry.entry_of`` says.
    """
    try:
        named = version("terraloom")
    except PackageNotFoundError:  # a GPU machine may hold the sources only
        named = "not installed"
    commit = _find_commit(_ROOT)
    return {"version": named, **({"commit": commit} if commit else {}), "digest": source_digest(entry)}


def source_digest(entry: str) -> str:
    """Digest the sources of a model and of the loop; 64 hexadecimal digits.

    It is part of a training's identity: a model that was changed is another model. Only files that the
    model's own imports lead to, within ``models``, take part: others cannot change what is trained.

    Args:
        entry: Where the model is made.
    """
    digest = hashlib.sha256()
    for name, file in sorted(_reach([entry.partition(":")[0], _LOOP]).items()):
        content = file.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _reach(names: list[str]) -> dict[str, Path]:
    """Return the modules that imports lead to, the given ones included: name → file."""
    reached: dict[str, Path] = {}
    todo = {name: _file_of_entry(name) for name in names}
    while todo:
        name, file = todo.popitem()
        reached[name] = file
        todo |= {one: path for one, path in _imports(file) if one not in reached}
    return reached


def _imports(file: Path) -> Iterator[tuple[str, Path]]:
    """Give the modules of ``models`` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = _ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("models.") and path.is_file():
                yield name, path


def _file_of_entry(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InternalError(f"module {module}, which makes a model, has no source file")
    return Path(spec.origin)


def _find_commit(root: Path) -> str | None:
    """Read the commit that is checked out; None where there is no plain repository."""
    try:
        head = (root / ".git" / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            head = (root / ".git" / head.removeprefix("ref: ")).read_text().strip()
    except OSError:
        return None
    return head if _COMMIT.fullmatch(head) else None
