"""The fleet's folder: private keys, the chain of roots, and the highest numbers given out."""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contract.codec import decode, encode
from contract.envelope import Envelope
from contract.errors import ContractError
from contract.stamps import format_time
from contract.trust import ROLES, Role, Root, Timestamp
from deploy.trust.certificates import init_authority
from deploy.trust.signing import PrivateKey, sign, verify
from host_cli.errors import CommandError, Failed, GateNotMet, WrongUsage
from host_cli.files import sync, write_bytes

KEYS_FOLDER = "keys"
ROOT_FILE = "root-1.json"
SEQUENCE_FILE = "sequence"
COUNTER_FILE = "command_counter"
LOCK_FILE = "sequence.lock"
KEYS_PER_ROLE = {"root": 3, "release": 1, "timestamp": 1}
THRESHOLDS = {"root": 2, "release": 1, "timestamp": 1}
ROOT_DAYS = 730
TIMESTAMP_DAYS = 7
PRIVATE_MODE = 0o600
FOLDER_MODE = 0o700
MAX_NUMBER = 2**53 - 1
_DAY_S = 86400.0
ROOT_LIFE_S = ROOT_DAYS * _DAY_S


@dataclass(frozen=True)
class KeyFile:
    """A private key and where it lies."""

    role: str
    path: Path
    key: PrivateKey


def init_fleet(folder: Path, now_s: float) -> list[KeyFile]:
    """Make every key of a new fleet, its root of trust, `root-1.json`, and its certificate authority.

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
    made = [make_key(folder / KEYS_FOLDER, role) for role in ROLES for _ in range(KEYS_PER_ROLE[role])]
    root = build_root(made, now_s)
    envelope = sign(root, [entry.key for entry in made if entry.role == "root"])
    init_authority(folder, now_s)
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
    return Root(1, format_time(now_s + ROOT_LIFE_S), public, roles)


def root_path(folder: Path, version: int) -> Path:
    """Return where a version of the root lies."""
    return folder / f"root-{version}.json"


def load_root(folder: Path) -> Root:
    """Read the newest root of trust; as `load_roots`."""
    return load_roots(folder)[-1][1]


def load_roots(folder: Path) -> list[tuple[bytes, Root]]:
    """Read every root from `root-1.json` on, as it is sent and as what it says, and check the whole chain.

    Raises:
        WrongUsage: there is no root, one of the chain is missing or cannot be read.
        GateNotMet: the signatures of one are not good.
    """
    found = [_read_root(root_path(folder, 1), None)]
    versions = [int(path.stem[5:]) for path in folder.glob("root-*.json") if path.stem[5:].isdecimal()]
    for version in range(2, max(versions) + 1):
        found.append(_read_root(root_path(folder, version), found[-1][1]))
    return found


def release_keys_since(folder: Path) -> int:
    """Return the version of the root from which on today's release keys have counted without a break.

    What a board knows from keys before those may come from a thief, and is forgotten when it follows.
    """
    roots = [root for _, root in load_roots(folder)]
    since = roots[-1].version
    for root in reversed(roots):
        if root.roles["release"] != roots[-1].roles["release"]:
            break
        since = root.version
    return since


def _read_root(path: Path, before: Root | None) -> tuple[bytes, Root]:
    try:
        wire = path.read_bytes()
        envelope = decode(Envelope, wire)
        root = envelope.open(Root)
    except FileNotFoundError as error:
        if before is None:
            raise _no_key(path, error) from error
        raise WrongUsage("a root of the chain is missing", str(path), "restore it from a copy") from error
    except OSError as error:
        raise _no_key(path, error) from error
    except ContractError as error:
        raise WrongUsage(f"not a root of trust: {error}", str(path), "restore it from a copy") from error
    version = before.version + 1 if before else 1
    if root.version != version:
        what = f"it is version {root.version}, not {version}"
        raise WrongUsage(what, str(path), "restore it from a copy")
    for signers in (before or root, root):
        verify(envelope, signers.roles["root"], signers.keys)
    return wire, root


def load_key(folder: Path, role: str, root: Root) -> PrivateKey:
    """Read the newest private key of a role that the root names.

    Raises:
        WrongUsage: the file is not there, not a key, or open to other users.
        GateNotMet: the root names none of these keys for the role.
    """
    return load_keys(folder / KEYS_FOLDER, role, root)[0]


def load_keys(folder: Path, role: str, root: Root) -> list[PrivateKey]:
    """Read every private key in `folder` that the root names for a role, the newest first; at least one.

    Raises:
        WrongUsage: there is none, or one is not a key, or open to other users.
        GateNotMet: the root names none of them.
    """
    paths = key_paths(folder, role) or [folder / f"{role}-1.key"]
    named = [key for key in map(read_key, paths) if key.id in root.roles[role].keys]
    if not named:
        what = f"the root does not name this {role} key"
        raise GateNotMet(what, str(paths[0]), "use the folder that belongs to the root")
    return named


def key_paths(folder: Path, role: str) -> list[Path]:
    """Return the files of a role's private keys, the newest first."""
    found = {}
    for path in folder.glob(f"{role}-*.key"):
        match = re.fullmatch(role + r"-([1-9][0-9]{0,3})\.key", path.name)
        if match:
            found[int(match[1])] = path
    return [found[number] for number in sorted(found, reverse=True)]


def read_key(path: Path) -> PrivateKey:
    """Read a private key.

    Raises:
        WrongUsage: the file is not there, not a key, or open to other users.
    """
    try:
        open_to_others = path.stat().st_mode & 0o077
        key = PrivateKey(bytes.fromhex(path.read_text("ascii")))
        _ = key.id
    except OSError as error:
        raise _no_key(path, error) from error
    except Exception:
        # No cause is chained: its text could hold a part of the key.
        raise WrongUsage("not a private key", str(path), "restore it from a copy") from None
    if open_to_others:
        raise WrongUsage("other users may read this private key", str(path), f"chmod 600 {path}")
    return key


def sign_timestamp(
    folder: Path, channels: Mapping[str, int], now_s: float, valid_s: float = TIMESTAMP_DAYS * _DAY_S
) -> bytes:
    """Return a signed timestamp as it is sent.

    Args:
        folder: the fleet's folder.
        channels: the sequence of the release on each channel's topic; those for named devices do not count.
        now_s: seconds since 1970.
        valid_s: how long it says that this is the newest.

    Raises:
        WrongUsage: there is no root or no timestamp key.
        GateNotMet: the key does not fit to the root, or there are too many channels.
    """
    root = load_root(folder)
    key = load_key(folder, "timestamp", root)
    times = format_time(now_s), format_time(now_s + valid_s)
    try:
        timestamp = Timestamp(*times, root.version, dict(channels))
    except ContractError as error:
        raise GateNotMet(
            f"no timestamp can be made of it: {error}", str(folder), "see docs/mqtt.md"
        ) from error
    return encode(sign(timestamp, [key]))


def reserve_sequence(folder: Path, seen: Iterable[int]) -> int:
    """Give out a sequence number that is higher than every one seen, and write it down before it is used.

    Args:
        folder: the fleet's folder.
        seen: sequence numbers that the broker and the devices know.

    Raises:
        WrongUsage: the sequence file is damaged, or there is no higher number.
    """
    return _reserve(folder, SEQUENCE_FILE, max(seen, default=0) + 1)


def reserve_counter(folder: Path, now_s: float) -> int:
    """Give out the counter of a command: the milliseconds since 1970, or one more than the last.

    Raises:
        WrongUsage: the counter's file is damaged, or there is no higher number.
    """
    return _reserve(folder, COUNTER_FILE, int(now_s * 1000))


def _reserve(folder: Path, name: str, lowest: int) -> int:
    path = folder / name
    with locked(folder):
        try:
            last = int(path.read_text("ascii")) if path.exists() else 0
        except (OSError, ValueError) as error:
            hint = "write the highest number ever used into it"
            raise WrongUsage(f"not a {name} number: {error}", str(path), hint) from error
        number = max(lowest, last + 1)
        if number > MAX_NUMBER:
            raise WrongUsage(f"no {name} above {MAX_NUMBER}", str(path), "rotate the release key")
        write_bytes(path, b"%d\n" % number)
    return number


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let nobody else give out numbers or make roots in this folder."""
    with (folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_key(folder: Path, role: str) -> KeyFile:
    """Make a private key for a role, under the next free number.

    Raises:
        Failed: it cannot be written.
    """
    newest = next(iter(key_paths(folder, role)), None)
    number = int(newest.stem.rpartition("-")[2]) + 1 if newest else 1
    key = PrivateKey.generate()
    path = folder / f"{role}-{number}.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
        with os.fdopen(handle, "w") as file:
            file.write(key.seed.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync(folder)
    except OSError as error:
        raise Failed(f"cannot write a key: {error}", str(path), "check space and rights") from error
    return KeyFile(role, path, key)


def _no_key(path: Path, error: OSError) -> CommandError:
    what = f"cannot read it: {error.strerror}"
    return WrongUsage(what, str(path), "deploy keys init --fleet DIR, or give the right --fleet")
