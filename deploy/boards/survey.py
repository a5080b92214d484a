"""What a board is, read in one round trip, and what stands in the way of an agent there."""

import base64
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from contract.errors import MessageError
from contract.records import Integer, Items, Nested, Record, Text, load_record, rule
from contract.topics import BASE_PATTERN, DEVICE_PATTERN, NAME_PATTERN
from deploy.boards.answer import clean
from deploy.boards.packages import NAME
from deploy.boards.register import MAX_TAGS, MAX_VERSION_CHARACTERS
from deploy.boards.shell import Shell
from host_cli.errors import Failed, WrongUsage
from host_mqtt.address import Address

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG_FOLDER = "/etc/reefline"
ENROLLED_FILE = CONFIG_FOLDER + "/enrolled.toml"
ROOT_FILE = CONFIG_FOLDER + "/root.json"
MQTT_FOLDER = CONFIG_FOLDER + "/mqtt"
PLACES = ("/", "/usr", "/var", "/tmp", "/etc")
# Ours has less than 4,000. A parser of TOML takes memory in squares of a dotted key's length.
MAX_SETTINGS_BYTES = 8 * 1024
# A host name, or an address of either kind.
_HOST_PATTERN = "^[A-Za-z0-9._:%-]{1,253}$"
# What the agent was built for; docs/flashing.md.
ARCHITECTURES = ("arm64", "amd64")
OLDEST_PYTHON = (3, 7)
OLDEST_GLIBC = (2, 28)
ENROLL_BYTES = 1024 * 1024
CLOCK_TOLERANCE_S = 60.0
MENDEL = "mendel"
_LATEST_S = 253402300799  # the end of the year 9999
_END = "end=of-survey"
# Two surveys with the same mark saw the same enrolment. Any user may read these files.
MARK = f"""mark() {{
    for file in {ENROLLED_FILE} {ROOT_FILE} {MQTT_FOLDER}/ca.pem {MQTT_FOLDER}/client.pem; do
        {{ sha256sum <$file; }} 2>/dev/null || echo none
    done | sha256sum | cut -c 1-64
}}"""
# Each line is KEY=VALUE; a command that is not there leaves its value empty.
_SCRIPT = f"""
say() {{ printf '%s=%s\\n' "$1" "$2"; }}
sum() {{ {{ sha256sum <"$1"; }} 2>/dev/null | cut -c 1-64; }}
say machine "$(uname -m)"
(. /etc/os-release; say os_id "$ID"; say pretty_name "$PRETTY_NAME") 2>/dev/null
say architecture "$(dpkg --print-architecture 2>/dev/null)"
say python "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2)"
for place in {" ".join(PLACES)}; do
    say "free_kib:$place" "$(df -Pk "$place" 2>/dev/null | sed 1d | awk '{{print $4}}')"
done
getent group apex >/dev/null 2>&1 && say has_apex_group yes
test -e /dev/apex_0 && say has_apex_device yes
say clock_s "$(date +%s)"
say systemd "$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p')"
say hostname "$(uname -n)"
say model "$(cat /proc/device-tree/model 2>/dev/null | tr -d '\\0')"
state=$(dpkg-query -W -f '${{db:Status-Status}} ${{Version}}' {NAME} 2>/dev/null)
say package "$(printf '%s' "$state" | sed -n 's/^installed //p')"
{MARK}
say mark "$(mark)"
say settings "$(head -c {MAX_SETTINGS_BYTES} {ENROLLED_FILE} 2>/dev/null | base64 | tr -d '\\n')"
say root_sha256 "$(sum {ROOT_FILE})"
say ca_sha256 "$(sum {MQTT_FOLDER}/ca.pem)"
echo {_END}
"""


@dataclass(frozen=True)
class _Broker(Record):
    host: str = rule(Text(_HOST_PATTERN))
    port: int = rule(Integer(1, 65535))
    base: str = rule(Text(BASE_PATTERN))


@dataclass(frozen=True)
class _Settings(Record):
    """What enrolled.toml says."""

    device: str = rule(Text(DEVICE_PATTERN))
    tags: tuple[str, ...] = rule(Items(Text(NAME_PATTERN), max_items=MAX_TAGS))
    mqtt: _Broker = rule(Nested(_Broker))


@dataclass(frozen=True)
class EnrolledAs:
    """What the board was enrolled with: the text of enrolled.toml, what it says, and SHA-256 of other files.

    Where a person has broken enrolled.toml, it says nothing: all of that is None.
    """

    settings: str
    device: str | None
    tags: tuple[str, ...] | None
    broker: Address | None
    base: str | None
    root_sha256: str
    ca_sha256: str


@dataclass(frozen=True)
class Survey:
    """What a board is. What is not there, or cannot be found out, is None, 0 or empty.

    `machine` is what the kernel says (aarch64), `architecture` what dpkg says (arm64), `model` what the
    maker calls the board. `clock_s` is the board's time in seconds since 1970, `free_bytes` the space left by
    folder, `package` the version of reefline-agent that is installed. `mark` changes whenever the board is
    enrolled.
    """

    machine: str
    architecture: str
    os_id: str
    pretty_name: str
    hostname: str
    model: str
    python: tuple[int, int] | None
    glibc: tuple[int, int] | None
    free_bytes: dict[str, int]
    has_apex_group: bool
    has_apex_device: bool
    clock_s: float
    systemd: int | None
    package: str | None
    enrolled: EnrolledAs | None
    mark: str = ""

    @property
    def is_mendel(self) -> bool:
        """Whether Google's own image runs there."""
        return self.os_id == MENDEL


@dataclass(frozen=True)
class Problem:
    """Something about a board that a person should know; with `blocking` an agent cannot run there."""

    what: str
    hint: str
    blocking: bool


def survey(shell: Shell) -> Survey:
    """Look at a board; nothing is changed there.

    Raises:
        Unreachable: the connection is lost.
        Failed: no Unix shell answers.
    """
    answer = shell.run(_SCRIPT)
    if _END not in answer.out.splitlines():
        what = f"no Unix shell answers there: {answer.reason}"
        raise Failed(what, shell.where, "is it a board with Linux? ssh to it and look")
    return _read(dict(line.partition("=")[::2] for line in answer.out.splitlines()))


def problems(found: Survey, now_s: float) -> list[Problem]:
    """Return what is wrong with a board, what blocks first; `now_s` is the time here, seconds since 1970."""
    return sorted(_problems(found, now_s), key=lambda problem: not problem.blocking)


def require_fit(found: Survey, where: str, now_s: float) -> list[Problem]:
    """Return what a person should know about a board on which an agent can run.

    Raises:
        WrongUsage: none can; it says what is in the way.
    """
    known = problems(found, now_s)
    for problem in known:
        if problem.blocking:
            raise WrongUsage(problem.what, where, problem.hint)
    return known


def _problems(found: Survey, now_s: float) -> Iterator[Problem]:
    system = found.pretty_name or found.os_id or "an unknown system"
    if found.architecture not in ARCHITECTURES:
        shown = found.architecture or found.machine or "unknown"
        what = f"its architecture is {shown}, the agent is built for {' and '.join(ARCHITECTURES)}"
        yield Problem(what, "take a 64-bit image: Mendel, or 64-bit Debian or Raspberry Pi OS", True)
    if found.python is None:
        yield Problem("it has no /usr/bin/python3", "apt-get install python3 there", True)
    elif found.python < OLDEST_PYTHON:
        yield _too_old(f"Python {_dotted(found.python)}", _dotted(OLDEST_PYTHON), system)
    if found.glibc is not None and found.glibc < OLDEST_GLIBC:
        yield _too_old(f"glibc {_dotted(found.glibc)}", _dotted(OLDEST_GLIBC), system)
    left = found.free_bytes.get("/etc", 0)
    if left < ENROLL_BYTES:
        what = f"only {left // 1024} KiB are free in /etc"
        yield Problem(what, "make room there: apt-get clean, journalctl --vacuum-size=10M", True)
    if abs(found.clock_s - now_s) > CLOCK_TOLERANCE_S:
        yield Problem(f"its clock is wrong: {format_clock(found.clock_s)}", "deploy enroll sets it", False)
    if found.systemd is None:
        yield Problem("it has no systemd", "start edge-agent run there by other means", False)
    if not found.has_apex_device:
        yield Problem("it has no /dev/apex_0", "the CPU answers, or a USB Accelerator", False)
    elif not found.has_apex_group:
        yield Problem(
            "it has no group apex", "the agent may not use the Edge TPU: groupadd apex, reboot", False
        )


def _too_old(what: str, oldest: str, system: str) -> Problem:
    hint = f"flash a newer image, docs/flashing.md; this is {system}"
    return Problem(f"it has {what}, the agent needs {oldest} or newer", hint, True)


def _read(raw: dict[str, str]) -> Survey:
    def text(key: str) -> str:
        return clean(raw.get(key, ""))

    return Survey(
        machine=text("machine"),
        architecture=text("architecture"),
        os_id=text("os_id"),
        pretty_name=text("pretty_name"),
        hostname=text("hostname"),
        model=text("model"),
        python=_version(text("python")),
        glibc=_version(text("glibc")),
        free_bytes={place: _number(text("free_kib:" + place)) * 1024 for place in PLACES},
        has_apex_group="has_apex_group" in raw,
        has_apex_device="has_apex_device" in raw,
        clock_s=_number(text("clock_s")),
        systemd=_number(text("systemd")) or None,
        package=text("package")[:MAX_VERSION_CHARACTERS] or None,
        enrolled=_enrolled(raw),
        mark=text("mark"),
    )


def _enrolled(raw: dict[str, str]) -> EnrolledAs | None:
    try:
        data = base64.b64decode(raw.get("settings", ""), validate=True)
    except ValueError:
        data = b""
    if not data:
        return None
    settings = data[:MAX_SETTINGS_BYTES].decode(errors="replace")
    sums = (clean(raw.get(key, "")) for key in ("root_sha256", "ca_sha256"))
    try:
        said = load_record(_Settings, tomllib.loads(settings))
    except (ValueError, RecursionError, MessageError):
        return EnrolledAs(settings, None, None, None, None, *sums)
    broker = Address(said.mqtt.host, said.mqtt.port, tls=True)
    return EnrolledAs(settings, said.device, said.tags, broker, said.mqtt.base, *sums)


def _number(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else 0


def _version(text: str) -> tuple[int, int] | None:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", text)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def format_clock(at_s: float) -> str:
    """Return a time, seconds since 1970, as a person reads it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(at_s, _LATEST_S)))
