"""The house: who may import whom, one copy of everything, and no room too large."""

import ast
import importlib
import importlib.metadata
import pickle
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import AppError
from infra.provenance import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80


def test_imports_go_down_only():
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which(
        "lint-imports"
    )
    assert command, "import-linter is a test dependency"
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_the_checkouts(package):
    file = importlib.import_module(package).__file__
    assert Path(file).resolve().parent == ROOT / package


def test_no_other_distribution_owns_our_names():
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"terraloom"}


def test_no_module_of_flows_is_named_like_a_package():
    assert not {module.name for module in pkgutil.iter_modules([str(ROOT / "flows")])} & set(PACKAGES)


def test_errors_of_all_packages_pickle():
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if not module.name.startswith(("flows.", "tasks.")):  # those start Prefect; they define no errors
                importlib.import_module(module.name)
    kinds, todo = set(), [AppError]
    while todo:
        kind = todo.pop()
        kinds.add(kind)
        todo.extend(kind.__subclasses__())
    assert len(kinds) >= 7
    for kind in kinds:
        back = pickle.loads(pickle.dumps(kind("says what", place="where")))
        assert (type(back), back.message, back.context) == (kind, "says what", {"place": "where"})


@pytest.mark.parametrize("folder", ["flows", "tasks"])
def test_flows_and_tasks_define_no_errors(folder):
    for file in (ROOT / folder).rglob("*.py"):
        classes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]
        assert not [node.name for node in classes if node.name.endswith("Error")], file


def test_no_file_is_longer_than_the_budget():
    sizes = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in SOURCES}
    assert not {name: lines for name, lines in sizes.items() if lines > MAX_FILE_LINES}


def test_no_function_is_longer_than_the_budget():
    too_long = {}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    too_long[f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert not too_long


def test_package_files_hold_a_docstring_only():
    for file in SOURCES:
        if file.name == "__init__.py":
            body = ast.parse(file.read_text()).body
            assert len(body) == 1, file
            assert isinstance(body[0], ast.Expr), file


def test_no_drawer_is_called_utils():
    banned = {"utils", "util", "helpers", "helper", "common", "core", "base", "manager", "misc"}
    assert not [file for file in SOURCES if file.stem in banned]


def test_tests_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))
