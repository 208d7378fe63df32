"""What the search for candidates costs beside bare named entity recognition, and whether its memory grows.

    python benchmarks/candidates.py [--rows 10000 100000] [--processes 1] [--json FILE]

For each size a release is made by scripts/make-common-voice. Every measurement is a process of its own: the search, and
bare ``nlp.pipe`` in one process with spaCy's default batch size, three times: over every text of the table with the
components that the search runs, over every text with the whole pipeline, and over only those texts that the search gave
to the recognizer, with its components (the hardest comparison: the search reads, counts, checks and writes the other
rows too). Loading spaCy is not counted. Times are of the processor, user and system, so that other work on the machine
matters less; with several processes, of the clock on the wall.
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
from pathlib import Path
from typing import Any

from speechre.data.candidates import find_candidates
from speechre.data.common_voice import Row, SplitTable, open_release
from speechre.data.entity_tagger import DEFAULT_TAGGER, TaggedSpan, Tagger, needed_components, open_tagger
from speechre.evaluate.run import describe_machine
from speechre.schemas import ACE05

MAKE = Path(__file__).parents[1] / "scripts" / "make-common-voice"
BARE = {
    "every text, the search's components": "all",
    "every text, the whole pipeline": "whole",
    "the texts that the search tagged, its components": "tagged",
}


class Listening:
    """A recognizer that writes down what it is asked."""

    def __init__(self, tagger: Tagger, path: Path) -> None:
        self.name = tagger.name
        self._tagger = tagger
        self._file = path.open("w", encoding="utf-8")

    def tag(self, texts: Sequence[str]) -> list[list[TaggedSpan]]:
        self._file.writelines(f"{text}\n" for text in texts)
        return self._tagger.tag(texts)

    def close(self) -> None:
        self._file.close()


def measure_search(folder: Path, processes: int) -> dict[str, Any]:
    """One search, start to end."""
    with open_tagger(DEFAULT_TAGGER, processes) as tagger:
        tagger.tag(["Warm up in London."])
        listening = Listening(tagger, folder / "tagged.txt")
        before, start = time.process_time(), time.perf_counter()
        found = find_candidates(open_release(folder / "release"), ACE05, listening, folder / "m.jsonl", restart=True)
        seconds = {"processor_s": time.process_time() - before, "wall_s": time.perf_counter() - start}
        listening.close()
    return {**seconds, **memory(), "num_rows": found.num_rows, "num_kept": found.num_kept}


def measure_bare(folder: Path, what: str) -> dict[str, Any]:
    """``nlp.pipe`` and nothing else; entities are looked at, as anyone would."""
    import spacy

    name = DEFAULT_TAGGER.partition(":")[2]
    nlp = spacy.load(name)
    if what != "whole":
        nlp.select_pipes(enable=needed_components(nlp, name))
    nlp("Warm up in London.")
    texts = list(tagged(folder) if what == "tagged" else sentences(folder))
    before, start = time.process_time(), time.perf_counter()
    num_entities = sum(len(doc.ents) for doc in nlp.pipe(texts))
    seconds = {"processor_s": time.process_time() - before, "wall_s": time.perf_counter() - start}
    return {**seconds, **memory(), "num_texts": len(texts), "num_entities": num_entities}


def tagged(folder: Path) -> Iterator[str]:
    """What the search gave to the recognizer."""
    yield from (folder / "tagged.txt").read_text(encoding="utf-8").splitlines()


def sentences(folder: Path) -> Iterator[str]:
    """Every sentence of the table."""
    table = SplitTable(folder / "release" / "validated.tsv")
    rows = (table.row(line, raw) for line, (_, raw) in enumerate(table.lines(), start=2))
    yield from (row.sentence for row in rows if isinstance(row, Row))


def memory() -> dict[str, float]:
    """The most memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20}


def in_a_process(folder: Path, what: str, processes: int) -> dict[str, Any]:
    """One measurement in a fresh interpreter."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder), "--processes", str(processes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_size(rows: int, processes: int) -> dict[str, Any]:
    """All measurements on one release."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, str(MAKE), str(folder / "release"), "--rows", str(rows)], check=True)
        search = in_a_process(folder, "search", processes)
        bare = {title: in_a_process(folder, what, processes) for title, what in BARE.items()}
    return {"rows": rows, "search": search, "bare": bare}


def to_markdown(report: dict[str, Any]) -> str:
    """A table a size."""
    lines = [", ".join(f"{key} {value}" for key, value in report["machine"].items())]
    clock = "wall_s" if report["processes"] > 1 else "processor_s"
    for size in report["sizes"]:
        search = size["search"]
        lines += ["", f"{size['rows']} rows, {search['num_kept']} kept, {report['processes']} process(es), {clock}", ""]
        lines += ["| what | texts | seconds | the search is so fast beside it | peak memory |", "|---|---|---|---|---|"]
        lines.append(f"| search | {search['num_rows']} rows | {search[clock]:.1f} | | {search['peak_mib']:.0f} MiB |")
        for title, bare in size["bare"].items():
            share = f"{bare[clock] / search[clock]:.0%}"
            cells = [
                f"nlp.pipe: {title}",
                bare["num_texts"],
                f"{bare[clock]:.1f}",
                share,
                f"{bare['peak_mib']:.0f} MiB",
            ]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--processes", type=int, default=1, help="of the search (default: 1)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--measure", choices=["search", *BARE.values()], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        search = options.measure == "search"
        folder = options.folder
        print(
            json.dumps(measure_search(folder, options.processes) if search else measure_bare(folder, options.measure))
        )
        return 0
    sizes = [measure_size(rows, options.processes) for rows in options.rows]
    report = {"machine": describe_machine(), "processes": options.processes, "sizes": sizes}
    print(to_markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
