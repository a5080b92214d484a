"""Promises of doctor about a board as `deploy` sets it up: enrolled, a service, certified, with rights."""

import grp
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.doctor import certificate, machine, state, unit
from edge_agent.doctor.findings import FAIL, OK, SKIPPED, WARN, examine
from edge_agent.doctor.report import CHECKS
from edge_agent.doctor.visit import Visit
from edge_agent.errors import ConfigError
from edge_agent.inference.delegate import User, gather

DAY_S = 86400


def test_a_board_that_is_not_enrolled_is_told_how(tmp_path: Path) -> None:
    """Everything that needs the configuration waits for that; the rest is looked at all the same."""
    path = tmp_path / "agent.toml"
    path.write_text('state_dir = "/var/lib/reefline"\nroot = "/etc/reefline/root.json"\n')
    rows = {row.name: row.finding for row in examine(Visit(path), CHECKS)}
    assert rows["config"].level == FAIL and "deploy enroll" in rows["config"].hint
    assert rows["broker session"].level == SKIPPED and rows["python"].level == OK


def test_a_missing_root_of_trust_is_a_matter_of_enrolment(tmp_path: Path) -> None:
    """Nobody copies it by hand."""
    path = tmp_path / "agent.toml"
    path.write_text(f'device = "board-a"\nstate_dir = "{tmp_path}"\nroot = "{tmp_path}/none.json"\n')
    visit = Visit(path)
    state.check_config(visit)
    assert "deploy enroll" in state.check_root(visit).hint


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a systemctl on the PATH that tells these properties."""

    def install(**properties: str) -> None:
        told = "\n".join(f"{key}={value}" for key, value in properties.items())
        program = tmp_path / "systemctl"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


GOOD = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "Result": "success",
    "NRestarts": "0",
    "ConditionResult": "yes",
}


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({}, OK, "is active"),
        ({"LoadState": "not-found"}, SKIPPED, "not installed as a package"),
        ({"SubState": "auto-restart", "Result": "watchdog"}, FAIL, "again and again: watchdog"),
        ({"ActiveState": "failed", "Result": "exit-code"}, FAIL, "again and again: exit-code"),
        ({"ActiveState": "inactive", "ConditionResult": "no"}, FAIL, "in no fleet"),
        ({"ActiveState": "inactive"}, WARN, "is stopped"),
        ({"UnitFileState": "disabled"}, WARN, "does not start with the board"),
        ({"NRestarts": "3"}, WARN, "restarted 3 times"),
    ],
)
def test_the_service_is_looked_at(systemctl, changes, level, said) -> None:
    """Each state has its own words, and the command that mends it."""
    systemctl(**{**GOOD, **changes})
    found = unit.check_unit(Visit(Path("none")))
    assert found.level == level and said in found.message
    assert found.level in (OK, SKIPPED) or "systemctl" in found.hint or "journalctl" in found.hint


def test_a_computer_without_systemd_has_no_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container, for example; one whose systemd does not answer is the same."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unit.check_unit(Visit(Path("none"))).level == SKIPPED
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    assert unit.check_unit(Visit(Path("none"))).level == SKIPPED


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    """A real certificate that openssl has made, for 3650 days from now; text stands before it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    return make_certificate(tmp_path_factory.mktemp("tls") / "ca.pem", days=3650)


def make_certificate(path: Path, days: int) -> Path:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=board-a", "-days", str(days), "-keyout", f"{path}.key", "-out", str(path)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    path.write_text("What this is.\n" + path.read_text())
    return path


def look(folder: Path, file: Path):
    path = folder / "agent.toml"
    path.write_text(
        f'device = "board-a"\nstate_dir = "{folder}"\nroot = "r"\n[mqtt]\nca_file = "{file}"\n'
        f'cert_file = "{file}"\nkey_file = "{file}.key"\n'
    )
    visit = Visit(path)
    state.check_config(visit)
    return certificate.check_certificates(visit)


@pytest.mark.parametrize(
    ("days", "level", "said"),
    [
        (-2, FAIL, "does not count yet"),
        (1, OK, "ca.pem until "),
        (3650 - 181, OK, "ca.pem until "),
        (3650 - 179, WARN, "ends on "),
        (3651, FAIL, "ended on "),
    ],
)
def test_a_certificate_is_looked_at_by_its_dates(
    tmp_path: Path, authority: Path, monkeypatch: pytest.MonkeyPatch, days, level, said
) -> None:
    """Half a year before its end there is a warning; the true dates are those that openssl tells."""
    begin_s, _ = certificate._read_validity(authority)
    monkeypatch.setattr(certificate.time, "time", lambda: begin_s + days * DAY_S)
    found = look(tmp_path, authority)
    assert found.level == level and said in found.message


def test_the_dates_are_those_of_openssl(authority: Path, tmp_path: Path) -> None:
    """Also after 2049, when the year has four digits; of several certificates the narrowest time counts."""
    late = make_certificate(tmp_path / "late.pem", days=20_000)
    for file in (authority, late):
        command = ["openssl", "x509", "-noout", "-dates", "-dateopt", "iso_8601", "-in", str(file)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().split()
        begin_s, end_s = certificate._read_validity(file)
        assert told[0].endswith(certificate.datetime.utcfromtimestamp(begin_s).strftime("%Y-%m-%d"))
        assert told[2].endswith(certificate.datetime.utcfromtimestamp(end_s).strftime("%Y-%m-%d"))
    both = tmp_path / "both.pem"
    both.write_text(late.read_text() + authority.read_text())
    assert certificate._read_validity(both)[1] == certificate._read_validity(authority)[1]


@pytest.mark.parametrize("content", [b"", b"\0\xff" * 50, b"-----BEGIN CERTIFICATE-----\nMAA=\n", None])
def test_what_is_no_certificate_is_told(tmp_path: Path, authority: Path, content) -> None:
    """Empty, noise, cut off, or one that is damaged inside."""
    path = tmp_path / "broken.pem"
    text = authority.read_text()
    begin = text.index("-----BEGIN CERTIFICATE-----\n") + 28
    damaged = text[:begin] + "MIIB////" + text[begin + 8 :]
    path.write_bytes(damaged.encode() if content is None else content)
    found = look(tmp_path, path)
    assert found.level == FAIL and "holds no certificate" in found.message


def test_a_certificate_that_is_not_ours_to_read_is_told(tmp_path: Path) -> None:
    """Or is not there."""
    found = look(tmp_path, tmp_path / "none.pem")
    assert found.level == FAIL and "cannot read" in found.message


def test_a_clock_in_1970_is_told_with_what_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board without a battery starts there."""
    monkeypatch.setattr("edge_agent.clock.time.time", lambda: 1000.0)
    found = machine.check_clock(Visit(Path("none")))
    assert found.level == FAIL and "1970" in found.message and "timedatectl" in found.hint


def test_without_a_clock_no_certificate_is_blamed(
    tmp_path: Path, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it does not count yet would be said of every one."""
    monkeypatch.setattr("edge_agent.clock.time.time", lambda: 1000.0)
    found = look(tmp_path, authority)
    assert found.level == SKIPPED and "set the clock" in found.hint


def test_root_asks_for_the_agents_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open everything; whether the service may is the question."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch()
    (tmp_path / "dev/apex_0").chmod(0o660)
    service = pwd.struct_passwd(("reefline", "x", 12345, 12345, "", "/", "/bin/false"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: service)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getgrouplist", lambda name, group: [group])
    user = User.of_agent()
    assert user.name == "reefline" and not gather(tmp_path, user).may_use
    owner = (tmp_path / "dev/apex_0").stat().st_gid
    monkeypatch.setattr(os, "getgrouplist", lambda name, group: [group, owner])
    assert gather(tmp_path, User.of_agent()).may_use
    assert grp.getgrgid(owner).gr_name == gather(tmp_path).node_group


def test_config_says_it_too(tmp_path: Path) -> None:
    """`edge-agent config --check` and every other command read the same two files."""
    path = tmp_path / "agent.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match="in no fleet yet"):
        state.check_config(Visit(path))
