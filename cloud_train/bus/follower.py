"""The story of one model on the data bus: it finds its stream, learns part by part, tells how good it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloud_train.bus.catalogue import Catalogue, Result
from cloud_train.bus.choices import ModelChoice
from cloud_train.bus.model_folder import ModelFolder
from cloud_train.bus.online import Learner, Position, load_position
from cloud_train.bus.reader import Reader, find_stream
from cloud_train.data.samples import Pictures, Samples
from cloud_train.data.views import Chain
from cloud_train.training.weights import Architecture
from contract.artifacts import MAX_ROUNDS
from contract.codec import encode
from contract.records import change
from contract.stamps import format_time
from contract.topics import Topics
from contract.training import FIRST_PART, DataInfo, TrainingReport
from host_cli.errors import WrongUsage
from host_mqtt.address import Address
from host_mqtt.link import Link

STEPS_PER_REPORT = 100
# What is set aside is held in memory.
MAX_TEST_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class FollowPlan:
    """What one model is to do.

    Attributes:
        address: where the broker is.
        base: first part of every topic.
        dataset: name of the stream.
        run: name of the run, for reports and the catalogue.
        choice: the model.
        out: folder of the model.
        store: address of the catalogue.
        timeout_s: how long to wait for the stream, and for each of its parts.
    """

    address: Address
    base: str
    dataset: str
    run: str
    choice: ModelChoice
    out: Path
    store: str
    timeout_s: float


@dataclass(frozen=True)
class Teller:
    """Whom a follower tells what: `line` takes news for a person, `report` a measurement."""

    line: Callable[[str], None]
    report: Callable[[TrainingReport], None]


def follow(plan: FollowPlan, teller: Teller) -> Result:
    """Learn from a stream to its end; what a model learned before it was stopped is not learned again.

    Raises:
        WrongUsage: the folder belongs to another stream or model, or the model does not take such pictures.
        Unreachable: broker, stream or catalogue are not there.
    """
    folder = ModelFolder(plan.out)
    with folder.alone(), Catalogue(plan.store) as catalogue:
        if folder.is_finished:
            teller.line(f"{plan.choice.name} came to the end of its stream before: {plan.out}")
        else:
            with Link(plan.address) as link:
                _learn(plan, folder, link, teller)
        result, reports = _conclude(plan, folder)
        catalogue.save(result, reports)
    return result


def _learn(plan: FollowPlan, folder: ModelFolder, link: Link, teller: Teller) -> None:
    """Go through the stream, and leave a finished model."""
    topics = Topics(plan.base)
    info = find_stream(link, topics, plan.dataset, plan.timeout_s, teller.line)
    reader = Reader(
        link, topics, info, run=plan.run, model=plan.choice.name, timeout_s=plan.timeout_s, tell=teller.line
    )
    # Built first: who cannot learn from such pictures must not make the publisher wait for it.
    learner, position = _begin(plan, folder, info)
    test = Chain([samples for _, samples in reader.read(FIRST_PART, info.test_parts)])

    def tell(report: TrainingReport) -> None:
        teller.report(report)
        link.publish(topics.training(report.run, report.model), encode(report))

    for number, samples in reader.read(position.next, info.parts):
        position = _step(learner, position, number, samples)
        steps = number - info.test_parts
        if steps % STEPS_PER_REPORT == 0 or number == info.parts:
            position = _measure(learner, position, steps, test)
            # First kept, then told: a report never speaks of steps that a crash would undo.
            learner.save(position, folder.checkpoint)
            tell(_report(plan, info.dataset, position.history[-1], number == info.parts))
    folder.finish(learner, position, info, test)
    reader.end()
    if reader.asked_again or reader.malformed:
        teller.line(
            f"{plan.choice.name} missed nothing: {reader.asked_again} times parts were lost and came again, "
            f"{reader.malformed} malformed messages and {reader.duplicates} duplicates were dropped"
        )


def _begin(plan: FollowPlan, folder: ModelFolder, info: DataInfo) -> tuple[Learner, Position]:
    """Build the model, and put it where its checkpoint left it."""
    position = Position(plan.choice, info.stream, info.test_parts + FIRST_PART)
    found = load_position(folder.checkpoint)
    if found is not None:
        _refuse_other(found[0], position, folder.checkpoint)
    if info.test_samples * info.picture_bytes > MAX_TEST_BYTES:
        what = f"it sets aside {info.test_samples} pictures, more than fit into {MAX_TEST_BYTES} bytes"
        raise WrongUsage(what, info.dataset, "cloud-train publish --test N")
    shape, labels = info.preprocessing.shape, len(info.labels)
    architecture = Architecture(plan.choice.model, shape, labels, plan.choice.width)
    learner = Learner(architecture, plan.choice)
    if found is None:
        return learner, position
    learner.load(found[1], folder.checkpoint)
    return learner, found[0]


def _refuse_other(found: Position, wanted: Position, path: Path) -> None:
    if found.choice != wanted.choice:
        what = f"it holds {found.choice}, not {wanted.choice}"
        raise WrongUsage(what, str(path), "give the same model, or another --out")
    if found.stream != wanted.stream:
        what = f"it learned from another stream: SHA-256 {found.stream[:12]}, now {wanted.stream[:12]}"
        raise WrongUsage(what, str(path), "publish the same data with the same options, or another --out")


def _step(learner: Learner, position: Position, number: int, samples: Samples) -> Position:
    started = time.monotonic()
    learner.learn(samples)
    seconds = position.seconds + time.monotonic() - started
    return change(position, next=number + 1, samples=position.samples + len(samples.y), seconds=seconds)


def _measure(learner: Learner, position: Position, steps: int, test: Pictures) -> Position:
    figures = {"step": steps, "samples": position.samples, **learner.measure(test)}
    figures["seconds"] = round(position.seconds, 3)
    return change(position, history=(*position.history, figures)[-MAX_ROUNDS:])


def _report(plan: FollowPlan, dataset: str, figures: dict[str, float], is_last: bool) -> TrainingReport:
    return TrainingReport(
        run=plan.run,
        model=plan.choice.name,
        dataset=dataset,
        ts=format_time(time.time()),
        step=int(figures["step"]),
        samples=int(figures["samples"]),
        accuracy=figures["accuracy"],
        loss=figures["loss"],
        is_last=is_last,
    )


def _conclude(plan: FollowPlan, folder: ModelFolder) -> tuple[Result, list[TrainingReport]]:
    """Read a finished model's folder, for the catalogue."""
    found, record = load_position(folder.checkpoint), folder.record()
    if found is None:
        raise WrongUsage("its checkpoint is gone", str(folder.checkpoint), "give another --out")
    position = found[0]
    _refuse_other(position, change(position, choice=plan.choice), folder.checkpoint)
    last = position.history[-1]
    result = Result(
        run=plan.run,
        model=plan.choice.name,
        architecture=plan.choice.model,
        learning_rate=plan.choice.learning_rate,
        dataset=record.name,
        stream=position.stream,
        steps=int(last["step"]),
        samples=position.samples,
        accuracy=last["accuracy"],
        loss=last["loss"],
        seconds=position.seconds,
        path=str(folder.model),
        sha256=record.model.sha256,
        finished=record.created,
    )
    return result, [_report(plan, record.name, figures, figures is last) for figures in position.history]
