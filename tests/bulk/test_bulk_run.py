"""Long runs: the rows are those of ``speechre extract``, a stopped run goes on, and folders are not mixed up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from speechre.cli import main
from speechre.data.store import read_manifest, write_manifest
from speechre.extract.extractor import Extractor
from speechre.types import AudioRef, Utterance
from tests.conftest import MakeSound

ReadJsonl = Callable[[Path | str], list[dict]]


@pytest.fixture
def bulk(manifest: Path, tiny_model_dir: Path, tmp_path: Path) -> Callable[..., int]:
    """Runs the command on the three utterances."""

    def run(*more: str, output: str = "out") -> int:
        model = [] if "--model" in more else ["--model", str(tiny_model_dir)]
        return main(["bulk", str(manifest), "--output", str(tmp_path / output), *model, *more])

    return run


@pytest.fixture
def expected(manifest: Path, tiny_model_dir: Path) -> list[dict]:
    """What an extractor says of each utterance."""
    return [one.to_dict() for one in Extractor.from_pretrained(tiny_model_dir)(list(read_manifest(manifest)))]


def test_rows_are_extractions(
    bulk: Callable[..., int],
    expected: list[dict],
    tmp_path: Path,
    read_jsonl: ReadJsonl,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bulk() == 0
    rows = read_jsonl(tmp_path / "out" / "shard-1-of-1.jsonl")
    assert rows == json.loads(json.dumps(expected))
    assert [row["id"] for row in rows] == ["u0", "u1", "u2"]
    assert all(row["transcript"] for row in rows)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "shard-1-of-1: 3 extracted\n")
    assert (tmp_path / "out" / "shard-1-of-1.errors.jsonl").read_text() == ""


def test_parts_are_the_whole(
    bulk: Callable[..., int], expected: list[dict], tmp_path: Path, read_jsonl: ReadJsonl
) -> None:
    assert bulk("--shard", "1/2") == bulk("--shard", "2/2") == 0
    parts = [read_jsonl(tmp_path / "out" / f"shard-{number}-of-2.jsonl") for number in (1, 2)]
    assert [[row["id"] for row in part] for part in parts] == [["u0", "u2"], ["u1"]]
    assert sorted(parts[0] + parts[1], key=lambda row: row["id"]) == json.loads(json.dumps(expected))


def test_a_recording_that_cannot_be_heard_becomes_a_row_and_is_tried_again(
    bulk: Callable[..., int],
    manifest: Path,
    tmp_path: Path,
    read_jsonl: ReadJsonl,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = manifest.parent / "audio" / "u1.wav"
    sound = broken.read_bytes()
    broken.write_bytes(b"no sound")
    assert bulk() == 1
    errors = tmp_path / "out" / "shard-1-of-1.errors.jsonl"
    (row,) = read_jsonl(errors)
    assert (row["id"], row["source"], row["error"]["type"]) == ("u1", str(broken), "AudioError")
    assert [row["id"] for row in read_jsonl(errors.with_name("shard-1-of-1.jsonl"))] == ["u0", "u2"]
    err = capsys.readouterr().err.splitlines()
    assert err == [f"AudioError: {row['error']['message']}", "shard-1-of-1: 2 extracted, 1 failed"]
    broken.write_bytes(sound)
    assert bulk() == 0
    assert capsys.readouterr().err == "shard-1-of-1: 1 extracted, 2 were done before\n"
    assert errors.read_text() == ""


def test_annotation_and_unheard_recordings_do_not_matter(
    tiny_model_dir: Path, tmp_path: Path, make_sound: MakeSound, read_jsonl: ReadJsonl
) -> None:
    path = tmp_path / "plain.jsonl"
    make_sound("talk.wav", 0.5)
    path.write_text('{"id": "talk", "audio": {"path": "talk.wav"}}\n{"id": "text", "text": "No sound at all."}\n')
    assert main(["bulk", str(path), "--output", str(tmp_path / "out"), "--model", str(tiny_model_dir)]) == 1
    assert [row["id"] for row in read_jsonl(tmp_path / "out" / "shard-1-of-1.jsonl")] == ["talk"]
    (row,) = read_jsonl(tmp_path / "out" / "shard-1-of-1.errors.jsonl")
    assert row["error"]["message"] == 'utterance "text" has no audio'


@pytest.mark.parametrize(
    ("more", "key"), [(["--shard", "1/2"], "num_shards"), (["--beams", "2"], "settings"), (["changed"], "manifest")]
)
def test_a_folder_belongs_to_one_run(
    bulk: Callable[..., int],
    manifest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    key: str,
) -> None:
    assert bulk() == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    if more == ["changed"]:
        write_manifest(manifest, read_manifest(manifest)[:2])
        more = []
    capsys.readouterr()
    assert bulk(*more) == 2
    err = capsys.readouterr().err
    assert f"the folder holds a run with {key}" in err
    assert "choose another --output" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert bulk(*more, output="other") == 0


def test_another_model_is_another_run(
    bulk: Callable[..., int], tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "audio" / "u1.wav").write_bytes(b"no sound")
    assert bulk() == 1
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    other = tmp_path / "other-model"
    other.mkdir()
    for path in tiny_model_dir.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text())
    for change, told in (
        (lambda: config.update(name="other"), 'a run with model "tiny@'),
        (
            lambda: config.update(name="tiny") or config["run"]["decode"].update(threshold=0.99),
            "run with config_sha256",
        ),
    ):
        change()
        (other / "config.json").write_text(json.dumps(config))
        capsys.readouterr()
        assert bulk("--model", str(other)) == 2
        assert told in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("fault", [MemoryError("no room"), ValueError("a fault of ours")])
def test_a_recording_on_which_the_model_fails_does_not_stop_the_others(
    bulk: Callable[..., int],
    expected: list[dict],
    tmp_path: Path,
    read_jsonl: ReadJsonl,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    analyze = Extractor._analyze

    def failing(self: Extractor, chunks: Any) -> Any:
        if any(job.opened.id == "u1" for job, _ in chunks):
            raise fault
        return analyze(self, chunks)

    monkeypatch.setattr(Extractor, "_analyze", failing)
    assert bulk() == 1
    rows = {row["id"]: row for row in read_jsonl(tmp_path / "out" / "shard-1-of-1.jsonl")}
    assert rows == {row["id"]: row for row in json.loads(json.dumps(expected)) if row["id"] != "u1"}
    (row,) = read_jsonl(tmp_path / "out" / "shard-1-of-1.errors.jsonl")
    assert (row["id"], row["error"]["type"]) == ("u1", "SpeechreError")


def test_a_model_that_always_fails_ends_the_run(
    bulk: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read_jsonl: ReadJsonl
) -> None:
    monkeypatch.setattr("speechre.bulk.run._FAULTS_MAX", 1)

    def failing(self: Extractor, chunks: Any) -> Any:
        raise ValueError("it is not the recording")

    monkeypatch.setattr(Extractor, "_analyze", failing)
    with pytest.raises(ValueError, match="it is not the recording"):
        bulk()
    assert len(read_jsonl(tmp_path / "out" / "shard-1-of-1.errors.jsonl")) == 1


def test_a_link_to_a_manifest_looks_for_sound_beside_the_link(
    manifest: Path, tiny_model_dir: Path, tmp_path: Path, read_jsonl: ReadJsonl
) -> None:
    (tmp_path / "real").mkdir()
    real = manifest.rename(tmp_path / "real" / "gold.jsonl")
    manifest.symlink_to(real)
    command = ["bulk", str(manifest), "--output", str(tmp_path / "out"), "--model", str(tiny_model_dir)]
    assert main(command) == 0
    assert len(read_jsonl(tmp_path / "out" / "shard-1-of-1.jsonl")) == 3


def test_batch_and_device_are_no_other_run(bulk: Callable[..., int]) -> None:
    assert bulk("--shard", "1/2", "--batch-size", "1") == 0
    assert bulk("--shard", "2/2", "--batch-size", "auto", "--memory-mib", "3000", "--device", "cpu") == 0


def test_faults_of_the_manifest_are_found_before_anything_is_written(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faulty.jsonl"
    path.write_text('{"id": "a", "audio": {"path": "a.wav"}}\n{"id": "a", "audio": {"path": "b.wav"}}\n')
    out = tmp_path / "out"
    assert main(["bulk", str(path), "--output", str(out), "--model", str(tiny_model_dir), "--shard", "1/2"]) == 1
    assert "faulty.jsonl:2" in capsys.readouterr().err
    assert not out.exists()


def test_options_of_a_cluster_need_one(bulk: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert bulk("--ray-shards", "2") == 2
    assert "--ray-shards and --ray-cpus have no effect without --ray" in capsys.readouterr().err
    assert bulk("--ray", "local", "--shard", "1/2") == 2
    capsys.readouterr()
    assert bulk("--ray", "local", "--device", "cuda:1") == 2
    assert "--device cuda:1 with --ray: expected cpu, or cuda" in capsys.readouterr().err


def test_without_ray_it_is_said_how_to_install_it(
    bulk: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert bulk("--ray", "local") == 2
    assert 'pip install "speechre[ray]"' in capsys.readouterr().err


@pytest.fixture
def long_manifest(tmp_path: Path, make_sound: MakeSound) -> Path:
    """Forty recordings."""
    paths = [make_sound(f"long/{number}.wav", 0.4, number % 5) for number in range(40)]
    path = tmp_path / "long.jsonl"
    write_manifest(path, [Utterance(f"r{n}", AudioRef(str(sound), 0.0)) for n, sound in enumerate(paths)])
    return path


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_killed_run_goes_on_and_nothing_is_done_twice_or_lost(
    long_manifest: Path, tiny_model_dir: Path, tmp_path: Path, read_jsonl: ReadJsonl
) -> None:
    command = [sys.executable, "-m", "speechre", "bulk", str(long_manifest), "--output", str(tmp_path / "out")]
    command += ["--model", str(tiny_model_dir), "--batch-size", "2"]
    path = tmp_path / "out" / "shard-1-of-1.jsonl"
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while lines(path) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = lines(path)
    assert 4 <= before < 40
    with path.open("ab") as file:
        file.write(b'{"id": "r39", "sou')  # what the kernel might have kept of a row
    kept = path.read_bytes().splitlines()[:before]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert path.read_bytes().splitlines()[:before] == kept
    assert done.stderr == f"shard-1-of-1: {40 - before} extracted, {before} were done before\n"
    assert [row["id"] for row in read_jsonl(path)] == [f"r{number}" for number in range(40)]


@pytest.fixture
def own_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    # Processes of the cluster import the tests' tiny network from where the tests do.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default a busy machine lets the cluster wait
    yield ray
    assert not ray.is_initialized()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_does_all_parts(
    own_ray: Any,
    long_manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    read_jsonl: ReadJsonl,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (long_manifest.parent / "long" / "7.wav").write_bytes(b"no sound")
    command = ["bulk", str(long_manifest), "--output", str(tmp_path / "out"), "--model", str(tiny_model_dir)]
    command += ["--ray", "local", "--ray-cpus", "1", "--ray-shards", "3"]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert all(f"shard-{number}-of-3: " in err for number in (1, 2, 3))
    assert "r7: " in err
    rows = [read_jsonl(tmp_path / "out" / f"shard-{number}-of-3.jsonl") for number in (1, 2, 3)]
    assert sorted(row["id"] for part in rows for row in part) == sorted(f"r{n}" for n in range(40) if n != 7)
    assert [row["id"] for row in rows[1]][:3] == ["r1", "r4", "r10"]
    assert main([*command[:-1], "4"]) == 2
    assert "the folder holds a run with num_shards 3, this one has 4" in capsys.readouterr().err
    assert main(command[:-2]) == 1  # as many parts as before
    assert "shard-1-of-3: 0 extracted, 14 were done before\n" in capsys.readouterr().err
    assert main([*command[:-4], "--ray-cpus", "9999"]) == 2
    assert "no machine of the cluster has 9999 CPUs" in capsys.readouterr().err


@pytest.mark.slow
def test_where_there_is_no_cluster_it_is_said(
    own_ray: Any, bulk: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk("--ray", "127.0.0.1:1") == 2
    assert "--ray 127.0.0.1:1: no cluster there" in capsys.readouterr().err
