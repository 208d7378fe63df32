"""benchmarks/engines.py: the engines write what they should, the arithmetic is the network's, the table is whole."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from speechre.decode.readings import WeighedTranscript
from speechre.decode.search import Generation
from speechre.decode.transcripts import Transcript
from speechre.model.checkpoint import load_checkpoint
from speechre.model.weights import WhisperConfig
from tests.conftest import MakeSound

NAMES = ("bound", "curves", "export", "others", "process", "sides")
MODULES = ("engines", *(f"engines_{name}" for name in NAMES))
TINY_EN = WhisperConfig(51_881, 80, 384, 4, 6, 4, 6, 1536, 1536)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def load_side(side: object, task: object) -> Any:
    return script("engines_process").load_side(side, task)


@pytest.fixture
def recordings(make_sound: MakeSound) -> tuple[Any, ...]:
    return tuple(script("engines_sides").read_clip(make_sound(f"{n}.wav", 0.7 + 0.5 * n, n)) for n in range(2))


def free_generations(side: object, task: object, told: object) -> list[dict[str, tuple[Generation, ...]]]:
    """What our engine writes of each recording with the transcripts it is given, without constraint."""
    sides = script("engines_sides")
    checkpoint = sides.checkpoint_of(side, task)
    config = checkpoint.config
    decode = replace(config.decode, constrained=False, copy_entities=False)
    engine = sides.TellingEngine(checkpoint.network, checkpoint.sequencer(), config.model, decode)
    out = []
    for recording, one in zip(task.recordings, told, strict=True):  # type: ignore[attr-defined, call-overload]
        engine.given = [Transcript(one.transcript_ids, True, (WeighedTranscript("", 1.0),))]
        (decoded,) = engine.decode([sides.mel_of(checkpoint, recording.samples)], [one.relations])
        out.append(dict(decoded.generations))
    return out


@pytest.mark.parametrize("kind", ["ctranslate2", "hugging-face"])
def test_other_engines_write_what_our_engine_writes_without_constraint(
    kind: str, tiny_model_dir: Path, recordings: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights, the same prompts: the same tokens, and so a fair comparison."""
    pytest.importorskip(kind.replace("hugging-face", "transformers"))
    sides, export = script("engines_sides"), script("engines_export")
    task = sides.Task(str(tiny_model_dir), 1, 2, recordings)
    if kind == "ctranslate2":
        export.export_hugging_face(load_checkpoint(str(tiny_model_dir)), tmp_path / "hf")
        export.export_ctranslate2(tmp_path / "hf", tmp_path / "ct2", "float32")
        task = replace(task, folders={"float32": str(tmp_path / "ct2")})
    told = load_side(sides.Side("speechre"), task).tell(recordings)
    side = sides.Side(kind)
    engine = load_side(side, task)
    written: list[dict[str, tuple[Generation, ...]]] = []
    answer = engine.answer

    def watch(one: object, generations: dict[str, tuple[Generation, ...]]) -> object:
        written.append(generations)
        return answer(one, generations)

    monkeypatch.setattr(engine, "answer", watch)
    answers = [found for pair in zip(recordings, told, strict=True) for found in engine.run([pair[0]], [pair[1]])]
    expected = free_generations(side, task, told)
    assert len(answers) == len(expected) == 2
    for theirs, ours, one, found in zip(written, expected, told, answers, strict=True):
        assert {o: g[0].ids for o, g in theirs.items()} == {o: g[0].ids for o, g in ours.items()}
        assert {o: g[0].is_finished for o, g in theirs.items()} == {o: g[0].is_finished for o, g in ours.items()}
        lengths = sum(len(g[0].ids) + g[0].is_finished for g in ours.values())
        assert found.num_tokens == len(one.transcript_ids) + 1 + lengths
    if kind == "ctranslate2":  # scores weigh beams in the vote: they must not count the prompt
        for theirs, ours in zip(written, expected, strict=True):
            for order, generations in ours.items():
                assert theirs[order][0].log_prob == pytest.approx(generations[0].log_prob, abs=0.05)


def test_hugging_face_answers_alike_call_after_call(tiny_model_dir: Path, recordings: tuple[Any, ...]) -> None:
    """Its generate repeats encoder states for the beams: in place, were it let."""
    sides = script("engines_sides")
    task = sides.Task(str(tiny_model_dir), 1, 1, recordings[:1])
    (told,) = load_side(sides.Side("speechre"), task).tell(recordings[:1])
    engine = load_side(sides.Side("hugging-face", 2), task)
    rows: list[int] = []
    attention = engine.model.model.decoder.layers[0].encoder_attn
    attention.k_proj.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    first, second = (engine.run(recordings[:1], [told])[0] for _ in range(2))
    assert first == second
    assert len(first.lengths) == 12
    assert max(rows) == 2


def test_the_authors_plan_is_six_passes_of_30_s(tiny_model_dir: Path, recordings: tuple[Any, ...]) -> None:
    sides = script("engines_sides")
    engine = load_side(sides.Side("authors"), sides.Task(str(tiny_model_dir), 1, 2, recordings))
    heard: list[tuple[str, list[int], bool]] = []
    for one in engine.engines:
        decode = one.decode

        def watch(mels: object, one: object = one, decode: object = decode) -> object:
            heard.append((one.orders[0].name, [m.shape[1] for m in mels], one.given is None))  # type: ignore[attr-defined]
            return decode(mels)  # type: ignore[operator]

        one.decode = watch
    answers = engine.run(recordings, ())
    assert [order for order, _, _ in heard] == ["hrt", "htr", "rht", "rth", "thr", "trh"]
    assert all(frames == [3000, 3000] for _, frames, _ in heard)
    assert [writes for _, _, writes in heard] == [True] + [False] * 5  # the transcript, once
    assert all(len(answer.best_lengths) == 6 for answer in answers)


def test_known_figures_of_the_arithmetic() -> None:
    """Of 10 s in tiny.en: 9.2 GFLOP in the encoder (36.9 of 30 s), 1.2 in cross keys and values, 59.6 MFLOP a token of
    which 39.8 are logits over the whole vocabulary."""
    bound = script("engines_bound")
    written = bound.Written(500, 0, 0, 0, 1, (1,), TINY_EN.vocab_size)
    work = {one.stage: one.flops for one in bound.work_of(TINY_EN, written, 1)}
    assert work["encoder"] / 1e9 == pytest.approx(9.2, abs=0.1)
    assert work["cross keys/values"] / 1e9 == pytest.approx(1.2, abs=0.05)
    assert work["orders"] / 1e6 == pytest.approx(59.6, rel=0.02)
    assert work["transcript"] == work["prefill"] == 0
    few = bound.work_of(TINY_EN, replace(written, num_answer_words=0), 1)
    assert (work["orders"] - few[-1].flops) / 1e6 == pytest.approx(39.8, abs=0.1)
    long = {one.stage: one.flops for one in bound.work_of(TINY_EN, replace(written, num_frames=1500), 1)}
    assert long["encoder"] / 1e9 == pytest.approx(36.9, abs=0.3)


def test_rows_and_what_they_are_held_against() -> None:
    engines = script("engines")
    chosen = engines.choose_sides(["ctranslate2 int8 greedy", "faster*"]) if engine_packages() else []
    if chosen:
        assert [s.name for s in chosen] == [
            "speechre greedy",
            "speechre beam 3",
            "ctranslate2 int8 greedy",
            "faster-whisper int8 beam 5",
        ]
    names = [side.name for side in engines.all_sides()]
    assert len(set(names)) == len(names)
    assert {side.compared_with.name for side in engines.all_sides()} <= set(names)
    assert engines.choose_sides(["authors beam 3, no transcript"])[0].name == "speechre beam 3, no transcript"


def engine_packages() -> bool:
    return all(importlib.util.find_spec(name) for name in ("ctranslate2", "transformers", "faster_whisper"))


def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = script("engines")
    assert engines.main(["--sides", "whisperx*"]) == 2
    assert capsys.readouterr().err == 'engines: no row is called "whisperx*"; --list prints their names\n'
    assert engines.main([str(tmp_path / "none.jsonl"), "--sides", "speechre greedy"]) == 2
    assert "no such file" in capsys.readouterr().err
    monkeypatch.setattr(engines, "PACKAGES", {"faster-whisper": ("no_such_package",)})
    assert engines.main(["--sides", "faster*"]) == 2
    assert "needs no_such_package, not installed" in capsys.readouterr().err


def test_more_rows_than_memory_are_refused(tmp_path: Path) -> None:
    engines = script("engines")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16000000 kB\nMemAvailable:    4096000 kB\n")
    engines.check_memory(4, meminfo)
    with pytest.raises(engines.UsageError, match=r"5 rows need about 4500 MiB of memory, .*; 4000 MiB are free"):
        engines.check_memory(5, meminfo)
    engines.check_memory(5, tmp_path / "none")


def test_a_side_that_fails_says_why(tiny_model_dir: Path, recordings: tuple[Any, ...]) -> None:
    process, sides = script("engines_process"), script("engines_sides")
    task = sides.Task(str(tiny_model_dir), 1, 1, recordings)
    with pytest.raises(RuntimeError, match=r"(?s)ctranslate2 int8 greedy: .*KeyError"):
        process.SideProcess(sides.Side("ctranslate2", precision="int8"), task)


def test_one_run_gives_rows_bounds_and_curves(
    manifest: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engines = script("engines")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # One curve: each has a process of its own, and loading is what this test waits for.
    curves = {"duration": [{"duration_s": 1.0, "batch": 1}, {"duration_s": 3.0, "batch": 3}]}
    monkeypatch.setattr(engines, "CURVES", curves)
    arguments = [str(manifest), "--model", str(tiny_model_dir), "--limit", "2", "--repeat", "2", "--threads", "1"]
    sides = ["--sides", "speechre greedy", "authors greedy"]
    assert engines.main([*arguments, *sides, "--curves", "--json", str(tmp_path / "out.json")]) == 0
    out, err = capsys.readouterr()
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["speechre greedy", "authors greedy"]
    assert report["num_utterances"] == 2
    assert report["num_left_out"] == 0
    for row in report["rows"]:
        assert row["ratio_to"] == "speechre greedy"
        assert row["ratio"] == row["s_per_utterance"] / report["rows"][0]["s_per_utterance"]
        assert len(row["passes_s"]) == 2
        assert row["tokens"] > 6
        assert 0 <= row["f1"] <= 1
        assert 0 < row["loaded_mib"] <= row["peak_mib"]
    (bound,) = report["bounds"]
    # No upper limit: on a busy machine the measured rates are anything.
    assert 0 < bound["bound_at_best_rate_s"] <= bound["bound_s"]
    assert set(bound["measured_s"]) == {"encoder", "transcript", "prefill", "orders"}
    assert all(seconds > 0 for seconds in bound["measured_s"].values())
    assert list(report["curves"]) == ["duration"]
    short, long = report["curves"]["duration"]
    assert [(point["duration_s"], point["batch"]) for point in (short, long)] == [(1.0, 1), (3.0, 3)]
    assert short["predicted_mib"] < long["predicted_mib"]
    # Turns go round: the second pass of all begins with another side.
    passes = re.findall(r"pass (\d) of 2: (\w+)", err)
    assert passes == [("1", "speechre"), ("1", "authors"), ("2", "authors"), ("2", "speechre")]
    assert out.count("|---|---|---|---|---|---|---|---|---|") == 2
    assert "| relation head |" in out
