"""Foreign files with random changes: a typed error, or a result that accounts for everything in the file."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speechre.data.formats.table import FORMATS, ExportOptions, ImportOptions
from speechre.data.store import parse_json, read_manifest
from speechre.errors import SpeechreError
from speechre.types import Relation, Utterance
from tests.conftest import MakeSound
from tests.mutation import change_bytes, change_cells, mutate

SAMPLES = Path(__file__).parents[3] / "samples" / "samples.jsonl"
SPOKEN = "audio_id\tspoken_text\tjoe_voice\n"


# --- changes ---


def change_json(content: bytes, rng: random.Random) -> bytes:
    """The values of a JSON file, or of one of its lines, changed; it stays JSON."""
    lines = content.decode().splitlines()
    if content[:1] == b"[":
        return json.dumps(mutate(rng, json.loads(content))).encode()
    place = rng.randrange(len(lines))
    lines[place] = json.dumps(mutate(rng, json.loads(lines[place])))
    return "\n".join(lines).encode()


def changed(path: Path, content: bytes, rng: random.Random) -> bytes:
    """``content`` of a file of this name with one to three changes."""
    inner = {".json": change_json, ".jsonl": change_json, ".gz": change_json, ".tsv": change_cells}.get(path.suffix)
    is_packed = path.suffix == ".gz" and rng.random() < 0.9
    content = gzip.decompress(content) if is_packed else content
    for _ in range(rng.randint(1, 3)):
        change = change_bytes
        if inner is not None and (path.suffix != ".gz" or is_packed) and rng.random() < 0.6:
            change = inner
        try:
            content = change(content, rng)
        except (ValueError, IndexError):  # an earlier change left no JSON or no table
            content = change_bytes(content, rng)
    return gzip.compress(content) if is_packed else content


# --- what a file holds, by a reading of its own ---


def items_of_json(folder: Path) -> list[Any]:
    return [item for path in sorted(folder.glob("*.json")) if "_" not in path.stem for item in parse_json(text(path))]


def lines_of(name: str) -> Callable[[Path], list[Any]]:
    def lines(folder: Path) -> list[Any]:
        return [line for line in text(folder / name).split("\n") if line.strip()]

    return lines


def rows_of_parquet(folder: Path) -> list[Any]:
    import pyarrow.parquet as parquet

    return [row for path in sorted((folder / "data").glob("*")) for row in parquet.read_table(path).to_pylist()]


def text(path: Path) -> str:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")


UTTERANCES: dict[str, Callable[[Path], Sequence[Any]]] = {
    "speechre-json": items_of_json,
    "commonvoice-speechre": items_of_json,
    "spert": items_of_json,
    "rebel": lines_of("train.jsonl"),
    "rebel-typed": lines_of("train.jsonl"),
    "nemo": lines_of("train.jsonl"),
    "lhotse": lines_of("supervisions.jsonl.gz"),
    "kaldi": lines_of("segments"),
    "speechre-tsv": lambda folder: lines_of("train.tsv")(folder)[1:],
    "huggingface": rows_of_parquet,
}
FILES = {"spert": "train.json", "speechre-json": "train.json", "speechre-tsv": "train.tsv"}


def relations_of(name: str, item: Any) -> int | None:
    """How many relations an item states, where it is simple to say; ``None`` where our own field counts instead."""
    if isinstance(item, str) and name == "rebel":
        item = json.loads(item) if item.lstrip().startswith("{") else {"triplets": item}
    if not isinstance(item, dict) or item.get("speechre") is not None:
        return None
    if name == "rebel":
        return item["triplets"].count("<obj>")
    if name == "spert":
        return len(item.get("relations", []))
    if name in ("speechre-json", "commonvoice-speechre"):
        labels = [part["labels"] for part in item["data_annotation"] if part["type"] == "relation"]
        return sum(1 if isinstance(some, str) else len(some) for some in labels)
    return None


# --- the files that are changed ---


def given(name: str, make_sound: MakeSound) -> list[Utterance]:
    """Three utterances with relations both ways, with short recordings where these go into the files."""
    out = []
    for number, utterance in enumerate(read_manifest(SAMPLES)[:3]):
        links = (*utterance.relations, *(Relation(r.tail_id, r.head_id, "Kill") for r in utterance.relations))
        audio = utterance.audio
        if name in ("commonvoice-speechre", "huggingface") and audio is not None:
            audio = replace(audio, path=str(make_sound(f"{utterance.id}.wav", 0.1, number)), duration_s=0.1)
        out.append(replace(utterance, audio=audio, relations=links, split="train", extra={"k": 1}))
    return out


def options_of(name: str, folder: Path) -> ImportOptions:
    if name in ("commonvoice-speechre", "huggingface"):
        return ImportOptions(audio_output=folder.with_name("out"))
    if name == "speechre-json":
        return ImportOptions(spoken_tsv=folder / "spoken.tsv")
    return ImportOptions()


@pytest.mark.parametrize("num_files", [120, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_give_an_error_or_all_they_hold(
    name: str, num_files: int, tmp_path: Path, make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)  # thousands of them take minutes and prove nothing here
    fmt, rng = FORMATS[name], random.Random(name)
    sources, files = [], {}
    for is_plain in (False, True):
        folder = tmp_path / f"plain-{is_plain}" / "x"
        source = folder / FILES.get(name, "train.jsonl") if fmt.place == "file" else folder
        fmt.write(source, given(name, make_sound), ExportOptions(is_plain=is_plain))
        if name == "speechre-json":
            (folder / "spoken.tsv").write_text(SPOKEN + "".join(f"{u}\tsaid\tjoe\n" for u in ("burr", "collins")))
        sources.append((folder, source))
        files[folder] = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    num_read = num_refused = 0
    for _ in range(num_files):
        folder, source = rng.choice(sources)
        file = rng.choice(files[folder])
        whole = file.read_bytes()
        file.write_bytes(changed(file, whole, rng))
        shutil.rmtree(folder.with_name("out"), ignore_errors=True)  # other recordings are not replaced
        try:
            found = fmt.read(source, options_of(name, folder)).utterances
        except SpeechreError:
            num_refused += 1
            continue
        else:
            num_read += 1
            stated = UTTERANCES[name](folder)
            assert len(found) == len(stated), file.read_bytes()
            for utterance, item in zip(found, stated, strict=True):
                assert relations_of(name, item) in (None, len(utterance.relations)), item
        finally:
            file.write_bytes(whole)
    assert min(num_read, num_refused) > num_files / 100, (num_read, num_refused)
