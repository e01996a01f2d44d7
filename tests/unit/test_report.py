"""The page of a run: it says all, loads nothing, runs nothing foreign, and stays small."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from catalog.products import ProductOutcome
from catalog.records import BandStatistics, CubeReceipt, StoredFile
from catalog.report.collect import MAX_ROWS, collect_facts, find_corners
from catalog.report.facts import Deed, Picture, RequestFacts, RunRecord, StageFacts, hide_secrets
from catalog.report.map import draw_map
from catalog.report.map_frame import (
    METRES_PER_DEGREE,
    antimeridians,
    choose_scale_bar,
    fit_frame,
    graticule,
    label_lat,
    label_lon,
)
from catalog.report.page import (
    render_page,
    spell_area,
    spell_dates,
    spell_percent,
    spell_seconds,
    spell_size,
    web_address,
)
from catalog.report.pictures import MAX_BYTES, MAX_PICTURES, PICTURE_PX, shrink_thumbnail, spread
from flows.journal import Journal
from infra.errors import DataError
from infra.storage import LocalStorage, open_storage
from tasks.write_report import write_report
from tests.support.synthetic import (
    NOON,
    build_cube,
    known_scene,
    make_band,
    make_geobox,
    make_grid,
    make_scene,
    plan_one,
)

_VOID = {"meta", "img", "br", "hr", "link", "input"}
_GEOBOX = make_geobox((64, 80))
_BOX = (15.0, 48.747, 15.011, 48.753)


class Page(HTMLParser):
    """Parse a page strictly enough to find what a browser would stumble over."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute"
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        """What a reader sees, on one line."""
        body = re.sub(r"<(style|desc|title)\b.*?</\1>", " ", self.text, flags=re.DOTALL)
        return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def make_plans(count, **facts):
    bands = [make_band("red", "/data/red.tif")]
    days = [NOON + dt.timedelta(days=number) for number in range(count)]
    grid = make_grid(_GEOBOX)
    return [
        plan_one([make_scene(f"scene-{number}", _GEOBOX, bands, **({"datetime": day} | facts))], grid)
        for number, day in enumerate(days)
    ]


def make_receipt(plan, *, valid=87.65, size=2_500_000):
    statistics = BandStatistics(
        minimum=1, maximum=9, mean=5, stddev=2, valid_percent=valid, percentile_2=1, percentile_98=9
    )
    return CubeReceipt(
        id=plan.id,
        plan_digest="0" * 64,
        files=(StoredFile(path="cube.zarr/0/red/c/0/0", size=size, sha256="0" * 64),),
        statistics={"red": statistics},
        levels=1,
        software={"terraloom": "0.1.0", "zarr": "3"},
    )


def make_deeds(plans, states):
    return tuple(
        Deed(
            id=plan.id,
            state=state,
            catalogued=state in {"written", "reused"},
            reason="a block cannot be decoded" if state == "quarantined" else None,
            tiles_read=2 if state == "written" else 0,
            seconds=1.5 if state == "written" else None,
        )
        for plan, state in zip(plans, states, strict=True)
    )


def make_record(deeds, **facts):
    fields = {
        "run": "20240601T103000Z-0a1b2c3d",
        "started": dt.datetime(2024, 6, 1, 10, 30, tzinfo=dt.UTC),
        "seconds": 20.0,
        "request": RequestFacts(
            bbox=_BOX,
            dates="2024-06-01/2024-06-30",
            source="/data/catalog.json",
            collections=("synthetic",),
            options=(("Loader", "odc"),),
        ),
        "stages": (
            StageFacts(name="search", seconds=0.5),
            StageFacts(name="write", seconds=10.0, size=25_000_000),
        ),
        "deeds": deeds,
        "store": "/data/store",
        "catalogue": "/data/store/catalogue.sqlite",
    }
    return RunRecord(**(fields | facts))


def make_facts(states, *, pictures=(), plans=None, **facts):
    plans = plans if plans is not None else make_plans(len(states))
    record = make_record(make_deeds(plans, states), **facts)
    receipts = {
        plan.id: make_receipt(plan)
        for plan, state in zip(plans, states, strict=True)
        if state in {"written", "reused"}
    }
    return collect_facts(record, plans, receipts, pictures, dask_report=True)


def make_png(size=(512, 384), colour=(200, 30, 60, 255)):
    buffer = io.BytesIO()
    Image.new("RGBA", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def make_picture(cube, **facts):
    data_uri, size_xy = shrink_thumbnail(make_png())
    fields = {"cube": cube, "heading": "Synthetic, 2024-06-01", "title": "Grey (red)"}
    return Picture(**(fields | {"data_uri": data_uri, "size_xy": size_xy} | facts))


def test_a_page_says_what_happened():
    facts = make_facts(["written", "written", "reused", "quarantined"])
    page = Page(render_page(facts))
    assert page.text.startswith("<!DOCTYPE html>")
    assert "3 of 4 cubes catalogued, 1 quarantined" in page.words
    for said in (
        "Planned 4 cubes",
        "Read 4 tiles",
        "Written 2 25.0 MB",
        "Reused 1",
        "Catalogued 3",
        "a block cannot be decoded",
        "48.747° N to 48.753° N, 15.000° E to 15.011° E",
        "2024-06-01 to 2024-06-30",
        "2 of 2 2.50 MB 1.50 s 87.6 %",
        "Read the inputs, write the products 10.0 s 25.0 MB 2.5 MB/s",
        "Everything else 9.50 s",
        "zarr 3",
        facts.digest,
        *(cube.plan_digest for cube in facts.cubes),
        *(cube.deed.id for cube in facts.cubes),
    ):
        assert said in page.words, said


def test_a_page_is_well_formed_and_readable_by_machines():
    pictures = [make_picture(plan.id) for plan in make_plans(2)]
    page = Page(render_page(make_facts(["written", "quarantined"], pictures=pictures)))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in ids
    anchors = [link["href"] for link in page.all("a") if link["href"].startswith("#")]
    assert anchors
    assert {anchor[1:] for anchor in anchors} <= set(ids)
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table")) == 3
    assert len(page.all("thead")) == 3
    assert all("scope" in cell for cell in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert "width=device-width" in next(m["content"] for m in page.all("meta") if m.get("name") == "viewport")


def test_a_page_loads_and_runs_nothing():
    page = Page(render_page(make_facts(["written"], pictures=[make_picture(make_plans(1)[0].id)])))
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    loaded = [a[key] for tag, a in page.tags for key in ("src", "href") if key in a and tag != "a"]
    assert loaded
    assert all(address.startswith("data:image/webp;base64,") for address in loaded)
    assert not re.search(r"@import|url\((?!#)", page.text.replace("url(#", "url(#"))
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]


def test_the_same_facts_give_the_same_bytes():
    states = ["written", "reused", "quarantined", "planned"]
    assert render_page(make_facts(states)) == render_page(make_facts(states))


@pytest.mark.parametrize(
    "evil", ['"><script>alert(1)</script>', "</title><img src=x onerror=alert(1)>", "{{ 7*7 }}"]
)
def test_foreign_text_stays_text(evil):
    plans = make_plans(2, title=evil, self_href=f"javascript:{evil}")
    plans = [dataclasses.replace(plan, id=f"{evil}{number}") for number, plan in enumerate(plans)]
    facts = make_facts(["written", "quarantined"], plans=plans, failure=evil, store=evil, catalogue=evil)
    deeds = tuple(dataclasses.replace(deed, reason=evil) for deed in facts.record.deeds)
    request = RequestFacts(bbox=_BOX, dates=evil, source=evil, collections=(evil,), options=((evil, evil),))
    record = dataclasses.replace(
        facts.record, deeds=deeds, request=request, execution_href=f"javascript:{evil}"
    )
    pictures = [make_picture(plans[0].id, title=evil, heading=evil)]
    page = Page(render_page(collect_facts(record, plans, {}, pictures, dask_report=False)))
    assert not {"script"} & {tag for tag, _ in page.tags}
    assert [image["src"][:10] for image in page.all("img")] == ["data:image"]
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert "49" not in re.sub(r"[0-9a-f]{12,}", "", page.words), "a template in the text was carried out"
    assert not [link for link in page.all("a") if "javascript" in link["href"]]


def test_only_web_addresses_become_links():
    assert web_address("https://example.org/item") == "https://example.org/item"
    for other in (
        None,
        "javascript:alert(1)",
        "data:text/html,x",
        "/etc/passwd",
        "ftp://x",
        "https://" + "x" * 500,
    ):
        assert web_address(other) is None
    plans = make_plans(1, self_href="https://example.org/items/scene-0")
    facts = make_facts(["written"], plans=plans, catalogue="https://stac.example.org/")
    links = {link["href"] for link in Page(render_page(facts)).all("a")}
    assert "https://example.org/items/scene-0" in links
    assert f"https://stac.example.org/collections/scenes/items/{plans[0].id}" in links
    assert {"dask-report.html", "params.json", "summary.json"} <= links


def test_secrets_of_addresses_are_left_out():
    assert hide_secrets("https://user:secret@host/a?sig=abc&x=1 failed") == "https://host/a?… failed"
    assert hide_secrets("/vsicurl/https://host/a.tif?token=abc: 403") == "/vsicurl/https://host/a.tif?… 403"
    assert hide_secrets("s3://key:secret@bucket/prefix") == "s3://bucket/prefix"
    assert hide_secrets("why? because a@b.org") == "why? because a@b.org"


@pytest.mark.parametrize(
    ("states", "failure", "verdict", "outcome"),
    [
        (["written", "reused"], None, "2 of 2 cubes catalogued, 0 quarantined", "good"),
        (["reused", "reused"], None, "2 of 2 cubes catalogued, 0 quarantined", "good"),
        (["written", "quarantined"], None, "1 of 2 cubes catalogued, 1 quarantined", "mixed"),
        ([], None, "No scene matches the request: nothing to do", "mixed"),
        (
            ["written", "planned"],
            "no space left",
            "Failed: no space left (1 of 2 cubes catalogued, 0 quarantined)",
            "bad",
        ),
    ],
)
def test_every_ending_has_a_whole_page(states, failure, verdict, outcome):
    page = Page(render_page(make_facts(states, failure=failure)))
    assert verdict in page.words
    assert f'class="verdict {outcome}"' in page.text
    assert ("planned, not made" in page.words) == ("planned" in states)
    assert "<svg" in page.text


def test_a_page_of_many_cubes_stays_small_and_says_what_it_leaves_out():
    plan = make_plans(1, self_href="https://example.org/" + "x" * 300, title="A long name of a collection")[0]
    plans = [dataclasses.replace(plan, id=f"synthetic-20240601-{number:012x}") for number in range(900)]
    states = ["written"] * 900
    states[700] = states[899] = "quarantined"
    large = "data:image/webp;base64," + "A" * (MAX_BYTES // MAX_PICTURES - 30)
    pictures = [make_picture(plan.id, data_uri=large) for plan in spread(plans, MAX_PICTURES)]
    text = render_page(make_facts(states, plans=plans, pictures=pictures))
    page = Page(text)
    assert len(text.encode()) < 3_000_000
    assert f"{MAX_ROWS} of 900 listed" in page.words
    assert f"{MAX_PICTURES} of 898 cubes shown" in page.words
    assert "left out" in page.words
    assert page.words.count("a block cannot be decoded") == 2
    assert {plans[700].id, plans[899].id} <= set(re.findall(r"synthetic-\d{8}-[0-9a-f]{12}", page.words))


def test_long_reasons_are_cut():
    facts = make_facts(["quarantined"])
    deeds = (dataclasses.replace(facts.record.deeds[0], reason="x" * 100_000),)
    record = dataclasses.replace(facts.record, deeds=deeds)
    assert len(render_page(collect_facts(record, make_plans(1), {}, (), dask_report=False))) < 60_000


def test_a_map_across_the_antimeridian_is_in_one_piece():
    geobox = make_geobox((300, 300), origin_xy=(120_000, 5_580_000), step=1000, crs="EPSG:32601")
    scene = make_scene("s", geobox, [make_band("red", "/data/red.tif")])
    plan = plan_one([scene], make_grid(geobox))
    request = dataclasses.replace(make_record(()).request, bbox=(177.9, 47.8, -178.5, 50.3))
    record = make_record(make_deeds([plan], ["written"]), request=request)
    svg = draw_map(collect_facts(record, [plan], {}, (), dask_report=False).map)
    xs = _path_xs(svg, "footprint written")
    assert 0 <= min(xs) < max(xs) <= 760
    assert max(xs) - min(xs) > 300
    assert svg.count('class="antimeridian"') == 1
    assert "° E<" in svg
    assert "° W<" in svg
    assert "180°<" in svg


def test_footprints_lie_where_the_cubes_are():
    facts = make_facts(["written", "written", "quarantined"])
    svg = draw_map(facts.map)
    assert svg.count('class="footprint written"') == 1, "equal outlines are drawn once"
    assert svg.count('class="footprint quarantined"') == 1
    grid, request = _path_xs(svg, "grid"), _path_xs(svg, "request")
    metres = (max(grid) - min(grid)) / (max(request) - min(request)) * 0.011 * METRES_PER_DEGREE
    assert metres * math.cos(math.radians(48.75)) == pytest.approx(800, rel=0.02)


def test_the_picture_lies_under_the_grid():
    plan = make_plans(1)[0]
    svg = draw_map(make_facts(["written"], pictures=[make_picture(plan.id)]).map)
    a, b, c, d, x, y = (float(term) for term in re.search(r"matrix\(([^)]*)\)", svg).group(1).split())
    grid = _path_xs(svg, "grid")
    assert x == pytest.approx(min(grid), abs=1.5)
    assert x + a == pytest.approx(max(grid), abs=1.5)
    assert a > d > 0
    assert abs(b) < 0.05 * a
    assert abs(c) < 0.05 * a
    assert y > 0


def test_the_least_cloudy_picture_is_taken():
    clouds = [80, 3, "none"]
    plans = [
        make_plans(1, properties={"eo:cloud_cover": cover}, datetime=NOON + dt.timedelta(days=day))[0]
        for day, cover in enumerate(clouds)
    ]
    pictures = [make_picture(plan.id) for plan in plans]
    assert make_facts(["written"] * 3, plans=plans, pictures=pictures).map.picture == pictures[1]


def test_no_picture_is_laid_on_a_map_that_bends():
    assert find_corners(make_grid(make_geobox((400, 400), step=1000))) == ()
    assert len(find_corners(make_grid(_GEOBOX))) == 3


def _path_xs(svg, kind):
    data = re.search(rf'd="([^"]+)" class="{kind}"', svg).group(1)
    return [float(x) for x, _ in re.findall(r"(-?[\d.]+) (-?[\d.]+)", data)]


@pytest.mark.parametrize(
    "box",
    [
        (13.3, 52.4, 13.5, 52.6),
        (13.3, 52.4, 13.3001, 52.4001),
        (-180, -90, 180, 90),
        (179, -17, 181.5, -16),
        (-60, 84, 60, 90),
        (10, -80, 10.5, -40),
        (0, 0, 90, 0.1),
    ],
)
def test_frames_hold_their_box_and_have_lines_and_a_true_scale(box):
    frame = fit_frame(*box)
    assert frame.west <= box[0] < box[2] <= frame.east
    assert -90 <= frame.south <= box[1] < box[3] <= frame.north <= 90
    assert frame.east - frame.west <= 360
    assert 300 < frame.height < 620
    for low, high in ((frame.west, frame.east), (frame.south, frame.north)):
        step, lines = graticule(low, high)
        assert 1 <= len(lines) <= 8
        assert all(low - 1e-6 <= line <= high + 1e-6 for line in lines)
        assert len({label_lon(line, step) for line in lines}) >= len(lines) - 1
    bar = choose_scale_bar(frame)
    number, unit = bar.label.split()[:2]
    metres = float(number) * {"km": 1000, "m": 1}[unit]
    assert bar.length * frame.metres_per_unit == pytest.approx(metres)
    assert 60 < bar.length < 200


def test_degrees_are_spelt_with_the_decimals_of_their_step():
    assert label_lon(13.25, 0.05) == "13.25° E"
    assert label_lon(-0.5, 0.5) == "0.5° W"
    assert label_lon(181.5, 0.5) == "178.5° W"
    assert label_lon(180, 1) == label_lon(-180, 1) == "180°"
    assert label_lat(-33, 1) == "33° S"
    assert label_lat(0, 1) == label_lon(360, 10) == "0°"
    assert antimeridians(fit_frame(179, -17, 181, -16)) == [180]
    assert antimeridians(fit_frame(-181, -17, -179, -16)) == [-180]
    assert antimeridians(fit_frame(10, 50, 11, 51)) == []


def test_numbers_are_spelt_for_people():
    assert spell_area((13.3, 47.8, 15.8, 50.3)) == "47.8° N to 50.3° N, 13.3° E to 15.8° E"
    assert spell_area((-180.0, -60.0, 180.0, 60.0)) == "60° S to 60° N, all longitudes"
    assert spell_area((179.5, -17.0, -179.5, -16.5)) == "17.0° S to 16.5° S, 179.5° E to 179.5° W"
    assert spell_dates("2024-06-01/..") == "since 2024-06-01"
    assert spell_dates("2025-04-21T00:00:00Z/2025-09-18T23:59:59Z") == "2025-04-21 to 2025-09-18"
    assert spell_dates("2025-04-21T00:00:01Z/..") == "since 2025-04-21T00:00:01Z"
    assert spell_dates("../2024-06-01") == "until 2024-06-01"
    assert spell_dates("2024-06-01") == spell_dates("2024-06-01/2024-06-01") == "2024-06-01"
    assert [spell_size(size) for size in (None, 12, 1234, 99_000_000, 2**31)] == [
        *("–", "12 B", "1.23 kB", "99.0 MB", "2.15 GB")
    ]
    assert [spell_seconds(s) for s in (None, 0.004, 12.34, 119.6, 7300)] == [
        *("–", "0.00 s", "12.3 s", "2 min 00 s", "2 h 01 min")
    ]
    assert [spell_percent(p) for p in (None, 99.99, 100.0)] == ["–", "99.9 %", "100 %"]


def test_thumbnails_shrink_and_keep_their_colours():
    data_uri, size = shrink_thumbnail(make_png((512, 256)))
    assert size == (PICTURE_PX, PICTURE_PX // 2)
    picture = Image.open(io.BytesIO(base64.b64decode(data_uri.partition(",")[2])))
    assert picture.size == size
    assert picture.convert("RGB").getpixel((20, 20)) == pytest.approx((200, 30, 60), abs=6)
    clear, _ = shrink_thumbnail(make_png(colour=(0, 0, 0, 0)))
    assert Image.open(io.BytesIO(base64.b64decode(clear.partition(",")[2]))).getpixel((5, 5))[3] == 0
    for broken in (b"", b"no picture", make_png()[:200]):
        with pytest.raises(DataError, match="PNG"):
            shrink_thumbnail(broken)


def test_spread_takes_both_ends_and_never_too_many():
    assert spread(range(3), 5) == [0, 1, 2]
    assert spread(range(100), 4) == [0, 33, 66, 99]
    assert spread(range(100), 1) == [0]


@pytest.fixture
def mapped(tmp_path):
    """A store with two cubes, and the record of the run that made them."""
    storage = LocalStorage(tmp_path / "store")
    plans = [
        plan_one(
            [known_scene(tmp_path, f"known-{day}", datetime=NOON + dt.timedelta(days=day))],
            make_grid(_GEOBOX),
        )
        for day in range(2)
    ]
    for plan in plans:
        build_cube(storage, plan)
    return storage, plans, make_record(make_deeds(plans, ["written", "reused"]))


def test_the_page_lies_beside_its_run_and_its_links_lead_somewhere(mapped):
    storage, plans, record = mapped
    storage.write("runs/one/dask-report.html", b"")
    storage.write("runs/one/params.json", b"{}")
    storage.write("runs/one/summary.json", b"{}")
    href = Path(write_report.fn(storage.uri, record, plans, folder="runs/one"))
    assert href == Path(storage.uri) / "runs/one/report.html"
    page = Page(href.read_text())
    relative = [link["href"] for link in page.all("a") if not link["href"].startswith(("#", "http"))]
    assert len(relative) == len(plans) + 3
    for link in relative:
        assert (href.parent / link).is_file(), link
    assert len(page.all("img")) == 2
    assert "2 of 2 cubes catalogued" in page.words
    first = href.read_bytes()
    write_report.fn(storage.uri, record, plans, folder="runs/one")
    assert href.read_bytes() == first


def test_a_missing_or_broken_thumbnail_costs_only_itself(mapped, caplog):
    storage, plans, record = mapped
    storage.delete(f"{plans[0].path}/thumbnail.png")
    page = Page(Path(write_report.fn(storage.uri, record, plans, folder="runs/one")).read_text())
    assert "1 of 2 cubes shown" in page.words
    assert plans[0].id in caplog.text
    storage.write(f"{plans[1].path}/thumbnail.png", b"no picture")
    page = Page(Path(write_report.fn(storage.uri, record, plans, folder="runs/one")).read_text())
    assert not page.all("img")
    assert "2 of 2 cubes catalogued" in page.words


def test_a_page_goes_to_s3_as_well(s3_environment):
    uri = f"{s3_environment}/reports"
    plans = make_plans(1)
    record = make_record(make_deeds(plans, ["planned"]), failure="the network is gone")
    assert write_report.fn(uri, record, plans, folder="runs/one") == f"{uri}/runs/one/report.html"
    page = Page(open_storage(uri).read("runs/one/report.html").decode())
    assert "Failed: the network is gone" in page.words


def test_a_journal_tells_what_became_of_each_cube():
    plans = make_plans(5)
    ids = [plan.id for plan in plans]
    journal = Journal()
    journal.plans.extend(plans)
    journal.reused.add(ids[0])
    assert [plan.id for plan in journal.unfinished()] == ids[1:]
    journal.outcomes.append(ProductOutcome(id=ids[1], tiles_read=2, bytes_written=7, seconds=1.0))
    journal.outcomes.append(ProductOutcome(id=ids[2], quarantined="https://host/x?sig=secret is broken"))
    journal.catalogued.update({ids[0], ids[1], ids[3]})
    deeds = journal.deeds()
    assert [deed.state for deed in deeds] == ["reused", "written", "quarantined", "reused", "planned"]
    assert [deed.catalogued for deed in deeds] == [True, True, False, True, False]
    assert deeds[2].reason == "https://host/x?… is broken"
    assert [plan.id for plan in journal.unfinished()] == ids[3:]
    assert journal.bytes_written == 7


def test_a_journal_counts_a_stage_that_fails_and_one_that_comes_twice():
    journal = Journal()
    with pytest.raises(DataError), journal.stage("write"):
        raise DataError("broken")
    first = journal.stage_seconds["write"]
    with journal.stage("write"):
        pass
    assert 0 < first < journal.stage_seconds["write"] <= journal.seconds
    assert list(journal.stage_seconds) == ["write"]
