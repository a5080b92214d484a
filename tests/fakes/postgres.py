"""A real PostgreSQL in a folder of its own, on a Unix socket; without one the test is skipped."""

import os
import pwd
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

import pytest

_USER = "postgres"
_NEWEST_FIRST = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Run a server; yield the address of an empty database in it, as SQLAlchemy writes it."""
    place = next((one for one in _NEWEST_FIRST if (one / "initdb").exists()), None)
    if place is None or os.getuid() != 0:
        pytest.skip("PostgreSQL is not installed, or we may not become its user")
    folder.mkdir()
    shutil.chown(str(folder), _USER)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/") and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)  # its user has to get there
    data, log = folder / "data", folder / "log"
    _as_postgres([str(place / "initdb"), "-D", str(data), "-A", "trust", "-U", "root", "--no-sync"])
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    control = [str(place / "pg_ctl"), "-D", str(data), "-l", str(log), "-w"]
    _as_postgres([*control, "-o", options, "start"])
    try:
        yield f"postgresql://root@/postgres?host={folder}"
    finally:
        _as_postgres([*control, "-m", "immediate", "stop"])


def _as_postgres(command: List[str]) -> None:
    user = pwd.getpwnam(_USER)

    def become() -> None:
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    done = subprocess.run(
        command, preexec_fn=become, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
