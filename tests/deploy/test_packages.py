"""Packages are read without dpkg, whole or not at all, and exactly one fits a board."""

import hashlib

import pytest

from deploy.boards.packages import choose, load_packages, read_package
from host_cli.errors import WrongUsage
from tests.fakes.packages import build_package


def test_a_package_says_what_it_is_for(tmp_path):
    """Version, architecture, the one Python it runs on, and what it takes on the disk."""
    path = build_package(tmp_path, "0.5.0", "arm64", "3.9", installed_kib=2048)
    found = read_package(path)
    assert (found.version, found.architecture, found.python) == ("0.5.0", "arm64", (3, 9))
    assert found.installed_bytes == 2048 * 1024
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.file_name == f"reefline-agent_0.5.0_arm64-{found.sha256[:12]}.deb"


def test_the_package_for_the_boards_architecture_and_python_is_chosen(tmp_path):
    """Out of a folder with one for every kind of board."""
    kinds = [("arm64", "3.7"), ("arm64", "3.9"), ("arm64", "3.11"), ("amd64", "3.11")]
    for architecture, python in kinds:
        build_package(tmp_path, "0.5.0", architecture, python)
    packages = load_packages(tmp_path)
    found = choose(packages, "arm64", (3, 9), "reef-1")
    assert (found.architecture, found.python) == ("arm64", (3, 9))


@pytest.mark.parametrize(
    ("architecture", "python", "what"),
    [
        ("armhf", (3, 7), "no package for armhf with Python 3.7; there are some for amd64 with Python 3.11"),
        ("amd64", (3, 13), "no package for amd64 with Python 3.13; there"),
        ("amd64", None, "no package for amd64 without python3; there"),
    ],
)
def test_what_a_board_is_and_what_there_is_are_both_told(tmp_path, architecture, python, what):
    """So that a person knows which package to build."""
    build_package(tmp_path)
    with pytest.raises(WrongUsage, match=what.replace("+", r"\+")):
        choose(load_packages(tmp_path), architecture, python, "reef-1")


def test_two_that_fit_are_a_question(tmp_path):
    """Nobody guesses which version is meant; one named file is an answer."""
    first, _ = build_package(tmp_path, "0.5.0"), build_package(tmp_path, "0.6.0")
    with pytest.raises(WrongUsage, match=r"2 packages fit: .*0\.5\.0.*0\.6\.0"):
        choose(load_packages(tmp_path), "amd64", (3, 11), "reef-1")
    assert choose(load_packages(first), "amd64", (3, 11), "reef-1").version == "0.5.0"


def test_an_empty_folder_names_the_command_that_fills_it(tmp_path):
    """Also one that is not there."""
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(WrongUsage) as caught:
            load_packages(place)
        assert "make deb" in caught.value.hint


@pytest.mark.parametrize("keep_share", [0.0, 0.01, 0.3, 0.99])
def test_a_package_that_is_cut_off_is_not_taken(tmp_path, keep_share):
    """Wherever it ends."""
    path = build_package(tmp_path, files={"usr/bin/edge-agent": "x" * 5000})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep_share)])
    with pytest.raises(WrongUsage, match="not a package for a board"):
        read_package(path)


def test_no_damage_meets_a_traceback(tmp_path):
    """Each byte of the headers and of the control file changed, one after the other."""
    path = build_package(tmp_path)
    data = path.read_bytes()
    for place in range(0, min(len(data), 700), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            read_package(path)
        except WrongUsage as error:
            assert "package" in error.what


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": "other"}, "it is 'other', not reefline-agent"),
        ({"version": "1:2.0"}, "no version"),
    ],
)
def test_another_package_is_not_taken(tmp_path, changes, what):
    """Nor one whose name would be trouble on a board."""
    path = build_package(tmp_path, **changes)
    with pytest.raises(WrongUsage, match=what):
        read_package(path)
