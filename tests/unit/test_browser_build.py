"""STAC Browser is built once, whole or not at all, and served beside the API."""

import base64
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading

import httpx
import pytest

from catalog.browser import build as building
from catalog.browser.build import build_browser, build_digest, find_build
from catalog.browser.toolchain import bare, find_node
from catalog.server.app import create_app, serving
from catalog.server.browser_pages import add_browser
from flows.commands.browse import public_page
from infra.errors import ConfigError, DataError

PAGE = '<html><head><script defer="defer" src="js/app.0123.js"></script></head></html>'

NODE = """#!{python}
import os, pathlib, sys
if sys.argv[1] == "--version":
    print("{version}")
    sys.exit()
dist = pathlib.Path("dist/js")
dist.mkdir(parents=True)
(dist / "app.0123.js").write_text("let a = 1;" * 400)
(dist.parent / "index.html").write_text({page!r})
print("seen:", sorted(os.environ))
print("settings:", pathlib.Path("config.js").read_text()[:40])
print("ol-stac:", __import__("json").load(open("package.json"))["dependencies"]["ol-stac"])
"""

NPM = """#!{python}
import pathlib, shutil, sys, time
if sys.argv[1] == "pack":
    shutil.copy({archive!r}, "sources.tgz")
elif {fails!r} == sys.argv[1]:
    print("npm error code E404")
    sys.exit(7)
else:
    pathlib.Path({calls!r}).open("a").write(" ".join(sys.argv[1:]) + "\\n")
    time.sleep(0.3)
"""


class Tools:
    """A node and an npm that only pretend, in a folder to put on the PATH."""

    def __init__(self, folder):
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.calls = folder / "calls.txt"
        self.calls.write_text("")
        self.archive = folder / "sources.tgz"
        manifest = json.dumps({"name": "x", "dependencies": {"ol-stac": "^1.1.0"}}).encode()
        with tarfile.open(self.archive, "w:gz") as file:
            entry = tarfile.TarInfo("package/package.json")
            entry.size = len(manifest)
            file.addfile(entry, io.BytesIO(manifest))
        self.install()

    @property
    def environ(self):
        return {"PATH": str(self.folder), "TERRALOOM_SERVE__TOKEN": "s3cret", "AWS_SECRET_ACCESS_KEY": "k3y"}

    def install(self, *, version="v22.1.0", fails=""):
        words = {"python": sys.executable, "version": version, "page": PAGE, "fails": fails}
        words |= {"archive": str(self.archive), "calls": str(self.calls)}
        for name, text in (("node", NODE), ("npm", NPM)):
            (self.folder / name).write_text(text.format(**words))
            (self.folder / name).chmod(stat.S_IRWXU)

    def build(self, cache, tell=lambda _line: None):
        return build_browser(cache, find_node(self.environ), environ=self.environ, tell=tell)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    made = Tools(tmp_path)
    digest = base64.b64encode(hashlib.sha512(made.archive.read_bytes()).digest()).decode()
    monkeypatch.setattr(building, "_ARCHIVE_SHA512", digest)
    return made


class TestBuild:
    def test_once_and_then_found(self, tools, tmp_path):
        cache = tmp_path / "cache"
        assert find_build(cache) is None
        told = []
        folder = tools.build(cache, told.append)
        assert [line.split("(")[-1] for line in told] == ["1 of 3)", "2 of 3)", "3 of 3)"]
        assert folder == find_build(cache)
        page = (folder / "index.html").read_text()
        assert page.index('src="config.js"') < page.index('src="js/app')
        before = tools.calls.read_text()
        assert "ci --ignore-scripts" in before
        tools.install(fails="pack")
        assert tools.build(cache) == folder
        assert tools.calls.read_text() == before

    def test_our_files_and_no_secrets_go_in(self, tools, tmp_path):
        tools.build(tmp_path / "cache")
        (log,) = (tmp_path / "cache" / "stac-browser").glob("*.log")
        text = log.read_text()
        assert "ol-stac: 1.1.0" in text
        assert "settings: // Settings that are fixed" in text
        assert "'PATH'" in text
        for name in ("TERRALOOM", "AWS_", "s3cret", "k3y"):
            assert name not in text

    @pytest.mark.parametrize("step", ["ci"])
    def test_a_failing_npm_leaves_its_log_and_nothing_else(self, tools, tmp_path, step):
        tools.install(fails=step)
        cache = tmp_path / "cache"
        with pytest.raises(
            ConfigError, match=r"npm ci ended with code 7 \(npm error code E404\).*\.log"
        ) as caught:
            tools.build(cache)
        log = cache / "stac-browser" / f"{build_digest()}.log"
        assert str(log) in caught.value.message
        assert "E404" in log.read_text()
        assert {path.name for path in log.parent.iterdir()} == {log.name, "lock"}
        assert find_build(cache) is None
        tools.install()
        assert find_build(cache) is None
        assert tools.build(cache) == find_build(cache)

    def test_other_sources_are_refused(self, tools, tmp_path):
        with tools.archive.open("ab") as file:
            file.write(b"\0")
        with pytest.raises(DataError, match="SHA-512"):
            tools.build(tmp_path / "cache")
        assert tools.calls.read_text() == ""

    def test_two_builders_make_one_build(self, tools, tmp_path):
        told, folders = [], []
        threads = [
            threading.Thread(target=lambda: folders.append(tools.build(tmp_path / "cache", told.append)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(folders) == 3
        assert len(set(folders)) == 1
        assert tools.calls.read_text().count("ci ") == 1
        assert sum("waiting" in line for line in told) == 2

    def test_leftovers_of_a_killed_builder_go(self, tools, tmp_path):
        builds = tmp_path / "cache" / "stac-browser"
        (builds / "draft-dead" / "package").mkdir(parents=True)
        tools.build(tmp_path / "cache")
        assert not (builds / "draft-dead").exists()

    def test_a_cache_that_cannot_be_written(self, tools, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="file"):
            tools.build(tmp_path / "file")

    def test_other_settings_are_another_build(self, tmp_path, monkeypatch):
        sources = tmp_path / "source"
        shutil.copytree(building._OURS, sources)
        before = build_digest()
        monkeypatch.setattr(building, "_OURS", sources)
        assert build_digest() == before
        (sources / "config.js").write_text("module.exports = {};\n")
        assert build_digest() != before

    def test_the_lock_file_pins_every_package(self):
        lock = json.loads((building._OURS / "package-lock.json").read_text())
        packages = {name: facts for name, facts in lock["packages"].items() if name}
        assert len(packages) > 1000
        assert all("integrity" in facts for facts in packages.values() if not facts.get("inBundle"))
        assert not any("resolved" in facts for facts in packages.values())
        assert lock["packages"]["node_modules/ol-stac"]["version"] == "1.1.0"


class TestNode:
    def test_none(self, tmp_path):
        with pytest.raises(ConfigError, match=r"install Node\.js 20"):
            find_node({"PATH": str(tmp_path)})

    @pytest.mark.parametrize("version", ["v18.20.4", "nonsense", ""])
    def test_too_old(self, tools, version):
        tools.install(version=version)
        with pytest.raises(ConfigError, match=r"Node\.js 20 or newer is needed"):
            find_node(tools.environ)

    def test_one_that_does_not_start(self, tools):
        (tools.folder / "node").write_text("#!/nowhere/at/all\n")
        with pytest.raises(ConfigError, match="reinstall"):
            find_node(tools.environ)

    def test_what_npm_may_know(self):
        ours = {
            "TERRALOOM_X": "1",
            "AWS_SECRET_ACCESS_KEY": "2",
            "SB_catalogUrl": "3",
            "PREFECT_API_KEY": "4",
        }
        theirs = {"PATH": "a", "HOME": "b", "npm_config_registry": "c", "HTTPS_PROXY": "d", "LC_ALL": "e"}
        assert bare({**ours, **theirs}) == theirs


class TestPages:
    @pytest.fixture
    def web(self, tools, tmp_path):
        folder = tools.build(tmp_path / "cache")
        app = create_app(tmp_path / "c.sqlite", token=None, title='It\'s "ours"')
        add_browser(app, folder, title=app.title)
        with serving(app) as url, httpx.Client(base_url=url) as client:
            yield client

    def test_page_scripts_and_settings(self, web):
        page = web.get("/browser", follow_redirects=True)
        assert (page.status_code, page.url.path) == (200, "/browser/")
        policy = page.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "'unsafe-eval'" not in policy
        assert "connect-src 'self'" in policy
        assert page.headers["Cache-Control"] == "no-cache"
        settings = web.get("/browser/config.js")
        assert settings.headers["Content-Type"].startswith("text/javascript")
        assert '"It\'s \\"ours\\""' in settings.text
        script = web.get("/browser/js/app.0123.js")
        assert "immutable" in script.headers["Cache-Control"]
        assert script.headers["Content-Encoding"] == "br"

    @pytest.mark.parametrize("path", ["none.js", "../c.sqlite", "%2e%2e/index.html", "js/"])
    def test_nothing_else(self, web, path):
        assert web.get(f"/browser/{path}").status_code == 404

    def test_the_api_is_as_before(self, web):
        assert web.get("/").json()["type"] == "Catalog"
        assert web.get("/api").status_code == 200

    @pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here to run the settings with")
    @pytest.mark.parametrize("prefix", ["", "/stac"])
    def test_settings_name_the_api_above_the_page(self, web, prefix):
        page = f"https://example.org{prefix}/browser/"
        script = (
            f"const window = {{location: new URL('{page}#/search')}};"
            f"{web.get('/browser/config.js').text}"
            "console.log(JSON.stringify(window.STAC_BROWSER_CONFIG));"
        )
        done = subprocess.run(
            ["node", "-e", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=bare(os.environ),
        )
        settings = json.loads(done.stdout)
        assert settings["catalogUrl"] == f"https://example.org{prefix}/"
        assert settings["pathPrefix"] == f"{prefix}/browser/"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8081", "http:/127.0.0.1:8081/"),
        ("https://stac.example.org/api", "stac.example.org/api/"),
    ],
)
def test_public_page(url, address):
    assert public_page(url) == f"https://radiantearth.github.io/stac-browser/#/external/{address}"
