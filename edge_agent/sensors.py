"""What the kernel tells about this computer: heat, load, memory, disk. What it does not tell is None or 0."""

import os
import re
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple, Optional, Tuple

# The Edge TPU's driver and the kernel both tell thousandths of a degree.
EDGETPU, BOARD = "edgetpu", "board"
_TEMPERATURES = ((EDGETPU, "sys/class/apex/apex_*/temp"), (BOARD, "sys/class/thermal/thermal_zone*/temp"))
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)
_WRITTEN = re.compile(r"^write_bytes: (\d+)$", re.MULTILINE)
_KIB = 1024
# What any sensor can mean; a broken one says anything. A dead Edge TPU says about -89.
_COLDEST_CELSIUS, _HOTTEST_CELSIUS = -273.15, 300.0
# Columns of the line "cpu" in /proc/stat: user nice system idle iowait irq softirq steal. Source: proc(5).
_IDLE, _IOWAIT, _COLUMNS = 3, 4, 8


class Temperature(NamedTuple):
    """One sensor's reading; `place` is EDGETPU or BOARD."""

    place: str
    sensor: str
    celsius: float


def read_temperatures(root: Path = Path("/"), only: str = "") -> Iterator[Temperature]:
    """Yield what every sensor says; one that is asleep, gone or broken says nothing.

    Args:
        root: holds /sys.
        only: EDGETPU or BOARD to ask the sensors of one place alone.
    """
    for place, pattern in _TEMPERATURES:
        if only not in ("", place):
            continue
        for path in sorted(root.glob(pattern)):
            try:
                celsius = int(path.read_text("ascii")) / 1000
            except (OSError, ValueError):
                continue
            if _COLDEST_CELSIUS <= celsius <= _HOTTEST_CELSIUS:
                yield Temperature(place, path.parent.name, celsius)


class Sensors:
    """Reads small files of /proc and /sys. Never raises."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Remember the processor's counters; `root` is where /proc, /sys and /dev begin."""
        self._root = root
        self._busy, self._total = self._cpu_ticks()

    def hottest_celsius(self, place: str) -> Optional[float]:
        """Return the highest temperature at EDGETPU or BOARD."""
        return max((each.celsius for each in read_temperatures(self._root, place)), default=None)

    def has_edgetpu(self) -> bool:
        """Say whether the driver shows an Edge TPU; one on USB it does not."""
        return (self._root / "dev/apex_0").exists()

    def cpu_percent(self) -> float:
        """Return how busy all cores were since the last call, 0 to 100."""
        busy, total = self._cpu_ticks()
        spent, passed = busy - self._busy, total - self._total
        self._busy, self._total = busy, total
        return min(100.0, max(0.0, 100 * spent / passed)) if passed > 0 else 0.0

    def available_bytes(self) -> int:
        """Return how much memory programs could still have."""
        return self._find(_AVAILABLE, "proc/meminfo") * _KIB

    def resident_bytes(self, pids: Iterable[int]) -> int:
        """Return how much memory processes hold together; what they share counts for each."""
        return sum(self._find(_RESIDENT, f"proc/{pid}/status") * _KIB for pid in pids)

    def written_bytes(self) -> int:
        """Return what this process has caused to be written to disks since its start."""
        return self._find(_WRITTEN, "proc/self/io")

    def _find(self, pattern: "re.Pattern[str]", path: str) -> int:
        found = pattern.search(self._read(path))
        return int(found.group(1)) if found else 0

    def _cpu_ticks(self) -> Tuple[int, int]:
        """Return (busy, total) ticks of all cores since the boot."""
        columns = self._read("proc/stat").partition("\n")[0].split()[1 : _COLUMNS + 1]
        if len(columns) <= _IOWAIT or not all(column.isdigit() for column in columns):
            return 0, 0
        ticks = [int(column) for column in columns]
        return sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT], sum(ticks)

    def _read(self, path: str) -> str:
        try:
            return (self._root / path).read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""


def free_bytes(folder: str) -> int:
    """Return the room on the disk of `folder`, 0 if it cannot be asked."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize
