"""Checks of what the agent keeps: configuration, root of trust, state folder, outbox. Nothing is changed."""

import shutil
import tempfile
from pathlib import Path

from edge_agent.config import load
from edge_agent.doctor.findings import Finding, fail, fail_for, ok, skipped, warn
from edge_agent.doctor.visit import Visit
from edge_agent.files import explain

_OUTBOX_FILES = ("outbox.db", "outbox.db-wal")
_TRIAL_BYTES = 4096
_MIB = 1024 * 1024


def check_config(visit: Visit) -> Finding:
    """The configuration is valid; everything that follows uses it."""
    visit.config = load(visit.config_path)
    return ok(f"{visit.config_path}: device {visit.config.device}, channel {visit.config.channel}")


def check_root(visit: Visit) -> Finding:
    """The root of trust is there and signed by its own keys."""
    from edge_agent.updates.verify import load_root

    path = Path(visit.settings.root)
    try:
        root = load_root(path.read_bytes())
    except OSError as error:
        return fail(f"cannot read {path}: {error.strerror}", "on your own computer: deploy enroll HOST")
    return ok(f"version {root.version}, expires {root.expires}")


def check_agent(visit: Visit) -> Finding:
    """Whether the agent runs; both are fine, but some checks must leave a running one alone."""
    if visit.is_agent_running():
        return ok("running")
    return warn(
        "not running", f"sudo systemctl start reefline-agent, or edge-agent run -c {visit.config_path}"
    )


def check_folder(visit: Visit) -> Finding:
    """The disk takes a file where the agent keeps its state; the file never gets a name."""
    folder = visit.state_dir
    if not folder.is_dir():
        return fail(f"{folder} is not there", f"sudo install -d -o $USER {folder}")
    try:
        with tempfile.TemporaryFile(dir=str(folder)) as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
    except PermissionError:
        hint = f"run it as the agent's user, or make {folder} that user's with sudo chown -R"
        return fail(f"this user may not write to {folder}", hint)
    except OSError as error:
        return fail_for(explain(error, folder).problem())
    return ok(f"{folder} takes files")


def check_disk(visit: Visit) -> Finding:
    """A release has room, beside what must stay free."""
    free_bytes = shutil.disk_usage(str(visit.state_dir)).free
    update = visit.settings.update
    said, hint = f"{free_bytes // _MIB} MiB free", "sudo apt-get clean; sudo journalctl --vacuum-size=50M"
    if free_bytes < update.reserve_bytes:
        return fail(f"{said}, {update.reserve_bytes // _MIB} MiB must stay free", hint)
    # A release needs its size twice: as it arrives, and beside the one that it replaces.
    if free_bytes < update.reserve_bytes + 2 * update.max_release_bytes:
        return warn(f"{said}, too little for the largest release", hint)
    return ok(said)


def check_outbox(visit: Visit) -> Finding:
    """What waits for the broker can be read; a copy is opened, as opening repairs."""
    from edge_agent.outgoing.outbox_table import OutboxTable

    if visit.is_agent_running():
        return skipped("the running agent uses it")
    files = [visit.state_dir / name for name in _OUTBOX_FILES if (visit.state_dir / name).exists()]
    if not files:
        return skipped("nothing has been put there yet")
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copyfile(str(file), str(Path(folder) / file.name))
        table = OutboxTable(Path(folder) / _OUTBOX_FILES[0])
        table.close()
    if table.was_reset:
        return warn("damaged; the agent will set it aside", f"rm {files[0]}, what waits in it is lost")
    said = f"{table.messages} messages wait, {table.dropped_total} were ever dropped"
    if 2 * table.bytes > visit.settings.outbox.max_bytes:
        return warn(f"{said}; more than half full", "bring the broker back, or raise outbox.max_bytes")
    return ok(said)
