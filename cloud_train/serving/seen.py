"""What the model saw: how often each label was predicted, remembered over a restart if there is a file."""

import json
import logging
from collections import Counter
from pathlib import Path

from contract.codec import parse_json
from contract.errors import MessageError
from host_cli import files

_log = logging.getLogger(__name__)


class Seen:
    """Counts predictions by label; only labels of the model are counted, so it stays small."""

    def __init__(self, labels: tuple[str, ...], path: Path | None) -> None:
        """Begin with what the file says; one that cannot be read is told in the log and begun anew."""
        self._labels = labels
        self._path = path
        self._counts: Counter[str] = Counter()
        self._is_saved = True
        if path is not None and path.exists():
            self._load(path)

    def count(self, label: str) -> None:
        """A picture was predicted to be this."""
        self._counts[label] += 1
        self._is_saved = False

    def counts(self) -> dict[str, int]:
        """Return how often each label was seen, the most frequent first."""
        return dict(self._counts.most_common())

    def save(self) -> None:
        """Write the file, if there is news; a disk that is full costs what was seen, and no answer."""
        if self._path is None or self._is_saved:
            return
        self._is_saved = True
        try:
            files.write_bytes(self._path, json.dumps(self.counts(), ensure_ascii=False).encode("utf-8"))
        except OSError as error:
            _log.warning("what was seen cannot be written to %s: %s", self._path, error.strerror)

    def _load(self, path: Path) -> None:
        try:
            found = parse_json(path.read_bytes())
            kept = {label: found[label] for label in self._labels if label in found}
            if not all(type(count) is int and count >= 0 for count in kept.values()):
                raise MessageError("a count is no whole number")
        except (OSError, MessageError, TypeError) as error:
            _log.warning("what was seen cannot be read from %s: %s", path, error)
        else:
            self._counts.update(kept)
