"""The signed envelope: the exact bytes are signed, and verified before they are parsed."""

from dataclasses import dataclass
from typing import ClassVar, Tuple, Type, TypeVar

from contract.codec import decode
from contract.errors import ManifestError
from contract.records import Binary, Items, Nested, Record, Text, rule
from contract.stamps import parse_time

RELEASE_TYPE = "application/vnd.reefline.release+json"
ROOT_TYPE = "application/vnd.reefline.root+json"
TIMESTAMP_TYPE = "application/vnd.reefline.timestamp+json"
COMMAND_TYPE = "application/vnd.reefline.command+json"
MAX_METADATA_BYTES = 16 * 1024
# The payload travels in base64, a third longer, beside up to eight signatures.
MAX_ENVELOPE_BYTES = 2 * MAX_METADATA_BYTES
MAX_SIGNATURES = 8
SIGNATURE_BYTES = 64
KEY_ID_PATTERN = r"^[0-9a-f]{16}$"

D = TypeVar("D", bound="SignedDocument")


class SignedDocument(Record):
    """A document that only travels signed; `TYPE` is bound to its bytes by the signature."""

    TYPE: ClassVar[str]


@dataclass(frozen=True)
class Signature(Record):
    """One key's word on an envelope."""

    keyid: str = rule(Text(KEY_ID_PATTERN))
    sig: bytes = rule(Binary(SIGNATURE_BYTES, exact_bytes=SIGNATURE_BYTES))


@dataclass(frozen=True)
class Envelope(Record):
    """A document as sent, and the signatures over exactly those bytes.

    Source: Dead Simple Signing Envelope, github.com/secure-systems-lab/dsse, envelope.md and protocol.md.
    """

    payloadType: str = rule(Text(choices=(RELEASE_TYPE, ROOT_TYPE, TIMESTAMP_TYPE, COMMAND_TYPE)))
    payload: bytes = rule(Binary(MAX_METADATA_BYTES))
    signatures: Tuple[Signature, ...] = rule(Items(Nested(Signature), max_items=MAX_SIGNATURES, min_items=1))

    def signed_bytes(self) -> bytes:
        """Return what the signatures are made over."""
        return pre_authentication_encoding(self.payloadType, self.payload)

    def open(self, kind: Type[D]) -> D:
        """Decode the payload. Only after the signatures have been verified.

        Raises:
            ManifestError: the envelope says that it holds something else.
            MessageError: the payload is not such a document.
        """
        if self.payloadType != kind.TYPE:
            raise ManifestError(f"envelope holds {self.payloadType}, expected {kind.TYPE}")
        return decode(kind, self.payload, MAX_METADATA_BYTES)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding, which binds the type to the bytes.

    Source: Dead Simple Signing Envelope, protocol.md, "Signature Definition".
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def require_lifetime(issued: str, expires: str) -> None:
    """Refuse a document that expires before it was issued.

    Raises:
        ManifestError: it does, or a day in it does not exist.
    """
    if require_time(expires) <= require_time(issued):
        raise ManifestError("a signed document must expire after it was issued")


def require_time(text: str) -> float:
    """Return the seconds since 1970 of a time in a signed document.

    Raises:
        ManifestError: its day does not exist.
    """
    try:
        return parse_time(text)
    except ValueError as error:
        raise ManifestError(f"no such time: {text}") from error
