"""`cloud-train pipeline`: a run definition as a Kubeflow pipeline, from the data set to the fleet."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cloud_train.commands.options import AsJson
from host_cli import command
from host_cli.errors import WrongUsage


def pipeline(
    config: Annotated[Path, typer.Option("--config", "-c", help="Run definition, TOML.")],
    compile_only: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the pipeline as YAML for a cluster.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Run it on this computer, each task as a process.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="Where runs go; wins over `out` of the file.")
    ] = None,
    log: Annotated[
        Path, typer.Option(metavar="FILE", help="With --local: what the tasks say goes there.")
    ] = Path("pipeline.log"),
    as_json: AsJson = False,
) -> None:
    """Split, train and average in rounds, evaluate, quantize, and push what has become better."""
    from cloud_train.pipeline.settings import settings_of
    from cloud_train.runs.definition import load_definition

    if local == (compile_only is not None):
        raise WrongUsage("say what to do with it", "cloud-train pipeline", "--compile-only FILE, or --local")
    definition = load_definition(config, {})
    settings = settings_of(definition, config)
    settings = replace(settings, out=out or settings.out)
    if compile_only is not None:
        from cloud_train.pipeline import kubeflow

        kubeflow.compile_to(compile_only, definition, settings)
        command.print_result({"ok": True, "file": str(compile_only)}, str(compile_only), as_json)
        return
    if settings.out is None:
        raise WrongUsage("it is not said where runs go", str(config), "--out FOLDER")
    from cloud_train.pipeline import kubeflow, steps

    bundle = kubeflow.run_here(definition, settings, log)
    last = steps.pushed(settings.out)
    is_pushed = last is not None and last.bundle == bundle
    text = f"{bundle}: {'pushed' if is_pushed else 'not pushed'}"
    command.print_result({"ok": True, "bundle": bundle, "pushed": is_pushed}, text, as_json)
