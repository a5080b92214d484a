"""The fleet's own certificate authority: who may speak to the broker. Only this module imports cryptography.

Every certificate begins in 1970, so that a board whose clock was never set can connect.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contract.errors import TopicError
from contract.topics import Topics
from deploy.trust.broker_rights import OPERATORS
from host_cli.errors import GateNotMet, WrongUsage
from host_cli.files import write_bytes
from host_mqtt.credentials import CA_FILE, CERTIFICATE_FILE, KEY_FILE, OPEN_TO_OTHERS

CA_FOLDER = "ca"
CA_KEY_FILE = "ca.key"
OPERATORS_FOLDER = "operators"
DEVICES_FOLDER = "devices"
BLOCKED_FILE = "blocked"
SERVER_FILE = "server.pem"
SERVER_KEY_FILE = "server.key"
BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
CA_DAYS = 7300
CLIENT_DAYS = 3650
SERVER_DAYS = 730
# A board that is enrolled again gets a new certificate when the old one ends before that.
RENEW_DAYS = 365
_DAY_S = 86400.0
PRIVATE_MODE = 0o600
MAX_HOST_LENGTH = 253
_HOST_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"


@dataclass(frozen=True)
class Authority:
    """The authority's certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class ServerCertificate:
    """What the broker's certificate says: its names and addresses, and when it ends, seconds since 1970."""

    hosts: frozenset[str]
    ends_s: float


def init_authority(fleet: Path, now_s: float) -> None:
    """Make the authority of a new fleet, and the certificate with which `deploy` itself connects."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Reefline fleet authority")
    builder = _builder(name, name, key.public_key(), now_s, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    folder = fleet / CA_FOLDER
    _write_key(folder / CA_KEY_FILE, key)
    write_bytes(folder / CA_FILE, _pem(builder.sign(key, hashes.SHA256())))
    issue_operator(fleet, "deploy", operator_folder(fleet, "deploy"), now_s)


def operator_folder(fleet: Path, role: str) -> Path:
    """Return where the certificate of a role of the cloud side lies in the fleet's folder."""
    return fleet / CA_FOLDER / OPERATORS_FOLDER / role


def device_folder(fleet: Path, name: str) -> Path:
    """Return where a device's certificate lies until it is brought to the board.

    Raises:
        WrongUsage: no device can be called so; the name becomes a part of topics, and of this path.
    """
    try:
        Topics().status(name)
    except TopicError as error:
        raise WrongUsage(str(error), name, "take small letters, digits and hyphens") from error
    return fleet / CA_FOLDER / DEVICES_FOLDER / name


def issue_device(fleet: Path, name: str, folder: Path, now_s: float) -> None:
    """Write a device's private key, its certificate and the authority's certificate into `folder`.

    Raises:
        WrongUsage: no device can be called so, the name is blocked, or the fleet has no authority.
    """
    require_allowed(fleet, name)
    _issue_client(load_authority(fleet), name, folder, now_s)


def sign_device(fleet: Path, name: str, public_key: str, now_s: float) -> bytes:
    """Return the certificate, PEM, of a device whose private key was made on the board and stays there.

    Args:
        fleet: the fleet's folder, with its authority.
        name: the device's name, which becomes its user name at the broker.
        public_key: as ssh-keygen writes it: `ecdsa-sha2-nistp256 AAAA...`.
        now_s: seconds since 1970; the certificate ends CLIENT_DAYS later.

    Raises:
        WrongUsage: no device can be called so, the name is blocked, or the fleet has no authority.
        GateNotMet: that is not such a key.
    """
    require_allowed(fleet, name)
    return _pem(_sign_client(load_authority(fleet), name, _read_public(public_key), now_s))


def fits_device(fleet: Path, name: str, public_key: str, certificate: bytes, now_s: float) -> bool:
    """Whether a certificate, PEM, is of this fleet, this device and its key, and counts for RENEW_DAYS yet.

    Raises:
        WrongUsage: no device can be called so, the name is blocked, or the fleet has no authority.
        GateNotMet: the public key is none.
    """
    require_allowed(fleet, name)
    authority, public = load_authority(fleet), _read_public(public_key)
    try:
        found = x509.load_pem_x509_certificate(certificate)
        found.verify_directly_issued_by(authority.certificate)
        is_same = found.subject == _name(name) and found.public_key() == public
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return is_same and found.not_valid_after_utc.timestamp() > now_s + RENEW_DAYS * _DAY_S


def read_authority(fleet: Path) -> bytes:
    """Return the authority's certificate, PEM, by which boards know the broker.

    Raises:
        WrongUsage: the fleet has no authority.
    """
    return _pem(load_authority(fleet).certificate)


def block(fleet: Path, name: str) -> None:
    """Note that whoever shows a certificate with this name may do nothing any more.

    Raises:
        WrongUsage: neither a device nor a role can be called so.
    """
    if name[1:] not in OPERATORS or name[:1] != "_":
        device_folder(fleet, name)
    names = sorted({*list_blocked(fleet), name})
    write_bytes(fleet / CA_FOLDER / BLOCKED_FILE, "".join(f"{each}\n" for each in names).encode())


def list_blocked(fleet: Path) -> list[str]:
    """Return the names that may do nothing."""
    path = fleet / CA_FOLDER / BLOCKED_FILE
    return path.read_text("ascii").split() if path.exists() else []


def require_allowed(fleet: Path, name: str) -> None:
    """Refuse a name with which a device may do nothing.

    Raises:
        WrongUsage: it is blocked, or no device can be called so.
    """
    device_folder(fleet, name)
    if name in list_blocked(fleet):
        hint = "give the board another name, or take this one out of the file"
        raise WrongUsage(f"{name} is blocked", str(fleet / CA_FOLDER / BLOCKED_FILE), hint)


def issue_operator(fleet: Path, role: str, folder: Path, now_s: float) -> None:
    """Write a key and certificates for people and programs of the cloud side into `folder`.

    Their names begin with `_`, which no device's can.

    Raises:
        WrongUsage: there is no such role, or the fleet has no authority.
    """
    if role not in OPERATORS:
        raise WrongUsage(f"no such role: {role!r}", "deploy keys operator", f"one of {', '.join(OPERATORS)}")
    _issue_client(load_authority(fleet), "_" + role, folder, now_s)


def issue_server(fleet: Path, hosts: Sequence[str], folder: Path, now_s: float) -> None:
    """Write the broker's private key and a certificate for its names and addresses into `folder`.

    Raises:
        WrongUsage: something is neither a host name nor an address, or the fleet has no authority.
    """
    names = x509.SubjectAlternativeName([_read_host(host) for host in hosts])
    authority, key = load_authority(fleet), ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    builder = _leaf(authority, "Reefline broker", key.public_key(), now_s, SERVER_DAYS, purpose)
    certificate = builder.add_extension(names, critical=False).sign(authority.key, hashes.SHA256())
    _write_key(folder / SERVER_KEY_FILE, key)
    write_bytes(folder / SERVER_FILE, _pem(certificate))
    write_bytes(folder / CA_FILE, _pem(authority.certificate))


def read_server(folder: Path) -> ServerCertificate | None:
    """Read what the broker's certificate says; None when there is none, or it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / SERVER_FILE).read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    hosts = [*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)]
    return ServerCertificate(frozenset(map(str, hosts)), certificate.not_valid_after_utc.timestamp())


def load_authority(fleet: Path) -> Authority:
    """Read the fleet's authority.

    Raises:
        WrongUsage: it is not there, cannot be read, or its key is open to other users.
    """
    certificate_path, key_path = fleet / CA_FOLDER / CA_FILE, fleet / CA_FOLDER / CA_KEY_FILE
    hint = "deploy keys init --fleet DIR makes one; or restore it from a copy"
    try:
        open_to_others = key_path.stat().st_mode & OPEN_TO_OTHERS
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except OSError as error:
        where = error.filename or key_path
        raise WrongUsage(f"no certificate authority: {error.strerror}", str(where), hint) from error
    except (ValueError, TypeError):
        # No cause is chained: its text could hold a part of the key.
        raise WrongUsage("not a certificate authority", str(fleet / CA_FOLDER), hint) from None
    if open_to_others:
        raise WrongUsage("other users may read this private key", str(key_path), f"chmod 600 {key_path}")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise WrongUsage("the key is not the certificate's", str(fleet / CA_FOLDER), hint)
    return Authority(certificate, key)


def _issue_client(authority: Authority, name: str, folder: Path, now_s: float) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / KEY_FILE, key)
    write_bytes(folder / CERTIFICATE_FILE, _pem(_sign_client(authority, name, key.public_key(), now_s)))
    write_bytes(folder / CA_FILE, _pem(authority.certificate))


def _sign_client(
    authority: Authority, name: str, public: ec.EllipticCurvePublicKey, now_s: float
) -> x509.Certificate:
    builder = _leaf(authority, name, public, now_s, CLIENT_DAYS, ExtendedKeyUsageOID.CLIENT_AUTH)
    return builder.sign(authority.key, hashes.SHA256())


def _read_public(line: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _not_a_key() from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _not_a_key()
    return key


def _not_a_key() -> GateNotMet:
    what = "what the board calls its public key is none on the curve P-256"
    return GateNotMet(
        what, "/etc/reefline/mqtt/client.key", "move that file away on the board, and try again"
    )


def _leaf(
    authority: Authority,
    name: str,
    public: ec.EllipticCurvePublicKey,
    now_s: float,
    days: int,
    purpose: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    issuer = authority.certificate.subject
    builder = _builder(_name(name), issuer, public, now_s, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return builder.add_extension(issuer_key, critical=False)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now_s: float, days: int
) -> x509.CertificateBuilder:
    ends = datetime.fromtimestamp(now_s, timezone.utc) + timedelta(days=days)
    builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), BEGIN, ends)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if len(text) > MAX_HOST_LENGTH or not re.fullmatch(_HOST_PATTERN, text):
        raise WrongUsage(f"neither a host name nor an address: {text[:80]!r}", "--host", "--host broker.lan")
    return x509.DNSName(text)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_bytes(path, pem, PRIVATE_MODE)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
