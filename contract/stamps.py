"""How times and ids are spelled on the wire. Clock and randomness are the caller's."""

import base64
import datetime
import re

_TO_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_TIME = re.compile(r"^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?Z$")
_EPOCH = datetime.datetime(1970, 1, 1)

ULID_PATTERN = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
TIME_PATTERN = _TIME.pattern


def format_time(seconds: float) -> str:
    """Spell seconds since 1970 (UTC) as RFC 3339 with milliseconds and `Z`."""
    moment = _EPOCH + datetime.timedelta(milliseconds=round(seconds * 1000))
    return moment.isoformat(timespec="milliseconds") + "Z"


def parse_time(text: str) -> float:
    """Read an RFC 3339 UTC time as seconds since 1970.

    Raises:
        ValueError: not such a time, or a day that does not exist.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time in UTC: {text[:40]!r}")
    *whole, fraction = match.groups()
    moment = datetime.datetime(*(int(part) for part in whole))  # type: ignore[arg-type]
    return (moment - _EPOCH).total_seconds() + float("0." + (fraction or "0"))


def build_ulid(seconds: float, randomness: bytes) -> str:
    """Build a ULID, 26 characters that sort by time.

    Args:
        seconds: time since 1970; a board without a clock says a small number.
        randomness: exactly 10 bytes.

    Source: github.com/ulid/spec, section "Layout and Byte Order".
    """
    if len(randomness) != 10:
        raise ValueError(f"a ULID needs 10 random bytes, got {len(randomness)}")
    milliseconds = max(0, int(seconds * 1000)) & (2**48 - 1)
    # Base32 takes 20 bytes at a time: of its 32 characters the last 26 spell 130 bits, the first two 0.
    spelled = base64.b32encode(bytes(4) + milliseconds.to_bytes(6, "big") + randomness)[6:]
    return spelled.translate(_TO_CROCKFORD).decode("ascii")
