"""`edge-agent simulate` says in three lines what it cannot do."""

import resource

import pytest

from edge_agent import cli
from edge_agent.simulate.descriptors import require_descriptors
from tests.fakes.ports import take_free_port
from tests.fakes.publisher import Publisher


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root-1.json"
    path.write_bytes(Publisher().root_envelope())
    return str(path)


def test_more_devices_than_descriptors_are_refused_before_the_start(root, capsys):
    """The error names the command that raises the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this computer sets no limit")
    assert cli.main(["simulate", "--devices", str(hard), "--root", root]) == 2
    told = capsys.readouterr().err
    assert f"ulimit -n {hard + 64}" in told
    assert len(told.splitlines()) == 3


def test_enough_descriptors_are_taken_without_asking():
    """Up to the hard limit the process raises its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        require_descriptors(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--port", "0"], 2, "argument --port"),
        (["--base", "+"], 2, "base"),
        (["--prefix", "Ä"], 2, "device"),
        (["--faults", "/nowhere.toml"], 2, "cannot read /nowhere.toml"),
        ([], 3, "no broker"),
    ],
)
def test_what_cannot_be_simulated_is_said(root, capsys, options, code, told):
    """Wrong options, no faults, no broker."""
    try:
        where = ["--root", root, "--port", str(take_free_port())]
        found = cli.main(["simulate", "--devices", "2", *where, *options])
    except SystemExit as ended:
        found = ended.code
    assert found == code
    assert told in capsys.readouterr().err


def test_a_file_that_is_no_root_is_refused(tmp_path, capsys):
    """As by the agent itself."""
    (tmp_path / "root.json").write_bytes(b"{}")
    assert cli.main(["simulate", "--devices", "1", "--root", str(tmp_path / "root.json")]) == 4
    assert "root of trust" in capsys.readouterr().err


def test_only_a_disk_in_memory_can_be_full(root, tmp_path, capsys):
    """Nobody fills the disk of this computer."""
    (tmp_path / "faults.toml").write_text("faults = [{kind = 'disk_full', share = 1}]")
    options = ["--faults", str(tmp_path / "faults.toml"), "--disk", str(tmp_path)]
    assert cli.main(["simulate", "--devices", "1", "--root", root, *options]) == 2
    assert "--disk" in capsys.readouterr().err
