"""The first boot of a board that a card was prepared for: the real scripts, in a copy of this machine."""

import dataclasses
import shutil
import time
from collections.abc import Iterator

import pytest

from deploy.boards.packages import load_packages
from deploy.cards.sdcard import Order, prepare
from deploy.cards.wifi import Wifi
from deploy.trust.keys import init_fleet
from host_mqtt.address import Address
from tests.deploy.cards import mounted
from tests.fakes.machine_copy import MachineCopy, machine_copy
from tests.fakes.packages import build_package

USER = "mendel"
KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@reef"
BUNDLE, LOG = "/var/lib/reefline-first-boot", "/var/log/reefline-first-boot.log"
SCRIPT = f"{BUNDLE}/first-boot.sh"
ENABLED = "/etc/systemd/system/multi-user.target.wants/reefline-first-boot.service"
# Commands after which a board is another one; the power fails before one of them.
CHANGING = ("mv", "rm", "mkdir", "dpkg", "systemctl")
# A whole first boot runs about forty of them.
MOST_CUTS = 200
# Stands before each command: counts, and at the chosen one ends everything that runs, as a power cut does.
_CUTTER = """#!/bin/sh
read count </run/count
read cut </run/cut
echo $((count + 1)) >/run/count
[ $((count + 1)) -ne $cut ] || kill -KILL 0
PATH=${{PATH#/cutters:}} exec {command} "$@"
"""
# dpkg itself takes half a second for any package: this one only notes what it was asked.
_QUICK_DPKG = """#!/bin/sh
case "$*" in
*--install*) echo once >>/run/installed ;;
*--print-architecture*) echo amd64 ;;
esac
"""
_QUICK_QUERY = "#!/bin/sh\n[ -s /run/installed ] && printf installed\n"
_SILENT = "#!/bin/sh\n"
_RESET = f"""
rm -rf /etc/reefline /var/cache/reefline {BUNDLE} {LOG} /home/{USER}/.ssh /run/installed
rm -f /etc/NetworkManager/system-connections/* {ENABLED}
cp -a /run/prepared {BUNDLE}
ln -s ../reefline-first-boot.service {ENABLED}
cp {BUNDLE}/first-boot.sh /etc/systemd/system/reefline-first-boot.service
"""
# How often dpkg installed the package, as far as the board has noted that it did.
_INSTALLED = "[ ! -e /var/cache/reefline/installed ] || cat /run/installed"
_STATE = f"""
cd /
find etc/reefline var/cache/reefline etc/NetworkManager etc/systemd/system home/{USER}/.ssh {BUNDLE[1:]} \
    ! -name log ! -name 'result-*' ! -type d -printf '%p %m %u %s\\n' 2>/dev/null | sort
find etc/reefline home/{USER}/.ssh -type f -exec sha256sum {{}} + | sort
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCopy]:
    with machine_copy(tmp_path_factory.mktemp("machine")) as copy:
        sh(copy, f"useradd --create-home {USER}; mkdir -p /etc/NetworkManager/system-connections /cutters")
        write(copy, "/usr/local/sbin/systemctl", "#!/bin/sh\necho $* >>/run/asked\n")
        # SIGKILL leaves what is not on the disk yet: nothing has to wait for that.
        for command in ("nmcli", "sync"):
            write(copy, f"/usr/local/sbin/{command}", _SILENT)
        for command in CHANGING:
            write(copy, f"/cutters/{command}", _CUTTER.format(command=command))
        yield copy


@pytest.fixture(scope="module")
def order(machine: MachineCopy, tmp_path_factory: pytest.TempPathFactory) -> Order:
    folder = tmp_path_factory.mktemp("computer")
    init_fleet(folder / "fleet", time.time())
    build_package(folder, "1.0")
    return Order(
        card=machine.root,
        fleet=folder / "fleet",
        device="reef-1",
        tags=(),
        broker=Address("broker.lan", 8883, tls=True),
        base="coral",
        packages=tuple(load_packages(folder)),
        wifi=Wifi("Reef", "correct horse"),
        user=USER,
        public_key=KEY_LINE,
    )


@pytest.fixture(scope="module")
def prepared(machine: MachineCopy, order: Order, tmp_path_factory: pytest.TempPathFactory) -> MachineCopy:
    """The machine with a bundle in /run/prepared, as a card would have it."""
    with mounted(machine) as card:
        prepare(dataclasses.replace(order, card=card), time.time(), lambda share: None)
        shutil.copytree(card / "reefline", machine.root / "run/prepared")
    return machine


@pytest.fixture
def board(prepared: MachineCopy) -> MachineCopy:
    """A board before its first boot."""
    sh(prepared, _RESET)
    return prepared


@pytest.fixture
def quick(board: MachineCopy) -> Iterator[MachineCopy]:
    """The same, with a dpkg that only says that it did what it should."""
    write(board, "/usr/local/sbin/dpkg-query", _QUICK_QUERY)
    write(board, "/usr/local/sbin/dpkg", _QUICK_DPKG)
    yield board
    sh(board, "rm /usr/local/sbin/dpkg /usr/local/sbin/dpkg-query")


def write(machine: MachineCopy, path: str, text: str) -> None:
    target = machine.root / path.lstrip("/")
    target.write_text(text)
    target.chmod(0o755)


def sh(machine: MachineCopy, script: str) -> str:
    done = machine.run("sh", "-c", script)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def boot(machine: MachineCopy, cut: int = 0) -> int:
    """Start the board as its unit does, and cut the power before a command; return the exit status."""
    path = "PATH=/cutters:$PATH" if cut else ""
    script = f"""echo 0 >/run/count; chmod 666 /run/count; echo {cut} >/run/cut
    {path} exec setsid --wait sh {SCRIPT}"""
    return machine.run("sh", "-c", script).returncode


def log(machine: MachineCopy) -> str:
    return (machine.root / LOG[1:]).read_text()


def test_a_first_boot_makes_a_board(board: MachineCopy):
    """Key, Wi-Fi, identity and package are in place, it is written down, and nothing of the card is left."""
    assert boot(board) == 0
    assert sh(board, f"cat /home/{USER}/.ssh/authorized_keys") == KEY_LINE + "\n"
    connection = "/etc/NetworkManager/system-connections/reefline.nmconnection"
    assert sh(board, f"stat -c '%a %U' {connection} /etc/reefline/mqtt/client.key") == "600 root\n600 root\n"
    assert 'device = "reef-1"' in sh(board, "cat /etc/reefline/enrolled.toml")
    assert sh(board, "dpkg-query -W -f '${db:Status-Status}' reefline-agent") == "installed"
    assert sh(board, f"ls -d {BUNDLE} {ENABLED} 2>/dev/null || echo gone") == "gone\n"
    assert "this board is reef-1" in log(board) and "correct horse" not in log(board)
    assert "start reefline-agent.service" in sh(board, "cat /run/asked")
    sh(board, "dpkg --purge reefline-agent")


def test_the_power_may_fail_before_any_command(quick: MachineCopy):
    """The next boot goes on, and the board is the same as if it had never failed; no secret stays behind."""
    assert boot(quick) == 0
    wanted = sh(quick, _STATE)
    assert BUNDLE[1:] not in wanted and "client.key" in wanted
    for cut in range(1, MOST_CUTS):
        sh(quick, _RESET)
        if boot(quick, cut) == 0:
            break
        before = sh(quick, _INSTALLED)
        boot(quick)
        # Only a package that nobody has noted yet may be installed again.
        allowed = {wanted + before} if before else {wanted + "once\n", wanted + "once\nonce\n"}
        assert sh(quick, _STATE + _INSTALLED) in allowed, f"cut before command {cut}"
    assert 20 < cut < MOST_CUTS - 1


def test_a_cut_in_the_middle_of_dpkg_is_mended(board: MachineCopy):
    """The package is unpacked, not configured, and nobody knows of it."""
    write(board, "/cutters/dpkg", "#!/bin/sh\n/usr/bin/dpkg --unpack *.deb\nkill -KILL 0\n")
    try:
        assert boot(board, MOST_CUTS) != 0
    finally:
        write(board, "/cutters/dpkg", _CUTTER.format(command="dpkg"))
    status = "dpkg-query -W -f '${db:Status-Status}' reefline-agent"
    assert sh(board, status) == "unpacked"
    assert boot(board) == 0 and sh(board, status) == "installed"
    sh(board, "dpkg --purge reefline-agent")


def test_an_installation_that_fails_is_tried_again(quick: MachineCopy):
    """The secrets stay until it is done, the log says why, and the unit stays enabled."""
    broken = _QUICK_DPKG.replace("echo once >>/run/installed", "echo no room; exit 1")
    write(quick, "/usr/local/sbin/dpkg", broken)
    assert boot(quick) == 1 and "no room" in log(quick) and "the next boot tries again" in log(quick)
    assert sh(quick, f"ls {BUNDLE}/client.key {ENABLED}")
    write(quick, "/usr/local/sbin/dpkg", _QUICK_DPKG)
    assert boot(quick) == 0 and sh(quick, f"ls -d {BUNDLE} 2>/dev/null || echo gone") == "gone\n"


def test_a_damaged_card_changes_nothing(quick: MachineCopy):
    """One file that is not what was written is enough."""
    (quick.root / BUNDLE[1:] / "root.json").write_text("{")
    assert boot(quick) == 1 and "prepare the card again" in log(quick)
    assert sh(quick, f"ls -d /etc/reefline /home/{USER}/.ssh 2>/dev/null || echo none") == "none\n"


def test_a_board_that_has_an_identity_keeps_it(quick: MachineCopy):
    """The card's is removed, and it is not tried again."""
    sh(quick, "mkdir -p /etc/reefline/mqtt; echo mine >/etc/reefline/mqtt/client.pem")
    assert boot(quick) == 1 and "nothing was changed" in log(quick)
    assert sh(quick, "find /etc/reefline -type f") == "/etc/reefline/mqtt/client.pem\n"
    assert sh(quick, f"ls -d {BUNDLE} {ENABLED} /home/{USER}/.ssh 2>/dev/null || echo gone") == "gone\n"


def test_a_board_without_a_fitting_package_says_so(quick: MachineCopy):
    """Which it would need."""
    (quick.root / BUNDLE[1:] / "packages").write_text("arm64 3.7 0 x.deb\n")
    sh(quick, f"cd {BUNDLE} && sha256sum packages >SHA256SUMS")
    assert boot(quick) == 1 and "is for this board: amd64 3.11" in log(quick)


def test_what_a_person_has_on_the_board_stays(quick: MachineCopy):
    """Other keys, also one without the end of its line; a board without the user or Wi-Fi gets the rest."""
    keys = f"/home/{USER}/.ssh/authorized_keys"
    sh(quick, f"mkdir /home/{USER}/.ssh; printf 'ssh-rsa AAAA other' >{keys}")
    sh(quick, f"chown -R {USER}: /home/{USER}/.ssh; mv /etc/NetworkManager /nm")
    assert boot(quick) == 0 and "Wi-Fi was not set up" in log(quick)
    assert sh(quick, f"cat {keys}") == f"ssh-rsa AAAA other\n{KEY_LINE}\n"
    sh(quick, f"mv /nm /etc/NetworkManager; {_RESET}echo nobody-here >{BUNDLE}/user")
    sh(quick, f"cd {BUNDLE} && sha256sum user >SHA256SUMS")
    assert boot(quick) == 0 and "no user nobody-here" in log(quick)


def test_a_link_in_the_users_home_leads_root_nowhere(quick: MachineCopy):
    """The user could become root with it: by a key in root's folder, or by owning that folder."""
    sh(quick, f"mkdir -p -m 755 /run/roots; runuser -u {USER} -- ln -s /run/roots /home/{USER}/.ssh")
    boot(quick)
    assert sh(quick, "ls -A /run/roots; stat -c %U /run/roots") == "root\n"
    sh(quick, f"rm -rf /run/roots; rm /home/{USER}/.ssh; mkdir /home/{USER}/.ssh; echo x >/run/roots")
    sh(quick, f"cd /home/{USER}/.ssh && ln -s /run/roots .authorized_keys.new; chown -hR {USER}: .")
    boot(quick)
    assert sh(quick, "cat /run/roots; stat -c '%U %a' /run/roots") == "x\nroot 644\n"
    assert sh(quick, f"stat -c '%U %a' /home/{USER}/.ssh") == f"{USER} 755\n"
    sh(quick, "rm /run/roots")


def test_a_clock_that_is_behind_is_set(quick: MachineCopy):
    """To when the identity was made; never back."""
    write(quick, "/usr/local/sbin/date", '#!/bin/sh\n[ "$1" = +%s ] && echo 86400 || echo "$@" >>/run/date\n')
    try:
        assert boot(quick) == 0
    finally:
        sh(quick, "rm /usr/local/sbin/date")
    made_at = sh(quick, "cat /run/prepared/clock").strip()
    assert f"-s @{made_at}" in sh(quick, "cat /run/date").splitlines()


def test_a_data_card_is_copied_to_the_board_and_emptied_of_its_secrets(machine: MachineCopy, order: Order):
    """One command on the board; a second one says that the card was used."""
    sh(machine, f"rm -rf {BUNDLE} /etc/reefline /run/asked")
    with mounted(machine) as card:
        prepare(dataclasses.replace(order, card=card), time.time(), lambda share: None)
        start = f"{str(card).removeprefix(str(machine.root))}/reefline/start.sh"
        machine.run("sh", start)  # no systemd here: the unit is only asked for, and leaves no log
        asked = sh(machine, "cat /run/asked")
        assert "enable reefline-first-boot.service" in asked and "start reefline-first-boot.service" in asked
        assert sh(machine, f"stat -c %a {BUNDLE} {BUNDLE}/client.key").split() == ["700", "600"]
        left = {path.name for path in (card / "reefline").iterdir()}
        assert not left & {"client.key", "wifi.nmconnection"}
        again = machine.run("sh", start)
        assert again.returncode == 1 and b"used before" in again.stderr
    assert boot(machine) == 0 and "this board is reef-1" in log(machine)
    sh(machine, "dpkg --purge reefline-agent")
