"""Checks of the certificates that the configuration names: readable, begun, not about to end."""

import ssl
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator, Tuple

from edge_agent.clock import Clock
from edge_agent.doctor.findings import Check, Finding, fail, ok, skipped, warn
from edge_agent.doctor.visit import Visit

_DAY_S = 86400.0
# From a year before its end on, enrolling again gives a new one.
_SOON_DAYS = 180
_MAX_BYTES = 1024 * 1024
_END = "-----END CERTIFICATE-----"
_AGAIN = "on your own computer: deploy enroll HOST"
# Tags of the Distinguished Encoding Rules. Source: X.690, 8.1.2 and 8.14; RFC 5280, 4.1.
_UTC_TIME, _SEQUENCE, _VERSION = 0x17, 0x30, 0xA0


def check_certificates(visit: Visit) -> Finding:
    """The board's own certificate, and the one of whom it believes, count now and for some time yet."""
    mqtt = visit.settings.mqtt
    files = [Path(path) for path in (mqtt.cert_file, mqtt.ca_file) if path]
    if not files:
        return skipped("the connection is not TLS")
    ends = []
    for file in files:
        try:
            begin_s, end_s = _read_validity(file)
        except OSError as error:
            return fail(f"cannot read {file}: {error.strerror}", "run it as the agent's user, or enrol again")
        except (ValueError, IndexError) as error:
            return fail(f"{file} holds no certificate: {error}", _AGAIN)
        found = _judge(file, begin_s, end_s, time.time())
        if found.hint:
            return found
        ends.append(found.message)
    return ok("; ".join(ends))


CHECKS: Tuple[Check, ...] = (Check("certificates", check_certificates, "config"),)


def _judge(file: Path, begin_s: float, end_s: float, now_s: float) -> Finding:
    end = datetime.fromtimestamp(end_s, timezone.utc).strftime("%Y-%m-%d")
    if not Clock().is_synced():
        return skipped(f"{file} ends on {end}, and the clock is not set", "set the clock first")
    if now_s < begin_s:
        return fail(f"{file} does not count yet", "set the clock: sudo timedatectl set-ntp true")
    if now_s >= end_s:
        return fail(f"{file} ended on {end}", _AGAIN)
    if now_s >= end_s - _SOON_DAYS * _DAY_S:
        return warn(f"{file} ends on {end}", _AGAIN)
    return ok(f"{file.name} until {end}")


def _read_validity(file: Path) -> Tuple[float, float]:
    """Return from when and until when the certificates of a file count, in seconds since 1970.

    Of several, as a file of authorities may have them, the time in which all count.

    Raises:
        OSError: the file cannot be read.
        ValueError, IndexError: there is no certificate in it.
    """
    with file.open("rb") as opened:
        text = opened.read(_MAX_BYTES).decode("ascii", "replace")
    blocks = text.split(_END)[:-1]
    times = [_find_times(ssl.PEM_cert_to_DER_cert(_cut(block) + _END)) for block in blocks]
    if not times:
        raise ValueError("no BEGIN CERTIFICATE")
    return max(begin for begin, _ in times), min(end for _, end in times)


def _cut(block: str) -> str:
    """Leave out the text that may stand before a certificate."""
    return block[block.index("-----BEGIN CERTIFICATE-----") :]


def _find_times(der: bytes) -> Tuple[float, float]:
    """Return a certificate's validity: the fifth field, or the fourth of one without a version."""
    ((_, certificate),) = _elements(der)
    (_, body), *_ = _elements(certificate)
    fields = list(_elements(body))
    if fields[0][0] == _VERSION:
        fields = fields[1:]
    tag, validity = fields[3]
    if tag != _SEQUENCE:
        raise ValueError("no validity")
    begin, end = (_parse_time(*element) for element in list(_elements(validity))[:2])
    return begin, end


def _elements(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """Yield the tag and the content of each element of a constructed one."""
    place = 0
    while place < len(data):
        tag, length, place = data[place], data[place + 1], place + 2
        if length & 0x80:
            size = length & 0x7F
            length, place = int.from_bytes(data[place : place + size], "big"), place + size
        if place + length > len(data):
            raise ValueError("cut off")
        yield tag, data[place : place + length]
        place += length


def _parse_time(tag: int, content: bytes) -> float:
    """UTCTime has two digits for the year, 50 to 49; GeneralizedTime four."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
