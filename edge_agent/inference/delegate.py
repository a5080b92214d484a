"""Why the Edge TPU does not answer: facts from /sys, /dev and /usr, and the one problem that explains them.

The delegate library reports every cause, absent, busy, forbidden, with the same empty error.
Source: google/gasket-driver, class apex in sysfs; google-coral/libedgetpu, tflite_plugin_create_delegate.
"""

import contextlib
import grp
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Iterable, NamedTuple, Optional

from contract.messages import Problem

LIBRARY = "libedgetpu.so.1"
# A chip that does not answer over PCIe reads -87.9 or -89.7; a board in a freezer is far above this.
DEAD_BELOW_CELSIUS = -60.0

_NODE = "dev/apex_0"
_CLASS = "sys/class/apex/apex_0"
_GROUP = "apex"
# As the package makes it.
_SERVICE_USER = "reefline"
_LIBRARY_FOLDERS = ("usr/lib", "usr/lib/*", "usr/local/lib", "lib", "lib/*")
# Vendor and product, first before and then after the runtime has loaded the firmware.
_USB_IDS = {("1a6e", "089a"), ("18d1", "9302")}
_PCI_ID = ("0x1ac1", "0x089a")
_INSTALL_LIBRARY = "sudo apt-get install libedgetpu1-std"
_LIBRARY_ERROR = re.compile(r"(\S+): cannot open shared object file")
_VERSION_ERROR = re.compile(r"requires runtime version \((\d+)\).*this runtime version \((\d+)\)", re.DOTALL)


class User(NamedTuple):
    """Who wants to use the Edge TPU; the name is for people."""

    uid: int
    groups: Collection[int]
    name: str = ""

    @classmethod
    def current(cls) -> "User":
        """Return the user of this process."""
        return cls(os.geteuid(), frozenset(os.getgroups()) | {os.getegid()}, _name_user(os.geteuid()))

    @classmethod
    def of_agent(cls) -> "User":
        """Return whom the agent runs as: when root asks, who may do everything, the service's own user."""
        try:
            entry = pwd.getpwnam(_SERVICE_USER)
        except KeyError:
            return cls.current()
        if os.geteuid() != 0:
            return cls.current()
        return cls(entry.pw_uid, frozenset(os.getgrouplist(_SERVICE_USER, entry.pw_gid)), _SERVICE_USER)


@dataclass(frozen=True)
class Facts:
    """What the machine tells about its Edge TPU; the defaults are those of a machine without one.

    Attributes:
        library: where the delegate library lies, "" if nowhere.
        has_node: whether /dev/apex_0 is there.
        node_group: the group that owns it.
        user: the name of who wants to use it.
        may_use: whether that one may read and write it.
        has_pci_chip: whether the chip is on the PCIe bus, driver or not.
        has_usb_chip: whether a USB Accelerator or the Mini's chip is there; the facts below are then unknown.
        owner_pid: the process that holds the Edge TPU, 0 if none.
        owner_name: its command line.
        temperature_celsius: of the chip, None if the driver does not say.
    """

    library: str = ""
    has_node: bool = False
    node_group: str = ""
    user: str = ""
    may_use: bool = False
    has_pci_chip: bool = False
    has_usb_chip: bool = False
    owner_pid: int = 0
    owner_name: str = ""
    temperature_celsius: Optional[float] = None


def gather(root: Path = Path("/"), user: Optional[User] = None) -> Facts:
    """Look at the machine. Never raises: what cannot be read is not there.

    Args:
        root: where /sys, /dev, /proc and /usr begin.
        user: who wants to use the Edge TPU, None for this process's user.
    """
    apex = root / _CLASS
    owner_pid = _read_integer(apex / "device_owner") if _read_integer(apex / "is_device_owned") else 0
    has_sensor = (apex / "temp").exists()
    node = _stat(root / _NODE)
    user = user or User.current()
    return Facts(
        library=_find_library(root),
        has_node=node is not None,
        node_group=_name_group(node.st_gid) if node else "",
        user=user.name,
        may_use=node is not None and _may_use(node, user),
        has_pci_chip=_has_id(root.glob("sys/bus/pci/devices/*"), ("vendor", "device"), {_PCI_ID}),
        has_usb_chip=_has_id(root.glob("sys/bus/usb/devices/*"), ("idVendor", "idProduct"), _USB_IDS),
        owner_pid=owner_pid,
        owner_name=_name_process(root, owner_pid),
        temperature_celsius=_read_integer(apex / "temp") / 1000 if has_sensor else None,
    )


def diagnose(facts: Facts, said: str) -> Problem:
    """Explain why the delegate could not be loaded or the model not be prepared for it.

    Args:
        facts: what the machine tells.
        said: the error's text, mostly empty.
    """
    missing, old = _LIBRARY_ERROR.search(said), _VERSION_ERROR.search(said)
    if missing:
        return _explain_library(missing.group(1))
    if old:
        return Problem(
            "edgetpu_runtime_old",
            f"the model needs Edge TPU runtime {old.group(1)}, this board has {old.group(2)}",
            f"compile the model with -m {old.group(2)}, or install a newer libedgetpu1-std",
        )
    found = (explain(facts) for explain in (missing_device, missing_right, dead_chip, foreign_owner))
    return next(filter(None, found), None) or Problem(
        "edgetpu_refused",
        "the Edge TPU refused, and nothing on this machine explains it",
        "see dmesg | grep -i apex; then cut the power of the board for ten seconds",
    )


def missing_library(facts: Facts) -> Optional[Problem]:
    """Return the problem that the delegate library is in none of the usual folders."""
    return None if facts.library else _explain_library(LIBRARY)


def missing_device(facts: Facts) -> Optional[Problem]:
    """Return the problem that there is no Edge TPU, or no driver for it."""
    if facts.has_node or facts.has_usb_chip:
        return None
    if facts.has_pci_chip:
        return Problem(
            "edgetpu_no_driver", "the Edge TPU is on the bus, but no driver serves it", "sudo modprobe apex"
        )
    return Problem(
        "edgetpu_absent",
        "this machine has no Edge TPU: no /dev/apex_0, none on PCIe or USB",
        "remove `edgetpu` from the configuration, or see lspci -d 1ac1: and lsusb",
    )


def missing_right(facts: Facts) -> Optional[Problem]:
    """Return the problem that this user may not open the device."""
    if not facts.has_node or facts.may_use:
        return None
    who = facts.user or "this user"
    said = f"{who} may not open /dev/apex_0 of group {facts.node_group}"
    if facts.node_group != _GROUP:
        hint = "sudo chgrp apex /dev/apex_0 && sudo chmod 0660 /dev/apex_0; a udev rule makes it last"
    elif facts.user == _SERVICE_USER:
        hint = "sudo usermod -aG apex reefline && sudo systemctl restart reefline-agent"
    else:
        hint = f"sudo usermod -aG apex {facts.user or '$USER'}, then log in again"
    return Problem("edgetpu_no_right", said, hint)


def dead_chip(facts: Facts) -> Optional[Problem]:
    """Return the problem that the chip reads a temperature that no chip has."""
    temperature_celsius = facts.temperature_celsius
    if temperature_celsius is None or temperature_celsius >= DEAD_BELOW_CELSIUS:
        return None
    return Problem(
        "edgetpu_dead",
        f"the Edge TPU reads {temperature_celsius:.1f} degrees Celsius: the chip does not answer",
        "cut the power for ten seconds; if it stays, the hardware is broken",
    )


def foreign_owner(facts: Facts) -> Optional[Problem]:
    """Return the problem that another process holds the Edge TPU; the driver lets in one at a time."""
    if not facts.owner_pid or facts.owner_pid == os.getpid():
        return None
    return Problem(
        "edgetpu_owned",
        f"the Edge TPU is held by process {facts.owner_pid} ({facts.owner_name})",
        f"stop that program: sudo kill {facts.owner_pid}",
    )


def _explain_library(name: str) -> Problem:
    hint = _INSTALL_LIBRARY if name == LIBRARY else "sudo apt-get install --reinstall libedgetpu1-std"
    return Problem("edgetpu_library_missing", f"the library {name} is not installed", hint)


def _find_library(root: Path) -> str:
    found = (path for folder in _LIBRARY_FOLDERS for path in root.glob(f"{folder}/{LIBRARY}"))
    return str(next(found, ""))


def _has_id(devices: Iterable[Path], names: Iterable[str], wanted: Collection[object]) -> bool:
    return any(tuple(_read(device / name) for name in names) in wanted for device in devices)


def _may_use(node: os.stat_result, user: User) -> bool:
    """Apply the kernel's rule: root always, then the first class that fits decides alone."""
    needed = 0o6
    if user.uid == node.st_uid:
        needed = 0o600
    elif node.st_gid in user.groups:
        needed = 0o060
    return user.uid == 0 or stat.S_IMODE(node.st_mode) & needed == needed


def _name_group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _name_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name_process(root: Path, pid: int) -> str:
    if not pid:
        return ""
    return _read(root / f"proc/{pid}/cmdline").replace("\0", " ").strip() or "its name is hidden"


def _stat(path: Path) -> Optional[os.stat_result]:
    try:
        return path.stat()
    except OSError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _read_integer(path: Path) -> int:
    """Return the number in a file of /sys, 0 if it is not there or not a number."""
    with contextlib.suppress(ValueError):
        return int(_read(path))
    return 0
