"""Flows publish into pgSTAC through ``terraloom serve``; the command says in one line what it lacks."""

import contextlib
import json
import re
import secrets
from urllib.parse import urlsplit

import pytest

from catalog.client import HttpClient, SearchQuery
from flows.prefect_server import start_server
from tests.support.processes import CommandLine, free_port, stop
from tests.support.worlds import draw_world

pytestmark = pytest.mark.services

TOKEN = "s3cret-token"


@pytest.fixture(scope="module")
def terraloom(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return CommandLine(folder=home, environment={"XDG_DATA_HOME": str(home / "data")})


@contextlib.contextmanager
def serving(terraloom, dsn, *words):
    using = terraloom.using(TERRALOOM_SERVE__DATABASE=dsn, TERRALOOM_SERVE__TOKEN=TOKEN)
    process = using.start("serve", "--port", "0", *words)
    try:
        line = process.stdout.readline()
        found = re.search(r"http://[^/\s]+", line)
        assert found, f"serve named no address: {line!r}"
        assert urlsplit(dsn).password not in line
        yield found.group()
    finally:
        stop(process)


class TestRefusals:
    def refuse(self, terraloom, dsn, *words):
        ended = terraloom.run("serve", "--port", "0", "--database", dsn, *words, timeout_s=60)
        assert ended.code == 2
        (line,) = ended.lines
        assert "pa55word" not in line
        return line

    def test_nobody_there(self, terraloom):
        line = self.refuse(terraloom, f"postgresql://ann:pa55word@127.0.0.1:{free_port()}/stac")
        assert re.match(r"terraloom: the database 127\.0\.0\.1:\d+/stac cannot be opened: ", line)

    def test_a_wrong_password(self, terraloom, cluster):
        line = self.refuse(terraloom, f"postgresql://postgres:pa55word@127.0.0.1:{cluster.port}/postgres")
        assert "cannot be opened" in line

    def test_not_migrated(self, terraloom, cluster):
        dsn = cluster.make_database(f"t{secrets.token_hex(6)}", migrated=False)
        assert "holds no pgSTAC: start once with --migrate" in self.refuse(terraloom, dsn)

    def test_no_address(self, terraloom):
        assert "expected postgresql://" in self.refuse(terraloom, "mysql://ann:pa55word@db/stac")

    def test_migrating_nothing(self, terraloom):
        ended = terraloom.run("serve", "--migrate", "--port", "0")
        assert ended.code == 2
        assert "--database" in ended.err


def test_flows_publish_into_pgstac(terraloom, cluster, tmp_path):
    """The same request twice, through the API: the second run changes nothing at all."""
    dsn = cluster.make_database(f"t{secrets.token_hex(6)}", migrated=False)
    world = draw_world(tmp_path / "world", size_px=256)
    prefect = start_server(tmp_path / "prefect")
    try:
        with serving(terraloom, dsn, "--migrate") as url, HttpClient(url) as reader:
            publishing = terraloom.using(
                PREFECT_API_URL=prefect.wait_ready(),
                TERRALOOM_DASK__WORKERS="1",
                TERRALOOM_DASK__DASHBOARD_PORT="0",
                TERRALOOM_CATALOGUE__URI=url,
                TERRALOOM_CATALOGUE__TOKEN=TOKEN,
            )
            words = (*world.mapping(tmp_path / "store"), "--json")
            first = publishing.run(*words).told
            items = {item["id"]: item for item in reader.search(SearchQuery())}
            assert sorted(items) == first["item_ids"]
            assert first["catalogued"] == first["planned"] == len(items)
            second = publishing.run(*words).told
            assert second["written"] == 0
            assert {item["id"]: item for item in reader.search(SearchQuery())} == items
            refused = publishing.using(TERRALOOM_CATALOGUE__TOKEN="wrong").run(*words)
            assert refused.code != 0
            assert "token" in refused.err
    finally:
        prefect.stop()
    assert "s3cret" not in json.dumps(items)
    assert not list((tmp_path / "store").glob("catalogue.sqlite*")), "the store kept a catalogue of its own"
