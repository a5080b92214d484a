"""A watched folder: every JPEG and PNG that is put there is asked about once.

A file is read when it was the same at two looks in a row: who writes slowly, or copies, is waited for.
"""

import collections
import itertools
import logging
import os
import stat
import time
from pathlib import Path
from typing import Callable, Counter, List, Optional, Set, Tuple

from contract.messages import Problem
from edge_agent.events import InferenceAsked
from edge_agent.source_config import DELETE, KEEP, SourceConfig
from edge_agent.sources.seen import FileState, Seen
from edge_agent.sources.source import Source
from edge_agent.tally import NOT_THE_MODEL

SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_FILES = 10_000
MAX_FILE_BYTES = 16 * 1024 * 1024
# Why a file is left.
NOT_A_FILE, TOO_LARGE, UNREADABLE, STUCK = "not_a_file", "too_large", "unreadable", "not_put_away"
# Problems that are nobody's fault: it is asked about again, and the others wait behind it.
_NOT_NOW = ("no_model", "busy", "timeout", "stopping")
# Problems that are or may be the file's: it is left. After any other one it is asked about once more at the
# next looks, or a model that fails for a minute would cost the pictures of that minute.
_THE_FILES = (*NOT_THE_MODEL, "worker_lost")
_MAX_TRIES = 3
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Never through a link, and never waiting for who writes into a pipe.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_log = logging.getLogger(__name__)

Skip = Callable[[str, str], None]


class Folder(Source):
    """Looks into one folder, not into those within. Nothing that lies there can stop it."""

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        ask: Callable[[InferenceAsked], None],
        *,
        state_dir: Path,
        skip: Skip,
    ) -> None:
        """Prepare.

        Args:
            name: as in the prediction topic.
            config: which folder, and what becomes of its files.
            ask: as for every source.
            state_dir: where to remember what has been asked about.
            skip: counts a file that is not asked about, or gives no answer, by (source, reason).
        """
        super().__init__(name, config, ask)
        self._skip = skip
        self._seen = Seen(state_dir / "sources" / f"{name}.seen", time.monotonic())
        self._last_look: Set[bytes] = set()
        self._noted: Set[Tuple[str, str]] = set()
        self._noted_before = self._noted
        self._tries: Counter[bytes] = collections.Counter()

    def step(self) -> float:
        """Look once, ask about what is complete and new, the oldest first."""
        try:
            folder = os.open(self._config.path, _OPEN_FOLDER)
        except OSError as error:
            self._tell(_explain(error, self._config.path))
            return self._config.every_s
        try:
            self._look(folder)
        except OSError as error:
            self._tell(_explain(error, self._config.path))
        finally:
            os.close(folder)
        self._seen.save(time.monotonic())
        return self._config.every_s

    def finish(self) -> None:
        """Save what has been asked about."""
        self._seen.save(time.monotonic(), is_last=True)

    def _look(self, folder: int) -> None:
        self._noted_before, self._noted = self._noted, set()
        names = _list(folder)
        self._tell(_explain_fullness(self._config.path) if len(names) == MAX_FILES else None)
        found = (self._judge(folder, name) for name in names)
        files = {file.mark(): file for file in found if file is not None}
        self._seen.keep_only(files.keys())
        complete = [mark for mark in files if mark in self._last_look and mark not in self._seen]
        self._last_look = set(files)
        self._tries = collections.Counter({mark: self._tries[mark] for mark in self._tries if mark in files})
        for mark in sorted(complete, key=lambda mark: (files[mark].mtime_ns, files[mark].name)):
            if self._stopping.is_set() or not self._ask_about(folder, files[mark], mark):
                return

    def _judge(self, folder: int, name: str) -> Optional[FileState]:
        try:
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            # It has gone already.
            return None
        if not stat.S_ISREG(state.st_mode):
            self._note(name, NOT_A_FILE)
        elif state.st_size > MAX_FILE_BYTES:
            self._note(name, TOO_LARGE)
        elif state.st_size > 0:
            return FileState(name, state.st_size, state.st_mtime_ns)
        return None

    def _ask_about(self, folder: int, file: FileState, mark: bytes) -> bool:
        """Ask about one file; False if nobody can answer now."""
        picture = self._read(folder, file)
        if picture is None:
            return True
        answer = self._ask(picture, _clean(file.name))
        if isinstance(answer, Problem):
            if answer.code in _NOT_NOW:
                return False
            self._tries[mark] += 1
            if answer.code in _THE_FILES or self._tries[mark] == _MAX_TRIES:
                self._note(file.name, answer.code, answer.message)
                self._seen.add(mark)
        elif not self._put_away(folder, file):
            self._seen.add(mark)
        return True

    def _read(self, folder: int, file: FileState) -> Optional[bytes]:
        """Return what is in a file, or None if it is not what was listed any more."""
        try:
            with os.fdopen(os.open(file.name, _OPEN_FILE, dir_fd=folder), "rb") as opened:
                state = os.fstat(opened.fileno())
                if not stat.S_ISREG(state.st_mode) or (state.st_size, state.st_mtime_ns) != file[1:]:
                    return None
                return opened.read(file.size)
        except FileNotFoundError:
            return None
        except OSError:
            self._note(file.name, UNREADABLE)
            return None

    def _put_away(self, folder: int, file: FileState) -> bool:
        """Delete or move a file that was answered; False if it stays."""
        if self._config.after == KEEP or self._judge(folder, file.name) != file:
            return False
        try:
            if self._config.after == DELETE:
                os.unlink(file.name, dir_fd=folder)
            else:
                os.rename(file.name, Path(self._config.move_to) / file.name, src_dir_fd=folder)
        except OSError:
            self._note(file.name, STUCK)
            return False
        return True

    def _note(self, name: str, reason: str, message: str = "") -> None:
        """Count and log what is wrong with a file, once until it goes away."""
        self._noted.add((name, reason))
        if (name, reason) not in self._noted_before:
            _log.warning("source %s: %.200a: %s %s", self.name, name, reason, message)
            self._skip(self.name, reason)


def _list(folder: int) -> List[str]:
    """Return the names of at most `MAX_FILES` files that may be pictures, in no order; no hidden ones."""
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries)
        pictures = (name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))
        return list(itertools.islice(pictures, MAX_FILES))


def _clean(name: str) -> str:
    """Return a file's name as text: its bytes need not be UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def _explain(error: OSError, path: str) -> Problem:
    return Problem(
        "folder_unreadable",
        f"cannot look into {path}: {error.strerror}"[:1000],
        "make the folder, and let the agent's user read it",
    )


def _explain_fullness(path: str) -> Problem:
    return Problem(
        "folder_full",
        f"{path} has {MAX_FILES} pictures or more: some are left out"[:1000],
        'take some away, or set after = "move"',
    )
