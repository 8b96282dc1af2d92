"""Ctrl-C during a comparison, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.serving.request_logs import batches, predict, write_log
from tests.serving.servers import ROOT, small_server


def local_ports(process: psutil.Process, server_port: int) -> set[int]:
    return {each.laddr.port for each in process.net_connections("tcp") if each.raddr and each.raddr.port == server_port}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_call_under_way_and_leaves_the_figures(tmp_path: Path, number: int, code: int) -> None:
    log = write_log(tmp_path / "log", [predict("slow", x=x) for x in batches(3, 3)])
    with small_server() as server:
        command = [sys.executable, "-m", "bundler", "shadow", server.grpc_target, "--requests", str(log), "--versions", "1", "2"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            process, seen = psutil.Process(running.pid), set[int]()
            end = time.monotonic() + 60
            while len(seen) < 2:  # the first connection asks for the versions, the second one sends requests
                assert time.monotonic() < end and running.poll() is None
                seen |= local_ports(process, server.grpc_port)
                time.sleep(0.005)
            started = time.monotonic()
            running.send_signal(number)
            out, err = running.communicate(timeout=30)
    assert time.monotonic() - started < 4, "the call under way takes five seconds"
    assert running.returncode == code and "Traceback" not in err
    assert "The figures are those of the requests before." in err
    assert "Nothing was compared" in out
