"""Provenance: which code is this, and is it one copy."""

import importlib.machinery
import sys
import types
from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.provenance import PACKAGES, assert_single_checkout, package_versions, project_version

ROOT = Path(__file__).resolve().parents[2]


def test_the_checkout_under_test_is_the_one_imported():
    assert assert_single_checkout() == ROOT


def test_a_second_copy_is_noticed(tmp_path, monkeypatch):
    stray = types.ModuleType("models")
    stray.__spec__ = importlib.machinery.ModuleSpec(
        "models", None, origin=str(tmp_path / "models" / "__init__.py")
    )
    monkeypatch.setitem(sys.modules, "models", stray)
    with pytest.raises(ConfigError, match="imported from several places") as caught:
        assert_single_checkout()
    assert str(tmp_path) in caught.value.message
    assert str(ROOT) in caught.value.message


def test_version_is_the_installed_one():
    assert project_version().count(".") >= 2


def test_package_versions_are_sorted():
    versions = package_versions(["zarr", "numpy"])
    assert list(versions) == ["numpy", "zarr"]


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"'?terraloom-nonesuch'? is not installed; run 'make install'"):
        package_versions(["numpy", "terraloom-nonesuch"])


def test_packages_are_the_five():
    assert PACKAGES == ("flows", "tasks", "models", "catalog", "infra")
