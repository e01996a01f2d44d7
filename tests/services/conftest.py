"""Start the services that a test module stands on; where one is not installed, its tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Cluster, missing_postgres, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL of this session's own, with PostGIS and pgSTAC."""
    missing = missing_postgres()
    if missing is not None:
        pytest.skip(missing)
    with running_cluster() as running:
        yield running
