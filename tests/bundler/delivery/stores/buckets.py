"""A server of S3 in the test's process, and bundles in its buckets and in fsspec's memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bundler.values.addresses import StoreAddress

_numbers = itertools.count()


def memory_address(name: str = "digits") -> StoreAddress:
    """Return an address in fsspec's memory that no other test uses."""
    return StoreAddress("memory", f"bucket-{next(_numbers)}/{name}")


class Bucket:
    """A bucket of the test's S3 server.

    Attributes:
        name: its name.
        client: boto3's client of the server.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.name = f"bucket-{next(_numbers)}"
        client.create_bucket(Bucket=self.name)

    def address(self, name: str = "digits") -> StoreAddress:
        """Return the address of a folder in the bucket."""
        return StoreAddress("s3", f"{self.name}/{name}")

    def objects(self) -> list[str]:
        """Return the keys of all objects."""
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]

    def read(self, key: str) -> bytes:
        """Return the content of an object."""
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def write(self, key: str, data: bytes) -> None:
        """Write an object as another tool would: without tfbundle's checksums."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)


@contextmanager
def s3_server() -> Iterator[Any]:
    """Return a context with boto3's client of a server of S3 on a free port."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
    try:
        yield client
    finally:
        client.close()
        server.stop()


def tree(root: Path) -> dict[str, bytes | None]:
    """Return the files of a folder with their content, and its folders with None, by relative path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if path.name != ".lock"
    }
