"""The packages that `make deb` left, read without dpkg, and which of them fits a board."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path

from host_cli.errors import WrongUsage

NAME = "reefline-agent"
SERVICE = NAME + ".service"
SUFFIX = ".deb"
MAX_PACKAGE_BYTES = 256 * 1024 * 1024
MAX_CONTROL_BYTES = 64 * 1024
SHORT_SHA256 = 12
_BUILD_THEM = "make deb builds them into build/deb; elsewhere: --packages DIR"
# Source: deb(5), and ar(5): an 8-byte start, then members with a header of 60 bytes, each at an even place.
_AR_START = b"!<arch>\n"
_AR_HEADER_BYTES = 60
_AR_NAME, _AR_SIZE, _AR_END = slice(0, 16), slice(48, 58), slice(58, 60)
# Source: Debian policy, 5.6.12. Nothing that a shell or a path could take amiss.
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]{0,99}")
_ARCHITECTURE = re.compile(r"[a-z0-9]{1,20}")
_PYTHON = re.compile(r"python3 \(>= (\d)\.(\d{1,2})[^)]*\)")
Python = tuple[int, int]


@dataclass(frozen=True)
class Package:
    """One package: what it is for, and its bytes.

    `python` is the only Python that it runs on, `installed_bytes` what it takes on the disk, unpacked.
    """

    path: Path
    version: str
    architecture: str
    python: Python
    installed_bytes: int
    data: bytes = field(repr=False)
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name on a board: two builds of one version are two files."""
        return f"{NAME}_{self.version}_{self.architecture}-{self.sha256[:SHORT_SHA256]}{SUFFIX}"


def load_packages(place: Path) -> list[Package]:
    """Read the package `place`, or all that lie in the folder `place`.

    Raises:
        WrongUsage: there is none, or one cannot be used.
    """
    paths = sorted(place.glob(f"{NAME}_*{SUFFIX}")) if place.is_dir() else [place]
    if not paths or not paths[0].exists():
        raise WrongUsage("no package for a board is here", str(place), _BUILD_THEM)
    return [read_package(path) for path in paths]


def read_package(path: Path) -> Package:
    """Read a package and what its control file says.

    Raises:
        WrongUsage: it is no package, not whole, or one of something else.
    """
    try:
        if path.stat().st_size > MAX_PACKAGE_BYTES:
            raise ValueError(f"it is larger than {MAX_PACKAGE_BYTES} bytes")
        data = path.read_bytes()
        control = _read_control(data)
        if control.get("Package") != NAME:
            raise ValueError(f"it is {control.get('Package', 'nothing')!r}, not {NAME}")
        python = _PYTHON.search(control.get("Depends", ""))
        if python is None:
            raise ValueError("it does not say which python3 it needs")
        return Package(
            path,
            _checked(_VERSION, control.get("Version", "")),
            _checked(_ARCHITECTURE, control.get("Architecture", "")),
            (int(python[1]), int(python[2])),
            int(control.get("Installed-Size", "0")) * 1024,
            data,
            hashlib.sha256(data).hexdigest(),
        )
    except OSError as error:
        what = f"the package cannot be read: {error.strerror or error}"
        raise WrongUsage(what, str(path), _BUILD_THEM) from error
    except (ValueError, EOFError, tarfile.TarError) as error:
        raise WrongUsage(f"not a package for a board: {error}", str(path), _BUILD_THEM) from error


def choose(packages: Iterable[Package], architecture: str, python: Python | None, where: str) -> Package:
    """Return the one package that fits a board.

    Args:
        packages: what there is.
        architecture: the board's, as dpkg calls it.
        python: what its /usr/bin/python3 is; None when it has none.
        where: which board, for the error.

    Raises:
        WrongUsage: none fits, or more than one.
    """
    found = list(packages)
    fitting = [one for one in found if (one.architecture, one.python) == (architecture, python)]
    if not fitting:
        there = ", ".join(sorted({_say_kind(one.architecture, one.python) for one in found}))
        what = f"no package for {_say_kind(architecture, python)}; there are some for {there}"
        raise WrongUsage(what, where, _BUILD_THEM)
    if len({one.sha256 for one in fitting}) > 1:
        names = ", ".join(one.path.name for one in fitting)
        raise WrongUsage(f"{len(fitting)} packages fit: {names}", where, "--packages FILE names the one")
    return fitting[0]


def _say_kind(architecture: str, python: Python | None) -> str:
    return (
        f"{architecture} without python3" if python is None else f"{architecture} with Python {_say(python)}"
    )


def _say(python: Python) -> str:
    return ".".join(map(str, python))


def _checked(pattern: "re.Pattern[str]", text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"{text[:80]!r} is no version or architecture of a package")
    return text


def _read_control(data: bytes) -> dict[str, str]:
    """Return the fields of a package's control file.

    Raises:
        ValueError, EOFError, TarError: it is not a whole package.
    """
    members = _read_members(data)
    name = next((name for name in members if name.startswith("control.tar")), None)
    if name is None or not any(each.startswith("data.tar") for each in members):
        raise ValueError("it has no control.tar and data.tar")
    with tarfile.open(fileobj=io.BytesIO(members[name])) as archive:
        for entry in archive:
            if entry.name.lstrip("./") == "control" and entry.isfile():
                if entry.size > MAX_CONTROL_BYTES:
                    raise ValueError(f"its control file has {entry.size} bytes")
                text = archive.extractfile(entry).read().decode("utf-8")  # type: ignore[union-attr]
                return dict(HeaderParser().parsestr(text).items())
    raise ValueError("it has no control file")


def _read_members(data: bytes) -> dict[str, bytes]:
    """Return the members of an ar archive by name; they fill it to its last byte."""
    if not data.startswith(_AR_START):
        raise ValueError("it does not begin as a .deb does")
    members, place = {}, len(_AR_START)
    while place < len(data):
        header = data[place : place + _AR_HEADER_BYTES]
        if header[_AR_END] != b"`\n":
            raise ValueError("it is cut off or damaged")
        size = int(header[_AR_SIZE])
        begin = place + _AR_HEADER_BYTES
        if size < 0 or begin + size > len(data):
            raise ValueError("it is cut off")
        members[header[_AR_NAME].decode("ascii").rstrip(" /")] = data[begin : begin + size]
        place = begin + size + size % 2
    return members
