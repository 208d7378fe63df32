"""``speechre data split``: parts on disk, and the check of parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.data.store import read_manifest, write_manifest
from speechre.types import AudioRef, Entity, Relation, Utterance


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Fifty utterances of twenty-five speakers."""
    path = tmp_path / "corpus" / "all.jsonl"
    write_manifest(
        path,
        [
            Utterance(
                f"u{number:02}",
                AudioRef(str(tmp_path / "corpus" / f"{number}.wav")),
                f"Ann{number} lives in Town{number} .",
                (Entity(f"Ann{number}", "Peop", "e0"), Entity(f"Town{number}", "Loc", "e1")),
                (Relation("e0", "e1", "Live_In" if number % 2 else "Work_For"),),
                speaker=f"s{number // 2}",
            )
            for number in range(50)
        ],
    )
    return path


def split(corpus: Path, *arguments: str) -> int:
    return main(["data", "split", str(corpus), "--similarity", "0.9", *arguments])


def test_split_then_check(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "parts"
    assert split(corpus, "--output", str(folder)) == 0
    out, err = capsys.readouterr()
    assert "train" in out
    assert err == f"wrote 50 utterances to {folder}, 0 left out\n"
    parts = {name: read_manifest(folder / f"{name}.jsonl") for name in ("train", "dev", "test")}
    assert len(parts["train"]) == 40
    assert {len(parts["dev"]), len(parts["test"])} == {4, 6}  # twenty-five speakers of two utterances each
    audio = parts["dev"][0].audio
    assert audio is not None
    assert Path(audio.path).parent == corpus.parent
    assert sorted(path.name for path in folder.iterdir()) == ["dev.jsonl", "split.json", "test.jsonl", "train.jsonl"]
    record = json.loads((folder / "split.json").read_text())
    assert record["parts"]["train"]["num_utterances"] == 40
    files = [str(folder / f"{name}.jsonl") for name in parts]
    assert main(["data", "split", "--check", *files, "--similarity", "0.9"]) == 0
    assert capsys.readouterr().out == ""


def test_the_same_seed_writes_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert split(corpus, "--output", str(tmp_path / name), "--seed", seed) == 0
    a, b, c = ((tmp_path / name / "train.jsonl").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_two_parts_and_names(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(corpus, "--output", str(tmp_path / "p"), "--shares", "3", "1", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["parts"]) == ["train", "test"]
    names = ["--names", "x", "y", "z", "w", "--shares", "1", "1", "1", "1"]
    assert split(corpus, "--output", str(tmp_path / "q"), *names) == 0
    assert (tmp_path / "q" / "w.jsonl").exists()


def test_the_check_lists_offenders(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = read_manifest(corpus)
    write_manifest(tmp_path / "train.jsonl", items[:-1])
    write_manifest(tmp_path / "dev.jsonl", [items[0], items[-1]])
    files = [str(tmp_path / "train.jsonl"), str(tmp_path / "dev.jsonl")]
    assert main(["data", "split", "--check", *files]) == 1
    out, err = capsys.readouterr()
    assert 'speaker "s0": 2 in train (u00, u01), 1 in dev (u00)\n' in out
    assert 'speaker "s24": 1 in train (u48), 1 in dev (u49)\n' in out
    assert 'sentence "ann0 lives in town0": 1 in train (u00), 1 in dev (u00)\n' in out
    assert err == "train (49), dev (2): 2 speaker, 1 sentence, 1 recording\n"
    assert main(["data", "split", "--check", *files, "--json", "--by", "sentence"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert (record["num_leaks"], record["leaks"][0]["ids"]) == (1, {"train": ["u00"], "dev": ["u00"]})


def test_one_manifest_is_checked_by_its_own_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance("a", None, "x y", split="train"), Utterance("b", None, "x y", split="dev")])
    assert main(["data", "split", "--check", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == 'sentence "x y": 1 in train (a), 1 in dev (b)\n'
    assert "2 utterances have no speaker, which therefore was not checked for them\n" in err
    write_manifest(path, [Utterance("a", None, "x y", split="train")])
    assert main(["data", "split", "--check", str(path)]) == 2


def test_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.jsonl"
    items = [Utterance(f"{s}-{v}", None, f"a{s} b{s} c{s}", speaker=f"v{v}") for s in range(20) for v in range(10)]
    write_manifest(path, items)
    arguments = ["data", "split", str(path), "--by", "speaker,sentence", "--output", str(tmp_path / "p")]
    assert main(arguments) == 1
    assert "form 1 group" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
    assert main([*arguments, "--leave-out"]) == 0
    kept = sum(len(read_manifest(tmp_path / "p" / f"{name}.jsonl")) for name in ("train", "dev", "test"))
    left_out = len(read_manifest(tmp_path / "p" / "left-out.jsonl"))
    assert kept + left_out == 200
    assert capsys.readouterr().err.endswith(f"wrote {kept} utterances to {tmp_path / 'p'}, {left_out} left out\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], 'add "--output DIR"'),
        (["--output", "p", "--shares", "1"], "1 shares, but no names"),
        (["--output", "p", "--shares", "1", "0"], "expected a number above 0"),
        (["--output", "p", "--names", "a", "b"], "3 shares for 2 parts"),
        (["--output", "p", "--names", "a", "a", "b"], "stands twice"),
        (["--output", "p", "--names", "../a", "b", "c"], "cannot be called"),
        (["--output", "p", "--by", "voice"], 'unknown trait "voice"'),
        (["--output", "p", "--similarity", "2"], "at most 1"),
        (["--check", "--output", "p"], "--output has no effect with --check"),
        (["--check", "--leave-out"], "--leave-out has no effect with --check"),
    ],
)
def test_usage(corpus: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "split", str(corpus), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_the_input_is_not_replaced(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = corpus.rename(corpus.with_name("train.jsonl"))
    before = train.read_bytes()
    assert main(["data", "split", str(train), "--output", str(train.parent)]) == 2
    assert train.read_bytes() == before
    assert "would replace the input" in capsys.readouterr().err


def test_shares_that_cannot_be_met_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance(f"u{i}", None, f"w{i}", speaker="s" if i < 18 else f"t{i}") for i in range(20)])
    assert main(["data", "split", str(path), "--by", "speaker", "--output", str(tmp_path / "p")]) == 0
    assert "the shares of train are not what was asked for: the largest of 3 groups" in capsys.readouterr().err


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


TWO, TUNED = ["--names", "train", "test", "--shares", "3", "1"], ["--names", "fit", "tune", "--shares", "3", "1"]


@pytest.mark.parametrize(
    ("first", "second", "stale"),
    [
        ([], TWO, "dev.jsonl"),
        (TUNED, TWO, "fit.jsonl, tune.jsonl"),
        (TWO, TUNED, "test.jsonl, train.jsonl"),
        (["--leave-out"], [], "left-out.jsonl"),
    ],
)
def test_parts_of_another_split_do_not_stay(
    first: list[str], second: list[str], stale: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "p"
    assert split(corpus, "--output", str(folder), *first) == 0
    before = contents(folder)
    capsys.readouterr()
    assert split(corpus, "--output", str(folder), *second) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"UsageError: {folder}: {stale} of another split would stay and be taken for a part of this")
    assert contents(folder) == before
    for name in stale.split(", "):
        (folder / name).unlink()
    assert split(corpus, "--output", str(folder), *second) == 0


@pytest.mark.parametrize("report", [None, "no JSON", "[]", '{"parts": ["x"]}'])
def test_a_part_is_known_by_its_name_too(
    report: str | None, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    if report is not None:
        (folder / "split.json").write_text(report)
    write_manifest(folder / "validation.jsonl", read_manifest(corpus)[:3])
    assert split(corpus, "--output", str(folder)) == 2
    assert "validation.jsonl of another split would stay" in capsys.readouterr().err
    (folder / "validation.jsonl").rename(folder / "mine.jsonl")  # which nobody takes for a part
    assert split(corpus, "--output", str(folder)) == 0
    assert len(read_manifest(folder / "mine.jsonl")) == 3


def test_a_split_is_made_again_in_its_folder(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    for options in (TUNED, [*TUNED, "--seed", "7"]):
        assert split(corpus, "--output", str(folder), *options) == 0
    assert sorted(contents(folder)) == ["fit.jsonl", "split.json", "tune.jsonl"]
    assert json.loads((folder / "split.json").read_text())["seed"] == 7


def test_parts_may_lie_beside_the_manifest(corpus: Path) -> None:
    dev = corpus.rename(corpus.with_name("dev.jsonl"))  # a part of a published split, say, that is split further
    before = dev.read_bytes()
    for _ in range(2):
        assert split(dev, "--output", str(dev.parent), *TUNED) == 0
    assert dev.read_bytes() == before
