"""Loads what is to be quantized: the model, what is known of it, and its samples, split into two parts."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from host_cli.errors import WrongUsage
from quantize.convert import ptq
from quantize.convert.keras_file import load_keras
from quantize.data import Indices, LabelledImages, ModelCard, load_card, load_images, require_fit
from quantize.job import Job
from quantize.representative import pick_balanced


@dataclass(frozen=True)
class Sources:
    """The Keras model, its card and its samples; `calibration` and `held_out` index them and share none."""

    model: Any
    card: ModelCard
    data: LabelledImages
    calibration: Indices
    held_out: Indices

    @cached_property
    def rest(self) -> LabelledImages:
        """Return the samples that measure: those that did not calibrate."""
        return LabelledImages(self.data.images[self.held_out], self.data.labels[self.held_out])


def load_sources(job: Job) -> Sources:
    """Load and check everything before any work is done.

    Raises:
        WrongUsage: an input is absent, damaged, or does not fit the others.
    """
    data = load_images(job.data)
    model = load_keras(job.model)
    shape, classes = ptq.input_shape(model), ptq.count_classes(model)
    card = load_card(job.model, job.labels, shape, classes, job.pixels)
    require_fit(data, shape, classes, str(job.data))
    calibration = pick_balanced(data.labels, job.calibration_samples, job.seed)
    held_out = np.setdiff1d(np.arange(len(data.labels)), calibration)
    if len(calibration) == 0 or len(held_out) == 0:
        what = f"{len(calibration)} samples to calibrate with and {len(held_out)} to measure with"
        hint = "both need some: give more data, or set --calibration-samples below its size"
        raise WrongUsage(what, str(job.data), hint)
    return Sources(model, card, data, calibration, held_out)
