"""The files of a mosquitto broker: its settings, who may do what, its certificate. Writes, runs nothing."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contract.topics import DEFAULT_BASE
from deploy.trust.broker_rights import build_acl
from deploy.trust.certificates import (
    CA_FOLDER,
    SERVER_FILE,
    SERVER_KEY_FILE,
    issue_server,
    list_blocked,
    read_server,
)
from host_cli.errors import WrongUsage
from host_cli.files import write_bytes
from host_mqtt.address import LOOPBACK
from host_mqtt.credentials import CA_FILE

CONFIG_FILE = "mosquitto.conf"
SERVER_CONFIG_FILE = "reefline.conf"
SERVER_FOLDER = Path("/etc/mosquitto/reefline")
HOME_FOLDER = "reefline"
ACL_FILE = "acl"
MAX_PACKET_BYTES = 256 * 1024
MEMORY_LIMIT_BYTES = 1024**3
INFLIGHT_BYTES = 2 * 1024**2
QUEUED_MESSAGES = 100_000
QUEUED_BYTES = 64 * 1024**2
MAX_KEEPALIVE_S = 3600
AUTOSAVE_CHANGES = 200
FIGURES_EVERY_S = 1
RENEW_BEFORE_S = 30 * 86400.0
_LOCAL_HOSTS = ("localhost", LOOPBACK)
_ANYWHERE = ("0.0.0.0", "::")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Which broker is wanted.

    Args:
        folder: where its files are.
        port: TCP port; 0 for a free one where it is run.
        fleet: with TLS, the folder of the fleet whose certificates it believes; else None.
        listen: the address it listens at.
        hosts: with TLS, the names and addresses under which clients reach it.
        base: first part of every topic.
        autosave_changes: after so many retained messages everything is written to disk; that takes as long as
            there are retained messages, so a large fleet wants it rarely.
    """

    folder: Path
    port: int
    fleet: Path | None = None
    listen: str = LOOPBACK
    hosts: tuple[str, ...] = ()
    base: str = DEFAULT_BASE
    autosave_changes: int = AUTOSAVE_CHANGES

    def __post_init__(self) -> None:
        if self.fleet is None and self.listen != LOOPBACK:
            what = "without TLS everybody in the network could speak to the broker"
            raise WrongUsage(what, f"--listen {self.listen}", "add --tls")

    @property
    def home(self) -> Path:
        """Where certificate and rights lie."""
        return self.folder.absolute() / HOME_FOLDER

    @property
    def all_hosts(self) -> tuple[str, ...]:
        """What the certificate must be good for."""
        own = () if self.listen in _ANYWHERE else (self.listen,)
        return tuple(dict.fromkeys((*self.hosts, *own, *_LOCAL_HOSTS)))


def write_local(plan: Plan, port: int, user: str) -> Path:
    """Write everything for a broker that this computer runs; return its configuration.

    Args:
        plan: which broker.
        port: the free TCP port it gets.
        user: whom mosquitto runs as when root starts it; otherwise it ignores this.

    Raises:
        WrongUsage: the folder cannot be written, or the fleet has no authority.
    """
    lines = [
        *_listener(plan, port, plan.home),
        *_limits(plan.autosave_changes),
        *_storage(plan.folder.absolute(), user),
    ]
    path = plan.folder.absolute() / CONFIG_FILE
    _write(plan, path, lines)
    return path


def write_server(plan: Plan, home: Path = SERVER_FOLDER) -> Path:
    """Write what is copied to a server that has a mosquitto; return the configuration.

    Args:
        plan: which broker.
        home: where the folder with certificate and rights will lie on the server.

    Raises:
        WrongUsage: the folder cannot be written, or the fleet has no authority.
    """
    path = plan.folder.absolute() / SERVER_CONFIG_FILE
    _write(plan, path, [*_listener(plan, plan.port, home), *_limits(plan.autosave_changes)])
    return path


def renew(plan: Plan, now_s: float) -> bool:
    """Make the broker's certificate if there is none that fits, or it ends soon; say whether it was made.

    Raises:
        WrongUsage: one is needed, and the fleet's authority is not there.
    """
    assert plan.fleet is not None, "only with TLS"
    found = read_server(plan.home)
    left_s = found.ends_s - now_s if found is not None and _is_same(plan) else 0.0
    fits = found is not None and left_s > 0 and found.hosts >= set(plan.all_hosts)
    if fits and left_s > RENEW_BEFORE_S:
        return False
    try:
        issue_server(plan.fleet, plan.all_hosts, plan.home, now_s)
    except WrongUsage as error:
        if not fits:
            raise
        days = left_s / 86400
        _log.warning("the broker's certificate ends in %.0f days: %s (%s)", days, error.what, error.where)
        return False
    return True


def _is_same(plan: Plan) -> bool:
    """Say whether the broker believes this fleet's authority, not that of another."""
    assert plan.fleet is not None
    theirs, ours = plan.home / CA_FILE, plan.fleet / CA_FOLDER / CA_FILE
    return theirs.exists() and ours.exists() and theirs.read_bytes() == ours.read_bytes()


def _write(plan: Plan, path: Path, lines: Iterable[str]) -> None:
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        if plan.fleet is not None:
            renew(plan, time.time())
            acl = build_acl(plan.base, list_blocked(plan.fleet))
            write_bytes(plan.home / ACL_FILE, acl.encode(), 0o600)
        write_bytes(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        what = f"cannot write here: {error.strerror}"
        raise WrongUsage(what, str(plan.folder), "give another --dir") from error


def _listener(plan: Plan, port: int, home: Path) -> list[str]:
    lines = ["# Written by `deploy broker`.", f"listener {port} {plan.listen}"]
    if plan.fleet is None:
        return [*lines, "# Loopback only: whoever reaches it is on this computer.", "allow_anonymous true"]
    return [
        *lines,
        f"cafile {home / CA_FILE}",
        f"certfile {home / SERVER_FILE}",
        f"keyfile {home / SERVER_KEY_FILE}",
        "tls_version tlsv1.2",
        "# Only who has a certificate of the fleet's authority; the name in it is the user.",
        "allow_anonymous false",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {home / ACL_FILE}",
    ]


def _limits(autosave_changes: int) -> list[str]:
    return [
        "# Without this a QoS 1 round trip takes 88 ms, with it 0.5 ms.",
        "set_tcp_nodelay true",
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"memory_limit {MEMORY_LIMIT_BYTES}",
        f"max_inflight_bytes {INFLIGHT_BYTES}",
        "# By default a subscriber silently loses what is beyond 1,000 queued messages.",
        f"max_queued_messages {QUEUED_MESSAGES}",
        f"max_queued_bytes {QUEUED_BYTES}",
        f"max_keepalive {MAX_KEEPALIVE_S}",
        "# What was acknowledged is otherwise on disk only half an hour later.",
        "autosave_on_changes true",
        f"autosave_interval {autosave_changes}",
    ]


def _storage(folder: Path, user: str) -> list[str]:
    return [
        f"user {user}",
        "persistence true",
        f"persistence_location {folder}/",
        "# How often it tells its own figures below $SYS.",
        f"sys_interval {FIGURES_EVERY_S}",
        "connection_messages false",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    ]
