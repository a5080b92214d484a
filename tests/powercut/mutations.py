"""Every sync and every order in the path of a release, broken one at a time: the explorer must notice."""

import contextlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple
from unittest import mock

from edge_agent import files
from edge_agent.disk import Part
from edge_agent.updates import state_file, store, transfer
from edge_agent.updates.slots import Slots
from edge_agent.updates.state_file import StateFile
from edge_agent.updates.store import Store
from tests.powercut.disk import CrashDisk, CrashPart

Mutation = Callable[[], "contextlib.AbstractContextManager[object]"]
_save, _recover, _has_blob, _is_in = Slots.save, Slots.recover, Store.has_blob, transfer._Incoming._is_in


def _skip(kind: type, name: str, is_meant: Callable[[Any], bool]) -> Mutation:
    """Let an operation do nothing where its first argument is meant."""
    real = getattr(kind, name)

    def maybe(self: Any, *given: Any) -> None:
        if not given or not is_meant(given[0]):
            real(self, *given)

    return lambda: mock.patch.object(kind, name, maybe)


def _replace(*places: Any, by: Callable[..., Any]) -> Mutation:
    """Put another function at each place, (owner, name)."""

    @contextlib.contextmanager
    def replaced() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, by))
            yield

    return replaced


def _together(*mutations: Mutation) -> Mutation:
    @contextlib.contextmanager
    def all_of_them() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for mutation in mutations:
                stack.enter_context(mutation())
            yield

    return all_of_them


def _rename_then_sync(path: Path, data: bytes, disk: CrashDisk) -> None:
    temporary = path.with_name(path.name + ".tmp")
    disk.write(temporary, data)
    disk.rename(temporary, path)
    disk.sync(path)
    disk.sync_folder(path.parent)


def _write_in_place(path: Path, data: bytes, disk: CrashDisk) -> None:
    disk.write(path, data)
    disk.sync(path)
    disk.sync_folder(path.parent)


def _sync_then_rename(source: Path, target: Path, disk: CrashDisk) -> None:
    disk.sync_folder(target.parent)
    disk.rename(source, target)


def _save_previous_last(self: StateFile, record: Any) -> None:
    before = self._read(self._path)
    files.write_whole(self._path, state_file._seal(record), self._disk)
    if before is not None:
        files.write_whole(self._previous, state_file._seal(before), self._disk)


def _save_without_previous(self: StateFile, record: Any) -> None:
    files.write_whole(self._path, state_file._seal(record), self._disk)


def _sweep_then_save(self: Slots, state: Any) -> None:
    self.state = state
    self.collect_garbage()
    _save(self, state)


def _save_then_name_files(self: Slots, state: Any) -> None:
    _save(self, state)
    if state.candidate is None:
        for name in self.disk.names(self._parts):
            files.move_whole(self._parts / name, self._blobs / name, self.disk)


def _has_blob_or_part(self: Store, blob: Any) -> bool:
    part = self.part_path(blob)
    return _has_blob(self, blob) or (
        self.disk.size(part) is not None and self.disk.hash_file(part) == blob.sha256
    )


def _finish_without_name(self: Any) -> None:
    self._part.sync()
    self.close()


def _stash_release(self: Any, digest: str, envelope: bytes) -> None:
    self.stash = (digest, envelope)


def _save_then_keep_release(self: Any, state: Any) -> None:
    _save(self, state)
    if self.__dict__.get("stash"):
        digest, envelope = self.__dict__.pop("stash")
        files.write_whole(self._release_path(digest), envelope, self.disk)


def _recover_without_sweep(self: Slots) -> None:
    with mock.patch.object(Slots, "collect_garbage", lambda _: None):
        _recover(self)


def _recover_without(folder: str) -> Mutation:
    def make_last(self: Store) -> None:
        for each in (self._folder, self._blobs):
            if each.name != folder:
                self.disk.sync_folder(each)

    return _replace((Store, "_make_last"), by=make_last)


def _believe_what_is_there(self: Any, part: Part, number: int) -> bool:
    return any(part.pread(1, number * self.blob.chunk_bytes)) or _is_in(self, part, number)


def _do_not_sync(name: str) -> Mutation:
    return _skip(CrashDisk, "sync", lambda path: path.name == name)


def _do_not_sync_folder(name: str) -> Mutation:
    return _skip(CrashDisk, "sync_folder", lambda folder: folder.name == name)


class Broken(NamedTuple):
    """A mutation, and the operations before which a cut shows it soonest; "" is any."""

    mutation: Mutation
    near: str = ""


_WRITERS = ((store, "write_whole"), (state_file, "write_whole"))
MUTATIONS: Dict[str, Broken] = {
    "the state is not synced": Broken(_do_not_sync("slots.json.tmp")),
    "the previous state is not synced": Broken(_do_not_sync("slots.prev.json.tmp")),
    "the envelope is not synced": Broken(
        _skip(CrashDisk, "sync", lambda path: path.parent.name == "releases")
    ),
    "the state's folder is not synced": Broken(_do_not_sync_folder("board")),
    "the envelopes' folder is not synced": Broken(_do_not_sync_folder("releases")),
    "the files' folder is not synced": Broken(_do_not_sync_folder("blobs"), near="slots"),
    "the parts' folder is not synced": Broken(_do_not_sync_folder("parts"), near="pwrite"),
    "a part is not synced on its way": Broken(_replace((CrashPart, "sync_data"), by=lambda _: None)),
    "a part is not synced at its end": Broken(_replace((CrashPart, "sync"), by=lambda _: None)),
    "a start does not sync the state's folder": Broken(_recover_without("board"), near="sync_folder board"),
    "a start does not sync the files' folder": Broken(_recover_without("blobs"), near="sync_folder blobs"),
    "a file is renamed, then synced": Broken(_replace(*_WRITERS, by=_rename_then_sync), near="sync slots"),
    "a file is overwritten": Broken(_replace(*_WRITERS, by=_write_in_place), near="sync slots"),
    "a folder is synced, then changed": Broken(
        _replace((files, "move_whole"), (transfer, "move_whole"), by=_sync_then_rename)
    ),
    "the previous state is written last": Broken(_replace((StateFile, "save"), by=_save_previous_last)),
    "the previous state is not kept": Broken(_replace((StateFile, "save"), by=_save_without_previous)),
    "files are removed before the pointers": Broken(
        _replace((Slots, "save"), by=_sweep_then_save), near="slots.json"
    ),
    "files get their names after the pointers": Broken(
        _together(
            _replace((Slots, "save"), by=_save_then_name_files),
            _replace((Store, "has_blob"), by=_has_blob_or_part),
            _replace((transfer._Incoming, "finish"), by=_finish_without_name),
        ),
        near="rename",
    ),
    "the envelope is kept after the pointer": Broken(
        _together(
            _replace((Store, "keep_release"), by=_stash_release),
            _replace((Slots, "save"), by=_save_then_keep_release),
        )
    ),
    "a start does not sweep": Broken(_replace((Slots, "recover"), by=_recover_without_sweep)),
    "a start keeps pointers that lead nowhere": Broken(
        _replace((Slots, "_without_dangling"), by=lambda self: self.state), near="remove"
    ),
    "a part is not hashed again": Broken(
        _replace((transfer._Incoming, "_is_in"), by=_believe_what_is_there), near="sync_data"
    ),
}
