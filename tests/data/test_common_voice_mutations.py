"""Tables of Common Voice with random changes: a typed error, or a search that accounts for every line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from speechre.data.candidates import Places, Rules, find_candidates
from speechre.data.common_voice import open_release
from speechre.data.store import read_manifest
from speechre.errors import SpeechreError
from speechre.schemas import CONLL04
from tests.mutation import change_bytes, change_cells
from tests.releases import WordTagger, row, write_release

SENTENCES = (
    "Ann Lee lives in Oslo.",
    '"Bo Ek works for ""Acme"" in Rome."',
    "Cy Orr moved to Paris.",
    "ann lee lives in oslo",
    "Nobody said a word.",
    "Acme opened in Rome on Monday.",
)


@pytest.mark.parametrize("num_files", [100, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_mutated_tables_give_an_error_or_every_line(
    num_files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)  # thousands of them take minutes and prove nothing here
    rows = [row(number, sentence, client_id=f"s{number % 3}") for number, sentence in enumerate(SENTENCES)]
    folder = write_release(tmp_path / "en", rows)
    durations = "".join(f"{one['path']}\t{900 * number}\n" for number, one in enumerate(rows, start=1))
    (folder / "clip_durations.tsv").write_text(f"clip\tduration[ms]\n{durations}", encoding="utf-8")
    whole = {path: path.read_bytes() for path in sorted(folder.glob("*.tsv"))}
    rng, places = random.Random(3), Places(tmp_path / "m.jsonl")
    num_read = num_refused = 0
    for _ in range(num_files):
        for path, content in whole.items():
            changed = content
            for _ in range(rng.randint(0, 2)):
                try:
                    changed = rng.choice((change_bytes, change_cells, change_cells))(changed, rng)
                except (ValueError, IndexError):  # an earlier change left no table
                    changed = change_bytes(changed, rng)
            path.write_bytes(changed)
        try:
            rules = Rules(max_per_speaker=2, max_duration_s=4.0, check_audio=rng.random() < 0.5)
            found = find_candidates(open_release(folder), CONLL04, WordTagger(), places.manifest, rules, restart=True)
        except SpeechreError:
            num_refused += 1
            continue
        num_read += 1
        table = (folder / "validated.tsv").read_bytes()
        num_lines = len(table.removesuffix(b"\n").split(b"\n")) - 1
        assert found.num_rows == num_lines, table
        dropped = places.dropped.read_text(encoding="utf-8").removesuffix("\n").split("\n")[1:]
        assert found.num_kept + len(dropped) == num_lines, table
        kept = read_manifest(places.manifest) if found.num_kept else []
        assert len(kept) == found.num_kept
        lines = sorted(int(one.split("\t")[0]) for one in dropped)
        assert len(set(lines)) == len(lines)
        assert set(lines) <= set(range(2, num_lines + 2))
    assert min(num_read, num_refused) > num_files / 10, (num_read, num_refused)
