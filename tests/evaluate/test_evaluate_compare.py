"""Two reports against each other, and every way in which they may not belong together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from speechre.errors import UsageError
from speechre.evaluate.compare import compare_reports, read_side
from speechre.evaluate.details import Answer, describe
from speechre.metrics import Counts
from speechre.types import Entity, Relation, Triplet, Utterance
from test_metrics import triplet

ANNA, BERT = triplet("Anna", "Live_In", "Lima"), triplet("Bert", "Kill", "Anna", "Peop Peop")

Save = Callable[..., Path]


def utterances(number: int) -> list[Utterance]:
    """Every one says that Anna lives in Lima; every second one, too, that Bert killed her."""
    entities = (Entity("Anna", "Peop", "a"), Entity("Lima", "Loc", "l"), Entity("Bert", "Peop", "b"))
    lives, kills = Relation("a", "l", "Live_In"), Relation("b", "a", "Kill")
    return [Utterance(f"u{i}", None, "", entities, (lives, kills) if i % 2 else (lives,)) for i in range(number)]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes report.json with what ``said`` answers for each utterance."""

    def write(name: str, said: Callable[[int], tuple[Triplet, ...]], number: int = 20) -> Path:
        answers = {f"u{i}": Answer(said(i)) for i in range(number)}
        data = {"model": name, **describe(utterances(number), answers, "boundary", num_samples=1).to_dict()}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(data))
        return folder

    return write


def change(folder: Path, edit: Callable[[Any], object]) -> Path:
    """The same report after ``edit``."""
    data = json.loads((folder / "report.json").read_text())
    edit(data)
    (folder / "report.json").write_text(json.dumps(data))
    return folder


def test_both_scores_and_their_difference(save: Save) -> None:
    weak, strong = save("weak", lambda i: (ANNA,)), save("strong", lambda i: (ANNA, BERT) if i % 2 else (ANNA,))
    found = compare_reports(weak, strong, num_samples=500)
    assert (found.a.total(), found.b.total()) == (Counts(20, 20, 30), Counts(30, 30, 30))
    assert found.triplet["recall"].value == pytest.approx(1 / 3)
    assert found.triplet["recall"].interval.low > 0.15
    assert found.triplet["recall"].p_value == 2 / 501
    assert (found.triplet["precision"].value, found.triplet["precision"].p_value) == (0.0, 1.0)
    assert list(found.per_relation) == ["Kill", "Live_In"]
    assert found.per_relation["Kill"]["f1"].value == 1.0
    assert found.per_relation["Live_In"]["f1"].value == 0.0


def test_the_json_and_the_tables_say_the_same(save: Save) -> None:
    weak, strong = save("weak", lambda i: (ANNA,)), save("strong", lambda i: (ANNA, BERT))
    found = compare_reports(weak, strong / "report.json", "strict", 200, 7)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(data) == [
        "protocol",
        "num_utterances",
        "num_samples",
        "seed",
        "level",
        "a",
        "b",
        "difference",
        "per_relation",
    ]
    assert (data["protocol"], data["num_utterances"], data["num_samples"], data["seed"]) == ("strict", 20, 200, 7)
    assert data["a"]["model"] == "weak"
    assert data["b"]["report"] == str(strong / "report.json")
    assert data["b"]["num_predicted"] == 40
    assert list(data["difference"]["f1"]) == ["difference", "low", "high", "p_value"]
    scores, differences, relations = found.tables()
    assert scores.rows[0][:4] == ("A weak", "100.00", "66.67", "80.00")
    assert differences.rows[0][:2] == ("F1", f"{100 * data['difference']['f1']['difference']:.2f}")
    assert relations.rows[0][:4] == ("Kill", "0.00", "66.67", "66.67")
    assert all(len(row) == len(t.header) for t in found.tables() for row in t.rows)


def test_the_sequence_of_utterances_does_not_matter(save: Save) -> None:
    a, b = save("a", lambda i: (ANNA,) if i % 3 else ()), save("b", lambda i: (ANNA,) if i % 4 else (BERT,))
    expected = compare_reports(a, b, num_samples=100)
    change(b, lambda data: data["utterances"].reverse())
    assert compare_reports(a, b, num_samples=100).to_dict() == expected.to_dict()


def test_a_protocol_is_compared_by_its_own_counts(save: Save) -> None:
    mistyped = triplet("Anna", "Live_In", "Lima", "Org Org")
    a, b = save("a", lambda i: (mistyped,)), save("b", lambda i: (ANNA,))
    assert compare_reports(a, b, "boundary", 50).triplet["f1"].value == 0.0
    assert compare_reports(a, b, "strict", 50).triplet["f1"].value == pytest.approx(0.8)


def test_utterances_that_one_lacks_are_named(save: Save) -> None:
    a, b = save("a", lambda i: (ANNA,)), save("b", lambda i: (ANNA,), 12)
    with pytest.raises(UsageError, match=r'a has 8 of its 20 utterances alone: "u12", .* and 3 more$'):
        compare_reports(a, b)
    change(b, lambda data: data["utterances"][0].update(id="odd"))
    with pytest.raises(UsageError, match=r'alone: "u0", .*; .*b has 1 of its 12 utterances alone: "odd"'):
        compare_reports(a, b)


@pytest.mark.parametrize(
    "gold", [{"triplet": [1, 1, 3]}, {"relations": {"Live_In": [1, 1, 2]}}, {"relations": {"Kill": [0, 0, 1]}}]
)
def test_other_gold_is_named(gold: Mapping[str, Any], save: Save) -> None:
    a, b = save("a", lambda i: (ANNA,)), save("b", lambda i: (ANNA,))
    change(b, lambda data: data["utterances"][4]["counts"]["boundary"].update(gold))
    with pytest.raises(UsageError, match=r'have other gold triplets in 1 of 20 utterances: "u4"; .* same manifest'):
        compare_reports(a, b)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a report: Expecting value"),
        (b"[1]", "holds no counts of utterances"),
        (b'{"utterances": []}', "holds no counts of utterances"),
        (b'{"protocol": "boundary"}', "write the report again"),
        (b'{"utterances": [1]}', "utterance 0 is not as speechre writes it"),
        (b'{"utterances": [{"id": "u"}]}', "utterance 0 is not"),
        (b'{"utterances": NaN}', "NaN is not a JSON number"),
        (b"\xff\xfe", "not a report"),
    ],
)
def test_what_is_no_report_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content)
    for path in (tmp_path, tmp_path / "report.json"):
        with pytest.raises(UsageError) as caught:
            read_side(path, "boundary")
        assert str(caught.value).startswith(f"{tmp_path / 'report.json'}: ")
        assert said in str(caught.value)


@pytest.mark.parametrize("numbers", [[1, 2], [1, 2, -3], [1, 2, True], [1, 2, 3.0], "123", None])
def test_odd_counts_are_refused(numbers: object, save: Save) -> None:
    folder = change(
        save("a", lambda i: (ANNA,)), lambda data: data["utterances"][1]["counts"]["paper"].update(triplet=numbers)
    )
    assert len(read_side(folder, "boundary").rows) == 20
    with pytest.raises(UsageError, match="utterance 1 is not as speechre writes it"):
        read_side(folder, "paper")


def test_an_id_that_stands_twice_is_refused(save: Save) -> None:
    folder = change(save("a", lambda i: ()), lambda data: data["utterances"].append(data["utterances"][0]))
    with pytest.raises(UsageError, match="utterance 20 is not"):
        read_side(folder, "boundary")


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no report\.json; expected a folder"):
        read_side(tmp_path, "boundary")
    with pytest.raises(UsageError, match="there is no gone; expected a folder"):
        read_side(tmp_path / "gone", "boundary")
    with pytest.raises(UsageError, match="loose"):
        read_side(tmp_path, "loose")
