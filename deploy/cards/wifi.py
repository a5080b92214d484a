"""Wi-Fi for a board: the network's name and password, and the file that NetworkManager reads."""

import hashlib
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from host_cli.errors import WrongUsage
from host_mqtt.credentials import OPEN_TO_OTHERS

MAX_SSID_BYTES = 32
# Source: IEEE 802.11i, H.4: how a passphrase becomes the key; 8 to 63 printable ASCII characters.
_ROUNDS, _KEY_BYTES = 4096, 32
_PASSPHRASE = re.compile(r"[\x20-\x7e]{8,63}")
_KEY = re.compile(r"[0-9A-Fa-f]{64}")
# A name that stands in the file as it is; a list of bytes says any other.
_PLAIN = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]([A-Za-z0-9 _.-]*[A-Za-z0-9_.-])?")
_HINT = "two lines: the network's name, and its password; a single line for an open network"
# Any fixed one: the same network always gets the same identifier, so that a second run changes nothing.
_NAMESPACE = uuid.UUID("5a0f1c1e-7d55-4c0a-9a53-0f6c1f0e6a11")


@dataclass(frozen=True)
class Wifi:
    """A network that a board joins; without a password it is an open one.

    Raises:
        WrongUsage: no network can be called so, or have such a password.
    """

    ssid: str
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.ssid.isprintable() or not 1 <= len(self.ssid.encode()) <= MAX_SSID_BYTES:
            what = f"a network's name has 1 to {MAX_SSID_BYTES} bytes"
            raise WrongUsage(what, "Wi-Fi", "write it as the access point shows it")
        if self.password and not (_PASSPHRASE.fullmatch(self.password) or _KEY.fullmatch(self.password)):
            what = "a Wi-Fi password has 8 to 63 printable ASCII characters"
            raise WrongUsage(what, "Wi-Fi", "a WPA2 password, or its key of 64 hex digits")

    @classmethod
    def read(cls, path: Path) -> "Wifi":
        """Read a file of two lines, the network's name and its password.

        Raises:
            WrongUsage: it cannot be read, is open to other users, or says something else.
        """
        try:
            if path.stat().st_mode & OPEN_TO_OTHERS:
                raise WrongUsage("other users may read this password", str(path), f"chmod 600 {path}")
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            # No cause is chained: its text could hold a part of the password.
            raise WrongUsage("the Wi-Fi file cannot be read", str(path), _HINT) from None
        if not 1 <= len(lines) <= 2:
            raise WrongUsage(f"the Wi-Fi file has {len(lines)} lines", str(path), _HINT)
        return cls(*lines)


def build_keyfile(wifi: Wifi) -> bytes:
    """Return the file for NetworkManager; it holds the network's key, not the password that people know.

    Source: nm-settings-keyfile(5).
    """
    is_plain = _PLAIN.fullmatch(wifi.ssid) is not None
    shown = wifi.ssid if is_plain else "".join(f"{byte};" for byte in wifi.ssid.encode())
    lines = ["[connection]", "id=reefline", f"uuid={uuid.uuid5(_NAMESPACE, wifi.ssid)}", "type=wifi", ""]
    lines += ["[wifi]", "mode=infrastructure", f"ssid={shown}", ""]
    if wifi.password:
        lines += ["[wifi-security]", "key-mgmt=wpa-psk", f"psk={_key(wifi)}", ""]
    lines += ["[ipv4]", "method=auto", "", "[ipv6]", "method=auto"]
    return ("\n".join(lines) + "\n").encode()


def _key(wifi: Wifi) -> str:
    if _KEY.fullmatch(wifi.password):
        return wifi.password.lower()
    return hashlib.pbkdf2_hmac("sha1", wifi.password.encode(), wifi.ssid.encode(), _ROUNDS, _KEY_BYTES).hex()
