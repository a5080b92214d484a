"""Replaces a key of the fleet: a new root of trust, signed by the one before and by itself."""

from dataclasses import dataclass, replace
from pathlib import Path

from contract.codec import encode
from contract.stamps import format_time
from contract.topics import Topics
from contract.trust import Role, Root
from deploy.trust.keys import (
    KEYS_FOLDER,
    ROOT_LIFE_S,
    KeyFile,
    key_paths,
    load_keys,
    load_root,
    load_roots,
    locked,
    make_key,
    read_key,
    root_path,
)
from deploy.trust.signing import PrivateKey, sign, verify
from host_cli.errors import GateNotMet, WrongUsage
from host_cli.files import write_bytes
from host_mqtt.link import Link


@dataclass(frozen=True)
class Replacement:
    """What has been done; `old_path` is where the private key lies that counts no more, if it still does."""

    role: str
    old_id: str
    old_path: Path | None
    new: KeyFile
    root: Root
    root_path: Path


def rotate(folder: Path, role: str, root_keys: Path, now_s: float) -> Replacement:
    """Replace the oldest key of a role; as `revoke`."""
    return revoke(folder, load_root(folder).roles[role].keys[0], root_keys, now_s)


def revoke(folder: Path, keyid: str, root_keys: Path, now_s: float) -> Replacement:
    """Replace a key by a new one, so that what it signs counts no more.

    Args:
        folder: the fleet's folder.
        keyid: the key that goes.
        root_keys: the folder with enough private root keys; a new root key is put there too.
        now_s: seconds since 1970; the new root expires ROOT_DAYS later.

    Raises:
        WrongUsage: the root has no such key, or a private key is damaged.
        GateNotMet: there are too few root keys; nothing is changed.
        Failed: the disk refuses.
    """
    with locked(folder):
        root = load_root(folder)
        role = _role_of(root, keyid)
        signers = _load_signers(root_keys, root)
        home = root_keys if role == "root" else folder / KEYS_FOLDER
        new = make_key(home, role)
        following = _replace(root, role, keyid, new.key, now_s)
        envelope = sign(following, [*signers, *([new.key] if role == "root" else [])])
        for one in (root, following):
            verify(envelope, one.roles["root"], one.keys)
        path = root_path(folder, following.version)
        write_bytes(path, encode(envelope))
    return Replacement(role, keyid, _find(home, role, keyid), new, following, path)


def publish_roots(folder: Path, topics: Topics, link: Link) -> int:
    """Publish every root of the chain, retained; return the newest version.

    Raises:
        WrongUsage: there is no root.
        GateNotMet: the chain is not good.
        Unreachable: the broker does not take it.
    """
    roots = load_roots(folder)
    for wire, root in roots:
        link.publish(topics.trust_root(root.version), wire, retain=True)
    link.flush()
    return roots[-1][1].version


def _role_of(root: Root, keyid: str) -> str:
    for role, about in root.roles.items():
        if keyid in about.keys:
            return role
    raise WrongUsage(f"root {root.version} has no key {keyid[:64]!r}", "KEYID", "deploy keys list shows them")


def _load_signers(root_keys: Path, root: Root) -> list[PrivateKey]:
    signers = load_keys(root_keys, "root", root) if key_paths(root_keys, "root") else []
    needed = root.roles["root"].threshold
    if len(signers) < needed:
        what = f"{len(signers)} root keys are here, {needed} must sign"
        raise GateNotMet(what, str(root_keys), "bring them together in one folder: --root-keys DIR")
    return signers


def _replace(root: Root, role: str, keyid: str, key: PrivateKey, now_s: float) -> Root:
    # The new one comes last: the first is the oldest, which is rotated next.
    keys = (*(one for one in root.roles[role].keys if one != keyid), key.id)
    roles = {**root.roles, role: Role(keys, root.roles[role].threshold)}
    public = {one: data for one, data in root.keys.items() if one != keyid}
    return replace(
        root,
        version=root.version + 1,
        expires=format_time(now_s + ROOT_LIFE_S),
        keys={**public, key.id: key.public},
        roles=roles,
    )


def _find(folder: Path, role: str, keyid: str) -> Path | None:
    return next((path for path in key_paths(folder, role) if read_key(path).id == keyid), None)
