"""The page is one whole HTML document that runs nothing and asks nobody, whatever the data holds."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from dataclasses import replace

import pytest
from test_evaluate_details import CANDIDATES, answers, details
from test_evaluate_run import ANALYSES, CONFIG, UTTERANCES, evaluation

from speechre.config import Config
from speechre.errors import UsageError
from speechre.evaluate.details import Answer, describe
from speechre.evaluate.page import MAX_SPEAKERS, render_page
from speechre.evaluate.report import Report, evaluation_report, score_report
from speechre.evaluate.run import evaluate
from speechre.metrics import per_relation, score
from speechre.types import AudioRef, Entity, Relation, Triplet, Utterance
from tests.conftest import MakeSound
from tests.html_page import HOSTILE, Page


def report(protocol: str = "boundary") -> Report:
    return evaluation_report(evaluation(protocol), details(protocol))


def parsed(given: Report, num_sounds: int = 0) -> Page:
    return Page(render_page(given, num_sounds))


def hostile_report(make_sound: MakeSound) -> Report:
    """Everything that comes from data is an attack."""
    person, place = Entity(HOSTILE, HOSTILE, "e0"), Entity(HOSTILE + "2", HOSTILE, "e1")
    utterances = [
        Utterance(HOSTILE, None, HOSTILE, (person, place), (Relation("e0", "e1", HOSTILE),), speaker=HOSTILE),
        Utterance("gone", AudioRef(f"{HOSTILE}.wav"), HOSTILE, (person, place), (Relation("e0", "e1", HOSTILE),)),
        Utterance("there", AudioRef(str(make_sound())), HOSTILE),
    ]
    wrong = Triplet(place, HOSTILE + "3", person, 0.5, 1, ("hrt",))
    analysis = replace(ANALYSES["a"], triplets=(wrong,), transcript=HOSTILE)
    said = {u.id: Answer((wrong,), (wrong,), analysis.by_order, HOSTILE, 1.0) for u in utterances}
    result = evaluate(
        utterances,
        [(u.id, analysis) for u in utterances],
        model=HOSTILE,
        config=Config.from_dict({"name": HOSTILE}),
    )
    result = replace(result, machine={**result.machine, HOSTILE: HOSTILE})
    return evaluation_report(result, describe(utterances, said, "boundary", num_samples=10))


def test_the_page_shows_the_figures() -> None:
    text = parsed(report()).text
    assert "by-hand@123456" in text
    assert "triplet F1 66.7" in text
    for title in ("By relation and by order", "Confidence", "By duration", "By voice", "How it was made"):
        assert title in text
    assert "Over 5 triplets at any confidence, 2 of them right" in text
    assert "1 of 1 relation-free" in text


def test_the_page_has_its_plots_and_cards() -> None:
    page = parsed(report())
    assert [svg["aria-label"] for svg in page.all("svg")] == [
        "Triplet F1 by relation",
        "Triplet F1 by order",
        "Scores by threshold",
        "Scores by votes",
        "Reliability, bins of equal width",
        "Reliability, bins of equal mass",
    ]
    assert len(page.all("article")) == 2
    assert [item["data-kind"] for item in page.all("li")] == ["spurious", "spurious"]
    assert [b["data-kind"] for b in page.all("button")] == ["", "missed", "spurious", "wrong_type", "near_miss"]
    anchors = {a["href"] for a in page.all("a")}
    assert anchors == {f"#{section['id']}" for section in page.all("section")}


def test_a_page_from_a_file_leaves_out_what_it_does_not_know() -> None:
    gold = {utterance.id: utterance.triplets for utterance in UTTERANCES}
    plain = {key: a.triplets for key, a in ANALYSES.items()}
    found = describe(UTTERANCES, {key: Answer(ts) for key, ts in plain.items()}, "strict", num_samples=10)
    page = parsed(score_report(score(gold, plain, "strict"), per_relation(gold, plain, "strict"), found, "theirs"))
    assert [svg["aria-label"] for svg in page.all("svg")] == ["Triplet F1 by relation"]
    assert not page.all("details")
    assert "#confidence" not in {a["href"] for a in page.all("a")}


def test_nothing_found_at_all_is_a_page_too() -> None:
    silent = {key: replace(a, triplets=(), by_order={"hrt": ()}, problems={"hrt": ()}) for key, a in ANALYSES.items()}
    result = evaluate(UTTERANCES, silent.items(), model="m", config=CONFIG)
    empty = {key: Answer((), (), {"hrt": ()}) for key in silent}
    assert "triplet F1 0.0" in parsed(evaluation_report(result, describe(UTTERANCES, empty, "boundary"))).text


def test_hostile_text_is_only_ever_text(make_sound: MakeSound) -> None:
    page = parsed(hostile_report(make_sound), num_sounds=3)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}&amp;" in page.text
    assert "\ufffd" in page.text
    render_page(hostile_report(make_sound)).encode("utf-8")


def test_the_page_asks_nobody(make_sound: MakeSound) -> None:
    page = parsed(hostile_report(make_sound), num_sounds=3)
    addresses = [a[name] or "" for _, a in page.elements for name in ("src", "href", "action", "data") if name in a]
    assert addresses
    assert {address.split(":")[0] if address[0] != "#" else "#" for address in addresses} == {"data", "#"}
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "embed", "base", "form")]
    style = re.search(r"<style>(.*?)</style>", render_page(report()), re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import|https?:", style[1])


def test_the_policy_allows_this_page_s_own_script_and_style_only() -> None:
    text = render_page(report())
    (policy,) = [m["content"] or "" for m in Page(text).all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert not re.search(r"<[^>]+ style=", text), "the policy forbids style attributes"


def test_players_are_as_many_as_asked_for(make_sound: MakeSound) -> None:
    audio = AudioRef(str(make_sound()))
    utterances = [replace(u, audio=audio) for u in UTTERANCES]
    given = evaluation_report(evaluation(), describe(utterances, answers(), "boundary"))
    for num_sounds, expected in ((0, 0), (1, 1), (60, 2)):
        assert len(parsed(given, num_sounds).all("audio")) == expected


def test_kinds_and_notes_of_mistakes_are_told() -> None:
    """Under strict the type of a is wrong; b has a near miss."""
    mistyped = replace(CANDIDATES["a"][0], tail=Entity("Oslo", "Org"))
    near = replace(CANDIDATES["b"][0], head=Entity("Ann Leigh", "Peop"))
    said = answers(with_orders=False) | {"a": Answer((mistyped,)), "b": Answer((near,))}
    for protocol, note in (("strict", ""), ("boundary", "a hit under boundary")):
        given = replace(report(protocol), orders={}, details=describe(UTTERANCES, said, protocol))
        page = parsed(given)
        assert [item["data-kind"] for item in page.all("li")] == ["spurious", "wrong_type", "near_miss"]
        assert note in page.text
        assert "33 % of the characters differ" in page.text
        assert "confidence 0.90, 2 votes" in page.text


def test_many_voices_are_cut_and_counted() -> None:
    many = [Utterance(f"u{i}", None, speaker=f"voice {i:03}") for i in range(MAX_SPEAKERS + 3)]
    found = describe(many, {u.id: Answer(()) for u in many}, "boundary", num_samples=10)
    page = parsed(replace(report(), orders={}, per_relation={}, details=found))
    assert f"By voice: the {MAX_SPEAKERS} largest of {MAX_SPEAKERS + 3}" in page.text


def test_without_jinja2_there_is_a_line_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r'needs the package jinja2.*"pip install speechre\[report\]"'):
        render_page(report())
