"""Settings: environment over TOML over defaults; a name nobody reads is refused with the nearest one."""

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.settings import Settings, catalogue_uri, data_home, load_settings, spell_local_path


@pytest.fixture
def write_toml(tmp_path):
    def write(text):
        (tmp_path / "terraloom.toml").write_text(text)
        return tmp_path

    return write


def test_defaults_stand_alone(tmp_path):
    assert load_settings({}, folder=tmp_path) == Settings()


def test_environment_wins_over_toml_over_defaults(write_toml):
    folder = write_toml('store = "from-toml"\nlog_level = "DEBUG"\n[serve]\nport = 9000\nhost = "::1"\n')
    settings = load_settings({"TERRALOOM_STORE": "from-env", "TERRALOOM_SERVE__PORT": "9001"}, folder=folder)
    assert settings.store == "from-env"
    assert settings.log_level == "DEBUG"
    assert (settings.serve.port, settings.serve.host) == (9001, "::1")
    assert settings.dask == Settings().dask


def test_named_file_is_read_instead_of_the_default(tmp_path, write_toml):
    folder = write_toml('store = "default-file"')
    named = tmp_path / "other.toml"
    named.write_text('store = "named-file"')
    assert load_settings({"TERRALOOM_CONFIG": str(named)}, folder=folder).store == "named-file"


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml, which does not exist"):
        load_settings({"TERRALOOM_CONFIG": str(tmp_path / "nowhere.toml")}, folder=tmp_path)


@pytest.mark.parametrize(
    ("toml", "wrong", "near"),
    [
        ('stoer = "x"', "stoer", "store"),
        ("[dask]\nworker = 2", "dask.worker", "dask.workers"),
        ("[serv]\nport = 1", "serv", "serve"),
        ("[catalogue]\ntokn = 'x'", "catalogue.tokn", "catalogue.token"),
    ],
)
def test_typo_in_toml_is_refused_with_the_nearest_name(write_toml, toml, wrong, near):
    with pytest.raises(ConfigError) as caught:
        load_settings({}, folder=write_toml(toml))
    assert "terraloom.toml" in caught.value.message
    assert f"unknown setting {wrong}; did you mean {near}?" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("TERRALOOM_STROE", "store"),
        ("TERRALOOM_DASK__ADRESS", "dask.address"),
        ("TERRALOOM_SERVER__PORT", "serve"),
    ],
)
def test_typo_in_environment_is_refused_with_the_nearest_name(tmp_path, name, near):
    with pytest.raises(ConfigError, match=f"{name}: unknown setting .* did you mean {near}\\?"):
        load_settings({name: "x"}, folder=tmp_path)


def test_a_name_near_to_none_lists_the_valid_ones(tmp_path):
    with pytest.raises(ConfigError, match="valid: store, log_level"):
        load_settings({"TERRALOOM_QQQQ": "x"}, folder=tmp_path)


def test_foreign_variables_and_those_of_tests_are_left_alone(tmp_path):
    assert load_settings({"PATH": "/bin", "TERRALOOM_REAL_DATA": "/data"}, folder=tmp_path) == Settings()


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"TERRALOOM_DASK__WORKERS": "0"}, "dask.workers = '0'"),
        ({"TERRALOOM_SERVE__PORT": "http"}, "serve.port = 'http'"),
        ({"TERRALOOM_SERVE__PORT": "70000"}, "serve.port = '70000'"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(tmp_path, environ, place):
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, folder=tmp_path)
    assert caught.value.message.startswith(f"setting {place}: ")
    assert "\n" not in caught.value.message


def test_broken_toml_is_refused(write_toml):
    with pytest.raises(ConfigError, match=r"terraloom\.toml is not valid TOML"):
        load_settings({}, folder=write_toml("store = "))


def test_a_section_cannot_be_a_value(write_toml):
    with pytest.raises(ConfigError, match="dask"):
        load_settings({"TERRALOOM_DASK__WORKERS": "2"}, folder=write_toml("dask = 3"))


def test_lists_are_comma_separated_in_the_environment(tmp_path):
    environ = {"TERRALOOM_SERVE__ALLOWED_ORIGINS": "https://a.example,https://b.example"}
    origins = load_settings(environ, folder=tmp_path).serve.allowed_origins
    assert origins == ("https://a.example", "https://b.example")


def test_secrets_are_not_shown(tmp_path):
    environ = {
        "TERRALOOM_SERVE__TOKEN": "hush-1",
        "TERRALOOM_CATALOGUE__TOKEN": "hush-2",
        "TERRALOOM_SERVE__DATABASE": "postgresql://ann:hush-4@db/stac",
    }
    settings = load_settings(environ, folder=tmp_path)
    assert "hush" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.serve.token.get_secret_value() == "hush-1"


@pytest.mark.parametrize("name", ["token", "database"])
def test_a_wrong_secret_is_not_shown_either(write_toml, name):
    with pytest.raises(ConfigError) as caught:
        load_settings({}, folder=write_toml(f"[serve]\n{name} = ['hush-3']"))
    assert "hush" not in caught.value.message


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().store = "elsewhere"


def test_catalogue_lies_beside_a_local_store_and_in_the_user_folder_for_s3():
    home = Path("/home/someone")
    assert catalogue_uri(Settings(), "/data/store", data_home=home) == "/data/store/catalogue.sqlite"
    first = catalogue_uri(Settings(), "s3://bucket/a", data_home=home)
    assert first.startswith("/home/someone/catalogues/")
    assert first != catalogue_uri(Settings(), "s3://bucket/b", data_home=home)
    named = Settings.model_validate({"catalogue": {"uri": "https://stac.example"}})
    assert catalogue_uri(named, "/data/store", data_home=home) == "https://stac.example"


def test_data_home_follows_xdg():
    assert data_home({"XDG_DATA_HOME": "/x"}) == Path("/x/terraloom")
    assert data_home({}) == Path.home() / ".local/share/terraloom"


def test_file_addresses_are_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "my catalogue#1.sqlite"
    assert spell_local_path(path.as_uri()) == str(path)
    assert spell_local_path("~/c.sqlite") == str(tmp_path / "c.sqlite")
    assert spell_local_path("https://stac.example.org/~a") == "https://stac.example.org/~a"
    with pytest.raises(ConfigError, match="not a file of this machine"):
        spell_local_path("file://elsewhere/c.sqlite")
