"""Promises of inference.delegate."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.inference import delegate
from edge_agent.inference.delegate import Facts, User, diagnose, gather

NOBODY_SAID = "Failed to load delegate from libedgetpu.so.1\n"
GOOD = Facts(
    library="/usr/lib/libedgetpu.so.1",
    has_node=True,
    node_group="apex",
    may_use=True,
    temperature_celsius=45.0,
)


def write(root: Path, path: str, text: str) -> Path:
    """Put a file of the system in its place."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The root of a Dev Board with a healthy, free Edge TPU."""
    write(tmp_path, "usr/lib/aarch64-linux-gnu/libedgetpu.so.1", "")
    write(tmp_path, "dev/apex_0", "").chmod(0o660)
    write(tmp_path, "sys/class/apex/apex_0/is_device_owned", "0\n")
    write(tmp_path, "sys/class/apex/apex_0/device_owner", "0\n")
    write(tmp_path, "sys/class/apex/apex_0/temp", "48300\n")
    write(tmp_path, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x1ac1\n")
    write(tmp_path, "sys/bus/pci/devices/0000:01:00.0/device", "0x089a\n")
    return tmp_path


def test_a_healthy_board_is_read(board: Path) -> None:
    """Library, node, rights, owner, temperature."""
    facts = gather(board)
    assert facts.library.endswith("aarch64-linux-gnu/libedgetpu.so.1")
    assert facts.has_node and facts.has_pci_chip and facts.may_use and not facts.has_usb_chip
    assert (facts.owner_pid, facts.temperature_celsius) == (0, 48.3)


def test_a_machine_without_one_is_read(tmp_path: Path) -> None:
    """Nothing is there, and nothing is raised."""
    assert gather(tmp_path, User(uid=1234567, groups=())) == Facts()


def test_an_owner_is_named(board: Path) -> None:
    """By its process id and command line."""
    write(board, "sys/class/apex/apex_0/is_device_owned", "1\n")
    write(board, "sys/class/apex/apex_0/device_owner", "812\n")
    write(board, "proc/812/cmdline", "python3\0demo.py\0")
    problem = diagnose(gather(board), NOBODY_SAID)
    assert problem.code == "edgetpu_owned"
    assert "812 (python3 demo.py)" in problem.message and "kill 812" in problem.hint


@pytest.mark.parametrize(
    ("mode", "belongs", "may"),
    [(0o660, True, True), (0o660, False, False), (0o640, True, False), (0o666, False, True)],
)
def test_rights_are_those_of_the_kernel(board: Path, mode: int, belongs: bool, may: bool) -> None:
    """The group decides for its members, the rest for strangers; reading is not enough."""
    node = board / "dev/apex_0"
    node.chmod(mode)
    groups = frozenset({node.stat().st_gid}) if belongs else frozenset()
    assert gather(board, User(uid=1234567, groups=groups)).may_use is may


@pytest.mark.parametrize("vendor, product", [("1a6e", "089a"), ("18d1", "9302")])
def test_an_accelerator_on_usb_counts(tmp_path: Path, vendor: str, product: str) -> None:
    """Before and after its firmware is loaded."""
    write(tmp_path, "sys/bus/usb/devices/1-1/idVendor", vendor + "\n")
    write(tmp_path, "sys/bus/usb/devices/1-1/idProduct", product + "\n")
    facts = gather(tmp_path)
    assert facts.has_usb_chip and delegate.missing_device(facts) is None


@pytest.mark.parametrize(
    ("change", "code", "hint"),
    [
        ({"has_node": False}, "edgetpu_absent", "remove `edgetpu`"),
        ({"has_node": False, "has_pci_chip": True}, "edgetpu_no_driver", "modprobe apex"),
        ({"may_use": False}, "edgetpu_no_right", "usermod -aG apex"),
        ({"may_use": False, "user": "ada"}, "edgetpu_no_right", "usermod -aG apex ada, then log in again"),
        ({"may_use": False, "user": "reefline"}, "edgetpu_no_right", "systemctl restart reefline-agent"),
        ({"may_use": False, "node_group": "root"}, "edgetpu_no_right", "chgrp apex"),
        ({"temperature_celsius": -89.7}, "edgetpu_dead", "power"),
        ({"owner_pid": 812, "owner_name": "demo"}, "edgetpu_owned", "kill 812"),
        ({}, "edgetpu_refused", "dmesg"),
    ],
)
def test_the_empty_error_gets_its_reason(change: "dict[str, object]", code: str, hint: str) -> None:
    """Each cause has its own code, and the command that mends it."""
    problem = diagnose(replace(GOOD, **change), NOBODY_SAID)  # type: ignore[arg-type]
    assert problem.code == code and hint in problem.hint


@pytest.mark.parametrize(
    ("said", "code", "named"),
    [
        (
            "libedgetpu.so.1: cannot open shared object file: No such file or directory",
            "edgetpu_library_missing",
            "libedgetpu.so.1",
        ),
        (
            "libusb-1.0.so.0: cannot open shared object file: No such file or directory",
            "edgetpu_library_missing",
            "libusb-1.0.so.0",
        ),
        (
            "Failed to prepare for TPU. Failed precondition: "
            "Package requires runtime version (14),"
            " which is newer than this runtime version (13)."
            "Node number 1 (EdgeTpuDelegateForCustomOp) failed to prepare.",
            "edgetpu_runtime_old",
            "needs Edge TPU runtime 14, this board has 13",
        ),
    ],
)
def test_an_error_with_a_text_is_understood(said: str, code: str, named: str) -> None:
    """What the loader or the delegate does say comes before all guesses."""
    problem = diagnose(GOOD, said)
    assert problem.code == code and named in problem.message


def test_our_own_hold_is_no_problem() -> None:
    """The driver lets the same process open it again."""
    assert delegate.foreign_owner(replace(GOOD, owner_pid=os.getpid())) is None


def classify_compiled(tmp_path: Path, tiny_files) -> "subprocess.CompletedProcess[str]":
    """Run `edge-agent classify` on a file that looks compiled."""
    model, picture = tmp_path / "model.tflite", tmp_path / "picture.png"
    model.write_bytes(tiny_files.model.read_bytes() + b"edgetpu-custom-op")
    Image.new("L", (28, 28)).save(str(picture))
    command = [sys.executable, "-m", "edge_agent.cli", "classify", "-m", str(model), "-i", str(picture)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_library_that_refuses_in_silence_is_explained(tmp_path: Path, tiny_files, edgetpu_library) -> None:
    """The real loader, a real library, the empty error: three lines come out, no traceback."""
    edgetpu_library("return NULL;")
    done = classify_compiled(tmp_path, tiny_files)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Edge TPU" in done.stderr and "  try: " in done.stderr


def test_a_library_that_agrees_is_used(tmp_path: Path, tiny_files, edgetpu_library) -> None:
    """The real loader takes a delegate from a real library, here one that leaves all work to the CPU."""
    edgetpu_library("return create_idle();")
    done = classify_compiled(tmp_path, tiny_files)
    assert done.returncode == 0, done.stderr
    assert "-------RESULTS--------" in done.stdout
