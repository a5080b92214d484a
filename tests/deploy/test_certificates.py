"""The fleet's certificate authority, and what it signs."""

import contextlib
import datetime
import ssl
import subprocess

import pytest
from cryptography import x509

from deploy.trust import certificates as module
from deploy.trust.certificates import (
    CA_FOLDER,
    DEVICES_FOLDER,
    device_folder,
    fits_device,
    init_authority,
    issue_device,
    issue_operator,
    issue_server,
    load_authority,
    operator_folder,
    read_authority,
    read_server,
    sign_device,
)
from host_cli.errors import GateNotMet, WrongUsage
from host_mqtt.credentials import CA_FILE, CERTIFICATE_FILE, KEY_FILE

NOW_S = 1_800_000_000.0


@pytest.fixture
def fleet(tmp_path):
    init_authority(tmp_path / "fleet", NOW_S)
    return tmp_path / "fleet"


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_every_certificate_begins_in_1970(fleet, tmp_path):
    """A board whose clock was never set can connect: openssl itself takes them at second 100."""
    issue_device(fleet, "reef-1", tmp_path, NOW_S)
    issue_server(fleet, ["broker.lan"], tmp_path, NOW_S)
    for name in (CERTIFICATE_FILE, "server.pem", CA_FILE):
        assert read(tmp_path / name).not_valid_before_utc == datetime.datetime(
            1970, 1, 1, tzinfo=datetime.timezone.utc
        )
    for name, purpose in ((CERTIFICATE_FILE, "sslclient"), ("server.pem", "sslserver")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", "100"]
        subprocess.run([*command, "-CAfile", tmp_path / CA_FILE, tmp_path / name], check=True)


def test_only_the_owner_reads_a_private_key(fleet, tmp_path):
    """The authority's, a device's, the server's: mode 0600."""
    issue_device(fleet, "reef-1", tmp_path, NOW_S)
    issue_server(fleet, ["broker.lan"], tmp_path, NOW_S)
    paths = [fleet / CA_FOLDER / "ca.key", tmp_path / KEY_FILE, tmp_path / "server.key"]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600] * 3


def test_a_certificate_names_its_device(fleet, tmp_path):
    """The common name is what the broker takes as the user."""
    issue_device(fleet, "reef-1", tmp_path, NOW_S)
    issue_operator(fleet, "watch", tmp_path / "watch", NOW_S)
    names = [
        read(folder / CERTIFICATE_FILE).subject.rfc4514_string() for folder in (tmp_path, tmp_path / "watch")
    ]
    assert names == ["CN=reef-1", "CN=_watch"]


@pytest.mark.parametrize(
    "name", ["", "+", "#", "a/b", "reef+1", "Reef", "_deploy", "réef", "reef\u202e", "a" * 64, "../x", "a\n"]
)
def test_f55_a_name_that_no_device_can_have_is_refused(name, fleet, tmp_path):
    """Wildcards, levels, unicode, reserved names: refused before anything is signed or written."""
    with pytest.raises(WrongUsage):
        issue_device(fleet, name, tmp_path / "out", NOW_S)
    with pytest.raises(WrongUsage):
        device_folder(fleet, name)
    assert not (tmp_path / "out").exists() and not (fleet / CA_FOLDER / DEVICES_FOLDER).exists()


def test_an_unknown_role_is_refused(fleet, tmp_path):
    """The hint lists the roles."""
    with pytest.raises(WrongUsage, match="no such role") as caught:
        issue_operator(fleet, "root", tmp_path, NOW_S)
    assert "watch" in caught.value.hint


def test_deploy_has_its_own_certificate_from_the_start(fleet):
    """`deploy` connects with what lies in the fleet's folder."""
    assert (operator_folder(fleet, "deploy") / CERTIFICATE_FILE).exists()


def test_a_server_is_known_by_all_its_names(fleet, tmp_path):
    """Host names and addresses, and when the certificate ends."""
    issue_server(fleet, ["broker.lan", "192.168.1.7", "::1"], tmp_path, NOW_S)
    found = read_server(tmp_path)
    assert found.hosts == {"broker.lan", "192.168.1.7", "::1"}
    assert found.ends_s == NOW_S + module.SERVER_DAYS * 86400


@pytest.mark.parametrize("host", ["", "a b", "ex*mple", "brök", "a/b", "-x", "a..b", "x" * 300, "1.2.3.4/8"])
def test_what_is_no_host_is_refused(host, fleet, tmp_path):
    """With the three lines, before anything is written."""
    with pytest.raises(WrongUsage, match="neither a host name nor an address"):
        issue_server(fleet, [host], tmp_path / "out", NOW_S)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"\x00" * 100])
def test_no_server_certificate_is_none(content, tmp_path):
    """Absent or damaged."""
    if content is not None:
        (tmp_path / "server.pem").write_bytes(content)
    assert read_server(tmp_path) is None


def test_a_fleet_without_authority_is_told(tmp_path):
    """Wrong usage, with the way to one."""
    with pytest.raises(WrongUsage, match="no certificate authority") as caught:
        issue_device(tmp_path, "reef-1", tmp_path / "out", NOW_S)
    assert "deploy keys init" in caught.value.hint


def test_a_key_that_others_may_read_is_refused(fleet):
    """Whoever reads it may be any device."""
    (fleet / CA_FOLDER / "ca.key").chmod(0o644)
    with pytest.raises(WrongUsage, match="other users may read"):
        load_authority(fleet)


def test_a_damaged_authority_is_told_without_its_key(fleet, tmp_path):
    """Cut short, garbage, or the key of another authority; no part of the key shows."""
    path = fleet / CA_FOLDER / "ca.key"
    whole = path.read_text()
    init_authority(tmp_path / "other", NOW_S)
    for content in (whole[:60], "garbage", "", (tmp_path / "other" / CA_FOLDER / "ca.key").read_text()):
        path.write_text(content)
        with pytest.raises(WrongUsage) as caught:
            load_authority(fleet)
        assert whole[30:60] not in str(vars(caught.value)) and caught.value.__cause__ is None


def test_python_believes_what_the_authority_signed(fleet, tmp_path):
    """Also with the strict rules that Python 3.13 has switched on."""
    issue_server(fleet, ["localhost"], tmp_path, NOW_S)
    context = ssl.create_default_context(cafile=tmp_path / CA_FILE)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(ours, theirs, server_hostname="localhost")
    peer = server.wrap_bio(theirs, ours, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert client.getpeercert()["subject"] == ((("commonName", "Reefline broker"),),)


def public_key(folder, kind="ecdsa", bits="256"):
    """Return the public half of a key as a board makes it."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-f", folder / "key"], check=True)
    return (folder / "key.pub").read_text()


def test_a_key_that_stays_on_the_board_gets_the_certificate_of_one_made_here(fleet, tmp_path):
    """Only whose key it is differs: openssl takes both for the same purpose."""
    pem = sign_device(fleet, "reef-1", public_key(tmp_path), NOW_S)
    (tmp_path / "board.pem").write_bytes(pem)
    issue_device(fleet, "reef-1", tmp_path, NOW_S)
    (tmp_path / CA_FILE).write_bytes(read_authority(fleet))
    for name in ("board.pem", CERTIFICATE_FILE):
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", "100"]
        subprocess.run([*command, "-CAfile", tmp_path / CA_FILE, tmp_path / name], check=True)
    made, given = read(tmp_path / CERTIFICATE_FILE), read(tmp_path / "board.pem")
    assert made.subject == given.subject and made.not_valid_after_utc == given.not_valid_after_utc
    assert [each.oid for each in made.extensions] == [each.oid for each in given.extensions]


def test_a_certificate_fits_until_a_year_before_its_end(fleet, tmp_path):
    """Then a board that is enrolled again gets a new one."""
    key = public_key(tmp_path)
    pem = sign_device(fleet, "reef-1", key, NOW_S)
    last_s = NOW_S + (module.CLIENT_DAYS - module.RENEW_DAYS) * 86400
    assert fits_device(fleet, "reef-1", key, pem, last_s - 1)
    assert not fits_device(fleet, "reef-1", key, pem, last_s + 1)


def test_no_other_certificate_fits(fleet, tmp_path):
    """Of another name, another key, another fleet, or none at all."""
    (tmp_path / "a").mkdir()
    key, other = public_key(tmp_path), public_key(tmp_path / "a")
    pem = sign_device(fleet, "reef-1", key, NOW_S)
    init_authority(tmp_path / "other", NOW_S)
    foreign = sign_device(tmp_path / "other", "reef-1", key, NOW_S)
    assert not fits_device(fleet, "reef-2", key, pem, NOW_S)
    assert not fits_device(fleet, "reef-1", other, pem, NOW_S)
    for wrong in (foreign, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert not fits_device(fleet, "reef-1", key, wrong, NOW_S)


@pytest.mark.parametrize("kind", [("ed25519", "256"), ("ecdsa", "384"), ("rsa", "2048")])
def test_only_a_key_on_the_curve_of_the_fleet_is_signed(fleet, tmp_path, kind):
    """A board says what it likes; nothing else is what its agent can use."""
    with pytest.raises(GateNotMet, match="none on the curve P-256"):
        sign_device(fleet, "reef-1", public_key(tmp_path, *kind), NOW_S)
    for text in ("", "ecdsa-sha2-nistp256 AAAA", "über"):
        with pytest.raises(GateNotMet):
            sign_device(fleet, "reef-1", text, NOW_S)
