"""Storage: one contract, kept by local disk and by an S3 server alike; and what is each one's own."""

import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import AppError, ConfigError, InputError, NotFoundError, TransientError
from infra.storage import LocalStorage, S3Storage, open_storage, process_lives


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return open_storage(str(tmp_path / "store"))
    return open_storage(request.getfixturevalue("s3_environment") + "/deep/prefix")


class TestContract:
    def test_what_is_written_is_read(self, storage):
        data = bytes(range(256)) * 4096
        storage.write("a/b.bin", data)
        assert storage.read("a/b.bin") == data
        assert storage.exists("a/b.bin")

    def test_a_later_write_replaces_the_whole(self, storage):
        storage.write("a", b"long content")
        storage.write("a", b"short")
        assert storage.read("a") == b"short"

    def test_empty_objects_are_objects(self, storage):
        storage.write("nothing", b"")
        assert storage.read("nothing") == b""
        assert storage.exists("nothing")

    def test_absent_is_not_found(self, storage):
        with pytest.raises(NotFoundError, match="no/such does not exist"):
            storage.read("no/such")
        assert not storage.exists("no/such")

    def test_a_folder_is_no_object(self, storage):
        storage.write("folder/object", b"1")
        assert not storage.exists("folder")

    def test_write_if_absent_writes_once(self, storage):
        assert storage.write_if_absent("receipt.json", b"first")
        assert not storage.write_if_absent("receipt.json", b"second")
        assert storage.read("receipt.json") == b"first"

    def test_of_sixteen_racing_writers_exactly_one_wins(self, storage):
        start = threading.Barrier(16)

        def race(number):
            start.wait()
            return storage.write_if_absent("race", b"%d" % number * 1000)

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(race, range(16)))
        assert won.count(True) == 1
        assert storage.read("race") == b"%d" % won.index(True) * 1000

    def test_readers_never_see_half_an_object(self, storage):
        contents = {bytes([letter]) * 200_000 for letter in b"ab"}
        storage.write("shared", min(contents))
        stop = threading.Event()

        def keep_writing(data):
            while not stop.is_set():
                storage.write("shared", data)

        with ThreadPoolExecutor(2) as pool:
            for data in contents:
                pool.submit(keep_writing, data)
            seen = {storage.read("shared") for _ in range(40)}
            stop.set()
        assert seen <= contents

    def test_list_is_sorted_complete_and_below_the_folder_only(self, storage):
        for name in ("a/2", "a/1", "a/deep/3", "ab/4", "b"):
            storage.write(name, name.encode())
        found = list(storage.list_objects("a"))
        assert [(entry.path, entry.size) for entry in found] == [("a/1", 3), ("a/2", 3), ("a/deep/3", 8)]
        assert all(entry.modified.tzinfo is not None for entry in found)
        assert [entry.path for entry in storage.list_objects("")] == ["a/1", "a/2", "a/deep/3", "ab/4", "b"]

    def test_an_absent_folder_is_empty(self, storage):
        assert list(storage.list_objects("no")) == []
        assert storage.list_folders("no") == []
        storage.delete_folder("no")
        assert storage.sweep_leftovers("no") == 0

    def test_folders_are_listed_by_name(self, storage):
        for name in ("scenes/b/x", "scenes/a/y/z", "scenes/file", "other/c"):
            storage.write(name, b"1")
        assert storage.list_folders("scenes") == ["a", "b"]
        assert storage.list_folders("") == ["other", "scenes"]

    def test_delete_takes_one_and_bears_repeating(self, storage):
        storage.write("a", b"1")
        storage.write("b", b"2")
        storage.delete("a")
        storage.delete("a")
        assert [entry.path for entry in storage.list_objects("")] == ["b"]

    def test_delete_folder_takes_all_below_and_nothing_beside(self, storage):
        for name in ("a/1", "a/x/2", "ab/3"):
            storage.write(name, b"1")
        storage.delete_folder("a")
        storage.delete_folder("a")
        assert [entry.path for entry in storage.list_objects("")] == ["ab/3"]

    def test_href_is_below_the_uri(self, storage):
        assert storage.href("a/b") == f"{storage.uri}/a/b"
        assert not storage.uri.endswith("/")
        reopened = open_storage(storage.uri)
        storage.write("a/b", b"same")
        assert reopened.read("a/b") == b"same"

    @pytest.mark.parametrize("name", ["../escape", "a/../../escape", "/absolute"])
    def test_names_that_leave_the_store_are_refused(self, storage, name):
        if isinstance(storage, S3Storage):
            pytest.skip("S3 keys are no paths: '..' is an ordinary name below the prefix there")
        for act in (storage.read, storage.exists, storage.delete, storage.href, storage.delete_folder):
            with pytest.raises(InputError, match="leaves the store"):
                act(name)
        with pytest.raises(InputError, match="leaves the store"):
            storage.write(name, b"1")
        with pytest.raises(InputError, match="leaves the store"):
            storage.write_if_absent(name, b"1")


class TestOpen:
    def test_schemes(self, tmp_path, s3_environment):
        assert isinstance(open_storage(str(tmp_path)), LocalStorage)
        assert open_storage(f"file://{tmp_path}").uri == str(tmp_path)
        assert isinstance(open_storage(s3_environment), S3Storage)

    @pytest.mark.parametrize("uri", ["gs://bucket/x", "https://example.org/x", "", "  ", "a\0b", "s3:///x"])
    def test_what_is_no_store_is_refused(self, uri):
        with pytest.raises(InputError) as caught:
            open_storage(uri)
        assert repr(uri) in caught.value.message
        assert "\n" not in caught.value.message

    def test_opening_writes_nothing(self, tmp_path):
        store = open_storage(str(tmp_path / "new"))
        assert store.free_bytes() > 0
        assert list(tmp_path.iterdir()) == []


class TestLocal:
    def test_failed_and_finished_writes_leave_no_part_behind(self, tmp_path):
        storage = LocalStorage(tmp_path)
        storage.write("a", b"1")
        storage.write_if_absent("a", b"2")
        (tmp_path / "folder").mkdir()
        with pytest.raises(ConfigError, match="cannot be a store folder"):
            storage.write("folder", b"3")
        assert {file.name for file in tmp_path.rglob("*")} == {"a", "folder"}

    def test_leftovers_of_the_dead_are_swept_and_of_the_living_kept(self, tmp_path):
        with subprocess.Popen(["true"]) as process:
            process.wait()
        dead = tmp_path / "cube" / f".c.{process.pid}-0a1b2c3d.part"
        alive = tmp_path / "cube" / f".c.{os.getpid()}-0a1b2c3d.part"
        (tmp_path / "cube").mkdir()
        for part in (dead, alive):
            part.write_bytes(b"half")
        storage = LocalStorage(tmp_path)
        assert list(storage.list_objects("")) == []
        assert storage.sweep_leftovers("") == 1
        assert not dead.exists()
        assert alive.exists()

    def test_a_file_where_the_store_should_be(self, tmp_path):
        file = tmp_path / "file"
        file.write_bytes(b"")
        with pytest.raises(ConfigError, match="choose another --store"):
            LocalStorage(file).write("a", b"1")

    def test_a_name_longer_than_the_disk_allows(self, tmp_path):
        with pytest.raises(ConfigError, match="choose another --store"):
            LocalStorage(tmp_path).write("n" * 300, b"1")

    def test_a_read_only_folder(self, tmp_path):
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere: a read-only folder stops only other users")
        tmp_path.chmod(0o500)
        with pytest.raises(ConfigError, match="may not be written"):
            LocalStorage(tmp_path).write("a", b"1")

    def test_a_full_disk(self, tiny_disk):
        storage = LocalStorage(tiny_disk)
        for write in (storage.write, storage.write_if_absent):
            with pytest.raises(ConfigError, match=r"no space left on the disk of .*; free some"):
                write("big", bytes(2 << 20))
        assert list(tiny_disk.iterdir()) == []
        storage.write("small", b"1")
        assert storage.read("small") == b"1"


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 1 MiB."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a tmpfs of 1 MiB needs root and mount")
    place = tmp_path / "tiny"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


class TestS3:
    def test_keys_lie_below_the_prefix(self, s3_environment):
        open_storage(f"{s3_environment}/one").write("a", b"1")
        open_storage(f"{s3_environment}/two/").write("a", b"2")
        assert [entry.path for entry in open_storage(s3_environment).list_objects("")] == ["one/a", "two/a"]

    def test_an_absent_bucket_is_named(self, s3_environment):
        storage = open_storage("s3://terraloom-nonesuch/x")
        with pytest.raises(AppError, match="s3://terraloom-nonesuch/x") as caught:
            storage.write("a", b"1")
        assert not isinstance(caught.value, TransientError), "trying again does not make a bucket"
        assert "\n" not in caught.value.message

    def test_no_credentials_is_a_matter_of_settings(self, s3_environment, monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(ConfigError, match="check the AWS_\\* credentials") as caught:
            open_storage(f"{s3_environment}/x").read("a")
        assert "\n" not in caught.value.message

    def test_below_opens_a_folder(self, s3_environment):
        storage = open_storage(f"{s3_environment}/root")
        storage.write("cube/zarr.json", b"{}")
        folder = storage.below("cube")
        assert [entry["path"] for page in folder.list() for entry in page] == ["zarr.json"]


def test_processes_that_live_and_that_do_not():
    assert process_lives(os.getpid())
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert not process_lives(process.pid)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="zombies are told from the living by /proc")
def test_a_zombie_does_not_live():
    zombie = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert not process_lives(zombie.pid)
    finally:
        zombie.wait()
