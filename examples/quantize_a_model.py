"""Trains a tiny Keras classifier and makes it a bundle: python examples/quantize_a_model.py FOLDER"""

import sys
from pathlib import Path

import keras
import numpy as np
from keras.layers import Dense, GlobalAveragePooling2D

from quantize import job, pipeline

model_file, data, labels, out = (Path(sys.argv[1], name) for name in ("m.keras", "v.npz", "labels", "build"))
y = np.arange(1000) % 2  # 0: dark pictures, 1: bright ones
x = (np.random.default_rng(0).integers(0, 128, (1000, 32, 32, 3)) + 100 * y.reshape(-1, 1, 1, 1)).astype("u1")
model = keras.Sequential([keras.Input((32, 32, 3)), GlobalAveragePooling2D(), Dense(2, "softmax")])
model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
model.fit(x / 255, y, epochs=20, verbose=0)
np.savez(data, x=x, y=y), model.save(model_file), labels.write_text("dark\nbright\n")
print(pipeline.quantize(job.Job(model_file, data, out, labels=labels)).to_text())
