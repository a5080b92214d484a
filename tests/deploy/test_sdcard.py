"""A card for a board without a network: what goes onto it, and what is refused."""

import dataclasses
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.boards import register
from deploy.boards.packages import load_packages
from deploy.boards.register import Board
from deploy.cards.card import read_card
from deploy.cards.sdcard import Order, prepare
from deploy.cards.wifi import Wifi
from deploy.cli import main
from deploy.trust.certificates import block, device_folder
from host_cli.errors import WrongUsage
from host_mqtt.address import Address
from tests.deploy.cards import mounted, write_root
from tests.deploy.helpers import run_deploy
from tests.fakes.machine_copy import MachineCopy, machine_copy
from tests.fakes.packages import build_package

NOW_S = 1_800_000_000.0
KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@reef"
ON_ROOT, ON_DATA = "var/lib/reefline-first-boot", "reefline"
UNIT, ENABLED = (
    "etc/systemd/system/reefline-first-boot.service",
    "etc/systemd/system/multi-user.target.wants/reefline-first-boot.service",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCopy]:
    with machine_copy(tmp_path_factory.mktemp("machine")) as copy:
        yield copy


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for architecture, python in (("arm64", "3.7"), ("arm64", "3.9"), ("amd64", "3.11")):
        build_package(folder, "1.0", architecture, python)
    return folder


@pytest.fixture
def card(machine: MachineCopy) -> Iterator[Path]:
    with mounted(machine) as folder:
        yield folder


@pytest.fixture
def order(card: Path, fleet: Path, packages: Path) -> Order:
    return Order(
        card=card,
        fleet=fleet,
        device="reef-1",
        tags=("lab",),
        broker=Address("broker.lan", 8883, tls=True),
        base="coral",
        packages=tuple(load_packages(packages)),
        wifi=Wifi("Reef", "correct horse"),
        user="mendel",
        public_key=KEY_LINE,
    )


def put(order: Order, **changes: object) -> tuple[str, ...]:
    return prepare(dataclasses.replace(order, **changes), NOW_S, lambda share: None).changed


def snapshot(folder: Path) -> dict[str, object]:
    """Every name below a folder with what it holds, its bits and when it was written."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_a_data_card_gets_a_folder(order: Order, card: Path):
    """With every package, because nobody knows which board it will be, and what a person starts there."""
    prepared = prepare(order, NOW_S, lambda share: None)
    assert prepared.card.kind == "data card" and {path.name for path in card.iterdir()} == {ON_DATA}
    names = {path.name for path in (card / ON_DATA).iterdir()}
    assert {"start.sh", "first-boot.sh", "install.sh", "client.key", "wifi.nmconnection"} <= names
    assert len([name for name in names if name.endswith(".deb")]) == 3
    sums = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=card / ON_DATA, check=False)
    assert stat.S_IMODE((card / ON_DATA / "client.key").stat().st_mode) == 0o600
    assert sums.returncode == 0 and (card / ON_DATA / "authorized_keys").read_text() == KEY_LINE + "\n"


def test_a_root_card_is_prepared_for_its_first_boot(order: Order, card: Path):
    """With the one package that fits, secrets for root only, and the unit enabled last."""
    write_root(card)
    prepared = prepare(order, NOW_S, lambda share: None)
    assert prepared.card.kind == "root file system of Mendel GNU/Linux 5 (Eagle)"
    assert prepared.changed[-2:] == (UNIT, ENABLED)
    assert (card / ENABLED).readlink() == Path("../reefline-first-boot.service")
    bundle = card / ON_ROOT
    assert [line.split()[:2] for line in (bundle / "packages").read_text().splitlines()] == [["arm64", "3.7"]]
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o700
    for name in ("client.key", "wifi.nmconnection"):
        assert stat.S_IMODE((bundle / name).stat().st_mode) == 0o600
    assert 'edgetpu = "pci:0"' in (bundle / "enrolled.toml").read_text()


@pytest.mark.parametrize("is_root", [True, False])
def test_a_second_run_changes_nothing(order: Order, card: Path, fleet: Path, is_root: bool):
    """Not one file is written again, on the card or in the fleet; something else to say changes only that."""
    if is_root:
        write_root(card)
    assert put(order)
    before = snapshot(card), snapshot(fleet)
    assert put(order) == () and (snapshot(card), snapshot(fleet)) == before
    folder = ON_ROOT if is_root else ON_DATA
    changed = {Path(name).name for name in put(order, wifi=None)}
    assert (
        changed == {"SHA256SUMS", "wifi.nmconnection"} and not (card / folder / "wifi.nmconnection").exists()
    )


def test_a_run_that_was_cut_off_is_finished_by_the_next(order: Order, card: Path):
    """Also when only the last name was missing."""
    write_root(card)
    put(order)
    (card / ENABLED).unlink()
    (card / ON_ROOT / "client.pem").write_bytes(b"hal")
    assert put(order) == (f"{ON_ROOT}/client.pem", ENABLED) and put(order) == ()


def test_a_dry_run_writes_nothing_at_all(order: Order, card: Path, fleet: Path):
    """It names what it would write, and makes no identity."""
    before = snapshot(fleet)
    assert f"{ON_DATA}/client.key" in put(order, dry_run=True)
    assert list(card.iterdir()) == [] and snapshot(fleet) == before


def test_a_card_that_takes_no_permission_bits_will_do(order: Order, card: Path, monkeypatch):
    """FAT refuses to set them."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    prepared = prepare(order, NOW_S, lambda share: None)  # the identity is made on this computer's disk
    for path in (card / ON_DATA).iterdir():
        path.unlink()
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    assert len(put(order)) == len(prepared.files)


def test_the_wifi_password_is_not_on_the_card(order: Order, card: Path):
    """Only the key of this one network is."""
    put(order)
    assert not any(b"correct horse" in path.read_bytes() for path in (card / ON_DATA).iterdir())


@pytest.mark.parametrize("place", ["missing", "of this computer", "root", "folder of a card"])
def test_a_folder_that_is_no_card_is_refused(place: str, card: Path, tmp_path: Path):
    """This computer's own disk above all."""
    (card / "folder").mkdir()
    folders = {
        "missing": (tmp_path / "none", "no such folder"),
        "of this computer": (tmp_path, "belongs to this computer"),
        "root": (Path("/"), "belongs to this computer"),
        "folder of a card": (card / "folder", "no card is mounted here"),
    }
    with pytest.raises(WrongUsage, match=folders[place][1]) as caught:
        read_card(folders[place][0])
    assert "lsblk" in caught.value.hint


def test_a_card_that_cannot_be_written_is_refused(machine: MachineCopy):
    """Its own switch, or the mount."""
    with mounted(machine, "ro") as folder, pytest.raises(WrongUsage, match="read-only"):
        read_card(folder)


def test_a_card_without_room_is_refused(machine: MachineCopy, order: Order):
    """Before anything is written."""
    with mounted(machine, "size=1m") as small:
        with pytest.raises(WrongUsage, match="bytes are free"):
            put(order, card=small)
        assert list(small.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"dpkg": ("armhf", "1.20")}, "no package for armhf"),
        ({"python3": ("arm64", "3.8.2")}, "no package for arm64 with Python 3.8"),
        ({"python3": None}, "without python3"),
        ({"systemd": None}, "no systemd"),
        ({"network_manager": None}, "no NetworkManager"),
    ],
)
def test_a_system_that_cannot_become_a_board_is_refused(order: Order, card: Path, changes, what: str):
    """And nothing is written into it."""
    write_root(card, **changes)
    before = snapshot(card)
    with pytest.raises(WrongUsage, match=what):
        put(order)
    assert snapshot(card) == before


def test_a_system_of_another_kind_is_refused(order: Order, card: Path):
    """One without dpkg."""
    write_root(card)
    (card / "var/lib/dpkg/status").unlink()
    with pytest.raises(WrongUsage, match="no dpkg"):
        put(order)


@pytest.mark.parametrize("name", ["var", "etc/systemd", "var/lib/reefline-first-boot"])
def test_a_link_that_leaves_the_card_is_not_followed(order: Order, card: Path, tmp_path: Path, name: str):
    """A root's /var may be a link that means this computer's own folder here."""
    write_root(card)
    outside = tmp_path / "outside"
    place = card / name
    if place.exists():
        shutil.move(place, outside)
    else:
        outside.mkdir()
    place.symlink_to(outside)
    before = snapshot(outside)
    with pytest.raises(WrongUsage, match="could leave the card"):
        put(order)
    assert snapshot(outside) == before


def test_a_system_that_was_enrolled_keeps_its_identity(order: Order, card: Path):
    """With the same settings there is nothing to do; with others it is refused."""
    write_root(card)
    put(order)
    enrolled = (card / ON_ROOT / "enrolled.toml").read_bytes()
    (card / "etc/reefline").mkdir()
    (card / "etc/reefline/enrolled.toml").write_bytes(enrolled)
    assert put(order) == ()
    with pytest.raises(WrongUsage, match="enrolled already"):
        put(order, device="reef-2")
    assert not device_folder(order.fleet, "reef-2").exists()


def test_a_name_that_another_board_has_is_refused(order: Order, card: Path):
    """Two boards with one name would push each other off the broker."""
    board = Board(
        device="reef-1",
        host="192.168.100.2",
        port=22,
        user="mendel",
        host_key="ssh-ed25519 AAAA",
        tags=(),
        hardware="x",
        broker="mqtts://broker.lan",
        base="coral",
        certificate_sha256="0" * 64,
        enrolled_at_s=NOW_S,
    )
    register.save(order.fleet, board)
    with pytest.raises(WrongUsage, match="reef-1 is taken"):
        put(order)
    assert list(card.iterdir()) == []


def test_a_blocked_name_and_a_broker_without_tls_are_refused(order: Order, card: Path):
    """The board could not connect, and nobody would see why."""
    with pytest.raises(WrongUsage, match="speaks TLS"):
        put(order, broker=Address("broker.lan"))
    block(order.fleet, "reef-1")
    with pytest.raises(WrongUsage, match="reef-1 is blocked"):
        put(order)
    assert list(card.iterdir()) == []


def test_the_command_writes_a_card(card: Path, fleet: Path, packages: Path, tmp_path: Path):
    """It asks nobody when everything is said; the password of the Wi-Fi stands in a file."""
    key, wifi = tmp_path / "id.pub", tmp_path / "wifi"
    key.write_text(KEY_LINE)
    wifi.write_text("Reef\ncorrect horse\n")
    wifi.chmod(0o600)
    words = ["flash", "--sdcard", str(card), "--name", "reef-1", "--fleet", str(fleet)]
    words += ["--packages", str(packages), "--identity", str(tmp_path / "id"), "--json"]
    words += ["--broker", "mqtts://broker.lan"]
    told, complaint = run_deploy(*words, "--wifi-file", str(wifi)).communicate(timeout=60)
    result = json.loads(told)
    assert (result["kind"], result["device"], result["dry_run"]) == ("data", "reef-1", False)
    assert f"{ON_DATA}/client.key" in result["changed"] and "correct horse" not in told + complaint


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--sdcard", "CARD"], "a name and the address of its broker"),
        (["--sdcard", "CARD", "--name", "reef-1", "--broker", "mqtts://b.lan"], "which Wi-Fi?"),
        (["--sdcard", "CARD", "reef-2", "--name", "reef-1"], "a card is for one board"),
        (["--sdcard", "/", "--name", "reef-1"], "belongs to this computer"),
        (["reef-1", "--no-wifi"], "--no-wifi is about a card"),
    ],
)
def test_the_command_says_what_is_missing(
    card: Path, fleet: Path, packages: Path, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
):
    """In three lines, and asks nothing without a terminal."""
    given = [str(card) if word == "CARD" else word for word in words]
    assert main(["flash", *given, "--fleet", str(fleet), "--packages", str(packages)]) == 2
    complaint = capsys.readouterr().err
    assert what in complaint and len(complaint.splitlines()) == 3
