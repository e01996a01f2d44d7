"""Every run leaves a page: complete, beside its records, and never the reason that a run fails."""

from __future__ import annotations

import re
from pathlib import Path

from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.journal import Journal
from flows.params import parse_params
from flows.run_report import describe_request, keep_report
from flows.runs import RunFolder, RunPlaces
from infra.errors import ConfigError
from infra.settings import Settings
from infra.storage import LocalStorage
from tests.support.snapshots import store_tree
from tests.support.worlds import copy_world, cut_file, item_files


def test_the_report_tells_the_run(undisturbed):
    summary = undisturbed.summary
    report = Path(summary["report"])
    assert report == undisturbed.store / "runs" / summary["run"] / "report.html"
    text = report.read_text()
    assert "6 of 6 cubes catalogued, 0 quarantined" in text
    assert text.count('<img src="data:image/webp;base64,') == 6
    assert {identifier for identifier in summary["item_ids"] if identifier in text} == set(
        summary["item_ids"]
    )
    links = [link for link in re.findall(r'<a href="([^"#]+)"', text) if "://" not in link]
    assert "dask-report.html" in links
    relative = [link for link in links if not link.startswith("/")]
    assert len(relative) >= 9
    for link in relative:
        assert (report.parent / link).is_file(), link
    assert list(summary["stage_seconds"]) == [
        *("search", "plan", "check", "cluster", "write", "publish", "reconcile")
    ]
    assert 0 < sum(summary["stage_seconds"].values()) < summary["seconds"]


def test_a_run_that_reuses_everything_has_a_whole_page(undisturbed, quick_terraloom):
    tree = store_tree(undisturbed.store)
    ended = quick_terraloom.run(*undisturbed.world.mapping(undisturbed.store))
    assert ended.code == 0, ended.err
    report = re.search(r"report +(\S+report\.html)", ended.out).group(1)
    text = Path(report).read_text()
    assert "6 of 6 cubes catalogued" in text
    assert text.count("reused, catalogued") == 6
    assert text.count('<img src="data:image/webp;base64,') == 6
    assert "dask-report.html" not in text, "no pixel was read, so Dask was not started"
    assert store_tree(undisturbed.store) == tree


def test_quarantined_cubes_are_named_with_their_reason(world, quick_terraloom, tmp_path, store):
    spoilt = copy_world(world, tmp_path / "world").only("sample-optical")
    cut_file(item_files(spoilt)[0].parent / "red.tif")
    told = quick_terraloom.run(*spoilt.mapping(store, "--broken-assets", "quarantine"), "--json").told
    text = Path(told["report"]).read_text()
    assert "3 of 4 cubes catalogued, 1 quarantined" in text
    (entry,) = told["quarantine"]
    assert f'<dt id="why-1">{entry["id"]}</dt>' in text
    assert "cut short" in text


def test_a_report_that_cannot_be_written_fails_nothing(prefect_url, tmp_path, caplog):
    storage = LocalStorage(tmp_path)
    storage.write("runs/one/report.html/taken", b"a folder is in the way")
    request = {"source": "earth-search", "collections": ["c"], "bbox": [1, 2, 3, 4], "datetime": "2024-06-01"}
    params = parse_params(request | {"store": str(tmp_path)})
    places = RunPlaces(settings=Settings(), catalogue=str(tmp_path / "c.sqlite"), execution_href=None)

    @flow(name="report-only", validate_parameters=False)
    def report_only(run, failure):
        return keep_report(describe_request(params), places, run, Journal(), failure=failure)

    with temporary_settings({PREFECT_API_URL: prefect_url, PREFECT_LOGGING_TO_API_ENABLED: False}):
        assert report_only(RunFolder(storage, "one"), None) is None
        assert "report of run one is not written" in caplog.text
        kept = report_only(RunFolder(storage, "two"), ConfigError("no space left"))
    assert "Failed: no space left" in Path(kept).read_text()
