"""Presets, URLs and paths; synonyms of bands; signing without a network."""

import pytest

from catalog.sources import signing
from catalog.sources.masks import RULES
from catalog.sources.presets import PRESETS, resolve_source
from catalog.sources.profiles import guess_profile
from catalog.sources.signing import SIGNERS, sign, sign_planetary_computer, unsigned
from infra.errors import InputError, TransientError

SAS = (
    "st=2026-01-01&se=2026-01-02&sp=rl&sv=2024-05-04&sr=c&skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=5&sig=abc%3D"
)
BLOB = "https://account.blob.core.windows.net/container/b04.tif"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_whole(name):
    preset = resolve_source(name)
    assert preset.is_remote
    assert preset.signer is None or preset.signer in SIGNERS
    assert preset.policy().check("https://data.example.org/b.tif")
    for collection in preset.collections.values():
        assert collection.default_bands
        for band in collection.default_bands:
            assert collection.profile.find(band) is not None
        rule = collection.profile.mask_rule
        assert (rule is None) == (collection.profile.quality_band is None)
        assert rule is None or rule in RULES


def test_the_promised_collections_are_there():
    assert set(PRESETS["earth-search"].collections) >= {"sentinel-2-l2a", "sentinel-1-grd", "landsat-c2-l2"}
    assert set(PRESETS["planetary-computer"].collections) >= {"sentinel-2-l2a", "sentinel-1-rtc", "naip"}
    assert PRESETS["planetary-computer"].signer == "planetary-computer"


@pytest.mark.parametrize(
    ("name", "other"), [("B04", "red"), ("red", "B04"), ("scl", "SCL"), ("b8a", "nir08"), ("NIR", "B08")]
)
def test_synonyms(name, other):
    band = PRESETS["earth-search"].collections["sentinel-2-l2a"].profile.find(name)
    assert band is not None
    assert other in band.names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("earthsearch", "did you mean 'earth-search'"),
        ("Planetary-Computer", "did you mean 'planetary-computer'"),
        ("xyz", "use one of earth-search, planetary-computer"),
        ("local", "give its path"),
        ("./no/such/folder", "does not exist"),
        ("missing.json", "does not exist"),
        ("http://user:secret@example.org", "user name or password"),
        ("https://", "host is missing"),
    ],
)
def test_unknown_sources_name_the_mend(text, message):
    with pytest.raises(InputError) as refused:
        resolve_source(text)
    assert message in str(refused.value)


def test_urls_and_paths(tmp_path):
    assert resolve_source("https://stac.example.org/v1").name == "remote"
    assert resolve_source(PRESETS["earth-search"].location + "/") == PRESETS["earth-search"]
    for text in (str(tmp_path), f"local:{tmp_path}", f"file://{tmp_path}"):
        source = resolve_source(text)
        assert (source.name, source.location, source.is_remote) == ("local", str(tmp_path), False)


@pytest.mark.parametrize(
    ("collection", "constellation", "title"),
    [
        ("sentinel-s2-l2a-cogs", None, "Sentinel-2 L2A"),
        ("S2_L2A", "sentinel-2", "Sentinel-2 L2A"),
        ("landsat-c2l2-sr", None, "Landsat Collection 2 Level-2"),
        ("landsat-c2-l1", None, None),
        ("sentinel-1-grd", "sentinel-1", "Sentinel-1"),
        ("my-images", None, None),
    ],
)
def test_products_are_recognised_by_their_collection(collection, constellation, title):
    profile = guess_profile(collection, constellation)
    assert (profile.title if profile else None) == title


def test_signing_is_by_name(monkeypatch):
    monkeypatch.setitem(SIGNERS, "test", lambda href: href + "?sig=1")
    assert sign(BLOB, None) == BLOB
    assert sign(BLOB, "test") == BLOB + "?sig=1"
    with pytest.raises(InputError, match="did you mean 'planetary-computer'"):
        sign(BLOB, "planetary-computers")


def test_other_hosts_are_not_signed():
    assert sign_planetary_computer("https://data.example.org/b.tif") == "https://data.example.org/b.tif"


def test_a_token_service_out_of_reach_is_transient(monkeypatch):
    class Unreachable:
        @staticmethod
        def sign_url(href):
            raise ConnectionError(f"no route for {href}")

    monkeypatch.setattr(signing, "_planetary_computer", lambda: Unreachable)
    with pytest.raises(TransientError, match="gave no token for https://account"):
        sign_planetary_computer(BLOB)


def test_tokens_are_kept_and_renewed_before_they_expire(monkeypatch):
    import datetime as dt

    sign_planetary_computer("https://data.example.org/")  # imports the package with its warning silenced
    from planetary_computer import sas

    asked = []

    def token(left_s):
        expiry = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=left_s)
        return sas.SASToken(**{"msft:expiry": expiry, "token": f"sig={len(asked)}"})

    class Session:
        def mount(self, *_args):
            pass

        def get(self, url, headers=None):
            asked.append(url)
            answer = token(3600)
            return type(
                "R",
                (),
                {"raise_for_status": lambda _: None, "json": lambda _: answer.model_dump(by_alias=True)},
            )()

    monkeypatch.setattr(sas.requests, "Session", Session)
    monkeypatch.setattr(sas, "TOKEN_CACHE", {})
    first = sign_planetary_computer(BLOB)
    assert sign_planetary_computer(BLOB) == first
    assert len(asked) == 1
    for key in sas.TOKEN_CACHE:
        sas.TOKEN_CACHE[key] = token(59)  # less than a minute is left
    assert sign_planetary_computer(BLOB) != first
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        (f"{BLOB}?{SAS}", BLOB),
        (f"{BLOB}?version=3&{SAS}", f"{BLOB}?version=3"),
        (
            "https://b.s3.amazonaws.com/k.tif?X-Amz-Signature=a&X-Amz-Date=b",
            "https://b.s3.amazonaws.com/k.tif",
        ),
        (
            "https://storage.googleapis.com/b/k?X-Goog-Signature=a&x=1",
            "https://storage.googleapis.com/b/k?x=1",
        ),
        ("https://example.org/wms?sp=1&se=2", "https://example.org/wms?sp=1&se=2"),
        ("/data/b04.tif", "/data/b04.tif"),
    ],
)
def test_signatures_come_off(href, expected):
    assert unsigned(href) == expected
