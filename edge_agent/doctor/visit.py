"""One visit of the doctor: where it looks, and what an earlier check has opened for a later one."""

import fcntl
import queue
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, Optional, Tuple

from edge_agent.config import AgentConfig
from edge_agent.inference import delegate
from edge_agent.mailbox import Mailbox

_MAILBOX_ROOM = 64


@dataclass
class Visit:
    """What the checks share. `end` leaves nothing running.

    Attributes:
        config_path: the agent's configuration.
        root: where /sys, /proc, /dev and /usr begin.
        edgetpu: what the machine tells about its Edge TPU.
        config: the configuration, once the check of that name has read it.
        addresses: the broker's, as `socket.getaddrinfo` gives them.
        link: the connection to the broker, and its `mailbox`.
        slots: what is installed, the active release's `manifest`, and what of it is `runnable` here.
        worker: the process that has loaded it, its `ready` event, and the queue of all its `events`.
    """

    config_path: Path
    root: Path = Path("/")
    edgetpu: delegate.Facts = field(default_factory=delegate.Facts)
    config: Optional[AgentConfig] = None
    addresses: List[Tuple[Any, ...]] = field(default_factory=list)
    mailbox: Mailbox = field(default_factory=lambda: Mailbox(_MAILBOX_ROOM))
    link: Any = None
    slots: Any = None
    manifest: Any = None
    runnable: Any = None
    worker: Any = None
    ready: Any = None
    events: "queue.Queue[Any]" = field(default_factory=queue.Queue)

    @property
    def settings(self) -> AgentConfig:
        """The configuration, for checks that need the one that reads it."""
        assert self.config is not None, "a check that does not say that it needs the configuration"
        return self.config

    @property
    def state_dir(self) -> Path:
        """Where models and the outbox are kept."""
        return Path(self.settings.state_dir)

    def is_agent_running(self) -> bool:
        """Say whether an agent holds the state folder."""
        try:
            with (self.state_dir / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def read(self, path: str) -> str:
        """Return a small file of the system as text, "" if it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def end(self) -> None:
        """Hang up on the broker and on the worker."""
        if self.link is not None:
            self.link.stop()
        if self.worker is not None:
            self.worker.stop()
