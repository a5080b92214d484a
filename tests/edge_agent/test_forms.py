"""Promises of serving.forms: the first file of a form, or a clear refusal."""

import pytest

from edge_agent.errors import RequestError
from edge_agent.serving.forms import read_file

TYPE = "multipart/form-data; boundary=xyz"


def part(disposition: bytes, content: bytes) -> bytes:
    return b"--xyz\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + content + b"\r\n"


def test_the_first_file_is_found() -> None:
    """Behind a text field, and before another file; large ones stay in memory."""
    large = bytes(300_000)
    form = part(b'name="k"', b"3") + part(b'name="a"; filename="a.png"', large)
    form += part(b'name="b"; filename="b.png"', b"other") + b"--xyz--\r\n"
    assert read_file(TYPE, form) == large


def test_a_form_without_a_file_has_none() -> None:
    """Text alone is no picture."""
    assert read_file(TYPE, part(b'name="k"', b"3") + b"--xyz--\r\n") == b""


@pytest.mark.parametrize(("content_type", "body"), [(TYPE, b"no form"), ("multipart/form-data", b"--xyz--")])
def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    """With a code of ours."""
    with pytest.raises(RequestError) as raised:
        read_file(content_type, body)
    assert raised.value.code == "bad_request"
