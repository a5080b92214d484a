"""`cloud-train work`: a trainer that knows nothing but its number, as a pod of an Indexed Job."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from host_cli.errors import WrongUsage

# Kubernetes tells a pod of an Indexed Job its number so.
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


def work(
    jobs: Annotated[str, typer.Option(help="Path or URL of the jobs.json that a runner wrote.")],
    index: Annotated[int, typer.Option(min=0, envvar=INDEX_VARIABLE, help="Which job of the list.")],
) -> None:
    """Do one job of a list: become the `cloud-train fit` that it describes."""
    from cloud_train.runners.children import cloud_train

    arguments = _arguments(jobs, index)
    os.execv(sys.executable, cloud_train(arguments))


def _arguments(jobs: str, index: int) -> list[str]:
    from cloud_train import store
    from cloud_train.runners.jobs import MAX_LIST_BYTES, SAID_IN_JSON, JobList, fit_arguments
    from host_cli.documents import read_document

    with tempfile.TemporaryDirectory() as folder:
        path = store.fetch(jobs, Path(folder))
        hint = "--jobs with the jobs.json that a runner wrote"
        found = read_document(JobList, path, hint, max_bytes=MAX_LIST_BYTES, where=jobs)
    if index >= len(found.jobs):
        raise WrongUsage(f"there are {len(found.jobs)} jobs, no number {index}", jobs, "--index from 0")
    return [*fit_arguments(found.jobs[index], found.recipe), *SAID_IN_JSON]
