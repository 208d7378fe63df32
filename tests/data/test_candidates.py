"""Which recordings are kept, why the others are not, and that nothing which interrupts a search changes that."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from speechre.data import candidates
from speechre.data.candidate_ledger import Ledger, discard_ledger
from speechre.data.candidates import REASONS, Candidates, Filter, Places, Rules, find_candidates
from speechre.data.common_voice import open_release
from speechre.data.entity_tagger import TaggedSpan
from speechre.data.store import read_manifest, write_manifest
from speechre.data.validate import validate_manifest
from speechre.errors import DataError, UsageError
from speechre.schema import Schema
from speechre.schemas import ACE05, CONLL04, RETACRED
from tests.releases import WordTagger, make_release, row, write_mp3, write_release

GOOD = "Ann Lee lives in Oslo."


def search(folder: Path, output: Path, rules: Rules | None = None, schema: Schema = ACE05, **more: Any) -> Candidates:
    tagger = more.pop("tagger", None) or WordTagger()
    return find_candidates(open_release(folder), schema, tagger, output, rules, **more)


def dropped(output: Path) -> dict[str, tuple[str, str]]:
    """Line -> reason and detail."""
    with Places(output).dropped.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len({one["line"] for one in rows}) == len(rows)
    return {one["line"]: (one["reason"], one["detail"]) for one in rows}


def files(output: Path) -> list[bytes]:
    places = Places(output)
    assert not places.work.exists()
    return [path.read_bytes() for path in (places.manifest, places.dropped, places.report)]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """One row for every reason, beside rows that are kept."""
    rows = [
        row(1, GOOD, gender="female_feminine"),
        "only\tthree\tfields",
        row(3, "Bo Ek works for Acme.", path="common_voice_en_1.mp3"),
        row(4, "Bo Ek works for Acme.", down_votes=1),
        row(5, " ... "),
        row(6, "Ann Lee lives in OSLO!"),
        row(7, "Nothing happened on Monday."),
        row(8, "Ann Lee met Ann Lee on Friday."),
        row(9, "Acme sold the Nokia phone."),
        row(10, "Cy Orr left Rome.", path="gone.mp3"),
        row(11, "Cy Orr left Paris.", path="broken.mp3"),
        row(12, "Cy Orr left Oslo.", path="long.mp3"),
        row(13, "Bo Ek left Rome.", client_id="speaker-1"),
        row(14, "Bo Ek left Paris.", client_id="speaker-1"),
        row(15, "Cy Orr left Rome."),
        row(16, "nothing happened, on monday"),
        row(17, "Rome and Monday."),
    ]
    folder = write_release(tmp_path / "en", rows)
    (folder / "clips" / "gone.mp3").unlink()
    (folder / "clips" / "broken.mp3").write_bytes(b"this is no sound")
    write_mp3(folder / "clips" / "long.mp3", 1.5)
    return folder


RULES = Rules(max_per_speaker=2, max_duration_s=1.0)
DROPPED = {
    "3": ("malformed-row", "3 fields, the header has 13"),
    "4": ("duplicate-clip", "line 2"),
    "5": ("down-voted", "2 up, 1 down"),
    "6": ("no-words", "..."),
    "7": ("duplicate-sentence", "line 2"),
    "8": ("few-entities", ""),
    "9": ("few-entities", "Ann Lee (Peop), Ann Lee (Peop)"),
    "10": ("no-allowed-pair", "Acme (Org), Nokia phone (Other)"),
    "11": ("missing-audio", "gone.mp3"),
    "12": ("unreadable-audio", "broken.mp3"),
    "13": ("too-long", "1.5 s"),
    "15": ("speaker-full", "speaker-1"),
    "17": ("few-entities", "as line 8"),
    "18": ("few-entities", "Rome (Loc)"),
}


def test_every_row_is_kept_or_has_a_reason(release: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "m.jsonl"
    found = search(release, output, RULES, CONLL04)
    assert [one.id for one in read_manifest(output)] == [f"common_voice_en_{i}" for i in (1, 13, 15)]
    table = dropped(output)
    assert {line: reason for line, (reason, _) in table.items()} == {line: why for line, (why, _) in DROPPED.items()}
    for line, (_, detail) in DROPPED.items():
        assert detail in table[line][1]
    assert set(found.dropped) == set(REASONS)
    assert Counter(reason for reason, _ in table.values()) == found.dropped
    report = json.loads(Places(output).report.read_text())
    assert (report["num_rows"], report["num_kept"], report["num_dropped"]) == (17, 3, 14)
    assert list(report["dropped"]) == list(REASONS)
    assert sum(report["dropped"].values()) == 14


def test_the_manifest_line(release: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "m.jsonl"
    search(release, output, RULES, CONLL04)
    first = json.loads(output.read_text().splitlines()[0])
    duration_s = first["audio"].pop("duration_s")
    assert duration_s == pytest.approx(0.3, abs=0.05)
    assert first == {
        "id": "common_voice_en_1",
        "audio": {"path": "../en/clips/common_voice_en_1.mp3", "start_s": 0.0},
        "text": GOOD,
        "speaker": "speaker-1",
        "entities": [],
        "relations": [],
        "extra": {
            "common_voice": {
                "table": "validated",
                "up_votes": 2,
                "down_votes": 0,
                "duration_s": 0.324,
                "sentence_id": "sentence-1",
                "gender": "female_feminine",
                "locale": "en",
            },
            "ner": {
                "model": "words",
                "schema": "conll04",
                "entities": [
                    {"text": "Ann Lee", "type": "Peop", "start": 0, "end": 7, "label": "PERSON"},
                    {"text": "Oslo", "type": "Loc", "start": 17, "end": 21, "label": "GPE"},
                ],
            },
        },
    }
    assert validate_manifest(output, CONLL04) == []
    again = tmp_path / "out" / "again.jsonl"
    write_manifest(again, read_manifest(output))
    assert again.read_bytes() == output.read_bytes()


def test_the_split_of_a_released_part_is_kept(release: Path, tmp_path: Path) -> None:
    (release / "validated.tsv").rename(release / "dev.tsv")
    find_candidates(open_release(release, "dev"), ACE05, WordTagger(), tmp_path / "m.jsonl")
    assert {one.split for one in read_manifest(tmp_path / "m.jsonl")} == {"dev"}


def test_without_looking_at_recordings_only_the_stated_length_counts(release: Path, tmp_path: Path) -> None:
    table = release / "clip_durations.tsv"
    table.write_text(table.read_text().replace("gone.mp3\t324", "gone.mp3\t31000"), encoding="utf-8")
    found = search(release, tmp_path / "m.jsonl", Rules(check_audio=False), CONLL04)
    assert dropped(tmp_path / "m.jsonl")["11"] == ("too-long", "31.0 s")
    assert {"missing-audio", "unreadable-audio"}.isdisjoint(found.dropped)
    kept = read_manifest(tmp_path / "m.jsonl")
    assert "broken" in {one.id for one in kept}
    assert all(one.audio is not None and one.audio.duration_s is None for one in kept)


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 5, 8])
def test_chunks_change_nothing(release: Path, tmp_path: Path, chunk_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "m.jsonl"
    search(release, output, RULES)
    before = files(output)
    monkeypatch.setattr(candidates, "CHUNK_ROWS", chunk_rows)
    search(release, output, RULES)
    assert files(output) == before


def test_a_sentence_that_no_one_could_record_is_left_to_the_next_speaker(tmp_path: Path) -> None:
    rows = [row(1, GOOD), row(2, "Bo Ek left Rome.", client_id="speaker-1"), row(3, "Bo Ek left Rome.")]
    folder = write_release(tmp_path / "en", rows)
    search(folder, tmp_path / "m.jsonl", Rules(max_per_speaker=1))
    assert [one.speaker for one in read_manifest(tmp_path / "m.jsonl")] == ["speaker-1", "speaker-3"]


def test_what_cheap_rules_drop_is_never_tagged(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "CHUNK_ROWS", 1)
    tagger = WordTagger()
    search(release, tmp_path / "m.jsonl", RULES, CONLL04, tagger=tagger)
    lines = (release / "validated.tsv").read_text().splitlines()
    untagged = {"3", "4", "5", "6", "7", "15", "17"}  # of the dropped ones; no other rule needs the entities
    expected = [line.split("\t")[3] for i, line in enumerate(lines, start=1) if i > 1 and str(i) not in untagged]
    assert tagger.asked == expected


# --- the filter ---


@pytest.mark.parametrize(
    ("text", "schema", "reason"),
    [
        ("Ann Lee lives in Oslo.", CONLL04, ""),
        ("Oslo belongs to Ann Lee.", CONLL04, ""),  # in either direction
        ("Fiat left Oslo.", CONLL04, "no-allowed-pair"),
        ("Fiat carried Ann Lee.", ACE05, ""),  # a product may be a vehicle
        ("Oslo on Monday.", ACE05, "few-entities"),  # no type for dates
        ("Oslo on Monday.", RETACRED, "no-allowed-pair"),
        ("Acme on Monday.", RETACRED, ""),
        ("Oslo, oh OSLO, Oslo!", ACE05, "few-entities"),
    ],
)
def test_two_entities_that_the_schema_lets_relate(text: str, schema: Schema, reason: str) -> None:
    (spans,) = WordTagger().tag([text])
    assert Filter(schema)(text, spans).reason == reason


def test_a_schema_of_ones_own_decides(tmp_path: Path) -> None:
    text = "Ann Lee bought the Nokia phone."
    (spans,) = WordTagger().tag([text])
    pairs = {"Bought": frozenset({("Buyer", "Ware")})}
    shop = Schema("shop", ("Buyer", "Ware"), ("Bought",), pairs)
    assert Filter(shop)(text, spans).reason == "few-entities"  # these labels mean nothing to it yet
    shop = Schema("shop", ("Buyer", "Ware"), ("Bought",), pairs, {}, {"PERSON": ("Buyer",), "PRODUCT": ("Ware",)})
    assert [one["type"] for one in Filter(shop)(text, spans).entities] == ["Buyer", "Ware"]
    assert Filter(shop)(text, spans).reason == ""


# --- interruptions ---


class Stopping(WordTagger):
    """Breaks down in the middle."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the power is gone")
        return super().tag(texts)


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_an_interrupted_search_goes_on(
    release: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CHUNK_ROWS", 3)
    output = tmp_path / "m.jsonl"
    search(release, output, RULES)
    whole = files(output)
    for path in (output, Places(output).dropped, Places(output).report):
        path.unlink()
    with pytest.raises(RuntimeError):
        search(release, output, RULES, tagger=Stopping(after))
    assert not output.exists()
    for name in ("kept.jsonl", "dropped.tsv"):  # written, but not settled
        with (Places(output).work / name).open("a") as file:
            file.write("half a li")
    tagger = WordTagger()
    search(release, output, RULES, tagger=tagger)
    assert files(output) == whole
    assert (GOOD in tagger.asked) == (after == 0)


def test_it_goes_on_with_the_same_settings_only(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "CHUNK_ROWS", 3)
    output = tmp_path / "m.jsonl"
    with pytest.raises(RuntimeError):
        search(release, output, RULES, tagger=Stopping(2))
    with pytest.raises(UsageError, match=r"other settings: max_per_speaker was 2; .*--restart"):
        search(release, output, Rules(max_per_speaker=3, max_duration_s=1.0))
    assert search(release, output, Rules(max_per_speaker=3, max_duration_s=1.0), restart=True).num_rows == 17


def test_a_search_that_got_nowhere_binds_nobody(release: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.jsonl"
    with pytest.raises(RuntimeError):
        search(release, output, RULES, tagger=Stopping(0))
    assert search(release, output, Rules(max_per_speaker=3)).num_rows == 17


def test_a_search_stopped_while_its_files_were_moved(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m.jsonl"
    search(release, output, RULES)
    whole = files(output)
    for path in (output, Places(output).dropped, Places(output).report):
        path.unlink()
    move = os.replace

    def replace_tables_only(source: Path, target: Path) -> None:
        if Path(target) == output:
            raise RuntimeError("the power is gone")
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", replace_tables_only)
        with pytest.raises(RuntimeError):
            search(release, output, RULES)
    assert Places(output).dropped.exists()
    assert not output.exists()
    search(release, output, RULES, tagger=Stopping(0))  # nothing is left to tag
    assert files(output) == whole


def test_a_damaged_folder_is_an_error_that_says_how_to_go_on(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CHUNK_ROWS", 3)
    output = tmp_path / "m.jsonl"
    work = Places(output).work
    for name, content in (("dropped.tsv", b"x"), ("ledger.sqlite", b"no database" * 1000)):
        discard_ledger(work)
        with pytest.raises(RuntimeError):
            search(release, output, RULES, tagger=Stopping(2))
        (work / name).write_bytes(content)
        with pytest.raises(DataError, match="--restart"):
            search(release, output, RULES)
    assert search(release, output, RULES, restart=True).num_rows == 17


def test_two_searches_do_not_write_one_manifest(release: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.jsonl"
    with Ledger(Places(output).work, {}), pytest.raises(UsageError, match="another search is writing there"):
        search(release, output, RULES)


KILLED = """
import sys, time
from pathlib import Path
from speechre.data import candidates
from speechre.data.common_voice import open_release
from speechre.schemas import ACE05
from tests.releases import WordTagger

class Slow(WordTagger):
    def tag(self, texts):
        time.sleep(0.02)
        return super().tag(texts)

candidates.CHUNK_ROWS = 10
print("ready", flush=True)
candidates.find_candidates(open_release(Path(sys.argv[1])), ACE05, Slow(), sys.argv[2])
print("done", flush=True)
"""


def test_kill_9_again_and_again(tmp_path: Path) -> None:
    sentences = [f"{who} left {where} in {year}." for who in ("Ann Lee", "Nobody") for where in ("Oslo", "Rome")
                 for year in range(150)]  # fmt: skip
    folder = write_release(tmp_path / "en", [row(i, text) for i, text in enumerate(sentences)], sounds=False)
    for i in range(len(sentences)):
        (folder / "clips" / f"common_voice_en_{i}.mp3").hardlink_to(
            write_mp3(folder / "sound.mp3") if i == 0 else folder / "sound.mp3"
        )
    output = tmp_path / "m.jsonl"
    command = [sys.executable, "-c", KILLED, str(folder), str(output)]
    root = Path(__file__).parents[2]
    kills = 0
    while not output.exists():
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2 + 0.13 * kills)
        if process.poll() is None and kills < 4:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills >= 2
    killed = files(output)
    search(folder, tmp_path / "whole.jsonl")
    whole = files(tmp_path / "whole.jsonl")
    assert killed[:2] == whole[:2]
    assert json.loads(killed[2]) == json.loads(whole[2])


def test_a_made_release_in_both_layouts_gives_the_same_sentences(tmp_path: Path) -> None:
    texts = []
    for number in (6, 17):
        folder = make_release(tmp_path / str(number), 80, release=number)
        search(folder, tmp_path / f"{number}.jsonl", tagger=Capitals())
        texts.append([one.text for one in read_manifest(tmp_path / f"{number}.jsonl")])
    assert texts[0] == texts[1] != []


class Capitals(WordTagger):
    """Takes every capitalized word behind the first for a person."""

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        out = []
        for text in texts:
            spans, start = [], 0
            for word in text.split(" "):
                if start and word[:1].isupper():
                    spans.append(TaggedSpan("PERSON", start, start + len(word)))
                start += len(word) + 1
            out.append(spans)
        return out
