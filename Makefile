# Two commands for a newcomer: `make demo` and `make test`. Both make .venv from the lock first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
ARGS ?=
PYTEST_ARGS ?=
# Test processes side by side; each has a Prefect server and a Dask cluster of its own (about 2 GB).
WORKERS ?= 2

.PHONY: demo test check long services chaos bench install lock clean help

help:
	@echo "make demo   map the sample world and serve it (ARGS=--no-serve ends at once)"
	@echo "make test   lint, types, contracts and the default test suite"
	@echo "make long   kills, load, teams of processes, big files (about 5 minutes)"
	@echo "make services  the tests that need PostgreSQL with PostGIS, Node or Chromium"
	@echo "make chaos  kill -9 at 20 seeded moments, and a minute of load (about 15 minutes)"
	@echo "make bench  ingest beside plain rasterio, odc-stac and stackstac; the catalogue beside pgSTAC; graphs; registration"
	@echo "make clean  remove the virtual environment"

# The stamp holds the lock's and the package's digest: the environment is rebuilt only when they change.
$(VENV)/.installed: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; set PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/terraloom demo $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

long: install
	$(BIN)/pytest -m "long and not chaos" -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

services: install
	$(BIN)/pytest -m services -n $(WORKERS) --dist loadfile tests/services $(PYTEST_ARGS)

chaos: install
	$(BIN)/pytest -m "not bench" tests/e2e/test_chaos.py tests/e2e/test_catalogue_load.py $(PYTEST_ARGS)

bench: install
	$(BIN)/python -m tests.bench.ingest $(ARGS)
	$(BIN)/python -m tests.bench.catalogue --pgstac
	$(BIN)/python -m tests.bench.osm_graph
	$(BIN)/python -m tests.bench.registration --matcher template

clean:
	rm -rf $(VENV)
