"""The recordings that the README's first command runs on are what their manifest says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import soundfile

from speechre import Utterance, read_manifest
from speechre.schemas import CONLL04

FOLDER = Path(__file__).parents[1] / "samples"
UTTERANCES = read_manifest(FOLDER / "samples.jsonl")


def test_every_recording_is_annotated_and_described_and_the_other_way_round() -> None:
    recordings = {path.name for path in FOLDER.glob("*.flac")}
    assert {Path(u.audio.path).name for u in UTTERANCES if u.audio} == recordings
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\S+)` \|", readme, flags=re.MULTILINE)) == recordings
    assert all(u.text in readme for u in UTTERANCES)


@pytest.mark.parametrize("utterance", UTTERANCES, ids=lambda u: u.id)
def test_a_sample_is_16_khz_mono_and_its_annotation_holds(utterance: Utterance) -> None:
    assert utterance.audio is not None
    info = soundfile.info(FOLDER / Path(utterance.audio.path).name)
    assert (info.samplerate, info.channels, info.format) == (16_000, 1, "FLAC")
    assert info.duration == pytest.approx(utterance.audio.duration_s, abs=1e-6)
    assert 3 < info.duration < 10
    for entity in utterance.entities:
        assert utterance.text[entity.start : entity.end] == entity.text
    for t in utterance.triplets:
        assert CONLL04.allows(t.head.type, t.relation, t.tail.type)


def test_every_relation_is_shown_and_so_is_silence() -> None:
    assert {t.relation for u in UTTERANCES for t in u.triplets} == set(CONLL04.relation_types)
    assert sum(not u.triplets for u in UTTERANCES) == 2


def test_the_script_that_makes_them_has_the_same_texts() -> None:
    script = runpy.run_path(str(FOLDER.parent / "scripts" / "make-samples"))
    plain = {s.id: script["unmark"](s.marked)[0] for s in script["SENTENCES"]}
    assert plain == {u.id: u.text for u in UTTERANCES}
