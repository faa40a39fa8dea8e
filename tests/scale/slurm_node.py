"""A real Slurm of one node, this machine, and `bench run --executor slurm` on it: end to end, and past the end of a job's time.

    python -m tests.scale.slurm_node                      # prints what was compared; about ten minutes
    python -m tests.scale.slurm_node --without-timeout    # a few
    python -m tests.scale.slurm_node --only-timeout
    python -m tests.scale.slurm_node --only-killed        # a job that is killed without a word; this cluster has no accounting

As root, with Debian's packages slurmctld, slurmd, slurm-client and munge, and the extra `slurm`. munged, slurmctld and slurmd run
from a temporary folder, without systemd and cgroups, and end with the script. Every trial must have one record, equal to that of
the executor `local` in every learned and counted field.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.catalog import shipped_folder
from bench.records.store import find_trials
from tests.execution.test_jobs import learned

ROOT = Path(__file__).resolve().parents[2]
PARTITION = "main"
_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "sacct", "sinfo")
_CONF = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 {shape} State=UNKNOWN
PartitionName={partition} Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster of this machine, and yield the environment in which Slurm's commands find it."""
    host = socket.gethostname().partition(".")[0]
    (facts,) = (line for line in _told(["slurmd", "-C"]).splitlines() if line.startswith("NodeName="))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    folder.chmod(0o755)  # whoever talks to munged must reach its socket
    conf = folder / "slurm.conf"
    shape = " ".join(word for word in facts.split() if not word.startswith(("NodeName=", "UpTime=")))
    conf.write_text(_CONF.format(host=host, ports=_free_ports(), folder=folder, shape=shape, partition=PARTITION))
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    munge = [f"--key-file={key}", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed", "--foreground", "--force"]
    with ExitStack() as stack:
        for words in (["munged", *munge], ["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf)]):
            log = stack.enter_context((folder / f"{words[0]}.out").open("w"))
            daemon = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            _until(lambda words=words: words[0] != "munged" or (folder / "munge.socket").exists(), "munged")
        _until(lambda: _told(["sinfo", "-h", "-o", "%T"], environment).strip() == "idle", "an idle node")
        yield environment


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _told(words: Sequence[str], environment: dict[str, str] | None = None) -> str:
    return subprocess.run(words, env=environment, check=False, capture_output=True, text=True).stdout


def _until(true: object, what: str, seconds: float = 60) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not there after {seconds:g} s")
        time.sleep(0.2)


def scenario(folder: Path, epochs: int) -> Path:
    """Write digits-7-3 with other epochs, and two evaluations."""
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    for old, new in (("digits-7-3", "short"), ("epochs = 24", f"epochs = {epochs}"), ("points = 20", "points = 10")):
        text = text.replace(old, new)
    path = folder / "short.toml"
    path.write_text(text)
    return path


def run(
    name: str, folder: Path, environment: dict[str, str], more: Sequence[str], strategies: Sequence[str], seeds: str
) -> None:
    """Run the trials with an executor, into a folder of its name."""
    before = time.monotonic()
    process = start(name, folder, environment, more, strategies, seeds)
    said = process.communicate()[1].strip().splitlines()
    print(
        f"{name}: {time.monotonic() - before:.0f} s, exit code {process.returncode}; {said[-1] if said else ''}",
        flush=True,
    )


def start(
    name: str, folder: Path, environment: dict[str, str], more: Sequence[str], strategies: Sequence[str], seeds: str
) -> subprocess.Popen[str]:
    """Begin to run the trials."""
    chosen = [word for each in strategies for word in ("--strategy", each)]
    words = [*chosen, "--scenario", str(folder / "short.toml"), "--seeds", seeds, "--threads", "1", "--device", "cpu"]
    words += ["--results", str(folder / name / "results"), "--cache", str(folder / name / "cache"), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "run", *words],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(folder: Path, environment: dict[str, str], more: Sequence[str]) -> None:
    """Kill a job in the middle of its trial, and wait until the run has noticed."""
    scenario(folder, epochs=100)
    process = start("killed", folder, environment, more, ("scratch",), "0")
    _until(lambda: list((folder / "killed").rglob("evals.jsonl")), "a trial's first evaluation", 600)
    (job,) = _told(["squeue", "--noheader", "--format=%i"], environment).split()
    _told(["scancel", "--signal=KILL", "--full", job], environment)
    before = time.monotonic()
    said = process.communicate()[1].strip().splitlines()
    print(f"killed: noticed after {time.monotonic() - before:.0f} s, exit code {process.returncode}; {said[-1]}")
    assert process.returncode == 1
    assert "ended it without a word" in said[-1]


def compare(folder: Path, one: str, other: str) -> None:
    mine, its = (learned(folder / name / "results") for name in (one, other))
    assert mine == its
    assert mine
    sittings = [record.summary.sittings for _, record in find_trials(folder / one / "results") if record.summary]
    print(
        f"{len(mine)} records by {one}, in {sittings} sittings, equal to those of {other} in every learned and counted field"
    )


def main(short: bool, timeout: bool, kill: bool) -> None:
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise SystemExit(
            f"not installed: {', '.join(missing)}. Run: apt-get install slurmctld slurmd slurm-client munge"
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "slurm").mkdir()
        with cluster(folder / "slurm") as environment:
            print(_told(["sinfo", "--version"], environment).strip(), "|", _told(["sinfo", "-h"], environment).strip())
            on = ["--executor", "slurm", "--with", f"partition={PARTITION}", "--retries", "0"]
            if short:
                scenario(folder, epochs=1)
                run("Slurm", folder, environment, on, ("scratch", "naive"), "0-1")
                run("local", folder, environment, ["--executor", "local"], ("scratch", "naive"), "0-1")
                compare(folder, "Slurm", "local")
                run("refused", folder, environment, [*on, "--with", "partition=nowhere"], ("scratch",), "0")
            if (
                timeout
            ):  # Slurm signals two minutes before the end, and begins a job that is queued again two minutes later
                scenario(folder, epochs=12)
                run("Slurm-in-3-minutes", folder, environment, [*on, "--with", "time=3"], ("scratch",), "0")
                run("local-at-once", folder, environment, ["--executor", "local"], ("scratch",), "0")
                compare(folder, "Slurm-in-3-minutes", "local-at-once")
            if kill:
                killed(folder, environment, on)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-timeout", action="store_true")
    parser.add_argument("--only-timeout", action="store_true")
    parser.add_argument("--only-killed", action="store_true")
    asked = parser.parse_args()
    only = asked.only_timeout or asked.only_killed
    main(not only, asked.only_timeout or not (only or asked.without_timeout), asked.only_killed or not only)
