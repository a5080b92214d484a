"""A virtual board: Debian for arm64 in qemu, on the disk of `make board`, at the other end of a cable.

The cable is a network device of a network namespace of our own (scripts/board_test.sh), so that the board has
the addresses and ports that Mendel has on USB, and nobody else is there.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.waiting import wait_for

# Of the computer, and of a Mendel board that is connected by USB.
COMPUTER, BOARD = "192.168.100.1", "192.168.100.2"
CABLE = "board-usb"
SUITE = os.environ.get("SUITE", "bullseye")
BOOT_PATIENCE_S = 180.0
COMMAND_PATIENCE_S = 120.0
CONSOLE_LINES = 40
# What a board may compute before the kernel ends it, should nobody else.
MAX_CPU_S = 3600
MEMORY_MIB, CORES = 1024, 2
# A clock without a battery. systemd puts it at the day on which systemd was built, on Mendel too.
EPOCH = "1970-01-01T00:00:00"


@dataclass(frozen=True)
class Image:
    """What `make board` left in a folder; boards read it and never write to it."""

    folder: Path

    @classmethod
    def find(cls) -> "Image":
        """Return the one of the wanted suite; without it the test skips."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "reefline" / "board" / SUITE
        if not (folder / "recipe").exists():
            pytest.skip(f"no virtual board of {SUITE}: make board")
        return cls(folder)

    @property
    def root(self) -> Path:
        """Its file system as a folder, for what needs no booted board."""
        return self.folder / "root"


class VirtualBoard:
    """One board at `BOARD`, with a disk of its own."""

    def __init__(self, image: Image, folder: Path) -> None:
        """Make its disk: what it writes goes into `folder`, beside the console's log."""
        folder.mkdir(parents=True, exist_ok=True)
        self._image, self._disk = image, folder / "disk.qcow2"
        self.console = folder / "console.log"
        self._qemu: subprocess.Popen[bytes] | None = None
        base = ["-b", str(image.folder / "disk.img"), "-F", "raw"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(self._disk)], check=True)

    def power_on(self, clock: str = "") -> None:
        """Start it; it answers over SSH when this returns. `clock`: what its battery kept, as `EPOCH`."""
        assert self._qemu is None, "it is on"
        self._qemu = subprocess.Popen(self._command(clock), stdin=subprocess.DEVNULL)
        self.await_boot()

    def cut_power(self) -> None:
        """Take its power away: what its kernel had not written is lost."""
        assert self._qemu is not None, "it is off"
        self._qemu.send_signal(signal.SIGKILL)
        self._qemu.wait()
        self._qemu = None

    def reboot(self) -> None:
        """Have it start anew; it answers over SSH again when this returns."""
        before = self.boot_id()
        self.ask("systemctl reboot")
        wait_for("another boot", lambda: self.boot_id() not in ("", before), BOOT_PATIENCE_S)
        self.await_boot()

    def await_boot(self) -> None:
        """Wait until everything that starts at boot was started, or has failed."""

        def has_booted() -> bool:
            assert self._qemu is not None and self._qemu.poll() is None, "qemu has ended"
            return self.ask("systemctl is-system-running --wait").stdout.strip() in (b"running", b"degraded")

        wait_for("the board", has_booted, BOOT_PATIENCE_S)

    def boot_id(self) -> str:
        """Return what names this start of its kernel; "" while it does not answer."""
        return self.ask("cat /proc/sys/kernel/random/boot_id").stdout.decode().strip()

    def run(self, command: str, stdin: bytes = b"") -> str:
        """Run a command as root, through the tests' own door, and return what it printed; it must succeed."""
        done = self.ask(command, stdin)
        assert done.returncode == 0, f"{command}: {done.returncode}: {(done.stdout + done.stderr).decode()}"
        return done.stdout.decode().strip()

    def ask(self, command: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run a command as root, whatever comes of it; its status is 255 while the board does not answer."""
        options = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
        options += ["UserKnownHostsFile=/dev/null", "ConnectTimeout=10", "ServerAliveInterval=5"]
        words = ["ssh", "-F", "none", "-i", str(self._image.folder / "id_tests")]
        words += [word for option in options for word in ("-o", option)]
        return subprocess.run(
            [*words, f"root@{BOARD}", command],
            input=stdin,
            capture_output=True,
            timeout=COMMAND_PATIENCE_S,
            check=False,
        )

    def put(self, source: Path, target: str) -> None:
        """Copy a file to it."""
        self.run(f"cat >{target}", source.read_bytes())

    def console_tail(self) -> str:
        """Return the newest lines of its serial console."""
        lines = self.console.read_text(errors="replace").splitlines() if self.console.exists() else []
        return "\n".join(lines[-CONSOLE_LINES:])

    def journal_tail(self) -> str:
        """Return what the agent logged last; "" where the board does not answer."""
        return self.ask(f"journalctl -u reefline-agent -o short-monotonic -n {CONSOLE_LINES}").stdout.decode()

    def _command(self, clock: str) -> Sequence[str]:
        program = shutil.which("qemu-system-aarch64")
        if program is None:
            pytest.skip("qemu-system-aarch64 is not installed")
        # Whatever happens to us, the kernel ends it.
        words = ["setpriv", "--pdeathsig", "KILL", "prlimit", f"--cpu={MAX_CPU_S}", program]
        words += ["-M", "virt", "-cpu", "cortex-a53", "-smp", str(CORES), "-m", str(MEMORY_MIB)]
        words += [
            "-kernel",
            str(self._image.folder / "vmlinuz"),
            "-initrd",
            str(self._image.folder / "initramfs"),
        ]
        words += ["-append", "console=ttyAMA0", "-display", "none", "-monitor", "none"]
        words += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        words += ["-drive", f"file={self._disk},if=none,id=disk", "-device", "virtio-blk-pci,drive=disk"]
        words += ["-netdev", f"tap,id=usb,ifname={CABLE},script=no,downscript=no"]
        words += ["-device", "virtio-net-pci,netdev=usb,romfile="]
        return [*words, "-device", "virtio-rng-pci", *(["-rtc", f"base={clock}"] if clock else [])]


def lay_cable() -> None:
    """Make the cable, unless it is there; elsewhere than in a network namespace of our own the test skips."""
    devices = {name for _, name in socket.if_nameindex()}
    if not devices <= {"lo", CABLE}:
        pytest.skip("a virtual board has a network of its own: make board-test")
    if CABLE not in devices:
        # On loopback too, and first, so that this computer reaches itself while the cable is out.
        _ip("address", "add", f"{COMPUTER}/32", "dev", "lo")
        _ip("tuntap", "add", CABLE, "mode", "tap")
        _ip("address", "add", f"{COMPUTER}/24", "dev", CABLE)
        plug_in()


def plug_in() -> None:
    """Put the cable in."""
    _ip("link", "set", CABLE, "up")


def unplug() -> None:
    """Pull the cable out."""
    _ip("link", "set", CABLE, "down")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def virtual_board(folder: Path, clock: str = "") -> Iterator[VirtualBoard]:
    """A board that runs within the block, and is gone after it."""
    lay_cable()
    board = VirtualBoard(Image.find(), folder)
    try:
        board.power_on(clock)
        yield board
    finally:
        if board._qemu is not None:
            board.cut_power()
