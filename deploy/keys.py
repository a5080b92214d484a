"""The fleet's folder: private keys, the root of trust, and the highest sequence number given out."""

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contract.codec import decode, encode
from contract.envelope import Envelope
from contract.errors import ContractError
from contract.stamps import format_time
from contract.trust import ROLES, Role, Root
from deploy.signing import PrivateKey, sign, verify
from host_cli.errors import CommandError, Failed, GateNotMet, WrongUsage
from host_cli.files import sync, write_bytes

KEYS_FOLDER = "keys"
ROOT_FILE = "root-1.json"
SEQUENCE_FILE = "sequence"
LOCK_FILE = "sequence.lock"
KEYS_PER_ROLE = {"root": 3, "release": 1, "timestamp": 1}
THRESHOLDS = {"root": 2, "release": 1, "timestamp": 1}
ROOT_DAYS = 730
PRIVATE_MODE = 0o600
FOLDER_MODE = 0o700
MAX_SEQUENCE = 2**53 - 1
_DAY_S = 86400.0


@dataclass(frozen=True)
class KeyFile:
    """A private key and where it lies."""

    role: str
    path: Path
    key: PrivateKey


def init_fleet(folder: Path, now_s: float) -> list[KeyFile]:
    """Make every key of a new fleet and its root of trust, `root-1.json`.

    Args:
        folder: the fleet's folder; made if it is not there.
        now_s: seconds since 1970; the root expires ROOT_DAYS later.

    Raises:
        WrongUsage: the folder already holds keys or a root; nothing is touched.
    """
    for existing in (folder / KEYS_FOLDER, folder / ROOT_FILE):
        if existing.exists():
            raise WrongUsage("keys are never overwritten", str(existing), "give another --fleet folder")
    (folder / KEYS_FOLDER).mkdir(mode=FOLDER_MODE, parents=True)
    made = [_make_key(folder, role, number) for role in ROLES for number in range(1, KEYS_PER_ROLE[role] + 1)]
    sync(folder / KEYS_FOLDER)
    root = build_root(made, now_s)
    envelope = sign(root, [entry.key for entry in made if entry.role == "root"])
    write_bytes(folder / ROOT_FILE, encode(envelope))
    return made


def build_root(made: Iterable[KeyFile], now_s: float) -> Root:
    """Return root version 1 that names the public halves of these keys."""
    by_role: dict[str, list[str]] = {role: [] for role in ROLES}
    public = {}
    for entry in made:
        by_role[entry.role].append(entry.key.id)
        public[entry.key.id] = entry.key.public
    roles = {role: Role(tuple(ids), THRESHOLDS[role]) for role, ids in by_role.items()}
    return Root(1, format_time(now_s + ROOT_DAYS * _DAY_S), public, roles)


def load_root(folder: Path) -> Root:
    """Read the fleet's root of trust and check that its own root keys signed it.

    Raises:
        WrongUsage: there is no root, or it cannot be read.
        GateNotMet: the signatures are not good.
    """
    path = folder / ROOT_FILE
    try:
        envelope = decode(Envelope, path.read_bytes())
        root = envelope.open(Root)
    except OSError as error:
        raise _no_key(path, error) from error
    except ContractError as error:
        raise WrongUsage(f"not a root of trust: {error}", str(path), "restore it from a copy") from error
    verify(envelope, root.roles["root"], root.keys)
    return root


def load_key(folder: Path, role: str, root: Root) -> PrivateKey:
    """Read the first private key of a role.

    Raises:
        WrongUsage: the file is not there, not a key, or open to other users.
        GateNotMet: the root does not name this key for the role.
    """
    path = folder / KEYS_FOLDER / f"{role}-1.key"
    try:
        open_to_others = path.stat().st_mode & 0o077
        text = path.read_text("ascii")
        key = PrivateKey(bytes.fromhex(text))
        identity = key.id
    except OSError as error:
        raise _no_key(path, error) from error
    except Exception:
        # No cause is chained: its text could hold a part of the key.
        raise WrongUsage("not a private key", str(path), "restore it from a copy") from None
    if open_to_others:
        raise WrongUsage("other users may read this private key", str(path), f"chmod 600 {path}")
    if identity not in root.roles[role].keys:
        raise GateNotMet(f"the root does not name this {role} key", str(path), f"use the keys of {folder}")
    return key


def reserve_sequence(folder: Path, seen: Iterable[int]) -> int:
    """Give out a sequence number that is higher than every one seen, and write it down before it is used.

    Args:
        folder: the fleet's folder.
        seen: sequence numbers that the broker and the devices know.

    Raises:
        WrongUsage: the sequence file is damaged, or there is no higher number.
    """
    path = folder / SEQUENCE_FILE
    with (folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            last = int(path.read_text("ascii")) if path.exists() else 0
        except (OSError, ValueError) as error:
            hint = "write the highest sequence ever pushed into it"
            raise WrongUsage(f"not a sequence number: {error}", str(path), hint) from error
        sequence = 1 + max([last, *seen])
        if sequence > MAX_SEQUENCE:
            raise WrongUsage(f"no sequence above {MAX_SEQUENCE}", str(path), "rotate the release key")
        write_bytes(path, b"%d\n" % sequence)
    return sequence


def _make_key(folder: Path, role: str, number: int) -> KeyFile:
    key = PrivateKey.generate()
    path = folder / KEYS_FOLDER / f"{role}-{number}.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
        with os.fdopen(handle, "w") as file:
            file.write(key.seed.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Failed(f"cannot write a key: {error}", str(path), "check space and rights") from error
    return KeyFile(role, path, key)


def _no_key(path: Path, error: OSError) -> CommandError:
    what = f"cannot read it: {error.strerror}"
    return WrongUsage(what, str(path), "deploy keys init --fleet DIR, or give the right --fleet")
