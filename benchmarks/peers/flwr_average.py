"""flwr's aggregation as a server on pipes: a JSON request a line, a JSON answer a line. Runs in .venv-peers.

Updates lie in FOLDER as K.npz with tensor-000 ... ; a request is {"rule", "order": [K ...],
"counts": [n ...], "save": PATH or null}; without "save" the answer comes as soon as the result is there.
"""

import json
import sys
from pathlib import Path

import numpy as np
from flwr.server.strategy import aggregate as rules


def main() -> None:
    """Answer until standard input ends."""
    updates = {path.stem: load(path) for path in Path(sys.argv[1]).glob("*.npz")}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        results = [(updates[str(k)], n) for k, n in zip(asked["order"], asked["counts"], strict=True)]
        found = aggregate(asked["rule"], results)
        if asked["save"]:
            np.savez(asked["save"], *found)
        print(json.dumps({"done": True}), flush=True)


def load(path):
    """Return the tensors of an update in their order."""
    with np.load(path) as archive:
        return [archive[name] for name in sorted(archive.files) if name.startswith("tensor-")]


def aggregate(rule, results):
    """Return what flwr makes of the updates."""
    if rule == "fedavg":
        return rules.aggregate(results)
    if rule == "median":
        return rules.aggregate_median(results)
    if rule == "trimmed-mean":
        return rules.aggregate_trimmed_avg(results, 0.2)
    return rules.aggregate_krum(results, 1, 0)


if __name__ == "__main__":
    main()
