"""Run parameters: wrong input is one line that names the value and the mend."""

import datetime as dt

import pytest

from flows.params import MapAreaParams, check_interval, parse_params
from infra.errors import InputError

GOOD = {
    "source": "local",
    "collections": ("sentinel-2",),
    "bbox": (13.0, 52.3, 13.2, 52.5),
    "datetime": "2024-06-01/2024-06-30",
    "store": "var/store",
}
WRONG = [
    ({"bbox": (13.2, 52.5, 13.4, 52.3)}, "13.2,52.5,13.4,52.3", "the order is W,S,E,N"),
    ({"bbox": (13.0, 52.3, 13.0, 52.5)}, "13,52.3,13,52.5", "the order is W,S,E,N"),
    ({"bbox": (390000, 5800000, 400000, 5810000)}, "390000", "give W,S,E,N"),
    ({"bbox": (13.0, float("nan"), 13.2, 52.5)}, "13,nan,13.2,52.5", "give W,S,E,N in degrees"),
    ({"bbox": (13.0, 52.3, 13.2)}, "bbox", "required"),
    ({"bbox": "13,52"}, "13,52", "tuple"),
    ({"datetime": "2024-06-30/2024-06-01"}, "2024-06-30/2024-06-01", "did you mean 2024-06-01/2024-06-30?"),
    ({"datetime": "June/July"}, "June", "give A/B, e.g. 2024-06-01/2024-06-30"),
    ({"datetime": "../.."}, "../..", "give A/B"),
    ({"datetime": "2024-02-30/2024-03-01"}, "2024-02-30", "ISO 8601"),
    ({"crs": "EPSG:99999"}, "EPSG:99999", "give e.g. EPSG:32633"),
    ({"crs": "EPSG:5773"}, "EPSG:5773", "give e.g. EPSG:32633"),
    ({"resolution_m": 0}, "resolution_m 0", "greater than 0"),
    ({"resolution_m": "ten"}, "'ten'", "number"),
    ({"loader": "gdal"}, "'gdal'", "'odc' or 'stackstac'"),
    ({"resampling": "lanczos"}, "'lanczos'", "'nearest'"),
    ({"mask": "cloud"}, "'cloud'", "'none' or 'clouds'"),
    ({"collections": ()}, "collections", "at least 1"),
    ({"steps": ("ingset",)}, "'ingset'", "did you mean ingest?"),
    ({"steps": ("describe",)}, "'describe'", "available: osm, ingest"),
    ({"steps": ("encode",)}, "'encode'", "give --steps ingest,encode"),
    ({"steps": ("ingest", "encode"), "encoder": "mars-tyny"}, "'mars-tyny'", "did you mean mars-tiny"),
    ({"steps": ("juggle",)}, "'juggle'", "ingest"),
    ({"osm": "map\udcff.osm"}, "'map\\udcff.osm'", "is not UTF-8"),
    ({"shard_px": 3000}, "3000", "power of two"),
    ({"shard_px": 64}, "shard_px 64", "greater than or equal to 256"),
    ({"max_scenes": 0}, "max_scenes 0", "greater than or equal to 1"),
    ({"max_quarantined": 1.5}, "max_quarantined 1.5", "less than or equal to 1"),
    ({"broken_assets": "ignore"}, "'ignore'", "'refuse' or 'quarantine'"),
    ({"resolution": 10}, "'resolution'", "did you mean resolution_m?"),
    ({"zzzz": 1}, "'zzzz'", "valid: source, collections"),
]


def test_good_parameters_pass_and_are_frozen():
    params = parse_params(GOOD)
    assert params.steps == ("ingest", "register")
    with pytest.raises(ValueError, match="frozen"):
        params.store = "elsewhere"
    assert MapAreaParams.model_validate_json(params.model_dump_json()) == params


@pytest.mark.parametrize(("change", "value", "mend"), WRONG, ids=lambda part: str(part)[:40])
def test_wrong_input_is_one_line_with_value_and_mend(change, value, mend):
    with pytest.raises(InputError) as caught:
        parse_params(GOOD | change)
    message = caught.value.message
    assert value in message
    assert mend in message
    assert "\n" not in message
    assert "pydantic" not in message


@pytest.mark.parametrize("name", GOOD)
def test_what_is_missing_is_named(name):
    with pytest.raises(InputError) as caught:
        parse_params({key: value for key, value in GOOD.items() if key != name})
    assert caught.value.message.startswith(f"parameter {name!r} is required; ")
    assert "{" not in caught.value.message, "the whole input is no part of the complaint"


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024-06-01/2024-06-02", "2024-06-01T00:00:00", "2024-06-02T23:59:59.999999"),
        ("2024-06-01", "2024-06-01T00:00:00", "2024-06-01T23:59:59.999999"),
        ("2024-06-01T10:00:00Z/2024-06-01T11:00:00Z", "2024-06-01T10:00:00", "2024-06-01T11:00:00"),
        ("2024-06-01T12:00:00+02:00/..", "2024-06-01T10:00:00", None),
        ("../2024-06-01T10:00:00", None, "2024-06-01T10:00:00"),
        ("/2024-06-01", None, "2024-06-01T23:59:59.999999"),
    ],
)
def test_intervals(text, start, end):
    def instant(part):
        return dt.datetime.fromisoformat(part).replace(tzinfo=dt.UTC) if part else None

    assert check_interval(text) == (instant(start), instant(end))


def test_a_bbox_may_cross_the_antimeridian():
    assert parse_params(GOOD | {"bbox": (179.5, -17.0, -179.5, -16.0)}).bbox[0] == 179.5
