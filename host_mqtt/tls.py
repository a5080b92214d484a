"""TLS of a connection: whom it believes and who we are, and what its failures mean in plain words."""

import ssl
from typing import NamedTuple

from host_cli.errors import WrongUsage
from host_mqtt.credentials import Credentials

# OpenSSL, x509_vfy.h: X509_V_ERR_...
_NOT_YET_VALID, _EXPIRED, _HOST_MISMATCH, _IP_MISMATCH = 9, 10, 62, 64


class Explanation(NamedTuple):
    """What is wrong, and what to try."""

    what: str
    hint: str


_WRONG_AUTHORITY = "give the --fleet it belongs to, or `deploy --credentials DIR` with the right ca.pem"
_OWN_CERTIFICATE = "deploy keys operator ROLE --out DIR, then `deploy --credentials DIR ...`"
_BY_CODE = {
    _NOT_YET_VALID: Explanation("the broker's certificate is not valid yet", "set this computer's clock"),
    _EXPIRED: Explanation("the broker's certificate has expired", "start `deploy broker` anew: it renews it"),
    _HOST_MISMATCH: Explanation(
        "the broker's certificate is for other names", "deploy broker --tls --host NAME makes one for NAME"
    ),
    _IP_MISMATCH: Explanation(
        "the broker's certificate is for other addresses", "deploy broker --tls --host ADDRESS makes another"
    ),
}
# What the other side says: TLS alerts, as OpenSSL words them.
_BY_WORDS = {
    "CERTIFICATE_REQUIRED": Explanation("the broker wants a certificate of ours", _OWN_CERTIFICATE),
    "UNKNOWN_CA": Explanation("the broker does not believe who signed our certificate", _WRONG_AUTHORITY),
    "CERTIFICATE_EXPIRED": Explanation("our own certificate has expired", _OWN_CERTIFICATE),
    "CERTIFICATE_UNKNOWN": Explanation("the broker does not take our certificate", _OWN_CERTIFICATE),
    "HANDSHAKE_FAILURE": Explanation("the broker wants a certificate of ours", _OWN_CERTIFICATE),
    "WRONG_VERSION_NUMBER": Explanation("this port does not speak TLS", "mqtt://HOST:PORT, or another port"),
}


# The alert that says why is lost when our CONNECT crosses it.
HUNG_UP = Explanation("the broker hung up: it wants a certificate of ours, or another one", _OWN_CERTIFICATE)


def build_context(credentials: Credentials) -> ssl.SSLContext:
    """Return a client's context: the broker must prove its name to us.

    Raises:
        WrongUsage: a certificate or key cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=credentials.ca)
        context.sslsocket_class = _Socket
        if credentials.certificate is not None:
            context.load_cert_chain(credentials.certificate, credentials.key)
    except OSError as error:
        where = str(credentials.certificate or credentials.ca)
        what = f"the certificate or its key cannot be used: {error.strerror or error}"
        raise WrongUsage(what, where, _OWN_CERTIFICATE) from error
    return context


class _Socket(ssl.SSLSocket):
    """Closes itself when it cannot be used; paho forgets it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def explain(error: BaseException | str) -> Explanation | None:
    """Say what a failure of TLS means; None if it is none."""
    if isinstance(error, ssl.SSLCertVerificationError):
        other = f"the broker's certificate is not believed: {error.verify_message}"
        return _BY_CODE.get(error.verify_code, Explanation(other, _WRONG_AUTHORITY))
    words = str(error).upper().replace(" ", "_")
    for key, explanation in _BY_WORDS.items():
        if key in words:
            return explanation
    return Explanation(f"TLS failed: {error}", _WRONG_AUTHORITY) if isinstance(error, ssl.SSLError) else None
