"""Manifests and Containerfiles: what they say exists, fits together, and is what a cluster takes."""

import ast
import base64
import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from cloud_train import cli
from cloud_train.runners.kubernetes_settings import DEFAULT_IMAGE, DEFAULT_NAMESPACE
from cloud_train.runs.definition import RunDefinition, load_definition
from tests.fakes.object_store import ObjectStore
from tests.fakes.ports import take_free_port, wait_for_port
from tests.house.conftest import ROOT
from tests.house.pages import commands_of

MANIFESTS = ROOT / "kubernetes"
FOLDERS = ["base", "overlays/split", "overlays/collect", "overlays/serve"]
# The oldest cluster that the trainers' Jobs work on, and the newest whose schemas are known.
VERSIONS = ["1.29", "1.37"]
CONTAINERS = ["train", "serve", "agent"]
OURS = {"reefline-train:latest": "train", "reefline-serve:latest": "serve"}

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
Raw = dict[str, Any]


def rendered(folder: str) -> list[Raw]:
    """What `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", str(MANIFESTS / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return list(yaml.safe_load_all(done.stdout))


def pods(documents: list[Raw]) -> list[tuple[str, Raw]]:
    """Name and pod of everything that has a template of one."""
    found = [one for one in documents if "template" in one.get("spec", {})]
    return [(one["metadata"]["name"], one["spec"]["template"]["spec"]) for one in found]


def containers(pod: Raw) -> list[Raw]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.fixture(scope="module")
def everything() -> dict[str, list[Raw]]:
    return {folder: rendered(folder) for folder in FOLDERS}


@needs_kubectl
@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_follows_the_schemas_of_kubernetes(
    everything: dict[str, list[Raw]], version: str
) -> None:
    """Strictly: an unknown key is an error, as `kubectl apply` would say."""
    for documents in everything.values():
        for document in documents:
            kubernetes_validate.validate(document, version, strict=True)
            assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == DEFAULT_NAMESPACE


@needs_kubectl
def test_every_pod_is_confined(everything: dict[str, list[Raw]]) -> None:
    """As the restricted standard wants it: a read-only root, limits, an account only where needed."""
    for documents in everything.values():
        for name, pod in pods(documents):
            assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert pod.get("automountServiceAccountToken", name == "collect") is (name == "collect"), name
            for container in containers(pod):
                wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
                assert container["securityContext"] == {**wanted, "capabilities": {"drop": ["ALL"]}}, name
                assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
                assert "memory" in container["resources"]["limits"], name


@needs_kubectl
def test_every_command_of_ours_takes_its_arguments(everything: dict[str, list[Raw]]) -> None:
    """They are parsed by `cloud-train` itself, which is what the images start."""
    seen = set()
    for documents in everything.values():
        for _, pod in pods(documents):
            for container in containers(pod):
                command = container["command"]
                if container["image"] not in OURS or command[0] == "python":
                    continue
                if command[0] == "sh":
                    command = shlex.split(command[2])[:2]
                assert command[0] == "cloud-train"
                parse(command[1], container["args"])
                seen.add(command[1])
    assert seen == {"split", "run", "serve"}


def parse(command: str, arguments: list[str]) -> dict[str, Any]:
    group = typer.main.get_command(cli.app)
    found = group.commands[command].make_context(command, list(arguments))  # type: ignore[attr-defined]
    return dict(found.params)


@needs_kubectl
def test_the_collector_continues_its_run_and_starts_one_only_when_there_is_none(
    everything: dict[str, list[Raw]], tmp_path: Path
) -> None:
    """The shell line of the manifest, with a `cloud-train` that ends as it is told."""
    (_, pod) = pods(everything["overlays/collect"])[0]
    container = pod["containers"][0]
    program = tmp_path / "cloud-train"
    program.write_text('#!/bin/sh\necho "$@" >> calls\ncase "$*" in *--resume) exit $RESUME;; esac\n')
    program.chmod(0o755)
    for code, calls, expected in ((0, 1, 0), (1, 1, 1), (2, 2, 0), (3, 1, 1)):
        (tmp_path / "calls").write_text("")
        done = subprocess.run(
            [*container["command"], *container["args"]],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "RESUME": str(code)},
            check=False,
        )
        assert len((tmp_path / "calls").read_text().splitlines()) == calls
        assert done.returncode == expected


@needs_kubectl
def test_ports_secrets_and_config_maps_are_those_that_exist(everything: dict[str, list[Raw]]) -> None:
    """A Service leads to a port of its pods, a volume to a ConfigMap, a probe to a path of the server."""
    documents = [one for found in everything.values() for one in found]
    maps = {one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"}
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    ports = {}
    for name, pod in pods(documents):
        ports[name] = {one["name"]: one["containerPort"] for one in pod["containers"][0].get("ports", [])}
        for volume in pod["volumes"]:
            assert volume.get("configMap", {}).get("name") in maps | {None}, name
        secrets = [one["secretRef"]["name"] for each in containers(pod) for one in each.get("envFrom", [])]
        secrets += [one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one]
        assert all(f"secret generic {secret} " in page for secret in secrets), name
    for service in (one for one in documents if one["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert ports[service["metadata"]["name"]][port["targetPort"]] == port["port"]
    assert ports == {"store": {"s3": 8333}, "broker": {"mqtt": 1883}, "serve": {"http": 5000}} | {
        "split": {},
        "collect": {},
    }
    conf = (MANIFESTS / "base" / "mosquitto.conf").read_text()
    assert "listener 1883" in conf


@needs_kubectl
def test_the_probes_ask_what_the_web_server_answers(everything: dict[str, list[Raw]]) -> None:
    """Their paths stand in its code."""
    source = (ROOT / "cloud_train" / "serving" / "app.py").read_text()
    (_, pod) = pods(everything["overlays/serve"])[0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = pod["containers"][0][probe]["httpGet"]
        assert f'"{asked["path"]}"' in source and asked["port"] == "http"


def test_the_run_definition_of_the_collector_is_one() -> None:
    """No unknown key; image, namespace and Secret are those of the manifests."""
    definition = load_definition(MANIFESTS / "overlays" / "collect" / "train.toml", {})
    assert isinstance(definition, RunDefinition) and definition.runner.kind == "kubernetes"
    assert (definition.runner.image, definition.runner.secret) == (DEFAULT_IMAGE, "store-keys")
    assert definition.runner.namespace == DEFAULT_NAMESPACE and DEFAULT_IMAGE in OURS


def test_the_role_allows_what_the_runner_asks_and_no_more() -> None:
    """Verbs and resources of kubernetes_api.py, word for word."""
    tree = ast.parse((ROOT / "cloud_train" / "runners" / "kubernetes_api.py").read_text())
    asked = {
        (node.args[0].value, node.args[1].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_ask"
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[1], ast.Constant)
    } | {("watch", "pods")}
    documents = yaml.safe_load_all((MANIFESTS / "base" / "rbac.yaml").read_text())
    rules = next(one["rules"] for one in documents if one["kind"] == "Role")
    allowed = {(verb, kind) for rule in rules for kind in rule["resources"] for verb in rule["verbs"]}
    assert allowed == asked - {("get", "version")}  # everybody may ask for the version


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, without comments, continued lines joined."""
    text = (ROOT / "containers" / name / "Containerfile").read_text()
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def arguments_of(name: str) -> dict[str, str]:
    return dict(rest.split("=", 1) for kind, rest in instructions(name) if kind == "ARG")


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_containerfile_copies_what_exists_and_installs_extras_that_exist(name: str) -> None:
    """And every package of the distribution, which would not install without."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    packages = {line.split(".")[0] for line in settings["options"]["packages"].split()}
    copied = {word for kind, rest in instructions(name) if kind == "COPY" for word in rest.split()[:-1]}
    assert all((ROOT / word).exists() for word in copied) and packages <= copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{word}" in ignored for word in copied)
    assert '".[${EXTRAS}]"' in dict(instructions(name))["RUN"]
    assert set(arguments_of(name)["EXTRAS"].split(",")) <= set(settings["options.extras_require"])


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_containerfile_starts_a_program_of_ours_and_not_as_root(name: str) -> None:
    """Its entry point is a console script that takes what it is given."""
    found = dict(instructions(name))
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}
    assert {kind for kind, _ in instructions(name)} <= known
    assert found["FROM"] == "${BASE}" and re.fullmatch("[a-z0-9]+:[a-z0-9.-]+", arguments_of(name)["BASE"])
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", found["USER"])
    program, *arguments = json.loads(found["ENTRYPOINT"])
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert f"{program} = " in settings["options.entry_points"]["console_scripts"]
    if arguments:
        options = parse(arguments[0], [*arguments[1:], "/run/model"])
        assert str(options["port"]) == found["EXPOSE"] and f":{options['port']}/" in found["HEALTHCHECK"]


def test_the_configuration_of_the_broker_is_one_that_mosquitto_takes(tmp_path: Path) -> None:
    """It starts with it, on another port, and keeps nothing."""
    mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    if not Path(mosquitto).exists():
        pytest.skip("mosquitto is not installed")
    text = (MANIFESTS / "base" / "mosquitto.conf").read_text()
    port = take_free_port()
    text = text.replace("listener 1883", f"listener {port} 127.0.0.1")
    # Started by root, it becomes a user who may not write where tests do.
    (tmp_path / "broker.conf").write_text(text.replace("persistence true", "persistence false"))
    process = subprocess.Popen([mosquitto, "-c", tmp_path / "broker.conf"], stderr=subprocess.PIPE, text=True)
    try:
        wait_for_port(port, process)
    finally:
        process.terminate()
        _, said = process.communicate(timeout=10)
    assert "Error" not in said, said


def test_the_bucket_is_made_once_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of Python in the splitter's manifest, twice, on a real S3 server."""
    documents = list(yaml.safe_load_all((MANIFESTS / "overlays" / "split" / "split.yaml").read_text()))
    container = documents[0]["spec"]["template"]["spec"]["initContainers"][0]
    store = ObjectStore()
    try:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        for _ in range(2):
            exec(container["args"][0], {})
        assert "reefline" in [one["Name"] for one in store.client().list_buckets()["Buckets"]]
    finally:
        store.close()


STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $1 $2" in
  "kubectl create secret")
    echo --- >> "$SECRETS"
    exec {kubectl} "$@" --dry-run=client -o yaml >> "$SECRETS";;
  "kubectl apply -k") exec {kubectl} kustomize "$3" > /dev/null;;
esac
"""


@needs_kubectl
def test_what_the_page_tells_to_paste_works_from_top_to_bottom(tmp_path: Path) -> None:
    """With stand-ins for the cluster and the engine: Secrets, folders and options are right."""
    for name in ("kubectl", "docker", "kind", "cloud-train", "curl"):
        (tmp_path / name).write_text(STAND_IN.format(kubectl=shutil.which("kubectl")))
        (tmp_path / name).chmod(0o755)
    files = {name: str(tmp_path / name.lower()) for name in ("CALLS", "SECRETS")}
    script = "set -eu\n" + "".join(commands_of(ROOT / "docs" / "kubernetes.md"))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), **files}
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    calls = [shlex.split(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert [call[3] for call in calls if call[:3] == ["kubectl", "apply", "-k"]] == [
        f"kubernetes/{folder}" for folder in FOLDERS
    ]
    assert all((ROOT / call[3]).is_file() for call in calls if call[0] == "docker")
    assert [parse(call[1], call[2:]) is not None for call in calls if call[0] == "cloud-train"] == 4 * [True]
    keys, identities = map(secret_of, yaml.safe_load_all((tmp_path / "secrets").read_text()))
    (identity,) = json.loads(identities["s3.json"])["identities"]
    assert identity["credentials"][0]["accessKey"] == keys["AWS_ACCESS_KEY_ID"]
    assert identity["credentials"][0]["secretKey"] == keys["AWS_SECRET_ACCESS_KEY"]
    assert keys["AWS_ENDPOINT_URL"] == "http://store.reefline.svc:8333"


def secret_of(document: Raw) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in document["data"].items()}
