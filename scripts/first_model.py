"""Makes deploy/flashing/first_model, the bundle that tells dark from bright: what a new board is asked first.

    python scripts/first_model.py

Its weights are written down, not trained, so it is right by construction. Needs the extra `quantize`; takes
about ten seconds. What is checked in is what travels.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from contract.artifacts import BUNDLE_FILE
from contract.codec import encode
from quantize.bundle import write_bundle
from quantize.job import Job
from quantize.outcome import Outcome
from quantize.pipeline import quantize

BUNDLE = Path(__file__).resolve().parent.parent / "deploy" / "flashing" / "first_model"
SEED = 20261121
VERSION = "1"
LABELS = ("dark", "bright")
SIDE = 8
# From the middle of the grey scale to its ends the logits part by this much.
STEEPNESS = 16.0
# Pictures that are neither are not asked about.
DARKEST_BRIGHT, BRIGHTEST_DARK = 160, 96
PICTURES = 400


def build_model() -> "keras.Model":  # noqa: F821
    """Return a model, (1, 8, 8, 1) float32 from 0 to 1 -> (1, 2): softmax of how far the mean is from 0.5."""
    import keras

    model = keras.Sequential(
        [
            keras.Input(batch_shape=(1, SIDE, SIDE, 1)),
            keras.layers.AveragePooling2D(SIDE),
            keras.layers.Flatten(),
            keras.layers.Dense(len(LABELS), activation="softmax"),
        ],
        name="brightness",
    )
    kernel = np.array([[-STEEPNESS, STEEPNESS]], dtype=np.float32)
    model.layers[-1].set_weights([kernel, -kernel[0] / 2])
    return model


def draw_pictures(random: np.random.Generator) -> "tuple[np.ndarray, np.ndarray]":
    """Return noisy pictures, (400, 8, 8, 1) uint8, and their classes, (400,); black and white are there."""
    classes = np.arange(PICTURES) % len(LABELS)
    dark = np.linspace(0, BRIGHTEST_DARK, PICTURES)
    bright = np.linspace(DARKEST_BRIGHT, 255, PICTURES)
    level = np.where(classes == 0, dark, bright).reshape(-1, 1, 1, 1)
    noise = random.normal(0, 10, (PICTURES, SIDE, SIDE, 1))
    return np.clip(np.round(level + noise), 0, 255).astype(np.uint8), classes


def main() -> int:
    """Write the bundle."""
    pictures, classes = draw_pictures(np.random.default_rng(SEED))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "brightness.keras"
        build_model().save(model)
        np.savez(folder / "pictures.npz", x=pictures, y=classes)
        (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
        outcome = quantize(
            Job(
                model=model,
                data=folder / "pictures.npz",
                labels=folder / "labels.txt",
                out=folder / "build",
                version=VERSION,
                seed=SEED,
                # Every board of a fleet can run it: a compiled one would ask for an Edge TPU.
                compile="never",
                max_drop=0.0,
            )
        )
        keep(outcome)
    print(f"{BUNDLE}: {outcome.manifest.accuracy}")
    return 0


def keep(outcome: Outcome) -> None:
    """Copy the bundle without the pages for people: what is left is a few kilobytes."""
    manifest = replace(outcome.manifest, page=None, recipe=None)
    entries = [manifest.report, *manifest.files().values()]
    files = {entry.path: (outcome.bundle / entry.path).read_bytes() for entry in entries}
    write_bundle(BUNDLE, {**files, BUNDLE_FILE: encode(manifest)})


if __name__ == "__main__":
    sys.exit(main())
