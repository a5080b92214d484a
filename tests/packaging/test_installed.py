"""The package as a board uses it: installed once for all these tests, on a board that is in no fleet."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.machine_copy import MachineCopy
from tests.packaging.conftest import ROOT, add_service_manager, machine
from tests.packaging.life import install, sh

MODEL = ROOT / "tests" / "edge_agent" / "data" / "tiny.tflite"
SIZE = 28


@pytest.fixture(scope="module")
def board(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCopy]:
    with machine(tmp_path_factory.mktemp("board")) as copy:
        add_service_manager(copy)
        add_picture(copy)
        install(copy, package)
        yield copy


def add_picture(copy: MachineCopy) -> None:
    """Put a model and a picture onto a board."""
    (copy.root / "root/tiny.tflite").write_bytes(MODEL.read_bytes())
    (copy.root / "root/white.png").write_bytes(white_picture())


def white_picture() -> bytes:
    """Return a PNG of as many pixels as the model takes."""
    header = SIZE.to_bytes(4, "big") * 2 + bytes((8, 0, 0, 0, 0))
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress((b"\0" + b"\xff" * SIZE) * SIZE)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in parts
    )


def doctor(copy: MachineCopy) -> dict[str, tuple[str, str]]:
    """Return level and message of each row that `edge-agent doctor` tells."""
    said = json.loads(copy.run("edge-agent", "doctor", "--json").stdout)
    return {row["name"]: (row["level"], row["message"]) for row in said["checks"]}


def classify(copy: MachineCopy) -> str:
    """Return the last line of a classification: label and score."""
    return sh(copy, "edge-agent classify -m /root/tiny.tflite -i /root/white.png").splitlines()[-1]


def test_a_board_that_is_in_no_fleet_does_not_start_it(board: MachineCopy) -> None:
    """Quietly: the installation was a success."""
    assert sh(board, "systemctl is-active reefline-agent.service || true") == "inactive"
    level, message = doctor(board)["config"]
    assert level == "FAIL" and "in no fleet" in message


def test_it_brings_all_it_needs(board: MachineCopy) -> None:
    """With Debian's own Python, and nothing from a package registry."""
    rows = doctor(board)
    assert rows["numpy"] == ("ok", "numpy 1.26.4")
    assert rows["tflite runtime"] == ("ok", "tflite_runtime 2.14.0")
    assert rows["libraries"][0] == "ok"
    assert classify(board) == "5: 0.99609"


def test_the_runtime_of_the_image_goes_before_its_own(board: MachineCopy) -> None:
    """And with it the image's numpy, which it was built for; where there is only a numpy, the pair stays."""
    ask = "import numpy, tflite_runtime; print(numpy.__file__, tflite_runtime.__file__)"
    where = f"/usr/lib/reefline/bin/python3 -c '{ask}'"
    own, image = "/usr/lib/reefline/runtime", "/usr/lib/python3/dist-packages"
    assert sh(board, where) == f"{own}/numpy/__init__.py {own}/tflite_runtime/__init__.py"
    sh(board, f"cp -r {own}/numpy* {image}")
    assert sh(board, where) == f"{own}/numpy/__init__.py {own}/tflite_runtime/__init__.py"
    sh(board, f"cp -r {own}/tflite_runtime* {image}")
    assert sh(board, where) == f"{image}/numpy/__init__.py {image}/tflite_runtime/__init__.py"
    assert classify(board) == "5: 0.99609"
    sh(board, f"rm -r {image}/numpy* {image}/tflite_runtime*")


def test_the_shell_completes_its_commands(board: MachineCopy) -> None:
    """After `edge-agent do`, a tab says `doctor`."""
    source = "source /usr/share/bash-completion/completions/edge-agent"
    ask = "COMP_WORDS=(edge-agent do); COMP_CWORD=1; _shtab_edge_agent; echo ${COMPREPLY[@]}"
    assert board.run("bash", "-c", f"{source}; {ask}").stdout.decode().strip() == "doctor"


def test_the_settings_that_it_comes_with_are_valid(board: MachineCopy) -> None:
    """What is missing is a fleet, no more; with a name of its own the board has all that is needed."""
    (board.root / "etc/reefline/enrolled.toml").write_text('device = "board-a"\n')
    assert "is valid" in sh(board, "edge-agent config --check")
    sh(board, "rm /etc/reefline/enrolled.toml")


def test_a_package_without_compiled_modules_is_compiled_by_the_board(board: MachineCopy) -> None:
    """Built on a computer without that Python, it starts as fast; and removed it leaves nothing behind."""
    count = "find /usr/lib/reefline -name '*.pyc' | wc -l"
    compiled = int(sh(board, count))
    assert compiled > 500
    sh(board, "find /usr/lib/reefline -name '*.pyc' -delete")
    sh(board, "/var/lib/dpkg/info/reefline-agent.postinst configure 0.1.0")
    assert int(sh(board, count)) == compiled
    # A person may compile more than the package knows of.
    sh(board, "/usr/lib/reefline/bin/python3 -O -c 'import edge_agent.cli'")
    sh(board, "dpkg --remove reefline-agent")
    assert sh(board, "ls -d /usr/lib/reefline 2>/dev/null || echo gone") == "gone"
