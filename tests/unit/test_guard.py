"""The guard before the routes: who is let through how often, whatever they say of themselves."""

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from catalog.server.guard import WriteGuard, tell
from catalog.server.rates import RateLimits, TokenBuckets, name_address

TOKEN = "s3cret-token"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
WRONG = {"Authorization": "Bearer guess"}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guarded(clock):
    """Give a maker of clients, each at its own address, of one guarded application."""

    def make(token=TOKEN, **limits):
        secret = None if token is None else SecretStr(token)
        guard = WriteGuard(_app(), token=secret, limits=RateLimits(**limits), now=clock)
        return lambda address="10.0.0.1", **more: TestClient(guard, client=(address, 5), **more)

    return make


def _app():
    async def echo(request):
        return JSONResponse({"path": request.url.path, "scheme": request.url.scheme})

    return Starlette(routes=[Route("/{path:path}", echo, methods=METHODS)])


class TestBuckets:
    def test_a_minutes_worth_at_once_then_one_at_a_time(self, clock):
        buckets = TokenBuckets(6, now=clock)
        assert [buckets.take("a") for _ in range(8)] == [0, 0, 0, 0, 0, 0, 10, 10]
        clock.now += 9
        assert buckets.take("a") == 1
        clock.now += 1
        assert [buckets.take("a"), buckets.take("a")] == [0, 10]

    def test_a_client_that_waits_as_told_is_let_through(self, clock):
        for per_minute in (1, 7, 11, 60, 61, 599, 6000):
            buckets = TokenBuckets(per_minute, now=clock)
            for _ in range(per_minute):
                assert buckets.take("a") == 0
            for _ in range(50):
                wait_s = buckets.take("a")
                assert wait_s >= 1
                clock.now += wait_s
                assert buckets.take("a") == 0
                while not buckets.take("a"):
                    pass

    def test_no_more_than_a_minutes_worth_is_saved_up(self, clock):
        buckets = TokenBuckets(3, now=clock)
        assert buckets.take("a") == 0
        clock.now += 86_400
        assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 20]

    def test_clients_do_not_pay_for_each_other(self, clock):
        buckets = TokenBuckets(1, now=clock)
        assert [buckets.take("a"), buckets.take("a"), buckets.take("b")] == [0, 60, 0]

    def test_looking_costs_nothing(self, clock):
        buckets = TokenBuckets(1, now=clock)
        assert [buckets.wait_s("a") for _ in range(5)] == [0] * 5
        assert len(buckets) == 0

    def test_zero_lifts_the_limit_and_remembers_nobody(self, clock):
        buckets = TokenBuckets(0, now=clock)
        assert {buckets.take(str(n)) for n in range(1000)} == {0}
        assert len(buckets) == 0

    def test_memory_is_bounded_and_the_longest_silent_goes_first(self, clock):
        buckets = TokenBuckets(1, now=clock, max_clients=100)
        for n in range(100):
            buckets.take(str(n))
        clock.now += 60
        buckets.take("0")
        for n in range(1000, 1099):
            buckets.take(str(n))
        assert len(buckets) == 100
        assert buckets.wait_s("0") > 0
        assert buckets.wait_s("1") == 0


@pytest.mark.parametrize(
    ("connection", "name"),
    [
        (("192.0.2.7", 80), "192.0.2.7"),
        (("::ffff:192.0.2.7", 80), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 80), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::", 80), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 80), "fe80::/64"),
        (("testclient", 80), "testclient"),
        (None, "unknown"),
    ],
)
def test_names_of_clients(connection, name):
    assert name_address(connection) == name


class TestWrongTokens:
    def test_the_eleventh_in_a_minute_waits(self, guarded):
        at = guarded()
        answers = [at().put("/collections/x", headers=WRONG) for _ in range(11)]
        assert [a.status_code for a in answers] == [401] * 10 + [429]
        assert answers[-1].headers["retry-after"] == "6"
        assert answers[-1].json()["code"] == "TooManyRequests"
        assert "6 s" in answers[-1].json()["description"]

    def test_guessing_on_tells_nothing(self, guarded, clock):
        """Once over the limit a right guess must look like a wrong one."""
        at = guarded(failures_per_minute=2)
        for _ in range(2):
            at().put("/collections/x", headers=WRONG)
        assert at().put("/collections/x", headers=WRONG).status_code == 429
        assert at().put("/collections/x", headers=RIGHT).status_code == 429
        assert at("10.0.0.2").put("/collections/x", headers=RIGHT).status_code == 200
        clock.now += 30
        assert at().put("/collections/x", headers=RIGHT).status_code == 200

    def test_another_address_cannot_be_claimed(self, guarded):
        at = guarded(failures_per_minute=3)
        statuses = [
            at()
            .put(
                "/x",
                headers={**WRONG, "X-Forwarded-For": f"203.0.113.{n}", "Forwarded": f"for=203.0.113.{n}"},
            )
            .status_code
            for n in range(4)
        ]
        assert statuses == [401, 401, 401, 429]

    def test_a_forgotten_token_is_no_guess(self, guarded):
        at = guarded(failures_per_minute=1)
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Basic Zm9v"}) * 3:
            assert at().put("/x", headers=headers).status_code == 401
        assert at().put("/x", headers=RIGHT).status_code == 200

    def test_reading_goes_on(self, guarded):
        at = guarded(failures_per_minute=1)
        assert [at().put("/x", headers=WRONG).status_code for _ in range(2)] == [401, 429]
        assert at().get("/x").status_code == 200
        assert at().post("/search", headers=WRONG).status_code == 200

    def test_without_a_token_there_is_nothing_to_guess(self, guarded):
        at = guarded(token=None, failures_per_minute=1)
        assert {at().put("/x", headers=WRONG).status_code for _ in range(5)} == {403}


class TestRates:
    def test_writes_count_by_token_wherever_they_come_from(self, guarded, clock):
        at = guarded(writes_per_minute=3)
        statuses = [at(f"10.0.0.{n}").post("/collections", headers=RIGHT).status_code for n in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert at().get("/collections").status_code == 200
        clock.now += 20
        assert at().post("/collections", headers=RIGHT).status_code == 200

    def test_refused_writers_do_not_use_up_the_writes_of_others(self, guarded):
        at = guarded(writes_per_minute=1)
        for headers in ({}, WRONG, WRONG):
            assert at("10.9.9.9").post("/collections", headers=headers).status_code == 401
        assert at().post("/collections", headers=RIGHT).status_code == 200

    def test_reads_count_by_address(self, guarded):
        at = guarded(reads_per_minute=2)
        statuses = [at().get("/").status_code, at().post("/search").status_code, at().get("/").status_code]
        assert statuses == [200, 200, 429]
        assert at("10.0.0.2").get("/").status_code == 200
        assert at().post("/collections", headers=RIGHT).status_code == 200

    def test_by_default_reads_are_free_and_ten_writes_a_second_are_fine(self, guarded, clock):
        at = guarded()
        with at() as client:
            # More than the writes that a minute has.
            assert {client.get("/").status_code for _ in range(620)} == {200}
            for _ in range(300):
                clock.now += 0.1
                assert client.post("/collections", headers=RIGHT).status_code == 200
        assert RateLimits() == RateLimits(writes_per_minute=600, reads_per_minute=0, failures_per_minute=10)


class TestWhatCountsAsWriting:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/collections"),
            ("HEAD", "/collections"),
            ("OPTIONS", "/collections"),
            ("POST", "/search"),
            ("POST", "/aggregate"),
            ("POST", "/collections/scenes/aggregate"),
        ],
    )
    def test_reads(self, guarded, method, path):
        assert guarded()().request(method, path).status_code == 200

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/search/"),
            ("POST", "//search"),
            ("POST", "/SEARCH"),
            ("PUT", "/search"),
            ("DELETE", "/aggregate"),
            ("POST", "/collections"),
            ("POST", "/collections/search"),
            ("POST", "/collections//aggregate"),
            ("POST", "/collections/a%2Fitems/aggregate"),
            ("POST", "/collections/a/items"),
            ("POST", "/collections/a/bulk_items"),
            ("POST", "/collections/a/aggregate/b"),
            ("POST", "/new-route"),
            ("PATCH", "/collections/a/aggregate"),
        ],
    )
    def test_writes(self, guarded, method, path):
        assert guarded()().request(method, path).status_code == 401

    def test_below_a_prefix(self, guarded):
        client = guarded()(root_path="/stac")
        assert client.post("/stac/search").status_code == 200
        assert client.post("/stac/collections").status_code == 401


class TestProxies:
    def test_a_proxy_on_this_machine_tells_the_scheme(self, guarded):
        at = guarded()
        told = {"X-Forwarded-Proto": "https"}
        assert at("127.0.0.1").get("/", headers=told).json()["scheme"] == "https"
        assert at("::1").get("/", headers=told).json()["scheme"] == "https"
        assert at("192.0.2.1").get("/", headers=told).json()["scheme"] == "http"
        assert (
            at("127.0.0.1").get("/", headers={"X-Forwarded-Proto": "javascript"}).json()["scheme"] == "http"
        )


def test_a_refusal_is_one_line_of_text_however_long_or_odd():
    response = tell(
        400, "X", "a\nb\x00" + "é" * 900, errors=[("id\n1", "why\n" + "y" * 900), ("\ud800", "z")]
    )
    assert response.status_code == 400
    text = response.body.decode()
    assert "\n" not in text
    assert "\\n" not in text
    assert len(text) < 2000
