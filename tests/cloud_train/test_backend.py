"""Starting TensorFlow."""

import sys

from cloud_train import backend


def test_a_person_reads_what_takes_seconds(monkeypatch, capsys):
    """On a terminal a line says so; into a file or a pipe nothing is said."""
    backend.keras.__wrapped__()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    backend.keras.__wrapped__()
    assert capsys.readouterr().err == "starting TensorFlow\n"
