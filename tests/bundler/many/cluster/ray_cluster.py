"""A Ray cluster on this machine whose nodes can be killed: `python -m tests.bundler.many.cluster.ray_cluster PORT NODES`.

Its head builds nothing; each node has one CPU. It reads one command per line and answers `ok`: `kill I` kills the processes
of a node, `add` adds a node, `head` kills the head.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.many.cluster.local_ray import free_port

STARTS = 4
"""A node that is not up within 30 seconds gives up, which happens on a machine at work."""

HIDDEN = "TFBUNDLE_HIDDEN"
"""The environment variable with which the nodes of a cluster cannot import tfbundle."""

_PATIENT = {
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120", "TIMEOUT_FOR_SPECIFIC_SERVER_S": "120",
    "RAY_agent_register_timeout_ms": "120000", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
}  # fmt: skip
_STORE_BYTES = 100 << 20
_ROOT = Path(__file__).resolve().parents[4]


@dataclass
class RayCluster:
    """A running cluster.

    Attributes:
        address: of its client's server.
    """

    address: str
    _process: subprocess.Popen[str]

    def tell(self, command: str) -> None:
        """Give a command, and wait until it is done."""
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        assert self._hears("ok")

    def _hears(self, word: str) -> bool:
        assert self._process.stdout
        return any(line.strip() == word for line in self._process.stdout)


@contextmanager
def ray_cluster(folder: Path, nodes: int, **variables: str) -> Iterator[RayCluster]:
    """Return a context with a cluster.

    Args:
        folder: for the log.
        nodes: how many nodes it has besides its head.
        variables: changes to the environment of its processes.
    """
    for attempt in range(STARTS):
        port = free_port()
        with (folder / f"cluster-{attempt}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(port), str(nodes)], cwd=_ROOT, text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                env={**os.environ, **_PATIENT, "PYTHONPATH": str(_ROOT), **variables},
            )  # fmt: skip
        cluster = RayCluster(f"ray://127.0.0.1:{port}", process)
        try:
            if cluster._hears("ready"):
                yield cluster
                return
        finally:
            _end(process)
    raise AssertionError((folder / f"cluster-{STARTS - 1}.log").read_text()[-2000:])


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin and process.stdout
    process.stdin.close()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process.stdout.close()


def main() -> None:
    """Run the cluster until standard input ends."""
    from ray.cluster_utils import Cluster

    if os.environ.pop(HIDDEN, ""):
        os.environ["PYTHONSAFEPATH"] = "1"  # Ray's processes start in this folder, and must not find it
        del os.environ["PYTHONPATH"]
        sys.path[:] = [path for path in sys.path if Path(path).resolve() != _ROOT]
        os.chdir("/")
    port, count = map(int, sys.argv[1:])
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": _STORE_BYTES, "ray_client_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES) for _ in range(count)]
    print("ready", flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "kill":
            cluster.remove_node(nodes[int(numbers[0])], allow_graceful=False)
        elif command == "head":
            cluster.remove_node(cluster.head_node, allow_graceful=False)
        elif command == "add":
            nodes.append(cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES))
        print("ok", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
