"""`cloud-train serve`."""

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_train.commands.options import AsJson
from host_cli import command
from host_cli.errors import WrongUsage

if TYPE_CHECKING:
    from cloud_train.serving.config import ServeConfig


def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="A .keras file with run.json beside it, or a run's folder; path or URL."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes a free one; 5000 by default.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings, TOML or .json; options win over it.")
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(help="Folder for serve.log and access.log, which rotate.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer predictions over HTTP until stopped: /predict, /v2 (Open Inference Protocol), a web page."""
    settings = _settings(model, host, port, config, log_dir)
    if settings.model is None:
        raise WrongUsage("no model is named", "cloud-train serve", "cloud-train serve RUN_FOLDER")

    from cloud_train.serving import server
    from cloud_train.serving.logs import start_logs
    from cloud_train.serving.served_model import load_served

    start_logs(settings.log, server.LOGGER)
    with (
        server.take_port(settings.host, settings.port) as listener,
        tempfile.TemporaryDirectory(prefix="cloud-train-serve-") as folder,
    ):
        served = load_served(settings.model, Path(folder))
        url, version = server.url_of(listener), served.version
        result = {"ok": True, "url": url, "model": version.name, "version": version.version}
        text = f"{version.name} {version.version} on {url}"
        server.serve(served, settings, listener, lambda: command.print_result(result, text, as_json))


def _settings(
    model: str | None, host: str | None, port: int | None, config: Path | None, log_dir: Path | None
) -> "ServeConfig":
    """Return what the file says, and in its place what the options say."""
    from cloud_train.serving.config import ServeConfig
    from host_cli.settings import read_settings

    found = read_settings(ServeConfig, config) if config is not None else ServeConfig()
    log = found.log if log_dir is None else dataclasses.replace(found.log, folder=str(log_dir))
    return dataclasses.replace(
        found,
        model=found.model if model is None else model,
        host=found.host if host is None else host,
        port=found.port if port is None else port,
        log=log,
    )
