"""What the search for candidates costs beside bare named entity recognition, and whether its memory grows.

    python benchmarks/candidates.py [--rows 10000 100000] [--whole] [--json FILE]

For each size a release is made by scripts/make-common-voice and searched twice, each time in a process of its own.

Memory: the search alone; the most that its process ever held.

Time: the search and bare ``nlp.pipe`` (spaCy's default batch size) take turns, 2,048 rows at a time, so that whatever
else the machine does slows both alike. Bare ``nlp.pipe`` gets every sentence of the table, the search only those that
cheaper rules leave; both run the components that the entity recognizer needs, with --whole bare ``nlp.pipe`` runs the
whole pipeline. "inside the recognizer" is the share of the search's own time that it spends in spaCy: the rest is
reading, counting, looking at recordings and writing. Processor time, user and system; loading spaCy is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from speechre.data.candidates import CHUNK_ROWS, find_candidates
from speechre.data.common_voice import Row, SplitTable, open_release
from speechre.data.entity_tagger import DEFAULT_TAGGER, TaggedSpan, Tagger, needed_components, open_tagger
from speechre.evaluate.run import describe_machine
from speechre.schemas import ACE05

MAKE = Path(__file__).parents[1] / "scripts" / "make-common-voice"


class Beside:
    """A recognizer that times itself, and after each call bare ``nlp.pipe`` on the sentences of as many rows."""

    def __init__(self, tagger: Tagger, table: Path, is_whole: bool) -> None:
        import spacy

        self.name = tagger.name
        self._tagger = tagger
        self._sentences = sentences(table)
        name = DEFAULT_TAGGER.partition(":")[2]
        self._nlp = spacy.load(name)
        if not is_whole:
            self._nlp.select_pipes(enable=needed_components(self._nlp, name))
        for warm_up in (tagger.tag, self._nlp.pipe):
            list(warm_up(["Warm up in London."]))
        self.tagged_s = self.bare_s = 0.0
        self.num_tagged = self.num_bare = 0

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        start = time.process_time()
        found = self._tagger.tag(texts)
        self.tagged_s += time.process_time() - start
        self.num_tagged += len(texts)
        return found

    def bare(self, texts: Sequence[str]) -> None:
        start = time.process_time()
        sum(len(doc.ents) for doc in self._nlp.pipe(texts))
        self.bare_s += time.process_time() - start
        self.num_bare += len(texts)

    def next_rows(self, *_: object) -> None:
        """The turn of bare ``nlp.pipe``: called by the search after each chunk."""
        self.bare(list(islice(self._sentences, CHUNK_ROWS)))


def measure_time(folder: Path, is_whole: bool) -> dict[str, Any]:
    """Both in turns."""
    release = open_release(folder / "release")
    with open_tagger() as tagger:
        beside = Beside(tagger, release.table, is_whole)
        start = time.process_time()
        found = find_candidates(release, ACE05, beside, folder / "m.jsonl", restart=True, on_progress=beside.next_rows)
        search_s = time.process_time() - start - beside.bare_s
    assert beside.num_bare == found.num_rows
    return {
        "search_s": search_s,
        "bare_s": beside.bare_s,
        "inside_s": beside.tagged_s,
        "num_tagged": beside.num_tagged,
        "num_rows": found.num_rows,
        "num_kept": found.num_kept,
    }


def measure_memory(folder: Path) -> dict[str, Any]:
    """The search alone."""
    with open_tagger() as tagger:
        find_candidates(open_release(folder / "release"), ACE05, tagger, folder / "m.jsonl", restart=True)
    return memory()


def sentences(path: Path) -> Iterator[str]:
    """Every sentence of the table."""
    table = SplitTable(path)
    rows = (table.row(line, raw) for line, (_, raw) in enumerate(table.lines(), start=2))
    yield from (row.sentence for row in rows if isinstance(row, Row))


def memory() -> dict[str, float]:
    """The most memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20}


def in_a_process(folder: Path, what: str) -> dict[str, Any]:
    """One measurement in a fresh interpreter."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_size(rows: int, is_whole: bool) -> dict[str, Any]:
    """All measurements on one release."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, str(MAKE), str(folder / "release"), "--rows", str(rows)], check=True)
        return in_a_process(folder, "whole" if is_whole else "time") | in_a_process(folder, "memory")


def to_markdown(report: dict[str, Any]) -> str:
    """One line a size."""
    lines = [", ".join(f"{key} {value}" for key, value in report["machine"].items()), ""]
    lines.append(
        "| rows | kept | tagged | search | bare nlp.pipe | speed beside it | inside the recognizer | peak memory |"
    )
    lines.append("|---|---|---|---|---|---|---|---|")
    for size in report["sizes"]:
        counts = [str(size[f"num_{what}"]) for what in ("rows", "kept", "tagged")]
        seconds = [f"{size[f'{what}_s']:.1f} s" for what in ("search", "bare")]
        peak = f"{size['peak_mib']:.0f} MiB"
        shares = [f"{size[f'{what}_s'] / size['search_s']:.0%}" for what in ("bare", "inside")]
        lines.append(f"| {' | '.join([*counts, *seconds, *shares, peak])} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--whole", action="store_true", help="bare nlp.pipe runs the whole pipeline")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--measure", choices=["time", "whole", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        is_memory, folder = options.measure == "memory", options.folder
        print(json.dumps(measure_memory(folder) if is_memory else measure_time(folder, options.measure == "whole")))
        return 0
    report = {"machine": describe_machine(), "sizes": [measure_size(rows, options.whole) for rows in options.rows]}
    print(to_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
