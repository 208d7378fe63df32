"""The statistics of a data set for readers: tables, Markdown and one page with plots that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from speechre.data.stats import OF_SPEAKERS
from speechre.page.document import render_document
from speechre.page.plots import bar_plot, histogram_plot
from speechre.page.table import Table

MAX_ROWS = 40
"""Rows of a distribution; stats.json has all."""
STATS_FILES = ("stats.json", "stats.md", "stats.html")

_TEMPLATE = Path(__file__).parent / "stats.html"

PATTERNS = {
    "none": "no triplet",
    "normal": "Normal: triplets that share no entity",
    "entity_pair": "EPO: two relations between the same two entities",
    "single_entity": "SEO: two triplets share one entity",
}
"""The overlap patterns of Zeng et al. 2018 in words."""

_OVERLAP_NOTE = (
    "Overlap after Zeng et al. 2018, Extracting Relational Facts by an End-to-End Neural Model with Copy Mechanism: "
    + "; ".join(PATTERNS.values())
    + " and have their other one apart. An utterance can be EPO and SEO at once."
)

_WHOLE = {
    "num_utterances": "utterances",
    "num_with_audio": "with audio",
    "num_recordings": "recordings",
    "num_speakers": "speakers",
    "num_entities": "entities",
    "num_triplets": "triplets",
    "num_distinct_triplets": "distinct triplets, by utterance",
    "num_repeated_texts": "texts that stood before",
}
_DISTRIBUTIONS = {
    "relation_types": ("Relations", "relation"),
    "entity_types": ("Entities", "type"),
    "type_patterns": ("Types of triplets", "head, relation, tail"),
    "triplets_per_utterance": ("Triplets per utterance", "triplets"),
    "overlap": ("Overlap of triplets", "utterances with"),
    "duration_histogram": ("Durations", "seconds"),
    "speakers": ("Speakers", "speaker"),
    "accents": ("Accents", "accent"),
    "genders": ("Genders", "gender"),
    "ages": ("Ages", "age"),
    "frequent_words": ("Frequent words", "word"),
}
_SUMMARIES = {
    "duration_s": "seconds an utterance",
    "words": "words an utterance",
    "words_per_entity": "words an entity",
    "utterances_per_speaker": "utterances a speaker",
}


def stats_tables(stats: Mapping[str, Any]) -> list[Table]:
    """The figures of :func:`speechre.data.stats.manifest_stats`; of long distributions the most frequent rows."""
    return [_whole_table(stats), _parts_table(stats), _summary_table(stats), *_distribution_tables(stats)]


def stats_markdown(title: str, stats: Mapping[str, Any]) -> str:
    """One page in GitHub's Markdown."""
    return "\n".join([f"# {_line(title)}", "", *(table.to_markdown() for table in stats_tables(stats))])


def stats_page(title: str, stats: Mapping[str, Any]) -> str:
    """One page in HTML that needs nothing else. Raises :class:`UsageError` where Jinja2 is missing."""
    tables = {name: _distribution_table(name, stats) for name in _DISTRIBUTIONS if stats[name]}
    context = {
        "title": title,
        "lead": _lead(stats),
        "sections": [("whole", "Whole"), ("triplets", "Triplets"), ("sound", "Sound"), ("words", "Words")],
        "figures": _figures(stats),
        "whole_tables": [_parts_table(stats), _whole_table(stats), _summary_table(stats)],
        "triplet_plots": _triplet_plots(stats),
        "triplet_tables": [tables[name] for name in ("type_patterns", "overlap") if name in tables],
        "overlap_note": _OVERLAP_NOTE,
        "sound_plots": _sound_plots(stats),
        "sound_note": _sound_note(stats),
        "sound_tables": [tables[name] for name in ("speakers", *OF_SPEAKERS) if name in tables],
        "word_plots": _bars("frequent_words", stats, "The most frequent words."),
        "word_note": _word_note(stats),
    }
    return render_document(_TEMPLATE, context)


# --- tables ---


def _line(text: str) -> str:
    return " ".join(text.split())


def _whole_table(stats: Mapping[str, Any]) -> Table:
    words = stats["vocabulary"]
    rows = [(name, str(stats[key])) for key, name in _WHOLE.items()]
    rows += [("hours", f"{stats['duration_s']['hours']:g}")]
    if stats["duration_s"]["num_unknown"]:
        rows += [("of unknown duration", str(stats["duration_s"]["num_unknown"]))]
    rows += [("words", str(words["num_words"])), ("distinct words", str(words["num_distinct"]))]
    rows += [("words that stand once", str(words["num_once"]))]
    return Table("The whole", ("what", "number"), tuple(rows))


def _parts_table(stats: Mapping[str, Any]) -> Table:
    header = ("part", "utterances", "triplets", "speakers", "distinct words", "hours")
    rows = (
        (
            _line(name) or "unknown",
            *(str(part[key]) for key in ("num_utterances", "num_triplets", "num_speakers", "num_distinct_words")),
            f"{part['hours']:g}",
        )
        for name, part in stats["parts"].items()
    )
    return Table("Parts", header, tuple(rows))


def _summary_table(stats: Mapping[str, Any]) -> Table:
    keys = ("mean", "median", "min", "max")
    rows = ((name, *(f"{stats[key][k]:g}" for k in keys)) for key, name in _SUMMARIES.items() if stats[key]["total"])
    return Table("How long, how many", ("what", *keys), tuple(rows))


def _distribution_tables(stats: Mapping[str, Any]) -> Iterator[Table]:
    for name in _DISTRIBUTIONS:
        if stats[name]:
            yield _distribution_table(name, stats)


def _distribution_table(name: str, stats: Mapping[str, Any]) -> Table:
    title, what = _DISTRIBUTIONS[name]
    counts: Mapping[str, int] = stats[name]
    # The patterns overlap and words are a choice: only shares of the whole are shares.
    total = stats["num_utterances"] if name == "overlap" else sum(counts.values())
    if name == "frequent_words":
        total = stats["vocabulary"]["num_words"]
    rows = [
        (
            PATTERNS[key] if name == "overlap" else _line(key) or "unknown",
            str(n),
            f"{100 * n / total:.1f}" if total else "",
        )
        for key, n in list(counts.items())[:MAX_ROWS]
    ]
    if len(counts) > MAX_ROWS:
        title = f"{title}: the {MAX_ROWS} most frequent of {len(counts)}"
    return Table(title, (what, "number", "percent"), tuple(rows))


# --- the page ---


def _lead(stats: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{_line(name)} {part['num_utterances']}" for name, part in stats["parts"].items() if name)
    return f"{stats['num_utterances']} utterances" + (f" ({parts})" if parts else "")


def _figures(stats: Mapping[str, Any]) -> list[dict[str, str]]:
    words, overlap = stats["vocabulary"], stats["overlap"]
    with_triplets = stats["num_utterances"] - overlap["none"]
    return [
        _figure("triplets", stats["num_triplets"], f"in {with_triplets} utterances"),
        _figure("utterances", stats["num_utterances"], f"{stats['num_with_audio']} with audio"),
        _figure("hours", f"{stats['duration_s']['hours']:.2f}", f"{stats['duration_s']['num_unknown']} not known"),
        _figure("speakers", stats["num_speakers"], f"{stats['speakers'].get('', 0)} utterances not known"),
        _figure("relation types", len(stats["relation_types"]), f"{len(stats['type_patterns'])} with entity types"),
        _figure("entities", stats["num_entities"], f"{len(stats['entity_types'])} types"),
        _figure("distinct words", words["num_distinct"], f"of {words['num_words']}"),
        _figure("repeated texts", stats["num_repeated_texts"], "stood before"),
    ]


def _figure(name: str, value: object, note: str) -> dict[str, str]:
    return {"name": name, "value": str(value), "note": note}


_Plots: TypeAlias = list[tuple[str, str]]  # a drawing, its caption


def _bars(name: str, stats: Mapping[str, Any], caption: str) -> _Plots:
    return [(bar_plot(_DISTRIBUTIONS[name][0], stats[name]), caption)] if stats[name] else []


def _bins(name: str, stats: Mapping[str, Any], caption: str) -> _Plots:
    title, label = _DISTRIBUTIONS[name]
    return [(histogram_plot(title, stats[name], label), caption)] if stats[name] else []


def _triplet_plots(stats: Mapping[str, Any]) -> _Plots:
    patterns = {PATTERNS[key].split(":")[0]: count for key, count in stats["overlap"].items()}
    return [
        *_bars("relation_types", stats, "Triplets by relation."),
        *_bars("entity_types", stats, "Entities by type, whether they stand in a triplet or not."),
        *_bins("triplets_per_utterance", stats, "Utterances by how many triplets they have."),
        (bar_plot(_DISTRIBUTIONS["overlap"][0], patterns), "Utterances by how their triplets overlap."),
    ]


def _sound_plots(stats: Mapping[str, Any]) -> _Plots:
    told = (_bars(name, stats, f"Utterances by the speaker's {name[:-1]}, where told.") for name in OF_SPEAKERS)
    return [*_bins("duration_histogram", stats, "Utterances by duration in seconds."), *(p for ps in told for p in ps)]


def _sound_note(stats: Mapping[str, Any]) -> str:
    duration = stats["duration_s"]
    known = stats["num_utterances"] - duration["num_unknown"]
    if not known:
        return "No duration is known."
    return (
        f"{duration['hours']:g} hours in {known} utterances of known duration: {duration['min']:g} to "
        f"{duration['max']:g} s, half of them up to {duration['median']:g} s."
    )


def _word_note(stats: Mapping[str, Any]) -> str:
    words = stats["vocabulary"]
    return (
        f"{words['num_words']} words, {words['num_distinct']} different ones, {words['num_once']} of them said once; "
        "counted in lower case and without punctuation."
    )
