"""An enrolment against a real sshd: the board is as before, or one of the fleet's."""

import contextlib
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from cryptography import x509

from deploy.boards import register
from deploy.boards.login import Stranger
from deploy.boards.survey import CLOCK_TOLERANCE_S, survey
from deploy.enrolment import identity
from deploy.enrolment.enroll import find_place
from deploy.enrolment.goal import Goal
from deploy.trust.certificates import block, device_folder, issue_device
from deploy.trust.keys import init_fleet
from deploy.trust.rotation import rotate
from edge_agent.config import load
from host_cli.errors import CommandError, Failed, GateNotMet, Unreachable, WrongUsage
from host_mqtt.address import Address
from tests.deploy.enroll_place import ENROLLED, EnrollPlace
from tests.fakes.proxy import Proxy
from tests.house.conftest import ROOT

KEY = "mqtt/client.key"


@pytest.fixture
def other_fleet(tmp_path):
    init_fleet(tmp_path / "other", time.time())
    return tmp_path / "other"


def name_in(pem):
    return x509.load_pem_x509_certificate(pem).subject.rfc4514_string()


def test_a_bare_board_becomes_one_of_the_fleet(enroll_place):
    """It has a key that nobody else has, our certificate for it, our root, and settings for its agent."""
    done = enroll_place.enroll(tags=("lab", "floor2"))
    files, board = enroll_place.files(), enroll_place.board
    assert set(files) == {"enrolled.toml", "root.json", "mqtt/ca.pem", "mqtt/client.pem", KEY}
    assert set(done.changed) == set(files) - {KEY}
    assert files["root.json"] == (enroll_place.fleet / "root-1.json").read_bytes()
    board.shell("cd /etc/reefline/mqtt && openssl verify -purpose sslclient -CAfile ca.pem client.pem")
    assert name_in(files["mqtt/client.pem"]) == "CN=reef-1"
    conffile = board.path("/etc/reefline/agent.toml")
    conffile.write_bytes((ROOT / "packaging" / "agent.toml").read_bytes())
    config = load(conffile)
    assert (config.device, config.tags, config.mqtt.host) == ("reef-1", ("lab", "floor2"), "broker.lan")


def test_the_private_key_stays_on_the_board_and_is_its_owners(enroll_place, tmp_path):
    """Nothing of it is in the fleet's folder, and no other user reads it there."""
    enroll_place.enroll()
    secret = enroll_place.files()[KEY].splitlines()[1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert enroll_place.board.shell("stat -c '%a %U %G' /etc/reefline/mqtt/client.key") == "600 root root\n"
    assert enroll_place.board.shell("ls -A /run | grep -v lock | grep reefline || true") == ""


def test_the_agents_group_reads_the_key_where_it_is_there(enroll_place):
    """A package that was installed before has made the group."""
    enroll_place.board.shell("groupadd --system reefline")
    try:
        enroll_place.enroll()
        mode = enroll_place.board.shell("stat -c '%a %G' /etc/reefline/mqtt/client.key")
        assert mode == "640 reefline\n"
        assert enroll_place.enroll().changed == ()
    finally:
        enroll_place.board.shell("groupdel -f reefline")


def test_a_second_run_changes_nothing(enroll_place):
    """Neither on the board nor in the book."""
    first = enroll_place.enroll()
    stat = "cd /etc/reefline && find . -type f -exec stat -c '%n %i %Y %Z' {} + | sort"
    before = enroll_place.board.shell(stat)
    second = enroll_place.enroll()
    assert second.changed == () and second.board == first.board
    assert enroll_place.board.shell(stat) == before


def test_what_nobody_says_stays_as_it_is(enroll_place):
    """Name, tags and broker are the board's; it was enrolled with them."""
    enroll_place.enroll(tags=("lab",))
    assert enroll_place.enroll(broker=None, name=None).changed == ()


def test_other_tags_and_another_broker_change_the_settings_alone(enroll_place):
    """The key, the certificate and the root stay."""
    enroll_place.enroll(tags=("lab",))
    done = enroll_place.enroll(tags=("roof",), broker=Address("other.lan", 1, tls=True))
    assert done.changed == ("enrolled.toml",)
    assert b'tags = ["roof"]' in enroll_place.files()["enrolled.toml"]
    assert register.find(enroll_place.fleet, "reef-1").broker == "mqtts://other.lan:1"


def test_another_name_is_another_certificate_for_the_same_key(enroll_place):
    """The book follows, and the old name is said to be left at the broker."""
    enroll_place.enroll()
    before = enroll_place.files()
    done = enroll_place.enroll(name="reef-2")
    after = enroll_place.files()
    assert done.changed == ("enrolled.toml", "mqtt/client.pem")
    assert after[KEY] == before[KEY] and name_in(after["mqtt/client.pem"]) == "CN=reef-2"
    assert "deploy keys block reef-1" in done.warnings[-1]
    assert [board.device for board in register.load_all(enroll_place.fleet)] == ["reef-2"]


def test_a_board_keeps_its_root_when_the_fleet_has_a_newer_one(enroll_place):
    """It follows by itself; a board that is new begins with the newest."""
    enroll_place.enroll()
    rotate(enroll_place.fleet, "release", enroll_place.fleet / "keys", time.time())
    assert enroll_place.enroll().changed == ()
    enroll_place.board.shell("rm -r /etc/reefline")
    enroll_place.enroll()
    assert enroll_place.files()["root.json"] == (enroll_place.fleet / "root-2.json").read_bytes()


def test_a_board_of_another_fleet_is_not_touched(enroll_place, other_fleet):
    """Its owner may not know of us."""
    enroll_place.enroll()
    before = enroll_place.files()
    with pytest.raises(GateNotMet, match="another fleet, as reef-1") as caught:
        enroll_place.enroll(fleet=other_fleet)
    assert "--take-over" in caught.value.hint and enroll_place.files() == before


def test_an_authority_that_is_not_ours_is_another_fleet(enroll_place, other_fleet):
    """Though it has the same root: its broker would be a stranger's."""
    enroll_place.enroll()
    (other_fleet / "root-1.json").write_bytes((enroll_place.fleet / "root-1.json").read_bytes())
    with pytest.raises(GateNotMet, match="another fleet"):
        enroll_place.enroll(fleet=other_fleet)


def test_a_board_that_is_taken_over_makes_a_new_key(enroll_place, other_fleet):
    """Who had it before may have copied the old one."""
    enroll_place.enroll(tags=("lab",))
    before = enroll_place.files()
    done = enroll_place.enroll(fleet=other_fleet, take_over=True)
    after = enroll_place.files()
    assert done.board.tags == () and not [name for name in before if before[name] == after[name]]
    assert enroll_place.enroll(fleet=other_fleet).changed == ()


def test_a_name_that_another_board_has_is_refused(enroll_place):
    """Two boards with one name would throw each other off the broker."""
    board = enroll_place.enroll().board
    enroll_place.board.change_host_key()
    register.save(enroll_place.fleet, replace(board, host="10.0.0.9"))
    enroll_place.board.reset()
    enroll_place.board.authorize((enroll_place.home / ".ssh" / "id_ed25519.pub").read_text())
    with pytest.raises(WrongUsage, match=r"another board is called reef-1, the one at 10\.0\.0\.9"):
        enroll_place.enroll()
    assert enroll_place.files() == {}


def test_a_name_that_is_given_away_meanwhile_is_refused(enroll_place, monkeypatch):
    """Another program took it between our look into the book and our turn."""
    board = enroll_place.enroll(name="reef-9").board
    enroll_place.board.reset()
    enroll_place.board.authorize((enroll_place.home / ".ssh" / "id_ed25519.pub").read_text())

    def alone(fleet, device):
        register.save(fleet, replace(board, device=device, host="10.0.0.9", host_key="ssh-ed25519 AAAA"))
        return contextlib.nullcontext()

    monkeypatch.setattr(register, "alone", alone)
    with pytest.raises(WrongUsage, match=r"another board is called reef-1, the one at 10\.0\.0\.9"):
        enroll_place.enroll()
    assert enroll_place.files() == {}
    assert register.find_name(enroll_place.fleet, "reef-1").host == "10.0.0.9"


def test_a_host_key_that_has_changed_is_refused(enroll_place):
    """Nothing is sent to a board that cannot prove to be the one that we know."""
    enroll_place.enroll()
    enroll_place.board.change_host_key()
    with pytest.raises(GateNotMet, match="its host key has changed"):
        enroll_place.enroll()


def test_a_blocked_name_is_refused_before_anybody_logs_in(enroll_place):
    """Its certificate would be worth nothing."""
    block(enroll_place.fleet, "reef-1")
    with pytest.raises(WrongUsage, match="reef-1 is blocked"):
        enroll_place.enroll()
    assert enroll_place.told == []


def test_a_clock_in_1970_is_set(enroll_place):
    """The board has no battery; what it wrote would all be 50 years old."""
    board = enroll_place.board
    board.set_clock_back(int(time.time()) - 1000)
    done = enroll_place.enroll()
    assert abs(int(board.shell("/usr/local/bin/date +%s")) - time.time()) < CLOCK_TOLERANCE_S
    assert any("setting its clock, which says 1970-01-01" in line for line in enroll_place.told)
    assert not any("clock" in warning for warning in done.warnings)


def test_two_computers_at_once_and_one_of_them_wins(enroll_place, other_fleet):
    """The other one is told; the board has the files of one fleet, not of both."""
    results = {}

    def try_it(fleet):
        try:
            results[fleet] = enroll_place.enroll(fleet=fleet)
        except CommandError as error:
            results[fleet] = error

    threads = [threading.Thread(target=try_it, args=(each,)) for each in (enroll_place.fleet, other_fleet)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (loser,) = [each for each in results.values() if isinstance(each, GateNotMet)]
    (winner,) = [fleet for fleet, each in results.items() if each is not loser]
    assert "another" in loser.what
    files = enroll_place.files()
    assert files["root.json"] == (winner / "root-1.json").read_bytes()
    assert files["mqtt/ca.pem"] == (winner / "ca" / "ca.pem").read_bytes()


def test_the_second_computer_sees_that_the_first_has_been_there(enroll_place):
    """What it looked at is not so any more: it neither makes a key nor brings anything."""
    with enroll_place.shell() as shell:
        mark = survey(shell).mark
        own = identity.look(shell, mark, fresh=False)
        enroll_place.enroll()
        before = enroll_place.files()
        with pytest.raises(GateNotMet, match="another computer has just enrolled this board"):
            identity.look(shell, mark, fresh=True)
        with pytest.raises(GateNotMet, match="another computer has just enrolled this board"):
            identity.apply(shell, mark, own, {"root.json": b"{}"})
    assert enroll_place.files() == before


def test_computers_take_turns(enroll_place, monkeypatch):
    """Who comes while another one is at it waits a little, and is told who to ask."""
    monkeypatch.setattr(identity, "_LOOK", identity._LOOK.replace("flock -w 5", "flock -n"))
    words = enroll_place.board.machine.command("flock", "/run/reefline-enroll.lock", "cat")
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdin.write(b"x")
    holder.stdin.flush()
    holder.stdout.read(1)
    try:
        with pytest.raises(GateNotMet, match="another computer is enrolling this board"):
            enroll_place.enroll()
    finally:
        holder.communicate()


def is_whole(place: EnrollPlace) -> bool:
    """Whether the board can work with what it has: nothing, or all of it."""
    files = place.files()
    if "enrolled.toml" not in files:
        return True
    place.board.shell("cd /etc/reefline/mqtt && openssl verify -CAfile ca.pem client.pem")
    public = "openssl x509 -in client.pem -pubkey -noout | cmp - key.pub"
    place.board.shell(
        f"cd /etc/reefline/mqtt && openssl pkey -in client.key -pubout -out key.pub && {public}"
    )
    place.board.shell("rm /etc/reefline/mqtt/key.pub")
    return "root.json" in files


def test_a_board_that_is_unplugged_is_as_before_or_enrolled(enroll_place):
    """Wherever the cable is pulled out; the next run goes on, and leaves nothing behind."""
    board = enroll_place.board
    proxy = Proxy(board.port, board.host)
    try:
        cuts = 0
        for cut_at in range(500, 9000, 1000):
            proxy.passed_bytes, proxy.cut_at = 0, cut_at
            try:
                enroll_place.enroll(host="127.0.0.1", port=proxy.port)
            except Unreachable:
                cuts += 1
            assert is_whole(enroll_place)
        assert cuts >= 3
        proxy.heal()
        enroll_place.enroll(host="127.0.0.1", port=proxy.port)
    finally:
        proxy.close()
    assert is_whole(enroll_place) and len(enroll_place.files()) == 5


def test_a_full_disk_leaves_the_board_as_it_was(enroll_place):
    """The error names the reason; nothing of ours lies about."""
    board = enroll_place.board
    board.shell("mkdir -p /etc/reefline && mount -t tmpfs -o size=16k tmpfs /etc/reefline")
    try:
        with pytest.raises(Failed, match="No space left on device"):
            enroll_place.enroll()
        assert not board.path(ENROLLED).exists()
        assert board.shell("find /etc/reefline -name '.enroll*'") == ""
    finally:
        board.shell("umount /etc/reefline")


def test_the_settings_are_put_when_all_that_they_name_is_there(enroll_place):
    """Without them the agent does not start."""
    enroll_place.board.shell("mkdir -p /etc/reefline/root.json/in-the-way")
    with pytest.raises(Failed, match="cannot overwrite directory"):
        enroll_place.enroll()
    assert not enroll_place.board.path(ENROLLED).exists()


def test_without_a_broker_nothing_is_done(enroll_place):
    """A board that does not know where to go is not enrolled; nor one that would go without TLS."""
    for broker in (None, Address("broker.lan")):
        with pytest.raises(WrongUsage, match="a broker that speaks TLS"):
            enroll_place.enroll(broker=broker)
    assert enroll_place.files() == {}


def test_an_agent_that_is_installed_starts_with_its_new_identity(enroll_place):
    """Whoever enrolls after installing needs no second command."""
    fakes = "/usr/local/bin/systemctl", "/usr/local/bin/dpkg-query"
    board = enroll_place.board
    board.shell(f"printf '#!/bin/sh\\necho \"$@\" >>/run/systemctl\\n' >{fakes[0]}; chmod 755 {fakes[0]}")
    board.shell(f"printf '#!/bin/sh\\necho installed 1.2\\n' >{fakes[1]}; chmod 755 {fakes[1]}")
    try:
        assert enroll_place.enroll().board.package == "1.2"
        enroll_place.enroll()
        calls = board.path("/run/systemctl").read_text().splitlines()
        assert [call for call in calls if "restart" in call] == ["restart --no-block reefline-agent.service"]
    finally:
        board.shell(f"rm {' '.join(fakes)}")


def test_an_address_on_the_usb_cable_says_nothing_about_the_board(enroll_place):
    """Every board has the same there; by its name it is known all the same."""
    board = enroll_place.enroll().board
    register.save(enroll_place.fleet, replace(board, host="192.168.100.2", port=22))
    assert isinstance(find_place(enroll_place.fleet, "192.168.100.2", None, None), Stranger)
    assert find_place(enroll_place.fleet, "reef-1", None, "root").user == "root"


def test_a_board_that_a_card_enrolled_is_added_to_the_book(enroll_place):
    """Its identity stays, and so does its name: only what the card could not know of it is written anew."""
    fleet, board = enroll_place.fleet, enroll_place.board
    folder = device_folder(fleet, "reef-7")
    issue_device(fleet, "reef-7", folder, time.time())
    goal = Goal(
        "reef-7", ("lab",), "coral-dev-board", "pci:0", Address("broker.lan", 8883, tls=True), "coral"
    )
    board.shell("mkdir -p /etc/reefline/mqtt")
    for path in folder.iterdir():
        board.path(f"/etc/reefline/mqtt/{path.name}").write_bytes(path.read_bytes())
    board.path("/etc/reefline/root.json").write_bytes((fleet / "root-1.json").read_bytes())
    board.path(ENROLLED).write_bytes(identity.build_enrolled(goal))
    before = enroll_place.files()
    done = enroll_place.enroll(name=None, broker=None)
    assert (done.board.device, done.board.tags, set(done.changed)) == ("reef-7", ("lab",), {"enrolled.toml"})
    assert {name for name, data in enroll_place.files().items() if data != before[name]} == {"enrolled.toml"}


def test_a_power_cut_between_two_files_is_mended_by_the_next_run(enroll_place, other_fleet, monkeypatch):
    """On a board that is taken over; its old settings stay until all the rest is there."""
    enroll_place.enroll(fleet=other_fleet)
    before = enroll_place.files()["enrolled.toml"]
    cutter = "mv() {{ echo >>/run/cuts; [ $(wc -l </run/cuts) -ne {} ] || kill -KILL $$; command mv $*; }}\n"
    whole = identity._APPLY
    for cut in (1, 2, 5):
        enroll_place.board.shell("rm -f /run/cuts")
        monkeypatch.setattr(identity, "_APPLY", cutter.format(cut) + whole)
        with pytest.raises(CommandError):
            enroll_place.enroll(take_over=True)
        assert enroll_place.files()["enrolled.toml"] == before
    monkeypatch.setattr(identity, "_APPLY", whole)
    enroll_place.enroll(take_over=True)
    assert is_whole(enroll_place) and len(enroll_place.files()) == 5
    assert enroll_place.enroll().changed == ()
