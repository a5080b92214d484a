"""Runs on the board in the agent's place, under its unit: tries what it must not, and notes the outcome."""

import ctypes
import errno
import json
import os
import socket
import subprocess
import time
from pathlib import Path

CLONE_NEWUSER, PTRACE_ATTACH = 0x10000000, 16
PLACES = ("/var/lib/reefline", "/usr/lib/reefline", "/etc/reefline", "/home/mendel", "/boot", "/root")
DEVICES = ("null", "urandom", "vda", "ttyAMA0", "rtc0", "hwrng", "kmsg")
libc = ctypes.CDLL(None, use_errno=True)


def attempt(action):
    """Return "done", or the name of the error."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"


def call(function, *arguments):
    """Call a function of the C library; what it refuses is raised."""
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), "")


def become_root():
    """Ask a program that is set-uid to do something as root."""
    if subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode:
        raise PermissionError(errno.EPERM, "")


def open_device(name):
    os.close(os.open("/dev/" + name, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY))


lines = Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\t", 1) for line in lines)
found = {f"write {place}": attempt(Path(place, "probe.json").touch) for place in PLACES}
found.update({f"open /dev/{name}": attempt(lambda name=name: open_device(name)) for name in DEVICES})
found["capabilities"] = status["CapBnd"]
found["no new privileges"] = status["NoNewPrivs"]
found["seccomp filter"] = status["Seccomp"]
found["set the clock"] = attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))
found["mount"] = attempt(lambda: call(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None))
found["a user namespace"] = attempt(lambda: call(libc.unshare, CLONE_NEWUSER))
found["a packet socket"] = attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
found["trace process 1"] = attempt(lambda: call(libc.ptrace, PTRACE_ATTACH, 1, 0, 0))
found["sudo"] = attempt(become_root)
Path("/var/lib/reefline/probe.json").write_text(json.dumps(found))
