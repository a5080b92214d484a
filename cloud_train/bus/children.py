"""Several models that follow one stream: a process for each, so that none waits for or falls with another."""

import os
import selectors
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_train.runners.children import Child, cloud_train, share_of_cores, stop_all

STOP_SECONDS = 10.0
ORPHANED = 1

Said = Callable[[dict[str, Any]], None]


@dataclass
class _Follower:
    """A `cloud-train follow --json` of one model, and its last words."""

    name: str
    child: Child
    last: dict[str, Any] | None = None


def follow_in_children(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], report: Said
) -> dict[str, dict[str, Any]]:
    """Run `cloud-train` with these arguments, one process for each model, to the end of all.

    Args:
        commands: of each model, the arguments; they contain --json.
        environment: of the processes.
        report: gets every report of every model as it is told.

    Returns:
        Of each model its last JSON object; its `exit_code` is that of the process.
    """
    environment = {**share_of_cores((os.cpu_count() or 1) // len(commands)), **environment}
    followers = [
        _Follower(name, Child(cloud_train(arguments), environment)) for name, arguments in commands.items()
    ]
    try:
        _listen(followers, report)
        return {one.name: _last_words(one) for one in followers}
    finally:
        stop_all([one.child for one in followers], STOP_SECONDS)


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""

    def wait() -> None:
        # Nothing is ever written there: it ends when the other end is closed.
        os.read(sys.stdin.fileno(), 1)
        os._exit(ORPHANED)

    threading.Thread(target=wait, daemon=True).start()


def _last_words(follower: _Follower) -> dict[str, Any]:
    code = follower.child.process.wait()
    said = follower.last or {}
    return {**said, "ok": code == 0 and said.get("ok", False), "exit_code": code}


def _listen(followers: Sequence[_Follower], report: Said) -> None:
    with selectors.DefaultSelector() as selector:
        for follower in followers:
            selector.register(follower.child, selectors.EVENT_READ, follower)
        while selector.get_map():
            for key, _ in selector.select():
                heard = key.data.child.hear()
                if heard is None:
                    selector.unregister(key.fileobj)
                for said in heard or []:
                    if "ok" in said:
                        key.data.last = said
                    else:
                        report(said)
