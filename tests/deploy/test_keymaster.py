"""When the keymaster is asked."""

import http.server
import threading

import pytest

from deploy.boards import keymaster
from deploy.boards.connection import Refused


@pytest.mark.parametrize("host", ["192.168.100.2", "192.168.101.2", "192.168.100.77"])
def test_a_board_on_a_cable_is_known_by_its_address(host):
    """Both networks of its USB port."""
    assert keymaster.is_on_usb(host)


@pytest.mark.parametrize(
    "host", ["192.168.10.2", "192.168.102.2", "192.168.1.100", "192.168.100.2.evil", "board", ""]
)
def test_nothing_else_is_on_a_cable(host):
    """192.168.10.x is many a home's Wi-Fi, where anybody may listen."""
    assert not keymaster.is_on_usb(host)


@pytest.mark.parametrize("status", [403, 500, 302])
def test_a_keymaster_that_has_a_key_says_no(status, monkeypatch):
    """What it says is not read any further."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setattr(keymaster, "PORT", server.server_port)
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(Refused, match=f"answers {status}"):
            keymaster.push_key("127.0.0.1", "ssh-rsa AAAA")
