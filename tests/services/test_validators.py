"""Other people's judges of STAC APIs, each in a process and an environment of its own.

Both are found beside Python or on PATH.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from catalog.client import EmbeddedClient
from catalog.server.app import create_app, serving
from catalog.server.rates import RateLimits
from tests.support.schema_host import serving_schemas

pytestmark = pytest.mark.services

TOKEN = "t0ken"
AREA = {"type": "Polygon", "coordinates": [[[10, 50], [20, 50], [20, 51], [10, 51], [10, 50]]]}
CLASSES = ("core", "collections", "features", "item-search", "filter", "item-search#fields")
FILTERS = [
    "eo:cloud_cover < 20 AND mission LIKE 'sent%'",
    "S_INTERSECTS(geometry, POLYGON((10 50, 12 50, 12 52, 10 50)))",
    "T_DURING(datetime, INTERVAL('2024-01-01T00:00:00Z', '..'))",
    "casei(title) = casei('SCENE') OR NOT eo:cloud_cover BETWEEN 1 AND 5",
    "A_CONTAINS(instruments, ('msi')) AND eo:cloud_cover / 0 > 1",
]
LIKELY = {
    "collection_id": ["scenes", "maps", "none"],
    "item_id": ["s00", "s01", "none"],
    "filter": FILTERS,
    "filter-lang": ["cql2-text", "cql2-json"],
    "sortby": ["-eo:cloud_cover,id", "datetime", "instruments"],
    "fields": ["", "-geometry", "properties.eo:cloud_cover,-assets"],
    "bbox": ["10,50,11,51", "170,-10,-170,10", "0,0,0,0", "-180,-90,180,90"],
    "datetime": ["2024-01-01T00:00:00Z/..", "2024-01-02T00:00:00Z"],
    "q": ["scene", '"a scene", sent*', '"'],
    "aggregations": ["total_count,datetime_frequency", "collection_frequency"],
    "limit": [1, 3, 100],
}
"""Values that reach further into the server than random ones, which it is also asked with."""


def find_tool(name):
    """Give the path of a tool, or skip the test saying where it was looked for."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=beside) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is neither beside Python nor on PATH: it judges the API from outside")
    return found


def make_collection(name):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "title": name.capitalize(),
        "description": "Pictures.",
        "license": "CC0-1.0",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[10, 50, 11, 51]]},
            "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
        },
    }


def make_item(number):
    west, when = 10.0 + number % 12, f"2024-{1 + number % 12:02}-03T10:00:00Z"
    ring = [[west, 50], [west + 1, 50], [west + 1, 51], [west, 51], [west, 50]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"s{number:02}",
        "collection": "scenes",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 50, west + 1, 51],
        "properties": {
            "datetime": when,
            "title": "Scene",
            "mission": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": 4 * number,
        },
        "links": [],
        "assets": {"data": {"href": "https://example.org/data.tif", "type": "image/tiff"}},
    }


@pytest.fixture
def url(tmp_path):
    """Serve two collections, one of 24 scenes, to whoever has the token."""
    path = tmp_path / "catalogue.sqlite"
    with EmbeddedClient(path) as client:
        for name in ("scenes", "maps"):
            client.upsert_collection(make_collection(name))
        client.upsert_items(map(make_item, range(24)))
    app = create_app(path, token=TOKEN, limits=RateLimits(writes_per_minute=0))
    with serving(app) as base_url:
        yield base_url


def run(command, *, env=None, cwd=None):
    done = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_stac_api_validator_finds_no_errors(url, tmp_path):
    tool = find_tool("stac-api-validator")
    command = [tool, "--root-url", f"{url}/", "--collection", "scenes", "--geometry", json.dumps(AREA)]
    command += ["--fields-nested-property", "properties.eo:cloud_cover"]
    for name in CLASSES:
        command += ["--conformance", name]
    with serving_schemas(tmp_path) as env:
        code, told = run(command, env=env)
    errors = told.rpartition("Errors:")[2].strip()
    assert (code, errors) == (0, "none"), told
    for name in ("Core", "Collections", "Features", "Item Search", "Filter Extension - Basic CQL2"):
        assert f"{name} conformance class." in told
    assert "https://schemas.stacspec.org/v1.1.0/item-spec" in told


def describe_for_fuzzing(url):
    """Give the OpenAPI description with likely values beside the random ones; collections stay."""
    described = httpx.get(f"{url}/api").json()
    described["paths"]["/collections/{collection_id}"].pop("delete")
    for operations in described["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in LIKELY:
                    likely = {"enum": LIKELY[parameter["name"]]}
                    parameter["schema"] = {"anyOf": [likely, parameter["schema"]]}
                    # an example is one more likely value, and its place in the schema is gone
                    parameter.pop("example", None)
    for name in ("SearchBody", "AggregateBody"):
        fields = described["components"]["schemas"][name]["properties"]
        fields["filter"] = {"anyOf": [{"enum": FILTERS}, fields["filter"]]}
    return described


def test_schemathesis_finds_no_server_error(url, tmp_path):
    tool = find_tool("schemathesis")
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(describe_for_fuzzing(url)))
    command = [tool, "run", str(description), "--url", url, "--checks", "not_a_server_error"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "60", "--seed", "20240501"]
    command += ["-H", f"Authorization: Bearer {TOKEN}", "--continue-on-failure", "--no-shrink"]
    command += ["--warnings", "off", "--suppress-health-check", "all"]
    code, told = run(command, cwd=tmp_path)
    assert code == 0, told[-8000:]
    (cases,) = re.findall(r"(\d+) generated, \1 passed", told)
    assert int(cases) >= 2_000, told[-2000:]
    # whatever was written in between, the catalogue still answers
    assert httpx.get(f"{url}/search", params={"limit": 1}).status_code == 200
