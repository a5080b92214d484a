"""The keymaster of a Mendel board: a small HTTP server that takes one SSH key, once, as mdt gives it."""

import http.client
import ipaddress

from deploy.boards.connection import Refused

PORT = 41337
TIMEOUT_S = 10.0
# Both networks of a board's USB port, and nothing wider: 192.168.100.0/24 and 192.168.101.0/24.
USB_NETWORKS = (ipaddress.ip_network("192.168.100.0/24"), ipaddress.ip_network("192.168.101.0/24"))


def is_on_usb(host: str) -> bool:
    """Whether an address is that of a board on a USB cable, where nobody else can listen."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in USB_NETWORKS)


def push_key(host: str, public_key: str) -> None:
    """Give the board a key with which its user may log in.

    Args:
        host: the board's address.
        public_key: `ssh-rsa AAAA...`; the keymaster takes no other kind.

    Raises:
        Refused: nobody answers, or it has taken a key before.
    """
    connection = http.client.HTTPConnection(host, PORT, timeout=TIMEOUT_S)
    try:
        # It looks for the word mdt at the end.
        connection.request("PUT", "/", f"{public_key} mdt\r\n".encode())
        status = connection.getresponse().status
    except ConnectionRefusedError:
        raise Refused("does not run: it takes one key only, and ends then") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"does not answer: {type(error).__name__}") from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise Refused(f"answers {status}: it takes one key only")
