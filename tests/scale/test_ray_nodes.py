"""The short form of ray_nodes: a real cluster of a head and two nodes, one of which is killed in the middle."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_a_node_killed_in_the_middle_leaves_each_record_once_equal_to_those_of_processes():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'compute-to-accuracy[ray]'")
    command = [sys.executable, "-m", "tests.scale.ray_nodes", "--seeds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "timed out during startup" in done.stderr:
        pytest.skip("Ray gives a node 30 s to start, and this machine was too busy")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "a head and 2 nodes of 1 CPU" in done.stdout
    assert "one node killed after" in done.stdout
    said = "4 records by Ray, each once, equal to those of local in every learned and counted field"
    assert done.stdout.splitlines()[-1] == said
