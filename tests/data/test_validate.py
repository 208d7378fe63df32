"""The validator lists every fault of a manifest at once and never raises on content."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechre.data.store import read_manifest
from speechre.data.validate import Issue, validate_manifest
from speechre.errors import DataError, UsageError
from speechre.schemas import CONLL04


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.3, 0.3, 16000)
    for name, sound in [
        ("good", noise),
        ("silent", np.zeros(16000)),
        ("clipped", np.clip(noise * 10, -1, 1)),
        ("long", np.tile(noise, 31)),
    ]:
        soundfile.write(tmp_path / f"{name}.wav", sound, 16000)
    content = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    return tmp_path


def line(name: str = "u", audio: object = "good.wav", relations: object = (), **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "audio": {"path": audio} if isinstance(audio, str) else audio,
        "text": "Uma Reyes left Orbitcorp for Velden .",
        "entities": [
            {"id": "e0", "text": "Uma Reyes", "type": "Peop", "start": 0, "end": 9},
            {"id": "e1", "text": "Orbitcorp", "type": "Org", "start": 15, "end": 24},
            {"id": "e2", "text": "Velden", "type": "Loc", "start": 29, "end": 35},
        ],
        "relations": [dict(zip(("head", "type", "tail"), relation, strict=True)) for relation in relations],
        **changes,
    }


def check(folder: Path, *lines: object, **options: Any) -> list[Issue]:
    path = folder / "m.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return validate_manifest(path, CONLL04, **options)


def codes(issues: list[Issue]) -> list[str]:
    return [issue.code for issue in issues]


def test_a_sound_manifest_has_no_issue(folder: Path) -> None:
    relations = [("e0", "Work_For", "e1"), ("e0", "Live_In", "e2"), ("e1", "OrgBased_In", "e2")]
    assert check(folder, line(relations=relations), line("v")) == []


def test_a_whole_number_that_no_float_holds_is_a_fault(folder: Path) -> None:
    timed = line("b")
    timed["entities"][0]["start_s"] = 10**400
    window = {"path": "good.wav", "start_s": 0, "duration_s": 10**400}
    assert codes(check(folder, line("a", audio=window), timed)) == ["bad-window", "bad-time"]


def test_all_faults_come_at_once_with_their_lines(folder: Path) -> None:
    bad_span = line("b")
    bad_span["entities"][0]["start"] = 3
    issues = check(
        folder,
        line("a", audio="missing.wav", relations=[("e0", "Kill", "e2"), ("e0", "Like", "e9")]),
        "{broken",
        "",
        bad_span,
        line("a"),
    )
    assert [(issue.line, issue.code, issue.utterance_id) for issue in issues] == [
        (1, "dangling-id", "a"),
        (1, "pair-not-allowed", "a"),
        (1, "unknown-relation-type", "a"),
        (1, "missing-audio", "a"),
        (2, "bad-json", None),
        (3, "blank-line", None),
        (4, "offset-mismatch", "b"),
        (5, "duplicate-id", "a"),
    ]
    assert all(issue.severity == "error" for issue in issues)
    assert str(issues[1]) == (
        f'{folder / "m.jsonl"}:1 (utterance "a"): error pair-not-allowed: relation 0: "Kill" from Peop to '
        "Loc; "
        f"expected Peop to Peop"
    )
    assert issues[1].to_dict()["code"] == "pair-not-allowed"


def with_entity(**changes: Any) -> dict[str, Any]:
    first, *others = line()["entities"]
    return line(entities=[{**first, **changes}, *others])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("[]", "not-an-object"),
        (line(speaker=7), "wrong-type"),
        (line(accent="x"), "unknown-key"),
        ({key: value for key, value in line().items() if key != "id"}, "missing-key"),
        (line(name=" "), "empty-value"),
        (json.dumps(line(text="Uma\ud800", entities=[])), "bad-text"),
        (line(audio={"path": "good.wav", "duration_s": 0}), "bad-window"),
        (with_entity(start=0, end=900), "bad-span"),
        (with_entity(type="<Peop>"), "bracketed-type"),
        (line(relations=[("e0", "<Kill>", "e0")]), "bracketed-type"),
        (with_entity(id="e1"), "duplicate-entity-id"),
        (with_entity(type="Person"), "unknown-entity-type"),
        (with_entity(end_s=-1), "bad-time"),
    ],
)
def test_what_is_no_utterance_has_a_code(bad: object, code: str, folder: Path) -> None:
    issues = check(folder, line("before"), bad)
    assert (2, code, "error") in [(issue.line, issue.code, issue.severity) for issue in issues]
    assert {issue.line for issue in issues} == {2}


def test_bytes_that_are_no_text_are_told_with_their_line(folder: Path) -> None:
    content = json.dumps(line("before")).encode() + b"\n" + b'{"id": "\xff"}\n' + json.dumps(line("after")).encode()
    (folder / "m.jsonl").write_bytes(content)
    assert [(i.line, i.code, i.severity) for i in validate_manifest(folder / "m.jsonl")] == [(2, "not-utf8", "error")]


@pytest.mark.parametrize(
    ("relations", "expected"),
    [
        ([("e0", "Live_In", "e2")] * 2, ["duplicate-triplet"]),
        ([("e2", "Located_In", "e2")], ["self-relation"]),
        ([("e0", "Work_For", "e1"), ("e1", "Work_For", "e0")], ["pair-not-allowed", "both-directions"]),
    ],
)
def test_relations(folder: Path, relations: list[tuple[str, str, str]], expected: list[str]) -> None:
    assert codes(check(folder, line(relations=relations))) == expected


def test_the_same_words_at_two_places_are_a_duplicate(folder: Path) -> None:
    entities = [{"id": f"e{i}", "text": "Bo", "type": "Peop", "start": i * 3, "end": i * 3 + 2} for i in range(3)]
    relations = [{"head": "e0", "tail": "e1", "type": "Kill"}, {"head": "e1", "tail": "e2", "type": "Kill"}]
    issues = check(folder, line(text="Bo Bo Bo", entities=entities) | {"relations": relations})
    assert codes(issues) == ["duplicate-triplet"]
    assert "stands 2 times" in issues[0].message


@pytest.mark.parametrize(
    ("audio", "code", "severity"),
    [
        (None, "no-audio", "warning"),
        ("silent.wav", "silent-audio", "warning"),
        ("clipped.wav", "clipped-audio", "warning"),
        ("long.wav", "long-audio", "warning"),
        ("missing.wav", "missing-audio", "error"),
        ("nul\0.wav", "missing-audio", "error"),
        ("cut.wav", "unreadable-audio", "error"),
        (".", "unreadable-audio", "error"),
        ({"path": "good.wav", "start_s": 5}, "unreadable-audio", "error"),
        ({"path": "good.wav", "start_s": "5"}, "bad-window", "error"),
        (7, "wrong-type", "error"),
    ],
)
def test_audio(folder: Path, audio: object, code: str, severity: str) -> None:
    issues = check(folder, line(audio=audio))
    assert [(issue.code, issue.severity) for issue in issues] == [(code, severity)]
    quiet = check(folder, line(audio=audio), check_audio=False)
    assert codes(quiet) == ([code] if code in ("bad-window", "wrong-type") else [])


def test_types_empty_text_and_no_schema(folder: Path) -> None:
    issues = check(folder, line(text=" ", entities=[{"id": "e0", "text": "x", "type": "Planet"}]))
    assert codes(issues) == ["empty-text", "unknown-entity-type"]
    assert codes(validate_manifest(folder / "m.jsonl")) == ["empty-text"]
    assert codes(check(folder, {"id": "a"})) == ["empty-text", "no-audio"]


def test_empty_and_unreadable_files(folder: Path) -> None:
    assert codes(check(folder)) == ["empty-manifest"]
    with pytest.raises(DataError, match="no such file"):
        validate_manifest(folder / "missing.jsonl")
    (folder / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(line()).encode())
    assert codes(validate_manifest(folder / "bom.jsonl")) == ["byte-order-mark"]


def entity(name: str, text: str, start: int | None = None, kind: str = "Peop") -> dict[str, Any]:
    place = {} if start is None else {"start": start, "end": start + len(text)}
    return {"id": name, "text": text, "type": kind, **place}


@pytest.mark.parametrize(
    ("text", "entities", "expected"),
    [
        ("Bo met Al", [entity("e0", "Bo ", 0)], ["edge-space"]),
        ("Bo left Rome , Italy .", [entity("e0", "Rome , Italy", 8, "Loc")], ["spaced-punctuation"]),
        ("the `` Herald '' said", [entity("e0", "`` Herald ''", 4, "Org")], ["spaced-punctuation"]),
        ("Rome, Italy; J.R. Ewing's", [entity("e0", "Rome, Italy"), entity("e1", "J.R. Ewing's")], ["no-span"] * 2),
        ("Bostrom left", [entity("e0", "Bo", 0)], ["partial-word"]),
        ("Jo-Ann left O'Hara's", [entity("e0", "Ann", 3), entity("e1", "O'Hara", 12)], []),
        ("李先生は東京に", [entity("e0", "李", 0), entity("e1", "東京", 4, "Loc")], []),
        ("Bo left", [entity("e0", "Bo", 0), entity("e1", "Bo", 0)], ["duplicate-entity"]),
        ("Bo left", [entity("e0", "Bo", 0), entity("e1", "Bo", 0, "Org")], ["two-types"]),
        ("Bo met Bo", [entity("e0", "Bo", 0), entity("e1", "Bo", 7)], []),
        ("caf\ufffd in Oslo\u202e", [], ["odd-characters"]),
        ("one\nline", [], ["odd-characters"]),
        ("नमस्ते\u200dदुनिया", [], []),  # a joiner, which belongs there
    ],
)
def test_text_and_entities(folder: Path, text: str, entities: list[dict[str, Any]], expected: list[str]) -> None:
    issues = check(folder, {"id": "a", "text": text, "entities": entities}, check_audio=False)
    assert codes(issues) == expected
    assert {issue.severity for issue in issues} <= {"warning"}


def test_a_text_that_does_not_fit_its_sound(folder: Path) -> None:
    """Nineteen at 30 characters a second, one at 3 and one at 300."""
    usual = [{"id": f"u{i}", "text": "x" * 30, "audio": {"path": "a", "duration_s": 1}} for i in range(19)]
    slow, fast = ({"id": f"s{s}", "text": "x" * 30, "audio": {"path": "a", "duration_s": s}} for s in (10, 0.1))
    issues = check(folder, *usual, slow, fast, check_audio=False)
    assert [(issue.code, issue.utterance_id) for issue in issues] == [("speech-rate", "s10"), ("speech-rate", "s0.1")]
    assert "less than the sound has room for" in issues[0].message
    assert "3.0 characters a second in 10.0 s, where 30.0 are usual here" in issues[0].message
    assert check(folder, *usual[:17], slow, fast, check_audio=False) == []  # too few to know what is usual


def test_the_length_that_was_heard_counts(folder: Path) -> None:
    lines = [line(f"u{i}", "good.wav", text="z" * 30 + str(i), entities=[]) for i in range(20)]
    issues = check(folder, *lines, line("long", "long.wav", text="z" * 30, entities=[]))
    assert codes(issues) == ["long-audio", "speech-rate"]


def test_another_script(folder: Path) -> None:
    latin = [{"id": f"u{i}", "text": f"Ann lives in Oslo {i}"} for i in range(3)]
    mixed, whole = {"id": "m", "text": "Аnn lives in Рим today"}, {"id": "w", "text": "Анна живёт в Осло уже год"}
    issues = check(folder, *latin, mixed, whole, check_audio=False)
    assert [(issue.code, issue.utterance_id) for issue in issues] == [("language-mix", "m"), ("language-mix", "w")]
    assert issues[0].message == 'Cyrillic letters in a manifest written in Latin: "Аnn", "Рим"'
    japanese = {"id": "j", "text": "東京タワーのちかく"}
    assert check(folder, japanese, check_audio=False) == []


def test_another_language(folder: Path) -> None:
    pytest.importorskip("py3langid")
    texts = [
        "Ann Lee lives in Oslo with her father.",
        "Der Bürgermeister von Velden wohnt in einem kleinen Haus.",
        "La alcaldesa vive en la capital desde hace muchos años.",
        "Bo Ray",
    ]
    lines = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    issues = check(folder, *lines, check_audio=False, language="en")
    assert [(issue.code, issue.utterance_id) for issue in issues] == [("language-mix", "1"), ("language-mix", "2")]
    assert 'looks like "de", not "en"' in issues[0].message
    assert [i.utterance_id for i in check(folder, *lines, check_audio=False, language="de")] == ["0", "2"]
    with pytest.raises(UsageError, match='unknown language "english"; expected an ISO 639 code'):
        check(folder, *lines, language="english")


def test_without_the_package_of_languages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(UsageError, match=r'needs the package py3langid; run "pip install speechre\[language\]"'):
        check(folder, line(), language="en")


def test_the_same_sentence_again(folder: Path) -> None:
    relations = [("e0", "Work_For", "e1")]
    one = line("a", relations=relations, speaker="s")
    issues = check(
        folder,
        one,
        {**one, "id": "b", "text": one["text"].replace(" .", "")},
        {**one, "id": "c", "speaker": "t"},
        {**one, "id": "d", "speaker": "t2", "relations": []},  # perhaps nobody has annotated it
        line("e", relations=[*relations, ("e0", "Live_In", "e2")]),
        check_audio=False,
    )
    assert [(issue.code, issue.utterance_id) for issue in issues] == [
        ("repeated-utterance", "b"),
        ("contradicting-triplets", "e"),
    ]
    assert issues[1].message == (
        "the same sentence has other triplets on line 1; not in both: (Uma Reyes, Live_In, Velden)"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.sampled_from(["", "e0", "Peop", "Uma"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "text", "type", "head", "tail", "start", "end", "path"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["id", "text", "audio", "entities", "relations", "extra", "split"]), json_values)
)
def test_it_never_raises_on_content_and_agrees_with_the_reader(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_text(json.dumps(line(audio=None) | changes) + "\n")
    issues = validate_manifest(path)
    if any(issue.severity == "error" and issue.code != "missing-audio" for issue in issues):
        if not any(issue.code == "unreadable-audio" for issue in issues):
            with pytest.raises(DataError):
                read_manifest(path)
    else:
        read_manifest(path)
