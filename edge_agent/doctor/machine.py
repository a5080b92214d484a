"""Checks of the computer: interpreter, libraries, memory, heat, wear, clock."""

import platform
import re
import shutil
import subprocess
import sys
from typing import Tuple

from edge_agent.clock import Clock
from edge_agent.doctor.findings import Finding, fail, ok, skipped, warn
from edge_agent.doctor.visit import Visit

_OLDEST_PYTHON = (3, 7)
_KNOWN_MACHINES = ("aarch64", "x86_64")
_OLDEST_NUMPY = (1, 16)
_LITTLE_MEMORY_MIB = 256
_NO_MEMORY_MIB = 64
_HOT_CELSIUS = 80.0
_ASK_CLOCK_S = 2.0
_INSTALL = 'python3 -m pip install "reefline[agent]"'
# JEDEC eMMC 5.1, DEVICE_LIFE_TIME_EST: 1 is up to 10 % used, 10 up to 100 %, 11 beyond.
_WORN, _WORN_OUT = 8, 11


def check_python(_visit: Visit) -> Finding:
    """The interpreter is one that the agent is tested on."""
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return fail(f"Python {version} is too old", "install Python 3.7 or newer")
    return ok(f"Python {version}")


def check_architecture(_visit: Visit) -> Finding:
    """There are TFLite wheels for this processor."""
    machine = platform.machine()
    if machine not in _KNOWN_MACHINES:
        return warn(f"{machine} is not tested", "use a 64-bit image: aarch64 or x86_64")
    return ok(f"{machine}, {platform.system()} {platform.release()}")


def check_numpy(_visit: Visit) -> Finding:
    """numpy is there and not too old."""
    import numpy

    if _parse_version(numpy.__version__) < _OLDEST_NUMPY:
        return fail(f"numpy {numpy.__version__} is too old", _INSTALL)
    return ok(f"numpy {numpy.__version__}")


def check_runtime(_visit: Visit) -> Finding:
    """A TFLite interpreter can be imported."""
    from edge_agent.inference.interpreter import find_runtime

    return ok(find_runtime())


def check_libraries(_visit: Visit) -> Finding:
    """What the agent imports for the broker, signatures, pictures and HTTP is there."""
    from edge_agent import link
    from edge_agent.inference import images
    from edge_agent.serving import server as serving
    from edge_agent.updates import verify

    rooms = (images, link, serving, verify)
    return ok(f"all {len(rooms)} modules that use foreign libraries can be imported")


def check_memory(visit: Visit) -> Finding:
    """Enough memory is free for a model."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", visit.read("proc/meminfo"), re.MULTILINE)
    if found is None:
        return skipped("/proc/meminfo does not say")
    free_mib = int(found.group(1)) // 1024
    said, hint = f"{free_mib} MiB available", "ps aux --sort=-rss | head; stop what is not needed"
    if free_mib < _NO_MEMORY_MIB:
        return fail(said, hint)
    return warn(said, hint) if free_mib < _LITTLE_MEMORY_MIB else ok(said)


def check_heat(visit: Visit) -> Finding:
    """The processor is not about to slow down."""
    raw = visit.read("sys/class/thermal/thermal_zone0/temp")
    if not re.fullmatch(r"-?\d+", raw):
        return skipped("no sensor tells the processor's temperature")
    celsius = int(raw) / 1000
    if celsius >= _HOT_CELSIUS:
        return warn(f"{celsius:.0f} degrees Celsius", "clean the fan, give it air")
    return ok(f"{celsius:.0f} degrees Celsius")


def check_wear(visit: Visit) -> Finding:
    """The eMMC has life left; it tells so in tenths, for its two kinds of cells."""
    words = visit.read("sys/block/mmcblk0/device/life_time").split()
    if not words or not all(re.fullmatch(r"0x[0-9a-fA-F]{1,2}", word) for word in words):
        return skipped("no eMMC tells its wear")
    used = max(int(word, 16) for word in words)
    if used >= _WORN_OUT:
        return fail("the eMMC is beyond its life", "save /etc/reefline and replace the board")
    if used >= _WORN:
        return warn(f"up to {used * 10} % of the eMMC's life is used", "plan to replace the board")
    return ok(f"up to {used * 10} % of the eMMC's life is used")


def check_clock(_visit: Visit) -> Finding:
    """The clock is not from before this program; certificates and releases would look wrong."""
    clock = Clock()
    if not clock.is_synced():
        return fail(f"the clock says {clock.stamp()}", "sudo timedatectl set-ntp true, or sudo date -s ...")
    return ok(clock.stamp())


def check_time_sync(_visit: Visit) -> Finding:
    """Something keeps the clock right."""
    program = shutil.which("timedatectl")
    if program is None:
        return skipped("no timedatectl to ask")
    command = [program, "show", "--property=NTPSynchronized", "--value"]
    try:
        answer = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_ASK_CLOCK_S, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return skipped("timedatectl does not answer")
    if answer != b"yes":
        return warn("the clock is not kept by a time server", "sudo timedatectl set-ntp true")
    return ok("the clock is kept by a time server")


def _parse_version(text: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
