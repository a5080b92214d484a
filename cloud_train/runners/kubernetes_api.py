"""Talks to a Kubernetes API server through the official client; its errors are translated here."""

import json
import time
from collections.abc import Callable, Collection, Generator
from typing import Any

from cloud_train.runners.kubernetes_settings import KubernetesSettings
from host_cli.errors import CommandError, Failed, Unreachable, WrongUsage

# Backoff limits per index are in force from here on (beta and on in 1.29, stable in 1.33).
OLDEST_VERSION = (1, 29)
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
# The first question says whether the address is right; later ones wait until a server has been restarted.
FIRST_PATIENCE_S = 5.0
PATIENCE_S = 300.0
_GONE = 410
_RETRIED = {408, 429, 500, 502, 503, 504}


class Expired(Exception):
    """The server no longer knows the changes since that version; the pods must be listed again."""


class Cluster:
    """The Jobs and pods of one namespace, as JSON types.

    A server that is away, restarts or has too much to do is asked again with growing pauses.
    """

    def __init__(self, configuration: Any, namespace: str, patience_s: float = PATIENCE_S) -> None:
        from kubernetes.client import ApiClient, BatchV1Api, CoreV1Api, VersionApi

        configuration.retries = False  # asking again is done here
        api = ApiClient(configuration)
        self.namespace = namespace
        self._batch, self._core = BatchV1Api(api), CoreV1Api(api)
        self._version = VersionApi(api)
        self._where = str(configuration.host)
        self._patience_s = patience_s

    def check(self) -> None:
        """Refuse a cluster that is not there or too old.

        Raises:
            Unreachable: nobody answers, or who answers does not let us in.
            WrongUsage: the cluster is too old for backoff limits per index.
        """
        found = self._ask("get", "version", self._version.get_code, patience_s=FIRST_PATIENCE_S)
        version = tuple(int("".join(filter(str.isdigit, found[part]))) for part in ("major", "minor"))
        if version < OLDEST_VERSION:
            what = f"the cluster is Kubernetes {found['major']}.{found['minor']}"
            raise WrongUsage(what, self._where, "1.29 or newer, which knows backoffLimitPerIndex")

    def create_job(self, job: dict[str, Any]) -> str | None:
        """Create a Job and return its uid, or None when one of this name is there already."""

        def create(**options: Any) -> Any:
            return self._batch.create_namespaced_job(
                self.namespace, job, field_validation="Strict", **options
            )

        found = self._ask("create", "jobs", create, otherwise={409})
        return None if found is None else str(found["metadata"]["uid"])

    def job(self, name: str) -> dict[str, Any] | None:
        """Return a Job, or None when there is none of this name."""

        def read(**options: Any) -> Any:
            return self._batch.read_namespaced_job(name, self.namespace, **options)

        found: dict[str, Any] | None = self._ask("get", "jobs", read, otherwise={404})
        return found

    def delete_job(self, name: str, patience_s: float | None = None) -> None:
        """Delete a Job with its pods, if it is there; the pods end soon after."""

        def delete(**options: Any) -> Any:
            return self._batch.delete_namespaced_job(
                name, self.namespace, propagation_policy="Background", **options
            )

        self._ask("delete", "jobs", delete, otherwise={404}, patience_s=patience_s)

    def list_pods(self, uid: str) -> tuple[list[dict[str, Any]], str]:
        """Return the pods of a Job, and the version from which a watch sees what changes after that."""

        def read(**options: Any) -> Any:
            return self._core.list_namespaced_pod(self.namespace, label_selector=_of(uid), **options)

        found = self._ask("list", "pods", read)
        return found.get("items") or [], found["metadata"]["resourceVersion"]

    def watch_pods(self, uid: str, version: str, seconds: int) -> Generator[dict[str, Any], None, None]:
        """Yield each change of a Job's pods as the server says it, `type` and `object`.

        It ends after `seconds`, or earlier when the server closes the stream or goes away.

        Raises:
            Expired: `version` is too old.
            Unreachable: pods may not be watched.
        """
        from kubernetes.watch import Watch
        from urllib3.exceptions import HTTPError

        def changes(**options: Any) -> Any:
            # The client looks for a type in the docstring: without one it takes what a newer server says.
            return self._core.list_namespaced_pod(self.namespace, label_selector=_of(uid), **options)

        started_s = time.monotonic()
        try:
            yield from Watch().stream(
                changes,
                resource_version=version,
                timeout_seconds=seconds,
                _request_timeout=(CONNECT_TIMEOUT_S, seconds + READ_TIMEOUT_S),
            )
        except (HTTPError, ValueError):
            pass  # a stream that broke, maybe in the middle of a line
        except _api_exception() as error:
            if error.status == _GONE:
                raise Expired from error
            if error.status not in _RETRIED:
                raise self._refusal(error, "watch", "pods") from error
            time.sleep(_wanted_pause(error))
        # A server that closes every stream at once is not asked all the time.
        time.sleep(max(0.0, started_s + FIRST_PAUSE_S - time.monotonic()))

    def _ask(
        self,
        verb: str,
        resource: str,
        call: Callable[..., Any],
        *,
        otherwise: Collection[int] = (),
        patience_s: float | None = None,
    ) -> Any:
        # The answer as JSON types; None for a status in `otherwise`, which is an answer, too.
        from urllib3.exceptions import HTTPError

        until_s = time.monotonic() + (self._patience_s if patience_s is None else patience_s)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                response = call(_preload_content=False, _request_timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
                return json.loads(response.data)
            except _api_exception() as error:
                if error.status in otherwise:
                    return None
                if error.status not in _RETRIED:
                    raise self._refusal(error, verb, resource) from error
                wanted_s, trouble = _wanted_pause(error), _message(error)
            except (HTTPError, ValueError) as error:  # no connection, or half an answer
                wanted_s, trouble = 0.0, f"{type(error).__name__}: {error}"
            if time.monotonic() + max(wanted_s, pause_s) > until_s:
                what = f"the Kubernetes API does not answer: {trouble}"
                raise Unreachable(what, self._where, "kubectl cluster-info; is the kubeconfig the right one?")
            time.sleep(max(wanted_s, pause_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _refusal(self, error: Any, verb: str, resource: str) -> CommandError:
        message = _message(error)
        if error.status == 401:
            return Unreachable(f"the cluster does not know us: {message}", self._where, "log in again")
        if error.status == 403:
            hint = f"kubectl auth can-i {verb} {resource} -n {self.namespace}; kubernetes/base has the Role"
            return Unreachable(f"we may not {verb} {resource}: {message}", self._where, hint)
        if error.status == 404:
            hint = f"kubectl create namespace {self.namespace}, or another [runner] namespace"
            return WrongUsage(message, self._where, hint)
        if error.status in (400, 422):
            return WrongUsage(f"the cluster refuses the Job: {message}", self._where, "look at [runner]")
        return Failed(f"{verb} {resource} failed: {message}", self._where, "kubectl get events")


def connect(settings: KubernetesSettings, kubeconfig: str | None, patience_s: float = PATIENCE_S) -> Cluster:
    """Return the cluster, which has answered.

    Args:
        settings: its context and namespace.
        kubeconfig: path of one; without it the pod's own account when we run in one, else ~/.kube/config.
        patience_s: how long a server may be away while a round runs.

    Raises:
        WrongUsage: there is no kubeconfig, or not that context in it.
        Unreachable: the cluster does not answer.
    """
    cluster = Cluster(_configuration(settings.context, kubeconfig), settings.namespace, patience_s)
    cluster.check()
    return cluster


def _configuration(context: str | None, kubeconfig: str | None) -> Any:
    try:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
    except ImportError as error:
        what = "the package kubernetes is missing"
        raise Failed(what, "[runner] kind = kubernetes", "pip install '.[kubernetes]'") from error

    configuration = Configuration()
    if context is None and kubeconfig is None:
        try:
            load_incluster_config(client_configuration=configuration)
            return configuration
        except ConfigException:
            pass  # we are not in a pod
    try:
        load_kube_config(kubeconfig, context, client_configuration=configuration, persist_config=False)
    except (ConfigException, OSError, ValueError) as error:
        hint = "set KUBECONFIG, or [runner] context to one of `kubectl config get-contexts`"
        raise WrongUsage(f"no way to a cluster: {error}", kubeconfig or "~/.kube/config", hint) from error
    return configuration


def _of(uid: str) -> str:
    # Not by name: the pods of an older Job of the same name may still be there.
    return f"batch.kubernetes.io/controller-uid={uid}"


def _api_exception() -> Any:
    from kubernetes.client import ApiException

    return ApiException


def _message(error: Any) -> str:
    # The server's own words, if it has any.
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def _wanted_pause(error: Any) -> float:
    wanted = str((error.headers or {}).get("Retry-After", ""))
    return min(float(wanted), LONGEST_PAUSE_S) if wanted.isdigit() else 0.0
