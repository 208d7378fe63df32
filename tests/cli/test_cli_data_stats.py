"""``speechre data stats`` and ``speechre data card``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from speechre.cli import main
from speechre.data.stats import manifest_stats
from speechre.data.store import read_manifest, write_manifest
from tests.html_page import Page


@pytest.fixture
def parts(manifest: Path) -> list[str]:
    """Two manifests beside each other: train and dev."""
    out = []
    for name in ("train", "dev"):
        path = manifest.with_name(f"{name}.jsonl")
        path.write_bytes(manifest.read_bytes())
        out.append(str(path))
    return out


def test_json_is_what_python_says(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(manifest), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == manifest_stats(read_manifest(manifest))


def test_several_manifests_are_parts(parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", *parts, "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert {name: part["num_utterances"] for name, part in stats["parts"].items()} == {"train": 3, "dev": 3}
    assert main(["data", "stats", *parts, "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("# train, dev\n")


def test_a_report_has_all_three_forms(parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    assert main(["data", "stats", *parts, "--report", str(folder), "--title", "My set", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == f"wrote {folder}\n"
    assert json.loads((folder / "stats.json").read_text(encoding="utf-8")) == json.loads(out)
    assert (folder / "stats.md").read_text(encoding="utf-8").startswith("# My set\n")
    page = Page((folder / "stats.html").read_text(encoding="utf-8"))
    assert "My set" in page.text
    assert page.all("svg")


def test_a_report_that_cannot_be_made_is_refused_first(
    parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "stats", *parts, "--report", parts[0]]) == 2
    assert "not a folder" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["data", "stats", *parts, "--report", str(tmp_path / "r")]) == 2
    assert "pip install speechre[report]" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def card(parts: list[str], *arguments: str) -> int:
    return main(["data", "card", *parts, "--name", "My set", "--license", "cc0-1.0", "--language", "en", *arguments])


def test_one_file_is_not_counted_twice(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = manifest.parent / "." / manifest.name
    assert main(["data", "stats", str(manifest), str(again)]) == 2
    assert "are one file, which would be counted twice; name it once" in capsys.readouterr().err


def test_a_card(parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    output = Path(parts[0]).with_name("README.md")
    assert card(parts, "--output", str(output)) == 0
    assert capsys.readouterr() == ("", f"wrote {output}\n")
    loaded = DatasetCard.load(output)
    assert [file["path"] for file in loaded.data.to_dict()["configs"][0]["data_files"]] == ["train.jsonl", "dev.jsonl"]
    above = output.parent.parent / "README.md"
    assert card(parts, "--output", str(above)) == 0
    (config,) = DatasetCard.load(above).data.to_dict()["configs"]
    assert config["data_files"][0]["path"] == f"{output.parent.name}/train.jsonl"


def test_a_card_with_own_words_and_files(parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(parts[0]).with_name("about.md")
    text.write_text("Recorded by hand.", encoding="utf-8")
    assert card(parts, "--description", str(text), "--data-file", "train=data/train-*.parquet") == 0
    out = capsys.readouterr().out
    assert "Recorded by hand." in out
    assert "path: data/train-*.parquet" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--license", "CC0"], "not as the hub spells it"),
        (["--data-file", "train"], "expected SPLIT=PATH"),
        (["--description", "none.md"], "none.md: cannot be read"),
        (["--output", "deeper/README.md"], "outside the card's folder"),
    ],
)
def test_usage(
    parts: list[str],
    arguments: list[str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(Path(parts[0]).parent)
    assert card(parts, *arguments) == 2
    assert text in capsys.readouterr().err
    assert card([parts[0], parts[0]]) == 2


def test_a_card_of_data_that_name_their_annotators(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *rest = read_manifest(manifest)
    write_manifest(manifest, [replace(first, extra={"agreement": {"annotators": ["ann"]}}), *rest])
    arguments = ["--name", "x", "--license", "cc0-1.0", "--language", "en"]
    assert main(["data", "card", str(manifest), *arguments, "--output", str(manifest.with_name("README.md"))]) == 0
    assert '"extra" names who annotated: "ann"; to publish' in capsys.readouterr().err
