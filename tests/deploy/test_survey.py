"""What a board says of itself, and what stands in the way of an agent."""

import base64
import tracemalloc
from dataclasses import replace

import pytest

from deploy.boards.answer import Answer
from deploy.boards.register import MAX_VERSION_CHARACTERS
from deploy.boards.survey import PLACES, Survey, problems, require_fit, survey
from host_cli.errors import Failed, WrongUsage

NOW_S = 1_800_000_000.0
GOOD = Survey(
    machine="aarch64",
    architecture="arm64",
    os_id="mendel",
    pretty_name="Mendel GNU/Linux 5 (Eagle)",
    hostname="deft-orange",
    model="Freescale i.MX8MQ Phanbell",
    python=(3, 7),
    glibc=(2, 28),
    free_bytes=dict.fromkeys(PLACES, 1024**3),
    has_apex_group=True,
    has_apex_device=True,
    clock_s=NOW_S,
    systemd=241,
    package=None,
    enrolled=None,
)

VALID = """device = "reef-1"
tags = ["lab"]
[mqtt]
host = "broker.lan"
port = 8883
base = "coral"
"""


class Says:
    """A board that answers every command with this text."""

    where = "mendel@board"

    def __init__(self, out, err=""):
        self._answer = Answer(0, out, err)

    def run(self, command):
        return self._answer


def test_a_real_machine_is_read_in_one_round_trip(enroll_place):
    """This one: its architecture, its system, its Python, its space."""
    with enroll_place.shell() as shell:
        found = survey(shell)
    assert (found.os_id, found.python, found.enrolled) == ("debian", (3, 11), None)
    assert found.architecture in ("amd64", "arm64") and found.glibc > (2, 28)
    assert min(found.free_bytes.values()) > 0
    assert abs(found.clock_s - int(enroll_place.board.shell("date +%s"))) < 5


def test_an_enrolled_board_says_what_it_was_enrolled_with(enroll_place):
    """Also to a user who may not become root."""
    enroll_place.enroll(tags=("lab",))
    enroll_place.board.let_become_root("")
    with enroll_place.shell() as shell:
        there = survey(shell).enrolled
    assert (there.device, there.tags, str(there.broker), there.base) == (
        "reef-1",
        ("lab",),
        "mqtts://broker.lan:8883",
        "coral",
    )
    assert all(len(each) == 64 for each in (there.root_sha256, there.ca_sha256))


@pytest.mark.parametrize("text", ["device = [", "device = 'No Such Name'", "\udcff", "x = 1\n" * 20_000])
def test_settings_that_a_person_broke_say_nothing(enroll_place, text):
    """Whatever stands there, it is no error: the board was enrolled, with what cannot be known."""
    folder = enroll_place.board.path("/etc/reefline")
    folder.mkdir(exist_ok=True)
    (folder / "enrolled.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with enroll_place.shell() as shell:
        there = survey(shell).enrolled
    assert there is None or there.device is None


def test_what_has_no_unix_shell_is_said_to_have_none():
    """A router that speaks SSH, say; what it writes does nothing to our terminal."""
    with pytest.raises(Failed, match="no Unix shell answers there: Unknown command"):
        survey(Says("\x1b[2JWelcome", "\x1bUnknown command\n"))


def test_a_board_that_lies_is_only_a_strange_board():
    """Numbers that are none, lines without end: nothing is believed that is not of its form."""
    text = (
        "python=3.x\nglibc=99999999.1\nfree_kib:/etc=-5\nclock_s="
        + "9" * 400
        + "\nsettings=!!\nend=of-survey"
    )
    found = survey(Says(text + "\nhostname=" + "x" * 100_000))
    assert (found.python, found.glibc, found.free_bytes["/etc"], found.clock_s) == (None, None, 0, 0)
    assert len(found.hostname) <= 200
    assert require_problem(found).blocking


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 32_000) + " = 1",
        "[" * 60_000,
        VALID.replace("broker.lan", "broker\x1b[2J"),
        VALID.replace("broker.lan", "a b;$(reboot)"),
        VALID.replace("lab", "la b"),
        "#" + "x" * 100_000 + "\n" + VALID,
    ],
)
def test_settings_of_a_board_that_lies_take_no_memory_and_say_nothing(text):
    """A key with thousands of parts takes a parser gigabytes; a host is no text for a terminal."""
    tracemalloc.start()
    try:
        there = survey(Says(f"settings={base64.b64encode(text.encode()).decode()}\nend=of-survey")).enrolled
        assert tracemalloc.get_traced_memory()[1] < 128 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert there.device is None and there.broker is None


def test_settings_that_are_no_text_are_those_of_a_board_that_is_enrolled():
    """Else it would be taken from another fleet without a word."""
    there = survey(Says(f"settings={base64.b64encode(bytes([255])).decode()}\nend=of-survey")).enrolled
    assert there is not None and there.device is None


def test_what_a_board_says_of_its_package_fits_into_the_book():
    """Whatever dpkg has there: it is noted after the board was changed, and must not fail then."""
    found = survey(Says("package=" + "1" * 100_000 + "\nend=of-survey"))
    assert len(found.package) == MAX_VERSION_CHARACTERS


def require_problem(found):
    return problems(found, NOW_S)[0]


def test_a_dev_board_with_mendel_has_no_problem():
    """It is what the agent was made for."""
    assert problems(GOOD, NOW_S) == [] == require_fit(GOOD, "board", NOW_S)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"architecture": "armhf"}, "its architecture is armhf"),
        ({"architecture": "", "machine": "riscv64"}, "its architecture is riscv64"),
        ({"python": None}, "no /usr/bin/python3"),
        ({"python": (3, 5), "pretty_name": "Debian 9"}, "it has Python 3.5, the agent needs 3.7 or newer"),
        ({"glibc": (2, 24)}, "it has glibc 2.24, the agent needs 2.28 or newer"),
        ({"free_bytes": {"/etc": 4096}}, "only 4 KiB are free in /etc"),
    ],
)
def test_a_board_on_which_no_agent_can_run_is_refused(change, what):
    """Before anything is changed there; each with the next step."""
    with pytest.raises(WrongUsage, match=what) as caught:
        require_fit(replace(GOOD, **change), "board", NOW_S)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"clock_s": 0.0}, "its clock is wrong: 1970-01-01"),
        ({"clock_s": 1e15}, "its clock is wrong: 9999-12-31"),
        ({"systemd": None}, "it has no systemd"),
        ({"has_apex_device": False}, "it has no /dev/apex_0"),
        ({"has_apex_group": False}, "it has no group apex"),
    ],
)
def test_what_a_person_should_know_does_not_stop_anything(change, what):
    """It is said, with the next step."""
    (problem,) = require_fit(replace(GOOD, **change), "board", NOW_S)
    assert what in problem.what and problem.hint and not problem.blocking
