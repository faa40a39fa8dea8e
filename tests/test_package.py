from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout to know which files are tracked")
def test_the_wheel_ships_exactly_the_tracked_files(tmp_path: Path):
    listed = subprocess.run(
        ["git", "ls-files", "bench", "scenarios", "baselines", "results"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    tracked = {path for path in listed.stdout.splitlines() if (ROOT / path).exists()}
    expected = {path if path.startswith("bench/") else f"bench/_shipped/{path}" for path in tracked}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("compute_to_accuracy-*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert "bench/_shipped/scenarios/digits-7-3.toml" in names
    assert "bench/py.typed" in names


def test_every_module_imported_is_declared():
    """Nothing imported that is not declared, by the top-level names of the declared distributions."""
    import ast
    import tomllib
    from importlib.metadata import packages_distributions

    declared = {
        requirement.split(">")[0].split("[")[0].strip().lower().replace("_", "-")
        for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    owners = packages_distributions()
    for path in (ROOT / "bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top in sys.stdlib_module_names or top == "bench":
                    continue
                distributions = {owner.lower().replace("_", "-") for owner in owners.get(top, ["nobody"])}
                assert distributions & declared, f"{path}: {top}"
