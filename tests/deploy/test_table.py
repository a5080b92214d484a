"""How far each board is: a table on a terminal, plain lines elsewhere."""

from deploy.flashing.table import Table

WIPE_LINE = "\x1b[2K"


def test_a_terminal_gets_a_table_and_other_places_lines(monkeypatch, capsys):
    """The table stands still while a person is asked something."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Table(["reef-1", "reef-2"]) as table:
        table.row("reef-1").say("uploading [1.0]")
        table.row("reef-1").share(0.42)
        with table.paused():
            assert capsys.readouterr().err.endswith(WIPE_LINE)
            table.row("reef-2").say("installing")
            assert capsys.readouterr().err == ""
    shown = capsys.readouterr().err
    assert "uploading [1.0]" in shown and "42%" in shown and "installing" in shown
