"""Finds the file in a form that a browser or curl sends. Only this module knows bottle, and its parser."""

import io

import bottle

from edge_agent.errors import RequestError


class _Upload(bottle.BaseRequest):  # type: ignore[misc]
    """A form whose files stay in memory: the server has bounded the body, and /tmp may be on the eMMC."""

    MEMFILE_MAX = 128 * 1024 * 1024


def read_file(content_type: str, body: bytes) -> bytes:
    """Return the first file of a form, empty if it has none.

    Args:
        content_type: multipart/form-data with its boundary.
        body: the form.

    Raises:
        RequestError: it is no such form.
    """
    upload = _Upload(
        {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
    )
    try:
        for file in upload.files.values():
            found: bytes = file.file.read()
            return found
    except bottle.HTTPError as error:
        raise RequestError("bad_request", f"the form cannot be read: {error.body}"[:1000]) from error
    return b""
