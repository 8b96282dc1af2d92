"""JSON bodies: the parser and the server read or refuse each of them."""

from __future__ import annotations

import http.client
import json
import random
from contextlib import closing
from typing import Any

from serving.protocol.json_codec import read_predict
from serving.protocol.json_examples import read_examples
from serving.protocol.messages import serving_message
from serving.protocol.status import StatusError
from tests.faults.fuzz.fuzzing import (
    HOSTILE_TEXTS,
    Fuzzer,
    assert_harmless,
    bounded_memory,
    budgets,
    damaged,
    mutated_json,
)
from tests.faults.fuzz.servers import assert_right
from tests.faults.victim import RECORDED, Victim
from tests.serving.server.recordings import ROWS

SERVED = tuple(f"/v1/models/{name}" for name in RECORDED)
SEEDS = [
    (row["path"], row["request_body"].encode())
    for row in ROWS
    if row["kind"] == "rest" and row["method"] == "POST" and row.get("request_body") and row["path"].startswith(SERVED)
]
BODIES = [body for _, body in SEEDS]
NESTED = (b"[", b"{\"a\":", b"[[1],", b"{\"b64\":\"", b"\"\\u", b"-", b"1e", b"0", b" ", b"[{},")
ANSWERS = (200, 400, 404, 408, 413, 429, 431, 501, 503)
DTYPES = (1, 2, 3, 4, 5, 6, 7, 9, 10, 17, 19, 22, 23)


def mutant(body: bytes, rng: random.Random) -> bytes:
    """Return a body like a recorded one, with other values, a damaged text, or something deep or long in it."""
    kind = rng.randrange(4)
    if kind == 0:
        return damaged(body, rng, BODIES)
    if kind == 1:
        at = rng.randrange(len(body) + 1)
        return body[:at] + rng.choice(NESTED) * rng.choice((3, 100, 200, 20_000)) + body[at:]
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return damaged(body, rng, BODIES)
    return json.dumps(mutated_json(value, rng, HOSTILE_TEXTS), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


@budgets()
def test_parser_reads_or_refuses_every_body(seconds: float) -> None:
    def check(data: bytes) -> None:
        try:
            request = read_predict(data)
            for dtype in DTYPES:
                try:
                    request.tensors({"x": dtype, "y": dtype})
                except StatusError as exc:
                    assert_harmless(exc.message)
        except StatusError as exc:
            assert_harmless(exc.message)
        try:
            read_examples(data, serving_message("ClassificationRequest")().input)
        except StatusError as exc:
            assert_harmless(exc.message)

    with bounded_memory():
        Fuzzer(seconds, check).run(lambda rng: mutant(rng.choice(BODIES), rng))


@budgets()
def test_server_answers_every_body(seconds: float, server: Victim) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server.rest_port, timeout=60)

    def check(data: bytes) -> None:
        path, _, body = data.partition(b"\n")
        try:
            connection.request("POST", path.decode(), body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except BaseException:
            connection.close()
            raise
        assert response.status in ANSWERS, f"status {response.status}: {answer[:500]!r}"
        assert len(answer) < 2**16 + 50 * len(body), f"an answer of {len(answer)} bytes"
        assert_harmless(answer.decode("utf-8", "replace"))

    def make(rng: random.Random) -> bytes:
        path, body = rng.choice(SEEDS)
        if rng.random() < 0.2:
            path = rng.choice(SEEDS)[0]
        return path.encode() + b"\n" + mutant(body, rng)

    with closing(connection), bounded_memory(server.server.pid):
        Fuzzer(seconds, check).run(make)
        assert_right(server)
