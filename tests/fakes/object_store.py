"""An S3 server on loopback, with one bucket, for the tests that keep files in object storage."""

import urllib.request
from typing import Any

import boto3
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer

BUCKET = "reef"


class ObjectStore:
    """moto's server and the environment in which programs find it.

    Attributes:
        port: where it listens.
        url: of the bucket, `s3://reef`.
        environment: address and keys, as botocore reads them.
    """

    url = f"s3://{BUCKET}"

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        self.environment = self.environment_at(self.port)

    def environment_at(self, port: int) -> dict[str, str]:
        """Return the environment for a client that reaches the server through another port."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """Return a client of its own, which shares nothing with the code under test."""
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )

    def empty(self) -> None:
        """Forget every object; one empty bucket is left."""
        moto_api_backend.reset()
        self.client().create_bucket(Bucket=BUCKET)

    def demand_keys(self, is_on: bool) -> None:
        """Refuse keys that no account has, as a real store does, or let everybody in again."""
        free_calls = b"0" if is_on else b"1000000000"
        url = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        request = urllib.request.Request(url, free_calls, {"Content-Type": "text/plain"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def close(self) -> None:
        """Stop the server."""
        self._server.stop()
