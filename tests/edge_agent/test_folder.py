"""Promises of edge_agent.sources.folder and seen: every picture once, and nothing that can stop it."""

import os
import queue
import threading
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple, Union

import pytest

from contract.messages import Prediction, Problem
from edge_agent.events import InferenceAsked
from edge_agent.source_config import SourceConfig
from edge_agent.sources import folder as folder_module
from edge_agent.sources.folder import Folder
from tests.edge_agent.test_publish_modes import predict

PATIENCE_S = 10.0
CAT = predict("cat")
BAD = Problem("bad_image", "no picture")
NO_MODEL = Problem("no_model", "none")


class Watched:
    """A folder that is looked at when the test says so, and a loop that answers at once."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.path = tmp_path / "in"
        self.path.mkdir(exist_ok=True)
        self.asked: List[bytes] = []
        self.names: List[Optional[str]] = []
        self.skipped: List[Tuple[str, str]] = []
        self.answers: dict[bytes, Union[Prediction, Problem]] = {}
        self._config = SourceConfig(kind="folder", path=str(self.path), **settings)
        self._state = tmp_path / "state"
        self.restart()

    def restart(self) -> None:
        self.folder = Folder(
            "inbox",
            self._config,
            self._ask,
            state_dir=self._state,
            skip=lambda source, reason: self.skipped.append((source, reason)),
        )

    def _ask(self, asked: InferenceAsked) -> None:
        self.names.append(asked.file)
        self.asked.append(asked.payload)
        asked.answer(self.answers.get(asked.payload, CAT))

    def put(self, name: str, data: bytes = b"jpeg") -> Path:
        path = self.path / name
        path.write_bytes(data)
        return path

    def look(self, times: int = 2) -> List[bytes]:
        """Look, and return what has been asked about so far."""
        for _ in range(times):
            self.folder.step()
        return self.asked


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_each_picture_is_asked_about_once_oldest_first(watched: Watched) -> None:
    """By its suffix, in any case; other files are left alone."""
    for age_s, name in enumerate(["new.jpg", "mid.JPEG", "old.png", "notes.txt", "jpg"]):
        path = watched.put(name, name.encode())
        os.utime(path, ns=(0, 10**18 - age_s * 10**9))
    assert watched.look(5) == [b"old.png", b"mid.JPEG", b"new.jpg"]


def test_a_file_that_still_grows_is_waited_for(watched: Watched) -> None:
    """It is read when two looks in a row see the same size and time."""
    path = watched.put("a.jpg", b"")
    assert watched.look(3) == []
    for _ in range(3):
        with path.open("ab") as file:
            file.write(b"more")
        assert watched.look(1) == []
    assert watched.look(1) == [b"moremoremore"]


def test_a_file_that_changes_while_it_is_opened_is_waited_for(watched: Watched, monkeypatch) -> None:
    """What is read is what was listed."""
    path = watched.put("a.jpg")
    watched.look(1)
    real = os.open

    def write_first(name: Any, *arguments: Any, **more: Any) -> int:
        if name == "a.jpg":
            path.write_bytes(b"written in between")
        return real(name, *arguments, **more)

    monkeypatch.setattr(os, "open", write_first)
    assert watched.look(1) == []


def test_what_is_kept_is_not_asked_about_again_after_a_restart(watched: Watched) -> None:
    """Unless it was changed; what is new is asked about."""
    watched.put("a.jpg", b"a")
    changed = watched.put("b.jpg", b"b")
    watched.look()
    watched.folder.finish()
    watched.restart()
    changed.write_bytes(b"b again")
    watched.put("c.jpg", b"c")
    watched.asked.clear()
    assert sorted(watched.look(4)) == [b"b again", b"c"]


def test_the_list_on_disk_is_short_and_forgets_what_is_gone(watched: Watched, tmp_path: Path) -> None:
    """Eight bytes a file; a damaged or unreadable one costs only that files are asked about again."""
    listed = tmp_path / "state" / "sources" / "inbox.seen"
    first = watched.put("a.jpg")
    watched.put("b.jpg")
    watched.look()
    watched.folder.finish()
    assert len(listed.read_bytes()) == 16
    first.unlink()
    watched.look(1)
    watched.folder.finish()
    assert len(listed.read_bytes()) == 8
    listed.unlink()
    listed.mkdir()
    watched.restart()
    assert len(watched.look()) == 3
    watched.folder.finish()


def test_the_disk_is_spared(watched: Watched, tmp_path: Path) -> None:
    """The list is not written at each look."""
    watched.put("a.jpg")
    watched.look(5)
    assert not (tmp_path / "state").exists()


def test_an_answered_file_is_deleted_if_that_is_wanted(tmp_path: Path) -> None:
    """One that cannot be decoded is left, and not asked about again."""
    watched = Watched(tmp_path, after="delete")
    watched.answers[b"bad"] = BAD
    good, bad = watched.put("good.jpg", b"good"), watched.put("bad.jpg", b"bad")
    watched.look(4)
    assert (good.exists(), bad.exists(), len(watched.asked)) == (False, True, 2)
    assert watched.skipped == [("inbox", "bad_image")]


def test_an_answered_file_is_moved_if_that_is_wanted(tmp_path: Path) -> None:
    """Into another folder of the same file system."""
    (tmp_path / "done").mkdir()
    watched = Watched(tmp_path, after="move", move_to=str(tmp_path / "done"))
    watched.put("a.jpg", b"a")
    watched.look()
    assert (tmp_path / "done" / "a.jpg").read_bytes() == b"a" and list(watched.path.iterdir()) == []


def test_a_file_that_cannot_be_moved_is_asked_about_once(tmp_path: Path) -> None:
    """It is counted, and stays."""
    watched = Watched(tmp_path, after="move", move_to=str(tmp_path / "nowhere"))
    watched.put("a.jpg", b"a")
    assert watched.look(5) == [b"a"]
    assert watched.skipped == [("inbox", "not_put_away")]


def test_a_file_that_was_replaced_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    """The new one is asked about too."""
    watched = Watched(tmp_path, after="delete")
    path = watched.put("a.jpg", b"first")
    watched.folder._ask = lambda picture, _name: (
        watched.asked.append(picture),
        path.write_bytes(b"second"),
        CAT,
    )[2]  # type: ignore[method-assign,func-returns-value]
    watched.look(2)
    assert path.exists()
    assert watched.look(1) == [b"first"]
    assert watched.look(1) == [b"first", b"second"]


@pytest.mark.parametrize("code", ["no_model", "busy", "timeout", "stopping"])
def test_a_file_that_nobody_can_answer_now_is_asked_about_again(watched: Watched, code: str) -> None:
    """It waits, and those behind it too; nothing is skipped."""
    watched.answers[b"a"] = Problem(code, "not now")
    watched.put("a.jpg", b"a")
    assert watched.look(3) == [b"a", b"a"]
    watched.answers.clear()
    assert watched.look(3) == [b"a", b"a", b"a"] and watched.skipped == []


def test_a_file_is_asked_about_three_times_when_the_model_itself_fails(watched: Watched) -> None:
    """Once more at each of two looks; those behind it do not wait."""
    watched.answers[b"a"] = Problem("model_not_finite", "not a number")
    os.utime(watched.put("a.jpg", b"a"), ns=(0, 10**9))
    watched.put("b.jpg", b"b")
    assert watched.look(2) == [b"a", b"b"]
    assert watched.skipped == []
    assert watched.look(5) == [b"a", b"b", b"a", b"a"]
    assert watched.skipped == [("inbox", "model_not_finite")]


def test_a_file_that_kills_the_worker_does_not_hold_up_the_others(watched: Watched) -> None:
    """Whatever the answer, it is asked about once."""
    watched.answers[b"deadly"] = Problem("worker_lost", "it died twice")
    os.utime(watched.put("a.jpg", b"deadly"), ns=(0, 10**9))
    watched.put("b.jpg", b"good")
    assert watched.look(4) == [b"deadly", b"good"]


def test_what_is_no_plain_file_is_counted_once_and_left(watched: Watched, tmp_path: Path) -> None:
    """A link out of the folder, a pipe that nobody writes into, a folder, a huge file: no hang, no error."""
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (watched.path / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (watched.path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(watched.path / "pipe.jpg")
    (watched.path / "folder.jpg").mkdir()
    with (watched.path / "huge.jpg").open("wb") as huge:
        huge.truncate(folder_module.MAX_FILE_BYTES + 1)
    watched.put("good.jpg", b"good")
    assert watched.look(4) == [b"good"]
    reasons = sorted(reason for _, reason in watched.skipped)
    assert reasons == ["not_a_file"] * 4 + ["too_large"]


def test_a_link_that_takes_a_files_place_is_not_followed(
    watched: Watched, tmp_path: Path, monkeypatch
) -> None:
    """Also when it does so after the look."""
    (tmp_path / "secret.jpg").write_bytes(b"jpeg")
    path = watched.put("a.jpg")
    watched.look(1)
    real = os.open

    def swap(name: Any, *arguments: Any, **more: Any) -> int:
        if name == "a.jpg":
            path.unlink()
            path.symlink_to(tmp_path / "secret.jpg")
        return real(name, *arguments, **more)

    monkeypatch.setattr(os, "open", swap)
    assert watched.look(1) == [] and watched.skipped == [("inbox", "unreadable")]


def test_strange_names_are_no_trouble(watched: Watched, caplog) -> None:
    """Not UTF-8, a line feed, a bracket; the log stays one line each."""
    names = [b"\xff\xfe.jpg", b"a\nERROR b.jpg", b"(.jpg", b"x" * 251 + b".jpg", b"-rf.jpg"]
    for name in names:
        (watched.path / os.fsdecode(name)).write_bytes(name)
    watched.answers[names[0]] = watched.answers[names[1]] = BAD
    assert sorted(watched.look()) == sorted(names)
    assert len(caplog.messages) == 2 and not any("\n" in message for message in caplog.messages)


def test_a_file_that_vanishes_is_no_trouble(watched: Watched, monkeypatch) -> None:
    """Between the look and the reading."""
    path = watched.put("a.jpg")
    watched.look(1)
    real = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda name, *a, **k: (
            path.unlink() if name == "a.jpg" and path.exists() else None,
            real(name, *a, **k),
        )[1],
    )
    assert watched.look(1) == [] and watched.skipped == [] and watched.folder.problem is None


def test_an_absent_folder_is_a_problem_until_it_is_there(watched: Watched) -> None:
    """Never fatal."""
    watched.path.rmdir()
    watched.look(1)
    assert watched.folder.problem is not None and watched.folder.problem.code == "folder_unreadable"
    watched.path.mkdir()
    watched.put("a.jpg", b"a")
    assert watched.look() == [b"a"] and watched.folder.problem is None


def test_a_folder_with_too_many_pictures_is_a_problem(watched: Watched, monkeypatch) -> None:
    """Memory stays bounded."""
    monkeypatch.setattr(folder_module, "MAX_FILES", 3)
    for number in range(5):
        watched.put(f"{number}.jpg", str(number).encode())
    assert len(watched.look(4)) == 3
    assert watched.folder.problem is not None and watched.folder.problem.code == "folder_full"


def test_a_folder_full_of_junk_needs_no_memory(watched: Watched, monkeypatch) -> None:
    """What is no picture counts too."""
    monkeypatch.setattr(folder_module, "MAX_FILES", 3)
    for number in range(9):
        (watched.path / f"{number}.jpg").symlink_to("nowhere")
    watched.look(4)
    assert len(watched.folder._noted) == 3 and len(watched.skipped) == 3
    assert watched.folder.problem is not None


@pytest.fixture
def running(tmp_path: Path, no_thread_left: None) -> "Iterator[Tuple[Watched, queue.Queue[InferenceAsked]]]":
    """A folder with its thread, and where its questions wait for an answer."""
    watched = Watched(tmp_path, every_s=0.05)
    asked: queue.Queue[InferenceAsked] = queue.Queue()
    watched._ask = asked.put  # type: ignore[method-assign]
    watched.restart()
    watched.folder.start()
    yield watched, asked
    watched.folder.stop()
    watched.folder.join()


def test_it_waits_for_an_answer_before_it_asks_again(running: Any) -> None:
    """One question at a time, to the model that the source names, as the source's own."""
    watched, asked = running
    watched.put("a.jpg", b"a")
    watched.put("b.jpg", b"b")
    first = asked.get(timeout=PATIENCE_S)
    assert (first.source, first.kind, first.model) == ("inbox", "image", "")
    with pytest.raises(queue.Empty):
        asked.get(timeout=0.3)
    first.answer(CAT)
    assert asked.get(timeout=PATIENCE_S).payload != first.payload


def test_it_stops_while_it_waits_for_an_answer(running: Any) -> None:
    """At once: who waits is told."""
    watched, asked = running
    watched.put("a.jpg")
    asked.get(timeout=PATIENCE_S)
    stopper = threading.Thread(target=lambda: (watched.folder.stop(), watched.folder.join()))
    stopper.start()
    stopper.join(PATIENCE_S)
    assert not stopper.is_alive() and not watched.folder._thread.is_alive()


def test_hidden_files_are_left_alone(watched: Watched) -> None:
    """Some computers put `._a.jpg` beside every picture."""
    watched.put("._a.jpg")
    assert watched.look() == [] and watched.skipped == []


def test_a_name_that_is_no_text_is_told_as_text(watched: Watched) -> None:
    """Names on a disk are bytes; what goes out is UTF-8."""
    (watched.path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"jpeg")
    watched.look()
    assert watched.names == ["caf\ufffd.jpg"]
