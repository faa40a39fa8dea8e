"""Records in a store: what was pushed is read as it was, nothing is half there, and what goes wrong is one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import bench as package
from bench.errors import BenchError, RecordError
from bench.records import remote
from bench.records.remote import Store, folder_of, pull, push
from tests.cli.test_main import bench, refused
from tests.records.made_up import change, finished, trial, write

needs_fsspec = pytest.mark.skipif(
    find_spec("fsspec") is None, reason="fsspec is not installed: pip install 'compute-to-accuracy[remote]'"
)
needs_s3 = pytest.mark.skipif(
    not all(find_spec(name) for name in ("s3fs", "moto", "flask")),
    reason="s3fs or moto's server is not installed: pip install s3fs 'moto[server]'",
)
ADDRESS = "memory://bucket/records"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(remote, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty store in this process' memory."""
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two strategies on two seeds, a trial that still runs, and curves from elsewhere."""
    results = tmp_path / "own"
    for strategy in ("scratch", "naive"):
        for seed in (0, 1):
            finished(results, [0.5, 0.7, 0.8, 0.81], strategy=strategy, seed=seed, schema_version=8)
    write(results, trial(strategy="naive", seed=2), [])
    (results / "made-up" / "imported-curves.csv").write_text("step,cost,accuracy,seed,strategy\n1,1,0.5,0,theirs\n")
    return results


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_running(results: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(results).items() if "naive/1/seed-2" not in name}


def outcomes(merged: list[Any]) -> list[str]:
    return sorted(each.outcome for each in merged)


def test_what_was_pushed_is_pulled_to_the_byte_and_goes_over_once(memory: Any, own: Path, tmp_path: Path):
    (own / "notes.txt").write_text("not a record")
    assert outcomes(push(own, ADDRESS)) == ["copied"] * 4 + ["curves copied", "unfinished"]
    times = {name: file.created for name, file in memory.store.items()}
    assert outcomes(push(own, ADDRESS)) == ["curves equal"] + ["equal"] * 4 + ["unfinished"]
    assert {name: file.created for name, file in memory.store.items()} == times
    assert outcomes(pull(ADDRESS, tmp_path / "new")) == ["copied"] * 4 + ["curves copied"]
    (own / "notes.txt").unlink()
    assert files(tmp_path / "new") == without_running(own)


def test_only_what_changed_is_fetched_and_what_is_gone_goes(memory: Any, own: Path, cache: Path):
    told: list[str] = []
    push(own, ADDRESS)
    shutil.rmtree(cache)  # another machine
    first = folder_of(ADDRESS, told.append)
    assert told == [f"{ADDRESS}: 9 files fetched; read from {first}"]
    assert Store(ADDRESS).refresh() == 0
    memory.pipe_file("/bucket/records/made-up/scratch/1/seed-0/evals.jsonl", b"other\n")
    memory.rm("/bucket/records/made-up/naive", recursive=True)
    assert Store(ADDRESS).refresh() == 1
    assert (first / "made-up/scratch/1/seed-0/evals.jsonl").read_bytes() == b"other\n"
    assert not list(first.glob("made-up/naive/**/*.json*"))


def test_a_copy_that_was_cut_short_is_fetched_again(memory: Any, own: Path):
    push(own, ADDRESS)
    path = folder_of(ADDRESS) / "made-up/scratch/1/seed-0/evals.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    known = path.parents[4].parent / "known.jsonl"
    known.write_text(known.read_text()[:-3])
    assert Store(ADDRESS).refresh() == 2
    assert path.read_bytes() == whole


def test_names_that_lead_elsewhere_are_no_records(memory: Any, own: Path, cache: Path):
    push(own, ADDRESS)
    files_there = {"/bucket/records/../../../../seed-1/trial.json", "/bucket/records/made-up/x/1/../trial.json"}
    for name in files_there:
        memory.store[name] = type(next(iter(memory.store.values())))(memory, name, b"{}")
    before = files(cache)
    assert Store(ADDRESS).refresh() == 0
    assert files(cache).keys() == before.keys()


def test_a_conflict_is_named_by_its_address_and_nothing_goes_over(memory: Any, own: Path, tmp_path: Path):
    push(own, ADDRESS)
    before = {name: file.getvalue() for name, file in memory.store.items()}
    other = tmp_path / "other"
    finished(other, [0.5, 0.7, 0.8, 0.81], strategy="new", seed=0, schema_version=8)
    folder = finished(other, [0.5, 0.7, 0.8, 0.81], strategy="naive", seed=0, schema_version=8)
    change(folder, lambda record: record["summary"].update(test_accuracy=0.1))
    with pytest.raises(
        RecordError, match=r"test_accuracy: found 0\.1, expected 0\.81 as memory://bucket/records/made-up/naive"
    ):
        push(other, ADDRESS)
    assert {name: file.getvalue() for name, file in memory.store.items()} == before


def test_a_push_that_was_cut_off_leaves_no_half_record_and_goes_on(
    memory: Any, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put, left = type(memory).put_file, [3]

    def put_few(self: Any, path: str, target: str, **options: Any) -> None:
        if not left[0]:
            raise ConnectionResetError("the network is gone")
        left[0] -= 1
        put(self, path, target, **options)

    monkeypatch.setattr(type(memory), "put_file", put_few)
    monkeypatch.setattr(remote, "_TOGETHER", 1)
    message = (
        r"^memory://bucket/records: cannot be written \(ConnectionResetError: the network is gone\)\. .* goes on from"
    )
    with pytest.raises(RecordError, match=message):
        push(own, ADDRESS)
    assert len(memory.store) == 3  # the curves, and one trial
    copy = folder_of(ADDRESS)
    assert package.load_results(copy).trials["status"].tolist() == ["finished"]
    left[0] = 100
    assert outcomes(push(own, ADDRESS)).count("copied") == 3
    pull(ADDRESS, tmp_path / "new")
    assert files(tmp_path / "new") == without_running(own)


def test_a_fetch_that_was_cut_off_keeps_what_came(memory: Any, own: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    push(own, ADDRESS)
    shutil.rmtree(cache)
    get, left = type(memory).get_file, [4]

    def get_few(self: Any, path: str, target: str, **options: Any) -> None:
        if not left[0]:
            raise TimeoutError
        left[0] -= 1
        get(self, path, target, **options)

    monkeypatch.setattr(type(memory), "get_file", get_few)
    monkeypatch.setattr(remote, "_TOGETHER", 2)
    with pytest.raises(
        RecordError, match=r"cannot be fetched \(TimeoutError: no reason given\)\. Check the address and"
    ):
        folder_of(ADDRESS)
    left[0] = 100
    assert Store(ADDRESS).refresh() == 5


@needs_fsspec
def test_a_store_with_folders_shows_no_half_file(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from fsspec.implementations.local import LocalFileSystem

    address, put = f"file://{tmp_path}/store", LocalFileSystem.put_file

    def put_half(self: Any, path: str, target: str, **options: Any) -> None:
        Path(target).write_bytes(Path(path).read_bytes()[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "put_file", put_half)
    with pytest.raises(RecordError, match=r"store: cannot be written \(OSError: .*No space left on device"):
        push(own, address)
    assert not files(tmp_path / "store")
    monkeypatch.setattr(LocalFileSystem, "put_file", put)
    push(own, address)
    assert files(tmp_path / "store") == without_running(own)


def test_commands_read_an_address_as_they_read_a_folder(memory: Any, own: Path, tmp_path: Path):
    shutil.rmtree(own / "made-up" / "naive" / "1" / "seed-2")
    assert bench("push", own, ADDRESS).stdout == f"{own}: 4 copied, 1 of imported curves copied\n"
    for command in (["leaderboard"], ["compare", "naive", "scratch", "--scenario", "made-up"]):
        here, there = bench(*command, "--results", own), bench(*command, "--results", ADDRESS)
        assert here.exit_code == there.exit_code == 0, there.output
        assert here.stdout == there.stdout
    assert bench("check", ADDRESS, "--format", "json").stdout == bench("check", own, "--format", "json").stdout
    assert "5 files" not in bench("status", "--results", ADDRESS).output
    assert bench("merge", ADDRESS, "--results", tmp_path / "merged").exit_code == 0
    pulled = bench("pull", ADDRESS, tmp_path / "pulled")
    assert pulled.stdout == f"{ADDRESS}: 4 copied, 1 of imported curves copied\n"
    assert files(tmp_path / "merged") == files(tmp_path / "pulled") == files(own)
    assert bench("collect", "--results", ADDRESS).exit_code == 0
    assert package.load_results(ADDRESS).trials["seed"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["run", "--results", ADDRESS],
            f"--results {ADDRESS}: an address, expected a folder here. Write there, and then",
        ),
        (["merge", "own", "--results", ADDRESS], f"bench push FOLDER {ADDRESS}"),
        (["push", "own", "elsewhere"], "elsewhere: no address, expected one such as s3://bucket/folder"),
        (["pull", ADDRESS, ADDRESS], f"{ADDRESS}: an address, expected a folder here"),
        (["leaderboard", "--results", ADDRESS], f"{ADDRESS}: no records there, expected some. Check the address"),
        (["check", "nothing://x"], "nothing://x: cannot be opened (ValueError: Protocol not known: nothing)"),
    ],
)
def test_what_cannot_be_is_one_line(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(bench(*words))
    assert not list(tmp_path.glob("[!c]*"))  # but for the cache, nothing was written


def test_without_fsspec_it_says_which_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        BenchError, match=r"^s3://b/x: needs the extra remote, which is not installed\. Run: pip install 'com"
    ):
        folder_of("s3://b/x")


@needs_fsspec
def test_without_the_package_of_a_store_it_says_which(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(
        BenchError, match=r"^s3://b/x: needs a package that is not installed .*s3fs.* run: pip install 'comp"
    ):
        folder_of("s3://b/x")


_SERVED = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@needs_s3
def test_a_server_of_s3_holds_records(own: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    import s3fs

    with subprocess.Popen([sys.executable, "-c", _SERVED], stdin=-1, stdout=-1, stderr=-3, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            s3fs.S3FileSystem().mkdir("bucket")
            address = "s3://bucket/some/records"
            assert outcomes(push(own, address)).count("copied") == 4
            assert outcomes(push(own, address)).count("equal") == 4
            shutil.rmtree(cache)
            assert outcomes(pull(address, tmp_path / "new")).count("copied") == 4
            assert files(tmp_path / "new") == without_running(own)
            assert Store(address).refresh() == 0
            with pytest.raises(RecordError, match=r"^s3://nowhere/x: .*Check the address"):
                folder_of("s3://nowhere/x")
            with pytest.raises(
                RecordError, match=r"^s3://nowhere/x: cannot be written .*Check the address: its bucket must"
            ):
                push(own, "s3://nowhere/x")
            server.terminate()
            server.wait()
            monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
            s3fs.S3FileSystem.clear_instance_cache()
            with pytest.raises(RecordError, match=r"^s3://bucket/some/records: cannot be listed .*network"):
                folder_of(address)
        finally:
            server.kill()
            s3fs.S3FileSystem.clear_instance_cache()
