"""`deploy keys list|rotate|revoke|publish`: reads options, calls one module, prints the result."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.topics import DEFAULT_BASE, Topics
from contract.trust import ROLES
from deploy.commands.options import FLEET, AsJson, Base, Broker, Fleet
from host_cli.command import print_result
from host_cli.errors import WrongUsage
from host_mqtt.address import DEFAULT_BROKER, Address

if TYPE_CHECKING:
    from deploy.trust.rotation import Replacement

RootKeys = Annotated[
    Path | None, typer.Option("--root-keys", help="Folder with the private root keys; that of the fleet.")
]
Publish = Annotated[
    bool, typer.Option("--publish", help="Publish the new root at once; otherwise: deploy keys publish.")
]


def list_keys(fleet: Fleet = FLEET, as_json: AsJson = False) -> None:
    """Show which keys the newest root names, and until when it counts."""
    from deploy.trust.keys import load_root

    root = load_root(fleet)
    roles = {role: {"threshold": one.threshold, "keys": list(one.keys)} for role, one in root.roles.items()}
    lines = [f"root {root.version}, until {root.expires}"]
    lines += [f"{role:9} {one.threshold} of {' '.join(one.keys)}" for role, one in root.roles.items()]
    result = {"ok": True, "version": root.version, "expires": root.expires, "roles": roles}
    print_result(result, "\n".join(lines), as_json)


def rotate(
    role: Annotated[str, typer.Argument(help="root, release or timestamp.")],
    fleet: Fleet = FLEET,
    root_keys: RootKeys = None,
    publish: Publish = False,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    as_json: AsJson = False,
) -> None:
    """Replace the oldest key of a role by a new one, in a new root."""
    from deploy.trust.keys import KEYS_FOLDER
    from deploy.trust.rotation import rotate as rotate_key

    if role not in ROLES:
        raise WrongUsage(f"no role {role!r}", "deploy keys rotate", "it is one of " + ", ".join(ROLES))
    done = rotate_key(fleet, role, root_keys or fleet / KEYS_FOLDER, time.time())
    _finish(done, fleet, Topics(base), broker if publish else None, as_json)


def revoke(
    keyid: Annotated[str, typer.Argument(help="As deploy keys list shows it.")],
    fleet: Fleet = FLEET,
    root_keys: RootKeys = None,
    publish: Publish = False,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    as_json: AsJson = False,
) -> None:
    """Replace this key by a new one, in a new root: what it signs counts no more."""
    from deploy.trust.keys import KEYS_FOLDER
    from deploy.trust.rotation import revoke as revoke_key

    done = revoke_key(fleet, keyid, root_keys or fleet / KEYS_FOLDER, time.time())
    _finish(done, fleet, Topics(base), broker if publish else None, as_json)


def publish(
    fleet: Fleet = FLEET, broker: Broker = DEFAULT_BROKER, base: Base = DEFAULT_BASE, as_json: AsJson = False
) -> None:
    """Publish every root, so that each device can follow from the one it has."""
    version = _publish(fleet, Topics(base), broker)
    print_result({"ok": True, "root": version}, f"roots 1 to {version} are at {broker}", as_json)


def _publish(fleet: Path, topics: Topics, broker: Address) -> int:
    from deploy.trust.rotation import publish_roots
    from host_mqtt.link import Link

    with Link(broker) as link:
        return publish_roots(fleet, topics, link)


def _finish(done: "Replacement", fleet: Path, topics: Topics, broker: Address | None, as_json: bool) -> None:
    if broker is not None:
        _publish(fleet, topics, broker)
    old = str(done.old_path) if done.old_path else None
    result = {
        "ok": True,
        "root": str(done.root_path),
        "version": done.root.version,
        "role": done.role,
        "published": broker is not None,
        "old": {"keyid": done.old_id, "file": old},
        "new": {"keyid": done.new.key.id, "file": str(done.new.path)},
    }
    lines = [
        f"root {done.root.version} is {done.root_path}",
        f"{done.role} {done.new.key.id} is new: {done.new.path}",
        f"{done.role} {done.old_id} counts no more; its private key "
        + (f"still lies in {old}" if old else "is not in this folder"),
    ]
    if broker is None:
        lines.append("boards learn it with: deploy keys publish --broker URL")
    if done.role == "release":
        lines.append("boards refuse what the old key signed: push again")
    print_result(result, "\n".join(lines), as_json)
