"""Several processes give the answers of one."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.errors import CheckpointError, SpeechreError, UsageError
from speechre.extract.extractor import Extractor
from speechre.extract.workers import WorkerPool, _StoppedError, _Worker
from tests.conftest import MakeSound


@pytest.fixture
def files(make_sound: MakeSound) -> list[Path]:
    return [make_sound(f"{n}.wav", 0.4 + 0.3 * n, n) for n in range(5)]


@pytest.fixture(scope="module")
def pool(tiny_model_dir: Path) -> Iterator[WorkerPool]:
    with WorkerPool(2, partial(Extractor.from_pretrained, tiny_model_dir, batch_size=2), shard_size=2) as pool:
        yield pool


def test_answers_come_in_sequence_and_are_those_of_one_process(
    pool: WorkerPool, files: list[Path], tiny_model_dir: Path
) -> None:
    alone = Extractor.from_pretrained(tiny_model_dir, batch_size=2)
    assert pool.num_orders() == len(alone.engine.orders)
    progress: dict[str, float] = {}
    found = list(pool.extract_many(files, on_progress=progress.__setitem__))
    assert [one.to_dict() for one in found] == [one.to_dict() for one in alone.extract_many(files)]
    assert progress == {str(file): pytest.approx(one.duration_s) for file, one in zip(files, found, strict=True)}


def test_what_cannot_be_heard_is_told_and_the_rest_goes_on(pool: WorkerPool, files: list[Path]) -> None:
    files[1].write_bytes(b"no sound")
    failed: list[str] = []
    found = list(pool.extract_many(files, lambda name, error: failed.append(f"{name}: {type(error).__name__}")))
    assert failed == [f"{files[1]}: AudioError"]
    assert [one.source for one in found] == [str(file) for file in files if file != files[1]]
    with pytest.raises(SpeechreError, match=r"1\.wav"):
        list(pool.extract_many(files))
    assert list(pool.extract_many([])) == []


def test_nobody_waits_for_shards_when_the_pool_is_left(files: list[Path]) -> None:
    class Endless:
        def extract_many(self, files: list[Path], on_error: object, on_progress: Callable[[str, float], None]) -> None:
            while True:
                on_progress("a.wav", 1.0)
                stop.set()

    stop, told = threading.Event(), queue.Queue[object]()
    with pytest.raises(_StoppedError):
        _Worker(Endless, told, stop).hear(1, files)  # type: ignore[arg-type]
    assert told.get_nowait() == ("a.wav", 1.0)
    assert told.empty()


def test_leaving_the_pool_stops_its_workers(files: list[Path], tiny_model_dir: Path) -> None:
    with WorkerPool(1, partial(Extractor.from_pretrained, tiny_model_dir), shard_size=1) as pool:
        assert len(list(pool.extract_many(files[:1]))) == 1
        assert not pool._stop.is_set()
    assert pool._stop.is_set()


class Chatty:
    """Tells more progress than a pipe holds."""

    def extract_many(
        self, files: list[Path], on_error: object, on_progress: Callable[[str, float], None]
    ) -> list[None]:
        for second in range(4000):
            on_progress("a recording with quite a long name.wav", float(second))
        return []


def test_progress_that_nobody_reads_any_more_keeps_nobody_from_leaving(files: list[Path]) -> None:
    def break_off(name: str, second: float) -> None:
        raise BrokenPipeError

    def leave() -> None:
        with (
            pytest.raises(BrokenPipeError),
            WorkerPool(1, Chatty) as pool,  # type: ignore[arg-type]
        ):
            list(pool.extract_many(files[:1], on_progress=break_off))

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def die() -> Extractor:
    os._exit(9)


def test_a_process_that_dies_is_told_in_plain_words(files: list[Path]) -> None:
    with WorkerPool(2, die) as pool, pytest.raises(SpeechreError, match="one of 2 worker processes ended by itself"):
        list(pool.extract_many(files))


def test_a_model_that_cannot_be_loaded_is_told_as_without_workers(tmp_path: Path) -> None:
    with (
        WorkerPool(1, partial(Extractor.from_pretrained, tmp_path / "none")) as pool,
        pytest.raises(CheckpointError, match="neither a folder nor a shipped model"),
    ):
        pool.num_orders()
    with pytest.raises(UsageError, match="0 workers; expected 1 or more"):
        WorkerPool(0, die)


def test_the_command_line_writes_the_same(files: list[Path], tiny_model_dir: Path, tmp_path: Path) -> None:
    command = ["extract", *map(str, files), "--model", str(tiny_model_dir), "--device", "cpu"]
    for workers in ("1", "2"):
        assert main([*command, "--workers", workers, "--output", str(tmp_path / f"{workers}.jsonl")]) == 0
    assert (tmp_path / "2.jsonl").read_bytes() == (tmp_path / "1.jsonl").read_bytes() != b""


def test_workers_are_for_a_cpu(
    files: list[Path], tiny_model_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechre.model.device.choose_device", lambda name: "cuda")
    assert main(["extract", *map(str, files), "--model", str(tiny_model_dir), "--workers", "2"]) == 2
    assert "--workers 2 is for a CPU, the device is cuda; add --device cpu" in capsys.readouterr().err
