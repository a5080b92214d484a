"""Rolls a bundle out to thousands of simulated devices, a share of which fails: nothing may be lost, and the
abort must come exactly where the rule says.

Run it as: PYTHONPATH=. .venv/bin/python scripts/torture_fleet.py [--devices 10000 --seed 0]
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path

from contract.rings import is_in_percent
from deploy.rollouts.rollout_rules import DEFAULT_PERCENTS, Gate, Plan
from deploy.simulate import PREFIX, Rehearsal, Rehearsed, as_json, rehearse
from edge_agent.simulate.faults import FAILS_SELFTEST, Fault, deal
from tests.deploy.helpers import write_bundle

MODEL_BYTES = 100_000
FAILING = 0.03
CANARIES = 50
FAULTS = f"""
[[faults]]
kind = "{FAILS_SELFTEST}"
share = {FAILING}
"""


def main() -> int:
    """Run both rollouts; print one line of figures, and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", "--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong, told = [], [f"seed {options.seed}"]
    for max_failures in (2.0, 10.0):
        plan = make_plan(options.devices, max_failures)
        found = run(options.devices, options.seed, plan)
        wrong += check(found, plan, options.devices, options.seed)
        told.append(describe(found, max_failures))
        print(json.dumps({**as_json(found), "wrong": wrong}), file=sys.stderr, flush=True)
    print("; ".join(told + wrong))
    return 1 if wrong else 0


def make_plan(devices: int, max_failures: float) -> Plan:
    """Return five rings: canaries, whoever they are, then 5, 25, 50 and 100 %.

    The gate waits until every device of a ring has ended, so what must happen follows from the seed alone.
    """
    # A stage that takes longer has lost devices.
    gate = Gate(max_failures, min_executed=devices, soak_s=0.0, timeout_s=60.0 + devices / 20)
    return Plan(tuple(names_of(devices)[: min(CANARIES, devices // 20)]), DEFAULT_PERCENTS, gate, trial_s=0.5)


def run(devices: int, seed: int, plan: Plan) -> Rehearsed:
    """Rehearse one rollout over a fleet that runs another version."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "faults.toml").write_text(FAULTS)
        installed = make_bundle(folder / "installed", "1")
        bundle = make_bundle(folder / "bundle", "2")
        rehearsal = Rehearsal(bundle, devices, plan, folder / "faults.toml", seed, installed)
        return rehearse(rehearsal, lambda text: print(text, file=sys.stderr, flush=True))


def check(found: Rehearsed, plan: Plan, devices: int, seed: int) -> list[str]:
    """Return what is not as the rules say."""
    names, failing = names_of(devices), failing_devices(devices, seed)
    rollout = found.ended.rollout
    members: set[str] = set()
    touched: set[str] = set()
    aborts_in = 0
    for number, stage in enumerate(plan.stages, 1):
        members = set(stage.devices) or {
            name for name in names if is_in_percent(rollout.id, stage.percent, name)
        }
        touched |= members
        if len(members & failing) * 100 > plan.gate.max_failures * len(members):
            aborts_in = number
            break
    began = sum(found.census["releases"].get(found.version, {}).values())
    rules = {
        f"{found.census['lost']} lost": found.census["lost"] == 0,
        f"{found.census['unexpected']} unexpected": found.census["unexpected"] == 0,
        f"{rollout.state} in stage {rollout.stage}, not {aborts_in}": (
            (rollout.state, rollout.stage)
            == (("aborted", aborts_in) if aborts_in else ("done", len(plan.stages)))
        ),
        f"{began} began it, {len(touched)} should": began <= len(touched) if aborts_in else began == devices,
        f"{found.active} run it": found.active == (0 if aborts_in else devices - len(failing)),
        f"{found.failed} failed": found.failed <= len(touched & failing)
        if aborts_in
        else found.failed == len(failing),
    }
    return [text for text, is_good in rules.items() if not is_good]


def describe(found: Rehearsed, max_failures: float) -> str:
    """Return one run's figures in words."""
    rollout = found.ended.rollout
    parts = (
        f"{found.census['devices']} devices, {100 * FAILING:g} % failing,",
        f"at most {max_failures:g} %: {rollout.state}",
        f"in stage {rollout.stage} after {found.seconds:.0f} s,",
        f"{found.active} active, {found.failed} failed,",
        f"{found.census['lost']} lost, broker {found.broker_peak_rss_bytes / 2**20:.0f} MiB,",
        f"{found.bytes_to_broker / 1e6:.0f} MB in, {found.bytes_from_broker / 1e6:.0f} MB out",
    )
    return " ".join(parts)


def make_bundle(folder: Path, version: str, model_bytes: int = MODEL_BYTES) -> Path:
    """Write a bundle whose chunks are all different, and differ between versions."""
    write_bundle(folder, model_bytes=model_bytes, version=version)
    data = random.Random(version).randbytes(model_bytes)
    (folder / "model.tflite").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def failing_devices(devices: int, seed: int) -> set[str]:
    """Return the devices that FAULTS means."""
    return set(deal([Fault(FAILS_SELFTEST, FAILING)], names_of(devices), seed))


def names_of(devices: int) -> list[str]:
    """Return the simulated devices' names."""
    return [f"{PREFIX}-{number:05d}" for number in range(devices)]


if __name__ == "__main__":
    sys.exit(main())
