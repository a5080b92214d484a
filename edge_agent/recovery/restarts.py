"""When the agent last ended itself to be started anew: on disk, so that it cannot do so again and again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from contract.codec import decode, encode
from contract.errors import ContractError
from contract.records import Number, Record, rule
from edge_agent.files import write_whole


@dataclass(frozen=True)
class _LastRestart(Record):
    """The computer's monotonic clock at that moment; it begins anew when the computer does."""

    monotonic_s: float = rule(Number(0))


class Restarts:
    """The file `recovery.json` of an agent's state."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "recovery.json"

    def last_s(self, now_s: float) -> Optional[float]:
        """Return when, in monotonic seconds, None if never since the computer's start."""
        try:
            at_s = decode(_LastRestart, self._path.read_bytes()).monotonic_s
        except (OSError, ContractError):
            return None
        return at_s if at_s <= now_s else None

    def note(self, now_s: float) -> None:
        """Write down that it is now.

        Raises:
            StorageError: the disk does not take it; there must be no restart then.
        """
        write_whole(self._path, encode(_LastRestart(now_s)))
