"""For which boards a package is built: their Python, their processor, how old their C library is."""

from dataclasses import dataclass

_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}


@dataclass(frozen=True)
class Target:
    """One package.

    Attributes:
        python: the board's CPython, "3.9".
        architecture: as Debian calls it, "arm64" or "amd64".
        glibc: minor number of the C library 2.X that the package must run on.
        glibcxx: last number of the newest GLIBCXX_3.4.X that the board's libstdc++ has.
    """

    python: str
    architecture: str
    glibc: int
    glibcxx: int

    @property
    def name(self) -> str:
        """As it is called on the command line: "3.9-arm64"."""
        return f"{self.python}-{self.architecture}"

    @property
    def machine(self) -> str:
        """As the kernel and wheels call the processor."""
        return _MACHINES[self.architecture]

    @property
    def suffix(self) -> str:
        """What the version ends with; the Coral Dev Board's own is the plain one."""
        return "" if self.python == "3.7" else "+py" + self.python.replace(".", "")

    @property
    def next_python(self) -> str:
        """The first CPython that the package is not for."""
        major, minor = self.python.split(".")
        return f"{major}.{int(minor) + 1}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The tags of the wheels that run there, newest first."""
        tags = [f"manylinux_2_{minor}" for minor in range(self.glibc, 16, -1)]
        return tuple(f"{tag}_{self.machine}" for tag in (*tags, "manylinux2014"))


# Debian 10 (Mendel), 11 and 12. Source: the Debian packages libc6 and libstdc++6 of each.
MENDEL = Target("3.7", "arm64", glibc=28, glibcxx=25)
DEBIAN_11 = Target("3.9", "arm64", glibc=31, glibcxx=28)
DEBIAN_12 = Target("3.11", "arm64", glibc=36, glibcxx=30)
COMPUTER = Target("3.11", "amd64", glibc=36, glibcxx=30)
RELEASED = (MENDEL, DEBIAN_11, DEBIAN_12, COMPUTER)
# No board: the Mendel package as it can be run where there is no arm64 CPython 3.7.
MENDEL_ON_AMD64 = Target("3.7", "amd64", glibc=28, glibcxx=25)
TARGETS = {target.name: target for target in (*RELEASED, MENDEL_ON_AMD64)}
