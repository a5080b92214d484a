"""A folder that says whom we believe and who we are."""

import pytest

from host_cli.errors import WrongUsage
from host_mqtt.credentials import Credentials


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("_", ".")
        path.write_text(text)
        path.chmod(0o600)
    return folder


def test_what_is_there_is_found(tmp_path):
    """Each file is optional, a certificate and its key go together."""
    found = Credentials.read(write(tmp_path, ca_pem="", client_pem="", client_key="", login="anna\nsecret\n"))
    assert (found.ca, found.certificate, found.key) == (
        tmp_path / "ca.pem",
        tmp_path / "client.pem",
        tmp_path / "client.key",
    )
    assert (found.user, found.password) == ("anna", "secret")
    assert "secret" not in repr(found)


def test_a_login_without_a_password(tmp_path):
    """Some brokers want a user only."""
    found = Credentials.read(write(tmp_path, login="anna"))
    assert (found.user, found.password, found.ca) == ("anna", None, None)


@pytest.mark.parametrize(
    "files",
    [{}, {"client_pem": ""}, {"client_key": ""}, {"login": ""}, {"login": "a\nb\nc"}, {"login": "\nsecret"}],
)
def test_what_cannot_be_used_is_told(files, tmp_path):
    """Nothing there, half a pair, or no login."""
    with pytest.raises(WrongUsage) as caught:
        Credentials.read(write(tmp_path, **files))
    assert "secret" not in str(vars(caught.value))


@pytest.mark.parametrize("name", ["client.key", "login"])
def test_a_secret_that_others_may_read_is_refused(name, tmp_path):
    """The hint is the command that closes it."""
    write(tmp_path, client_pem="", client_key="", login="anna")
    (tmp_path / name).chmod(0o640)
    with pytest.raises(WrongUsage, match="other users may read") as caught:
        Credentials.read(tmp_path)
    assert "chmod 600" in caught.value.hint
