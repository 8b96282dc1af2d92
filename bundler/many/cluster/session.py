"""The connection to a Ray cluster, and what can go wrong with it."""

from __future__ import annotations

import logging
import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bundler.errors import TfbundleError, UsageError
from bundler.many.cluster import courier as courier_module
from bundler.many.cluster import local_ray
from bundler.many.cluster.courier import Message
from bundler.many.units import Unit

LOCAL = "ray"
"""The address of a cluster that is started on this machine for one build."""

CONNECT_ATTEMPTS = 3
"""How often a cluster is asked for a connection if it cannot start the process for it in time, as one at work."""

_ADDRESS = re.compile(r"ray://(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")
_REACH_S = 10.0
_ANSWER_S = 120.0
"""The longest time in which a cluster that is at work answers a small question."""


def check_address(text: str) -> str:
    """Return an address that `--on` takes.

    Raises:
        UsageError: the text is none.
    """
    match = _ADDRESS.fullmatch(text)
    if text != LOCAL and (match is None or not 0 < int(match["port"]) < 65536):
        fix = "write --on ray for a cluster on this machine, or the address of Ray's client server, e.g. --on ray://head:10001"
        raise UsageError(f"{text!r} is not a cluster that models can be built on.", where="--on", fix=fix, code="TFB5252")
    return text


@dataclass
class Session:
    """A connected cluster.

    Attributes:
        shown: what messages call it.
    """

    shown: str
    _ray: Any
    _courier: Any = None

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that can run tasks, as Ray describes them."""
        return [node for node in self._answered(self._ray.nodes) if node["Alive"] and node["Resources"].get("CPU")]

    def put(self, chunk: bytes) -> Any:
        """Hand over a chunk, and return the reference to it."""
        return self._answered(lambda: self._ray.put(chunk))

    def examine(self, units: Sequence[Unit], expected: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what `courier.examine` says of each node that can run tasks, with its `name`."""
        function = self._ray.remote(courier_module.examine)
        rows = [asdict(unit) for unit in units]
        asked = []
        for node in self.nodes():
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": self._at(node["NodeID"])}
            asked.append((_name(node), function.options(**options).remote(rows, expected)))
        answers = []
        for name, answer in asked:
            with suppress(self._ray.exceptions.NodeDiedError):  # whoever builds there later finds out
                said = self._answered(partial(self._ray.get, answer, timeout=_ANSWER_S), self._ray.exceptions.NodeDiedError)
                answers.append({"name": name, **said})
        return answers

    def start(self, key: int, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Start the task of a unit."""
        if self._courier is None:
            head = self._ray.get_runtime_context().get_node_id()
            actor = self._ray.remote(courier_module.Courier)
            self._courier = actor.options(num_cpus=0, scheduling_strategy=self._at(head)).remote()
        self._answered(lambda: self._ray.get(self._courier.start.remote(key, arguments, options), timeout=_ANSWER_S))

    def receive(self, timeout_s: float) -> tuple[list[tuple[int, Message]], int]:
        """Return messages of tasks, each with its key, and how many nodes can run tasks."""
        waiting = timeout_s + _ANSWER_S
        answer: tuple[list[tuple[int, Message]], int]
        answer = self._answered(lambda: self._ray.get(self._courier.receive.remote(timeout_s), timeout=waiting))
        return answer

    def stop(self) -> None:
        """End every task; a cluster that is gone needs no more."""
        if self._courier is not None:
            with suppress(TfbundleError):
                self._answered(lambda: self._ray.get(self._courier.stop.remote(), timeout=_REACH_S))

    def _at(self, node_id: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node_id, soft=False)

    def _answered(self, question: Callable[[], Any], *passed: type[Exception]) -> Any:
        """Return the answer to a question to the cluster. Exceptions of the types `passed` are the caller's."""
        import grpc

        known = (self._ray.exceptions.RayError, grpc.RpcError, ConnectionError, RuntimeError)
        try:
            return question()
        except Exception as exc:
            # A client that has lost its cluster raises a plain Exception (ray/util/client/__init__.py).
            if isinstance(exc, passed) or not (isinstance(exc, known) or type(exc) is Exception):
                raise
            raise TfbundleError(
                f"{capitalized(self.shown)} does not answer any more: {_first_line(exc)}.",
                fix="see `ray status` on its head node, and repeat the command; finished models come from the cache",
                code="TFB5255",
            ) from exc


@contextmanager
def connected(address: str, cpus: int) -> Iterator[Session]:
    """Return a context with a connected cluster. At its end, all tasks are ended and a cluster of this machine is stopped.

    Args:
        address: `ray`, or `ray://HOST:PORT`.
        cpus: the tasks at a time on a cluster of this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        TfbundleError: nothing answers at the address, or it runs another version of Ray or Python.
    """
    from bundler.process.extras import require

    require("ray", "A build on Ray")
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(_environment())
        if address == LOCAL:
            session = Session("the Ray cluster on this machine", None)
            address = stack.enter_context(local_ray.started(cpus))
        else:
            session = Session(f"the Ray cluster at {address}", None)
            _reach(address)
            _use_token()
        session._ray = _connect(address, session.shown)
        stack.callback(session._ray.shutdown)
        stack.callback(session.stop)
        yield session


@contextmanager
def _environment() -> Iterator[None]:
    """Restore the environment's variables for Ray at the end."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's log and warnings off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # Ray sets handlers and levels of its own while it connects
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reach(address: str) -> None:
    match = _ADDRESS.fullmatch(address)
    assert match
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), timeout=_REACH_S).close()
    except OSError as exc:
        raise TfbundleError(
            f"No Ray cluster can be reached at {address}: {exc.strerror or exc}.",
            where="--on",
            fix="give host and port of Ray's client server, by default 10001 on the head node; see that no firewall stops it",
            code="TFB5252",
        ) from exc


def _use_token() -> None:
    """Send the token of this user if there is one, as Ray's own commands do; RAY_AUTH_MODE overrides that."""
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if "RAY_AUTH_MODE" not in os.environ and (named or Path("~/.ray/auth_token").expanduser().is_file()):
        os.environ["RAY_AUTH_MODE"] = "token"


def _connect(address: str, shown: str) -> Any:
    import ray
    from ray import cloudpickle

    _read_variables()
    cloudpickle.register_pickle_by_value(courier_module)
    for attempt in range(CONNECT_ATTEMPTS):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
            break
        except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as exc:
            if attempt + 1 < CONNECT_ATTEMPTS and isinstance(exc, ConnectionAbortedError):
                continue  # the process that the cluster starts for each client did not come up in time
            raise _refused(exc, shown) from exc
    return ray


def _read_variables() -> None:
    """Let Ray read RAY_AUTH_MODE again, if another session of this process has made it read an older value."""
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _refused(exc: Exception, shown: str) -> TfbundleError:
    if "Version mismatch" in str(exc):
        return TfbundleError(
            f"{capitalized(shown)} has other versions: {_versions(str(exc))}.",
            fix="install the cluster's versions of ray and Python here, or the other way round",
            code="TFB5253",
        )
    return TfbundleError(
        f"{capitalized(shown)} does not take the connection: {_first_line(exc)}.",
        where="--on",
        fix="see that the port is that of Ray's client server; if the cluster needs a token, set RAY_AUTH_TOKEN",
        code="TFB5252",
    )


def _versions(text: str) -> str:
    found = re.findall(r"Ray: (\S+)\s+Python: (\S+)", text)
    pairs = zip(("there", "here"), found, strict=False)
    return "; ".join(f"{where} ray {ray} with Python {python}" for where, (ray, python) in pairs) or " ".join(text.split())


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0].rstrip(".:")


def capitalized(shown: str) -> str:
    """Return what messages call a cluster, for the beginning of a sentence."""
    return shown[0].upper() + shown[1:]


def _name(node: Mapping[str, Any]) -> str:
    return str(node.get("NodeManagerHostname") or node["NodeManagerAddress"])
