"""The front door: every kind of input, the same answers in any batch, failures named."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechre import AudioError, AudioRef, Extraction, Extractor, Utterance
from speechre.errors import CheckpointError, SpeechreError, UsageError
from speechre.extract.extractor import NO_SPEECH
from speechre.extract.vad import FRAME_SAMPLES
from tests.tiny import tones

RATE = 16000


@pytest.fixture(scope="module")
def extractor(tiny_model_dir: Path) -> Extractor:
    return Extractor.from_pretrained(tiny_model_dir)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    soundfile.write(path, tones(1, 2.5), RATE, subtype="FLOAT")
    return path


def test_every_kind_of_input_gives_the_same_answer(extractor: Extractor, wav: Path) -> None:
    by_path = extractor(wav)
    assert by_path.id == "talk"
    assert by_path.source == str(wav)
    assert by_path.duration_s == pytest.approx(2.5)
    assert set(by_path.relation_probabilities) == set(extractor.checkpoint.schema.relation_types)
    array = tones(1, 2.5)
    utterance = Utterance("u1", AudioRef(str(wav)))
    others = [
        extractor(str(wav)),
        extractor(wav.read_bytes()),
        extractor(bytearray(wav.read_bytes())),
        extractor(memoryview(wav.read_bytes())),
        extractor(io.BytesIO(wav.read_bytes())),
        extractor(array, RATE),
        extractor((array, RATE)),
        extractor(np.stack([array, array], axis=1), RATE),
        extractor(utterance),
    ]
    with tempfile.NamedTemporaryFile() as file:  # no io.IOBase, but a wrapper of one
        file.write(wav.read_bytes())
        file.seek(0)
        others.insert(0, extractor(file))
    for other in others:
        assert other.triplets == by_path.triplets
        assert other.transcript == by_path.transcript
    assert others[-1].id == "u1"


def test_a_list_gives_a_list_and_a_generator_a_lazy_iterator(extractor: Extractor, wav: Path) -> None:
    assert [one.id for one in extractor([wav, wav])] == ["talk", "talk"]
    taken = []

    def sources() -> Iterator[Path]:
        for number in range(100):
            taken.append(number)
            yield wav

    first = next(extractor(sources()))
    assert isinstance(first, Extraction)
    assert len(taken) == extractor.batch_size


def test_a_window_of_an_utterance_is_what_is_heard(extractor: Extractor, wav: Path) -> None:
    windowed = extractor(Utterance("w", AudioRef(str(wav), start_s=0.5, duration_s=1.0)))
    assert windowed.duration_s == pytest.approx(1.0)
    assert windowed.transcript == extractor(tones(1, 2.5)[RATE // 2 : RATE // 2 + RATE], RATE).transcript


def test_answers_do_not_depend_on_batch_size_or_neighbours(tiny_model_dir: Path) -> None:
    recordings = [(tones(seed, 0.4 + 0.31 * seed), RATE) for seed in range(16)]

    def answers(batch_size: int, sequence: list[int]) -> dict[int, object]:
        extractor = Extractor.from_pretrained(tiny_model_dir, batch_size=batch_size, beams=2)
        analyses = [analysis for _, analysis in extractor.analyze_many([recordings[i] for i in sequence])]
        return {
            i: (a.triplets, a.transcript, a.problems, {o: [h.triplets for h in hs] for o, hs in a.hypotheses.items()})
            for i, a in zip(sequence, analyses, strict=True)
        }

    alone = answers(1, list(range(16)))
    assert sum(bool(triplets) for triplets, *_ in alone.values()) >= 8, "too few triplets to mean anything"  # type: ignore[misc]
    assert answers(4, list(range(16))) == alone
    assert answers(16, [int(i) for i in np.random.default_rng(0).permutation(16)]) == alone


@pytest.mark.slow
def test_the_shipped_model_answers_alike_in_any_batch() -> None:
    files = sorted((Path(__file__).parent.parent.parent / "samples").glob("*.flac"))

    def answers(batch_size: int, sequence: list[int]) -> dict[int, object]:
        extractor = Extractor.from_pretrained(batch_size=batch_size, beams=2)
        found = extractor([files[i] for i in sequence])
        return {
            i: (e.transcript, [(t, t.votes, t.orders, round(t.confidence or 0, 3)) for t in e.triplets])
            for i, e in zip(sequence, found, strict=True)
        }

    everything = list(range(len(files)))
    alone = answers(1, everything)
    assert sum(len(triplets) for _, triplets in alone.values()) >= 5  # type: ignore[misc]
    assert answers(4, everything) == alone
    assert answers(16, everything[::-1]) == alone


def test_long_recordings_are_chunked(extractor: Extractor) -> None:
    extraction = extractor(tones(3, 41.0), RATE)
    assert extraction.duration_s == pytest.approx(41.0)
    assert extraction.transcript is not None


@pytest.mark.parametrize("decode", [{"threshold": 0.3}, {"vote": "paper", "min_votes": 3}])
def test_candidates_are_what_the_vote_weighed_and_answers_stay_the_same(
    decode: dict[str, object], tiny_model_dir: Path
) -> None:
    """In short recordings and in one of two chunks; without a threshold the extractor answers with all of them."""
    recordings = [(tones(seed, 0.5 + seed), RATE) for seed in range(4)] + [(tones(3, 41.0), RATE)]
    strict, loose = (
        Extractor.from_pretrained(tiny_model_dir, beams=2, **options)
        for options in (decode, {**decode, "threshold": 0.0, "min_votes": 1})
    )
    num_dropped = 0
    pairs = zip(strict.analyze_with_candidates(recordings), strict(recordings), loose(recordings), strict=True)
    for (recording, analysis, candidates), answer, everything in pairs:
        assert strict.extraction(recording, analysis).to_dict() == answer.to_dict()
        evidence = [[(t, t.confidence, t.votes, t.orders) for t in ts] for ts in (candidates, everything.triplets)]
        assert evidence[0] == evidence[1]
        assert {(t, t.confidence) for t in answer.triplets} <= {(t, t.confidence) for t in candidates}
        num_dropped += len(candidates) - len(answer.triplets)
    assert num_dropped > 0, "nothing was dropped: this proves nothing"


def test_failures_are_named_or_raised(extractor: Extractor, wav: Path, tmp_path: Path) -> None:
    bad = tmp_path / "empty.wav"
    bad.touch()
    with pytest.raises(AudioError, match=r"empty\.wav"):
        extractor([wav, bad])
    failed: list[tuple[str, str]] = []
    good = list(extractor.extract_many([wav, bad, wav], lambda name, error: failed.append((name, str(error)))))
    assert len(good) == 2
    assert [name for name, _ in failed] == [str(bad)]
    with pytest.raises(AudioError, match='"u1" has no audio'):
        extractor(Utterance("u1", None))


def test_a_fault_of_decoding_is_not_told_of_the_recording_that_is_read_meanwhile(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(tmp_path / f"{n}.wav", tones(n, 1.0)) for n in range(4)]
    extractor = Extractor.from_pretrained(tiny_model_dir, batch_size=2)
    monkeypatch.setattr(extractor.engine, "decode", lambda *_: (_ for _ in ()).throw(UsageError("of decoding")))
    told: list[str] = []
    with pytest.raises(UsageError, match="of decoding"):
        list(extractor.extract_many(files, lambda name, error: told.append(name)))
    assert told == []


def test_what_came_before_a_fault_is_delivered(extractor: Extractor, wav: Path, tmp_path: Path) -> None:
    def breaks() -> Iterator[Path]:
        yield from (wav, wav)
        raise LookupError("no more")

    for sources, error in ((iter([wav, wav, tmp_path / "none.wav", wav]), AudioError), (breaks(), LookupError)):
        delivered: list[str] = []
        with pytest.raises(error):  # noqa: PT012 - what the loop did before is what is asked
            for one in extractor(sources):
                delivered.append(one.id)  # noqa: PERF401 - one by one, until it raises
        assert delivered == ["talk", "talk"]


def test_a_file_object_that_cannot_be_read_is_one_recording_s_fault(extractor: Extractor, wav: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    closed = wav.open("rb")
    closed.close()
    failed: list[str] = []
    sources: list[Any] = [wav, Broken(), closed, wav.open(encoding="utf-8"), wav]
    found = list(extractor.extract_many(sources, lambda name, error: failed.append(str(error))))
    sources[3].close()
    assert [one.id for one in found] == ["talk", "talk"]
    assert len(failed) == 3
    assert all("cannot be read" in message or "not bytes" in message for message in failed)


def test_a_rate_beside_a_file_is_refused(extractor: Extractor, wav: Path) -> None:
    with pytest.raises(UsageError, match="with a sampling rate; only an array needs one"):
        extractor(wav, 8000)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"got list with a sampling rate.*numpy\.asarray"):
        extractor([0.0, 0.1], 8000)  # type: ignore[call-overload]


def test_an_empty_path_is_named(extractor: Extractor) -> None:
    with pytest.raises(AudioError, match='"": this is a folder'):
        extractor("")


def test_numbers_of_numpy_are_numbers(tiny_model_dir: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_model_dir, beams=np.int64(2), threshold=np.float32(0.5))
    assert (extractor.checkpoint.config.decode.beams, extractor.checkpoint.config.decode.threshold) == (2, 0.5)


def test_no_second_listener_may_be_said_as_on_the_command_line(tiny_model_dir: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_model_dir, second_listener="none")
    assert extractor.checkpoint.config.decode.second_listener == ""


def test_threads_take_turns(extractor: Extractor, wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, inside, most = extractor.engine.decode, [0], [0]

    def watched(*arguments: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        decoded = decode(*arguments)
        inside[0] -= 1
        return decoded

    monkeypatch.setattr(extractor.engine, "decode", watched)
    with ThreadPoolExecutor(4) as pool:
        answers = [one.to_dict() for one in pool.map(extractor, [wav] * 8)]
    assert most == [1]
    assert answers == [answers[0]] * 8


FORKED = """
import multiprocessing, sys
from speechre import Extractor

model, sound = sys.argv[1:]
extractor = Extractor.from_pretrained(model, device="cpu")

def hear(queue, own):
    ours = Extractor.from_pretrained(model, device="cpu") if own else extractor
    queue.put([triplet.to_dict() for triplet in ours(sound).triplets])

expected = [triplet.to_dict() for triplet in extractor(sound).triplets]
context = multiprocessing.get_context("fork")
for own in (False, True):
    queue = context.Queue()
    context.Process(target=hear, args=(queue, own), daemon=True).start()
    assert len(queue.get(timeout=60)) == len(expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_hears_too(tiny_model_dir: Path, wav: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(tiny_model_dir), str(wav)],
        capture_output=True, text=True, timeout=150, check=False, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_is_no_recording_is_reported_like_one_that_cannot_be_heard(extractor: Extractor, wav: Path) -> None:
    failed: list[str] = []
    sources: list[Any] = [wav, None, (np.zeros((3, 4, 5)), RATE), (np.zeros(100), None), wav]
    found = list(extractor.extract_many(sources, lambda name, error: failed.append(f"{type(error).__name__}: {error}")))
    assert [one.id for one in found] == ["talk", "talk"]
    assert [message.split(":")[0] for message in failed] == ["UsageError", "AudioError", "AudioError"]
    assert "got NoneType" in failed[0]


def test_a_batch_that_memory_is_too_short_for_is_analyzed_in_parts(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(tmp_path / f"{n}.wav", tones(n, 1 + 0.2 * n)) for n in range(5)]
    extractor = Extractor.from_pretrained(tiny_model_dir, batch_size=5)
    expected = [one.to_dict() for one in extractor.extract_many(files)]
    most = [2]
    sizes: list[int] = []
    decode = extractor.engine.decode

    def short(mels: Sequence[Any], *rest: Any) -> Any:
        sizes.append(len(mels))
        if len(mels) > most[0]:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        return decode(mels, *rest)

    monkeypatch.setattr(extractor.engine, "decode", short)
    assert [one.to_dict() for one in extractor.extract_many(files)] == expected
    assert sizes == [5, 2, 3, 1, 2]
    most[0] = 0
    with pytest.raises(SpeechreError, match=r"0\.wav: not enough memory for 1\.0 s of sound; use fewer beams"):
        list(extractor.extract_many(files))
    monkeypatch.setattr(extractor.engine, "decode", lambda *_: (_ for _ in ()).throw(RuntimeError("other")))
    with pytest.raises(RuntimeError, match="other"):
        list(extractor.extract_many(files))


def test_usage_errors(extractor: Extractor, tiny_model_dir: Path) -> None:
    with pytest.raises(UsageError, match="sampling rate"):
        extractor(np.zeros(10))  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="expected a path"):
        extractor(42)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="unknown order"):
        Extractor.from_pretrained(tiny_model_dir, orders=("xyz",))
    with pytest.raises(UsageError, match='unknown key "beam"'):
        Extractor.from_pretrained(tiny_model_dir, beam=3)
    with pytest.raises(UsageError, match="batch size 0"):
        Extractor.from_pretrained(tiny_model_dir, batch_size=0)
    with pytest.raises(CheckpointError, match="neither a folder nor a shipped model"):
        Extractor.from_pretrained("no-such-model")


# --- long recordings and evidence


def talk(duration_s: float, seed: int = 0) -> np.ndarray:
    """Syllables of tones with pauses: what the energy detector takes for speech."""
    rng = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < duration_s * RATE:
        parts += [tones(int(rng.integers(1000)), rng.uniform(2, 8)), np.zeros(round(rng.uniform(0.6, 1.5) * RATE))]
    return np.concatenate(parts)[: round(duration_s * RATE)].astype(np.float32)


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def test_entities_lie_in_the_recording_and_where_their_text_was_said(extractor: Extractor, tmp_path: Path) -> None:
    long = write(tmp_path / "long.wav", np.concatenate([talk(70.0), np.zeros(20 * RATE)]))
    extraction = extractor(long)
    assert extraction.triplets
    entities = [entity for t in extraction.triplets for entity in (t.head, t.tail)]
    assert max(e.start_s or 0 for e in entities) > 31, "nothing was found behind the first chunk: this proves little"
    for entity in entities:
        assert entity.start_s is not None
        assert entity.end_s is not None
        assert 0 <= entity.start_s <= entity.end_s <= 70.3
        assert (extraction.transcript or "")[entity.start : entity.end] == entity.text
    assert all(set(t["head"]) == {"text", "type", "start_s", "end_s"} for t in extraction.to_dict()["triplets"])


def test_a_window_s_times_are_those_of_its_file(extractor: Extractor, tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", talk(60.0, 1))
    whole = extractor(Utterance("u", AudioRef(str(path), 20.0, 3.0)))
    alone = extractor(talk(60.0, 1)[20 * RATE : 23 * RATE], RATE)
    assert whole.triplets
    assert whole.triplets == alone.triplets
    for ours, theirs in zip(whole.triplets, alone.triplets, strict=True):
        assert (ours.start_s or 0) == pytest.approx((theirs.start_s or 0) + 20.0)


def test_a_stream_tells_each_chunk_as_the_recording_tells_all(tiny_model_dir: Path, tmp_path: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_model_dir, batch_size=3)
    path = write(tmp_path / "long.wav", talk(80.0, 2))
    whole, parts = extractor(path), list(extractor.stream(path))
    assert len(parts) > 5
    assert " ".join(part.transcript for part in parts if part.transcript) == whole.transcript
    assert {t for part in parts for t in part.triplets} == set(whole.triplets)
    assert len({part.id for part in parts}) == len(parts)
    ends = 0.0
    for part in parts:
        start_s, end_s = map(float, part.id.removeprefix("long#t=").split(","))
        assert ends <= start_s + 0.01
        ends = end_s
        assert part.duration_s == pytest.approx(end_s - start_s, abs=0.011)
        assert part.source == str(path)
        for t in part.triplets:
            assert start_s - 0.01 <= (t.start_s or 0) <= (t.end_s or 0) <= end_s + 0.01


def test_a_stream_waits_for_no_more_than_its_batch(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Extractor.from_pretrained(tiny_model_dir, batch_size=1)
    given = []

    def blocks(*args: object, **options: object) -> Iterator[np.ndarray]:
        for number in range(100):
            given.append(number)
            yield talk(10.0, number)

    monkeypatch.setattr("speechre.extract.recordings.read_blocks", blocks)
    next(extractor.stream("endless.wav"))
    assert len(given) < 8


def test_speech_without_a_pause_is_told_once(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chunks overlap; no statement of the overlap is told by both, and its words stand in the transcript once."""
    extractor = Extractor.from_pretrained(tiny_model_dir, batch_size=4)
    all_speech = lambda samples: np.ones(len(samples) // FRAME_SAMPLES, dtype=bool)  # noqa: E731
    monkeypatch.setattr("speechre.extract.listening.make_detector", lambda name: all_speech)
    path = write(tmp_path / "steady.wav", tones(3, 45.0))
    parts = list(extractor.stream(path))
    assert len(parts) == 2
    (_, first_end), (second_start, _) = (map(float, p.id.split("#t=")[1].split(",")) for p in parts)
    assert first_end > second_start
    whole = extractor(path)
    assert whole.transcript == " ".join(part.transcript for part in parts if part.transcript)
    assert len(set(whole.triplets)) == len(whole.triplets)


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_a_long_recording_without_speech_says_so(extractor: Extractor, level: float) -> None:
    still = level * np.random.default_rng(0).standard_normal(65 * RATE).astype(np.float32)
    extraction = extractor(still, RATE)
    assert extraction.triplets == ()
    assert extraction.transcript == ""
    assert extraction.warnings == (NO_SPEECH,)
    assert extraction.duration_s == pytest.approx(65.0)
    assert set(extraction.relation_probabilities.values()) == {0.0}
    assert list(extractor.stream((still, RATE))) == []
    assert [len(c) for _, _, c in extractor.analyze_with_candidates([(still, RATE)])] == [0]


def test_a_recording_that_breaks_off_is_left_out_whole(tiny_model_dir: Path, tmp_path: Path) -> None:
    """Long enough that several batches were decoded before the fault shows; its neighbours are complete."""
    extractor = Extractor.from_pretrained(tiny_model_dir, batch_size=2)
    good, broken = write(tmp_path / "good.wav", talk(2.0)), tmp_path / "broken.flac"
    soundfile.write(broken, talk(90.0, 3), RATE)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 3 // 4])
    failed: list[str] = []
    positions: dict[str, float] = {}
    found = list(
        extractor.extract_many(
            [good, broken, good], lambda name, error: failed.append(name), lambda name, s: positions.update({name: s})
        )
    )
    assert [one.id for one in found] == ["good", "good"]
    assert found[0].to_dict() == found[1].to_dict() == extractor(good).to_dict()
    assert failed == [str(broken)]
    assert positions[str(good)] == pytest.approx(2.0)
    assert 20 < positions[str(broken)] < 90
    with pytest.raises(AudioError, match="truncated or damaged"):
        list(extractor.stream(broken))


def test_an_unknown_detector_is_refused(tiny_model_dir: Path) -> None:
    with pytest.raises(UsageError, match='unknown voice activity detector "loud"'):
        Extractor.from_pretrained(tiny_model_dir, vad="loud")
