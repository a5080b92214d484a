"""The pipeline for Kubeflow Pipelines v2: its tasks and their order, compiled or run here. kfp lives here.

split -> start -> rounds of (fit for every shard, average) -> evaluate -> quantize -> is_better -> push
"""

import builtins
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import IO, Any

from kfp import compiler, dsl, local

from cloud_train.pipeline.settings import PipelineSettings
from cloud_train.runs.definition import RunDefinition, RunnerPart
from contract.records import dump_record
from host_cli import files
from host_cli.errors import Failed
from host_cli.progress import Advance, progress

# A task that runs as a process here needs no image, and kfp warns unless it looks like one with Python.
NO_IMAGE = "python"
_TASK_ENDED = re.compile(r"^[\d:.]+ - INFO - Task .* finished with status")
_ERROR_LINE = re.compile(r"^\s*(error|at): (.*)")
_COLOUR = re.compile(r"\x1b\[\d+m")


# kfp takes the source of these functions, not the functions: each imports what it needs, and kfp knows the
# annotations by their names.
def split(definition: str, dataset: str, data: str) -> str:
    """Deal the data set out into shards."""
    from cloud_train.pipeline import steps

    return steps.split(definition, dataset, data)


def start(definition: str, data: str, run: str) -> str:
    """Make the weights that every shard starts from."""
    from cloud_train.pipeline import steps

    return steps.start(definition, data, run)


def fit(definition: str, number: int, shard: int, data: str, run: str) -> str:
    """Train one shard in one round; the result is where its update lies."""
    from cloud_train.pipeline import steps

    return steps.fit(definition, number, shard, data, run)


def average(
    definition: str, number: int, updates: list[str], data: str, run: str, metrics: dsl.Output[dsl.Metrics]
) -> str:
    """Average the updates of a round; the result is where the weights lie."""
    from cloud_train.pipeline import steps

    print("updates:", *updates)
    weights, figures = steps.average(definition, number, data, run)
    for name, value in figures.items():
        metrics.log_metric(name, value)
    return weights


def evaluate(data: str, run: str, metrics: dsl.Output[dsl.Metrics]) -> float:
    """Measure the model that the last round left; the result is its accuracy."""
    from cloud_train.pipeline import steps

    figures = steps.evaluate(data, run)
    for name, value in figures.items():
        metrics.log_metric(name, value)
    return figures["accuracy"]


def quantize(run: str, data: str, bundle: str, max_drop: float, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Make the int8 bundle for the boards; the result is where it lies."""
    from cloud_train.pipeline import steps

    for name, value in steps.quantize(data, run, bundle, max_drop).items():
        metrics.log_metric(name, value)
    return bundle


def is_better(bundle: str, minimum_gain: float, out: str) -> bool:
    """Say whether the bundle is worth a push."""
    from cloud_train.pipeline import steps

    return steps.is_better(bundle, minimum_gain, out)


def push(bundle: str, arguments: list[str], out: str) -> str:
    """Send the bundle to the fleet."""
    from cloud_train.pipeline import steps

    return steps.push(bundle, arguments, out)


def build(definition: RunDefinition, settings: PipelineSettings, cluster: RunnerPart | None) -> Any:
    """Return the pipeline of a run definition, with its rounds laid out.

    Every place follows from `out` and the id of the run, so tasks need only wait for each other. (kfp's own
    runner gives a loop's item to whatever else comes into the loop from another task.)

    Args:
        definition: what is trained; whoever starts the pipeline on a cluster can name another data set.
        settings: its `[pipeline]`.
        cluster: image and resources of the tasks; None: they are processes here.
    """
    task = Tasks(cluster)
    shards, at_once = list(range(definition.data.shards)), cluster.at_once if cluster else os.cpu_count()
    constant = json.dumps({**dump_record(definition), "pipeline": {}})  # as a table, 4 would become 4.0

    def whole(dataset: str = definition.data.dataset or "", out: str = settings.out or "") -> str:
        here = f"{out}/{dsl.PIPELINE_JOB_ID_PLACEHOLDER}"
        places = {"data": f"{here}/data", "run": f"{here}/run"}
        dealt = task(split, definition=constant, dataset=dataset, data=places["data"])
        before = task(start, definition=constant, **places).after(dealt)
        for number in range(1, definition.averaging.rounds + 1):
            step = {"definition": constant, "number": number, **places}
            with dsl.ParallelFor(shards, name=f"round-{number}", parallelism=at_once or None) as shard:
                fitted = task(fit, shard=shard, **step).after(before)
            before = task(average, updates=dsl.Collected(fitted.output), **step)
        measured = task(evaluate, **places).after(before)
        bundle: str = deliver(task, settings, measured, {**places, "bundle": f"{here}/bundle"}, out)
        return bundle

    about = "From a data set to a fleet, by averaging what shards have learned."
    return dsl.pipeline(whole, name=definition.name, description=about)


def deliver(
    task: Callable[..., Any], settings: PipelineSettings, after: Any, places: dict[str, str], out: Any
) -> Any:
    """Lay out the tasks from the float model to the fleet, and return where the bundle lies.

    Without a broker the bundle is the end.
    """
    made = task(quantize, max_drop=settings.max_drop, **places).after(after).outputs["Output"]
    if settings.broker is not None:
        better = task(is_better, bundle=made, minimum_gain=settings.minimum_gain, out=out)
        with dsl.If(better.output == True, name="when-better"):  # noqa: E712 - kfp reads the comparison
            task(push, bundle=made, arguments=_push_arguments(settings), out=out)
    return made


class Tasks:
    """Makes a task of a function: its image, what it may take, how often it is tried."""

    def __init__(self, cluster: RunnerPart | None) -> None:
        self._cluster = cluster

    def __call__(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Return the task that calls `function`, one of those above."""
        image = self._cluster.image if self._cluster else NO_IMAGE
        # The image holds kfp: a task installs nothing.
        task = dsl.component(function, base_image=image, install_kfp_package=False)(**arguments)
        # What a task leaves lies at a URL; Kubeflow does not know whether it is still there.
        task.set_caching_options(enable_caching=False)
        if self._cluster:
            task.set_retry(self._cluster.retries, backoff_duration="10s", backoff_factor=2)
            task.set_cpu_request(self._cluster.cpu).set_memory_limit(self._cluster.memory)
        if self._cluster and self._cluster.gpus and function is fit:
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(self._cluster.gpus)
        return task


def compile_to(path: Path, definition: RunDefinition, settings: PipelineSettings) -> None:
    """Write the pipeline as YAML that a cluster takes; the same definition gives the same bytes."""
    pipeline = build(definition, settings, definition.runner)
    with tempfile.TemporaryDirectory() as work:
        written = Path(work, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(written))
        files.write_bytes(path, written.read_bytes())


def run_here(definition: RunDefinition, settings: PipelineSettings, log: Path) -> str:
    """Run the pipeline on this computer, each task as a process; return where the bundle lies.

    Args:
        definition: what is trained.
        settings: its `[pipeline]`, with `out`.
        log: gets what kfp and the tasks say.

    Raises:
        Failed: a task ended with an error, which the log tells in full.
    """
    pipeline = build(definition, settings, None)
    tasks = 4 + definition.averaging.rounds * (definition.data.shards + 1)
    with (
        tempfile.TemporaryDirectory(prefix="pipeline-") as root,
        progress("pipeline", tasks, "tasks") as done,
    ):
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root)
        with _logged(log, done) as said:
            try:
                return str(pipeline().output)
            except RuntimeError as error:
                what = said.told.get("error", _COLOUR.sub("", str(error)))
                where = said.told.get("at", f"pipeline {definition.name}")
                raise Failed(what, where, f"look at the end of {log}") from error


class _Log:
    """A stream for kfp's log: into a file, and what matters of it to us.

    Attributes:
        told: `error` and `at` of the last error that a program told.
    """

    def __init__(self, file: IO[str], advance: Advance) -> None:
        self._file, self._advance = file, advance
        self.told: dict[str, str] = {}

    def write(self, text: str) -> int:
        """Keep the text; count tasks that ended, and remember what a program's error tells."""
        for line in text.splitlines():
            if _TASK_ENDED.match(line):
                self._advance(1)
            if found := _ERROR_LINE.match(line):
                self.told[found[1]] = found[2]
        return self._file.write(text)

    def flush(self) -> None:
        """Let the file be read so far."""
        self._file.flush()


@contextmanager
def _logged(path: Path, advance: Advance) -> Iterator[_Log]:
    # kfp puts another function in the place of print() while a task talks, and with tasks side by side it may
    # put back the wrong one.
    own_print = builtins.print
    try:
        with path.open("w") as file:
            stream = _Log(file, advance)
            with redirect_stdout(stream):
                yield stream
    finally:
        builtins.print = own_print


def _push_arguments(settings: PipelineSettings) -> list[str]:
    arguments = ["--broker", str(settings.broker), "--fleet", settings.fleet, "--channel", settings.channel]
    arguments += ["--no-wait", "--yes"]
    if settings.to:
        return [*arguments, "--to", settings.to]
    return [*arguments, "--tag", settings.tag] if settings.tag else [*arguments, "--all"]
