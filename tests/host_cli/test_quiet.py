"""Silence for other people's output, not for ours."""

import os
import subprocess
import sys
import warnings

PROGRAM = """
import os, sys
from host_cli.quiet import quiet
with quiet():
    print("library chatter")
    os.write(2, b"native chatter")
    print("progress", file=sys.stderr)
print("result")
os.write(2, b"later")
"""


def test_swallows_the_library_and_lets_progress_through():
    """stdout keeps the result only; stderr keeps what we say."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    assert done.stderr == "progress\nlater"


def test_leaves_everything_as_it_was(capfd):
    """After an error too."""
    from host_cli.quiet import quiet

    before = sys.stderr, sys.stdout
    try:
        with quiet():
            warnings.warn("nobody sees this", stacklevel=1)
            raise ValueError
    except ValueError:
        pass
    assert (sys.stderr, sys.stdout) == before
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"
