"""What lies in the folders that one program leaves for the next: training run, bundle, preprocessing."""

import re
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from contract.errors import ManifestError
from contract.records import Flag, Integer, Items, Maybe, Nested, Number, Open, Record, Table, Text, rule
from contract.stamps import TIME_PATTERN

SHA256_PATTERN = r"^[0-9a-f]{64}$"
MODEL_NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$"
FILE_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$"

RUN_FILE = "run.json"
BUNDLE_FILE = "manifest.json"
MAX_CLASSES = 2000
MAX_RUN_BYTES = 32 * 1024 * 1024
MAX_ROUNDS = 10000
MAX_SHARDS = 1000
# Rounds times shards of a run: so many updates fit into a run.json.
MAX_RUN_UPDATES = 65536

_MAX_NAME_CHARACTERS = 63

LABELS = Items(Text(max_length=128), max_items=MAX_CLASSES, min_items=1)


def plain_name(text: str) -> str:
    """Turn any text, such as a file's name, into a model's name as MODEL_NAME_PATTERN allows it."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:_MAX_NAME_CHARACTERS] or "model"


@dataclass(frozen=True)
class Preprocessing(Record):
    """How a picture becomes the model's input. real value = pixel (0 to 255) * scale + offset.

    The picture is decoded, turned into `channels` (1 grey, 3 RGB), resized to `height` x `width`.
    """

    height: int = rule(Integer(1, 4096))
    width: int = rule(Integer(1, 4096))
    channels: int = rule(Integer(1, 3))
    resize: str = rule(Text(choices=("bilinear", "nearest")), default="bilinear")
    scale: float = rule(Number(1e-9, 1e9), default=1 / 255)
    offset: float = rule(Number(-1e9, 1e9), default=0.0)

    @property
    def shape(self) -> Tuple[int, int, int]:
        """Height, width and channels of the picture that the model gets."""
        return self.height, self.width, self.channels


@dataclass(frozen=True)
class TensorSpec(Record):
    """One input or output of a model: static shape, dtype, real value = (q - zero_point) * scale."""

    name: str = rule(Text(max_length=512))
    shape: Tuple[int, ...] = rule(Items(Integer(1, 2**31 - 1), max_items=8))
    dtype: str = rule(Text(choices=("uint8", "int8", "float32", "int32", "int64", "bool")))
    scale: float = rule(Number(0, 1e9), default=0.0)
    zero_point: int = rule(Integer(-(2**31), 2**31 - 1), default=0)


@dataclass(frozen=True)
class FileEntry(Record):
    """A file that lies beside the manifest."""

    path: str = rule(Text(FILE_NAME_PATTERN))
    size: int = rule(Integer())
    sha256: str = rule(Text(SHA256_PATTERN))


@dataclass(frozen=True)
class UpdateEntry(Record):
    """A client's part in a round: its update, or why it was left out.

    `sha256` is the digest of its weights, null when they could not be read. `num_examples` of an update that
    was left out is what it said.
    """

    client: str = rule(Text(FILE_NAME_PATTERN))
    num_examples: Optional[int] = rule(Maybe(Integer(-(2**53), 2**53)), default=None)
    sha256: Optional[str] = rule(Maybe(Text(SHA256_PATTERN)), default=None)
    left_out: Optional[str] = rule(Maybe(Text()), default=None, omit=True)


@dataclass(frozen=True)
class RoundEntry(Record):
    """A round: the digest of the weights it started from, of those it left, and of every update between."""

    round: int = rule(Integer(1, MAX_ROUNDS))
    before: str = rule(Text(SHA256_PATTERN))
    after: str = rule(Text(SHA256_PATTERN))
    updates: Tuple[UpdateEntry, ...] = rule(Items(Nested(UpdateEntry), max_items=MAX_SHARDS))


@dataclass(frozen=True)
class CodeEntry(Record):
    """Which program made a run: version, git commit where it ran from a checkout, digest of its sources."""

    version: str = rule(Text(max_length=64))
    sources_sha256: str = rule(Text(SHA256_PATTERN))
    commit: Optional[str] = rule(Maybe(Text(r"^[0-9a-f]{40}$")), default=None)


@dataclass(frozen=True)
class DataEntry(Record):
    """What a run learned from: the data set, its shard manifest (SHA-256 of shards.json), and every file."""

    dataset: str = rule(Text(max_length=4096))
    where: str = rule(Text(max_length=4096))
    manifest_sha256: str = rule(Text(SHA256_PATTERN))
    shards: Tuple[FileEntry, ...] = rule(Items(Nested(FileEntry), max_items=MAX_SHARDS))
    test: FileEntry = rule(Nested(FileEntry))


@dataclass(frozen=True)
class Lineage(Record):
    """How a model came to be, from its shards to its weights; `cloud-train verify` recomputes it.

    `config` is what determines the result: the hyperparameters of the trainers and of the server.
    """

    data: DataEntry = rule(Nested(DataEntry))
    code: CodeEntry = rule(Nested(CodeEntry))
    config: Dict[str, Any] = rule(Open())
    rounds: Tuple[RoundEntry, ...] = rule(Items(Nested(RoundEntry), max_items=MAX_ROUNDS))


@dataclass(frozen=True)
class RunRecord(Record):
    """`run.json` beside a trained `.keras` file: what quantize must know of it, and how it came to be.

    `history` holds one table of figures per round (round, accuracy, loss, seconds, ...).
    """

    name: str = rule(Text(MODEL_NAME_PATTERN))
    model: FileEntry = rule(Nested(FileEntry))
    labels: Tuple[str, ...] = rule(LABELS)
    preprocessing: Preprocessing = rule(Nested(Preprocessing))
    created: str = rule(Text(TIME_PATTERN))
    accuracy: Optional[float] = rule(Maybe(Number(0, 1, digits=6)), default=None)
    history: Tuple[Dict[str, float], ...] = rule(Items(Table(Number()), max_items=MAX_ROUNDS), default=())
    lineage: Optional[Lineage] = rule(Maybe(Nested(Lineage)), default=None, omit=True)


@dataclass(frozen=True)
class Accuracy(Record):
    """Share of right answers on held-out data, before and after quantization."""

    float32: float = rule(Number(0, 1, digits=6))
    int8: float = rule(Number(0, 1, digits=6))
    samples: int = rule(Integer(1))


@dataclass(frozen=True)
class Calibration(Record):
    """Which samples set the activation ranges: class-balanced, drawn with `seed`."""

    samples: int = rule(Integer(1))
    seed: int = rule(Integer())


@dataclass(frozen=True)
class BundleManifest(Record):
    """`manifest.json` of a bundle, the folder that `quantize` leaves and `deploy` sends.

    `model` is what an Edge TPU runs when `compiled`, else the CPU model; `fallback` is the CPU model of a
    compiled bundle. `golden` is an .npz with `inputs` (K, H, W, C) and `outputs` (K, classes), both in the
    model's own dtypes, as the CPU model answers them; a second, third ... input or output has an array of its
    own, `inputs_1` or `outputs_1` and so on, in the model's order, its first size 1 replaced by K. `labels`
    is one label a line, `preprocessing` a Preprocessing document. What stays on the computer: `report`, a
    JSON object of quality figures; `page`, the same as HTML for a person; `recipe`, a JSON object of what is
    needed to make the bundle again.
    """

    name: str = rule(Text(MODEL_NAME_PATTERN))
    version: str = rule(Text(VERSION_PATTERN))
    model: FileEntry = rule(Nested(FileEntry))
    fallback: Optional[FileEntry] = rule(Maybe(Nested(FileEntry)))
    labels: FileEntry = rule(Nested(FileEntry))
    preprocessing: FileEntry = rule(Nested(FileEntry))
    golden: FileEntry = rule(Nested(FileEntry))
    report: FileEntry = rule(Nested(FileEntry))
    inputs: Tuple[TensorSpec, ...] = rule(Items(Nested(TensorSpec), max_items=8, min_items=1))
    outputs: Tuple[TensorSpec, ...] = rule(Items(Nested(TensorSpec), max_items=8, min_items=1))
    compiled: bool = rule(Flag())
    reweighted: bool = rule(Flag())
    minimum_runtime: str = rule(Text(max_length=32))
    accuracy: Accuracy = rule(Nested(Accuracy))
    calibration: Calibration = rule(Nested(Calibration))
    page: Optional[FileEntry] = rule(Maybe(Nested(FileEntry)), default=None, omit=True)
    recipe: Optional[FileEntry] = rule(Maybe(Nested(FileEntry)), default=None, omit=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compiled != (self.fallback is not None):
            raise ManifestError("a compiled bundle has a CPU fallback model, any other has none")

    def files(self) -> Dict[str, FileEntry]:
        """Return the files that travel to a board, by role."""
        found = {"model": self.model, "labels": self.labels}
        found.update({"preprocessing": self.preprocessing, "golden": self.golden})
        if self.fallback is not None:
            found["fallback"] = self.fallback
        return found
