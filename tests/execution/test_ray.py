from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import BenchError, DeviceError
from bench.execution.jobs import Ended, Job
from bench.execution.on_ray import Ray
from tests.execution.test_jobs import place_of
from tests.execution.test_local import Log


def test_without_ray_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        BenchError, match=r"^--executor ray: needs the extra ray, which is not installed. Run: pip install"
    ):
        Ray(place_of(tmp_path), None, {}, Log())


def test_no_cluster_at_the_address_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
        with pytest.raises(DeviceError, match=rf"^--with address={address}: no Ray cluster .*refused.* Start one with"):
            Ray(place_of(tmp_path), None, {"address": address}, Log())


def test_what_no_node_has_is_one_line_rather_than_a_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 9.0, "GPU": 9.0}}]
    made = SimpleNamespace(is_initialized=lambda: True, nodes=lambda: nodes)
    monkeypatch.setitem(sys.modules, "ray", made)
    with pytest.raises(
        DeviceError, match=r"^--executor ray: no node of the cluster has GPU 2, CPU 1, as each job asks for"
    ):
        Ray(place_of(tmp_path), None, {"gpus": 2.0}, Log())


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionError("Could not find any running Ray instance."),
        RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\nThis process was started with:\n    Ray: 2.10"
        ),
    ],
)
def test_a_cluster_that_is_not_there_or_of_another_version_is_one_line(
    cause: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def init(**options: Any) -> None:
        raise cause

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    said = " ".join(str(cause).split())
    with pytest.raises(DeviceError) as raised:
        Ray(place_of(tmp_path), None, {"address": "auto"}, Log())
    line = str(raised.value)
    assert line.startswith(
        f"--with address=auto: no Ray cluster that can be used there ({type(cause).__name__}: {said})"
    )
    assert "\n" not in line


def test_a_worker_of_another_version_fails_its_job_and_no_other():
    """Ray says so when the result is fetched, as where a worker's Python or Ray differs from the head's."""
    made, job = Ray.__new__(Ray), Job("a", "trial", {}, None, 0, 1, "", 1, (), 1, 1, None, False)

    class WorkerError(Exception):
        pass

    def get(reference: object) -> None:
        raise WorkerError("Worker failed to start: Version mismatch\nmore")

    errors = SimpleNamespace(RayError=WorkerError, RayTaskError=KeyError)
    made._ray = SimpleNamespace(get=get, exceptions=errors)
    assert made._end_of(None, job) == Ended(job.id, "failed", "WorkerError: Worker failed to start: Version mismatch")
