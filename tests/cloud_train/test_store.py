"""Files by path or URL: whole or not at all, errors that say who must act. The store is moto's S3 server."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from cloud_train import store
from host_cli.errors import Failed, Unreachable, WrongUsage
from tests.fakes.object_store import ObjectStore
from tests.fakes.ports import take_free_port
from tests.fakes.proxy import Proxy

MIB = 1024 * 1024
ALL_CALLS: dict[str, Callable[[str, Path], object]] = {
    "fetch": lambda where, folder: store.fetch(where, folder),
    "put": lambda where, folder: store.put(make_file(folder / "mine"), where),
    "exists": lambda where, folder: store.exists(where),
    "names": lambda where, folder: store.names(where),
}
every_call = pytest.mark.parametrize("call", ALL_CALLS.values(), ids=ALL_CALLS)


def make_file(path: Path, count: int = 100) -> Path:
    """Write bytes that differ from block to block."""
    path.write_bytes((bytes(range(256)) + b"x")[:257] * (count // 257) + b"end"[:count])
    return path


def reach_through(proxy: Proxy, server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find the server behind the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.environment_at(proxy.port)["AWS_ENDPOINT_URL"])
    S3FileSystem.clear_instance_cache()


def close_when_used(proxy: Proxy, answered_bytes: int) -> threading.Thread:
    """Take the proxy away for good as soon as the server has answered something."""

    def watch() -> None:
        while proxy.passed_bytes < answered_bytes:
            time.sleep(0.001)
        proxy.close()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_file_of_this_computer_is_taken_where_it_lies(form: str, tmp_path: Path) -> None:
    """No copy is made, however it is named."""
    path = make_file(tmp_path / "a file")
    where = form.format(str(path).replace(" ", "%20") if "://" in form else path)
    assert store.fetch(where, tmp_path / "work") == path
    assert not store.is_remote(where) and store.exists(where)
    assert not (tmp_path / "work").exists()


def test_a_file_put_on_this_computer_is_a_copy_and_never_one_of_itself(tmp_path: Path) -> None:
    """The folder is made; putting a file where it lies leaves it alone."""
    path = make_file(tmp_path / "mine")
    store.put(path, f"file://{tmp_path}/a/b/copy")
    store.put(path, str(path))
    assert (
        (tmp_path / "a/b/copy").read_bytes() == path.read_bytes() == make_file(tmp_path / "same").read_bytes()
    )
    assert store.names(str(tmp_path / "a/b")) == ["copy"]


def test_places_are_joined_as_what_they_are() -> None:
    """A URL keeps its two slashes, a path stays a path."""
    assert store.join("s3://reef/run/", "model.keras") == "s3://reef/run/model.keras"
    assert store.join("run/", "model.keras") == "run/model.keras"


def test_what_is_put_in_the_store_comes_back_the_same(object_store: ObjectStore, tmp_path: Path) -> None:
    """Content, names in the folder, and what is there."""
    path = make_file(tmp_path / "mine", 70_000)
    store.put(path, "s3://reef/run/shard-0.npz")
    store.put(path, "s3://reef/run/deeper/other")
    fetched = store.fetch("s3://reef/run/shard-0.npz", tmp_path / "work")
    assert fetched == tmp_path / "work/shard-0.npz"
    assert fetched.read_bytes() == path.read_bytes()
    assert store.names("s3://reef/run") == store.names("s3://reef/run/") == ["deeper", "shard-0.npz"]
    assert store.exists("s3://reef/run/shard-0.npz") and store.exists("s3://reef/run")
    assert not store.exists("s3://reef/run/shard-1.npz") and store.names("s3://reef/nothing") == []


def test_a_large_file_travels_in_parts(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never in memory as a whole, and arrives whole."""
    monkeypatch.setattr(store, "PART_BYTES", 5 * MIB)
    path = make_file(tmp_path / "large", 12 * MIB)
    store.put(path, "s3://reef/large")
    assert object_store.client().head_object(Bucket="reef", Key="large")["ETag"].endswith('-3"')
    assert store.fetch("s3://reef/large", tmp_path / "work").read_bytes() == path.read_bytes()


@every_call
def test_a_bucket_that_is_not_there_is_named(
    call: Callable[[str, Path], object], object_store: ObjectStore, tmp_path: Path
) -> None:
    """It is no missing object: whoever runs the store must act."""
    with pytest.raises(Unreachable, match="there is no bucket nobody"):
        call("s3://nobody/run/model", tmp_path)


@every_call
@pytest.mark.parametrize("where", ["ftp://host/file", "s3://", "s3:///file"])
def test_a_url_that_no_store_can_answer_is_wrong_usage(
    call: Callable[[str, Path], object], where: str, tmp_path: Path
) -> None:
    """Before anything is asked of anybody."""
    with pytest.raises(WrongUsage):
        call(where, tmp_path)


def test_an_object_that_is_not_there_is_wrong_usage(object_store: ObjectStore, tmp_path: Path) -> None:
    """And nothing is left where it would have come to."""
    with pytest.raises(WrongUsage, match="no such object") as caught:
        store.fetch("s3://reef/none", tmp_path / "work")
    assert caught.value.where == "s3://reef/none"
    assert list((tmp_path / "work").iterdir()) == []


@every_call
def test_wrong_keys_are_refused_at_once(
    call: Callable[[str, Path], object], object_store: ObjectStore, tmp_path: Path
) -> None:
    """The hint names the variables that hold them."""
    object_store.demand_keys(True)
    try:
        with pytest.raises(Unreachable, match="the store refuses") as caught:
            call("s3://reef/run/model", tmp_path)
    finally:
        object_store.demand_keys(False)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_a_store_that_is_away_is_unreachable(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few tries, on one line."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{take_free_port()}")
    with pytest.raises(Unreachable, match="does not answer") as caught:
        store.fetch("s3://reef/model", tmp_path)
    assert "\n" not in caught.value.what and caught.value.exit_code == 3


def test_a_store_that_says_nothing_is_unreachable(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hang ends when its time is over."""
    proxy = Proxy(object_store.port)
    proxy.is_blackhole = True
    reach_through(proxy, object_store, monkeypatch)
    monkeypatch.setattr(store, "READ_TIMEOUT_S", 0.2)
    with pytest.raises(Unreachable, match="does not answer"):
        store.fetch("s3://reef/model", tmp_path)
    proxy.close()


def test_a_fetch_goes_on_where_the_connection_was_cut(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cut costs nothing but a new connection."""
    path = make_file(tmp_path / "mine", MIB)
    store.put(path, "s3://reef/model")
    proxy = Proxy(object_store.port)
    proxy.cut_at = MIB // 2
    reach_through(proxy, object_store, monkeypatch)
    assert store.fetch("s3://reef/model", tmp_path / "work").read_bytes() == path.read_bytes()
    assert proxy.cut_at is None and proxy.connections > 1
    proxy.close()


def test_a_fetch_that_fails_leaves_what_was_there_before(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reader meets half a file."""
    store.put(make_file(tmp_path / "mine", MIB), "s3://reef/model")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/model").write_text("old")
    proxy = Proxy(object_store.port)
    reach_through(proxy, object_store, monkeypatch)
    watching = close_when_used(proxy, MIB // 4)
    proxy.pause_s = 0.002
    with pytest.raises(Unreachable):
        store.fetch("s3://reef/model", tmp_path / "work")
    watching.join(5)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["model"]
    assert (tmp_path / "work/model").read_text() == "old"


def test_an_upload_that_fails_leaves_what_was_there_before(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts that arrived are no object."""
    monkeypatch.setattr(store, "PART_BYTES", 5 * MIB)
    store.put(make_file(tmp_path / "old"), "s3://reef/model")
    proxy = Proxy(object_store.port)
    reach_through(proxy, object_store, monkeypatch)
    watching = close_when_used(proxy, 1)
    with pytest.raises(Unreachable):
        store.put(make_file(tmp_path / "new", 12 * MIB), "s3://reef/model")
    watching.join(5)
    held = object_store.client().get_object(Bucket="reef", Key="model")["Body"].read()
    assert held == (tmp_path / "old").read_bytes()


def test_a_full_disk_is_told_and_nothing_half_fetched_stays(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    """Three lines, and room to try again."""
    store.put(make_file(tmp_path / "mine", MIB), "s3://reef/model")
    program = (
        "import resource, sys; from pathlib import Path; from cloud_train import store\n"
        "from host_cli.errors import CommandError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: store.fetch('s3://reef/model', Path(sys.argv[1]))\n"
        "except CommandError as error: print(error.exit_code, error.what)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "work")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "1 the disk is full\n"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_missing_package_names_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's store is asked for by few, so few have it."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(Failed, match="gcsfs") as caught:
        store.fetch("gs://bucket/model", tmp_path)
    assert "[gs]" in caught.value.hint


@pytest.mark.parametrize(
    "words", [("run", "--data", "s3://reef/none", "--out", "out"), ("verify", "s3://reef/none")]
)
def test_a_remote_folder_that_is_empty_is_named_as_it_was_typed(
    words, object_store, tmp_path, capsys, monkeypatch
):
    """Nobody knows the temporary folder that stands for it here."""
    from cloud_train import cli

    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    assert capsys.readouterr().err.splitlines()[1] == "   at: s3://reef/none"
