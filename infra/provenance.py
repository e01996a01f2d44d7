"""Say which code made something, and refuse to run two copies of it at once."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from infra.errors import ConfigError

PACKAGES = ("flows", "tasks", "models", "catalog", "infra")


def project_version() -> str:
    """Return the installed version of this project."""
    try:
        return version("terraloom")
    except PackageNotFoundError as exc:
        raise ConfigError("terraloom is not installed in this Python; run 'make install'") from exc


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return distribution → installed version, sorted by name.

    Raises:
        ConfigError: one of them is not installed.
    """
    try:
        return {name: version(name) for name in sorted(names)}
    except PackageNotFoundError as exc:
        raise ConfigError(f"package {exc.name} is not installed; run 'make install'") from exc


def assert_single_checkout() -> Path:
    """Return the one folder that all five packages are imported from.

    Raises:
        ConfigError: they come from several, so flow and workers could run different code.
    """
    roots = {_folder_of(package) for package in PACKAGES}
    if len(roots) != 1:
        listed = ", ".join(sorted(str(root) for root in roots))
        raise ConfigError(f"the project is imported from several places: {listed}; keep one installation")
    return roots.pop()


def _folder_of(package: str) -> Path:
    spec = importlib.import_module(package).__spec__
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.parent
