"""report.html: one page that needs nothing else, made from ``page.html`` in the frame of :mod:`speechre.page`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.evaluate.breakdown import Group
from speechre.evaluate.details import Curve, Details, Intervals, Reliability
from speechre.evaluate.gallery import NUM_SOUNDS, Card, make_cards
from speechre.evaluate.mistakes import KINDS, Mistake
from speechre.evaluate.report import Report, machine_table
from speechre.metrics import Counts, normalize_text
from speechre.page.document import check_template_engine, render_document
from speechre.page.plots import Line, Row, interval_plot, line_plot, reliability_plot
from speechre.page.table import Table
from speechre.significance import LEVEL
from speechre.types import Triplet

KIND_NAMES = {"missed": "missed", "spurious": "spurious", "wrong_type": "wrong type", "near_miss": "near miss"}
MAX_SPEAKERS = 40
"""Rows of the table of voices; all are in report.json."""

_TEMPLATE = Path(__file__).parent / "page.html"
_NO_INTERVAL = "–"


def render_page(report: Report, num_sounds: int = NUM_SOUNDS) -> str:
    """The page as HTML text. ``num_sounds`` utterances of the gallery get a player.

    Raises :class:`UsageError` where Jinja2 is missing.
    """
    check_template_engine()  # before the sounds are read
    context = {
        "report": report,
        **_scores(report),
        **_relations(report),
        **_confidence(report),
        **_parts(report),
        **_gallery(report.details, make_cards(report.details.utterances, num_sounds)),
    }
    return render_document(_TEMPLATE, context)


# -- figures and tables


def _percent(value: float | None) -> str:
    return _NO_INTERVAL if value is None else f"{100 * value:.1f}"


def _range(intervals: Intervals | None, fraction: str = "f1") -> str:
    if intervals is None:
        return _NO_INTERVAL
    return f"{_percent(intervals[fraction].low)} to {_percent(intervals[fraction].high)}"


def _counts_table(title: str, what: str, counts: Mapping[str, Counts], intervals: Mapping[str, Intervals]) -> Table:
    header = (what, "F1", "95 % interval", "precision", "recall", "hits", "predicted", "gold")
    rows = (
        (
            name,
            _percent(c.f1),
            _range(intervals.get(name)),
            _percent(c.precision),
            _percent(c.recall),
            *map(str, (c.num_hits, c.num_predicted, c.num_gold)),
        )
        for name, c in counts.items()
    )
    return Table(title, header, tuple(rows))


def _scores(report: Report) -> dict[str, Any]:
    scores, details = report.scores, report.details
    triplet = details.intervals["triplet"]
    figures = [
        _figure("triplet F1", _percent(scores.triplet.f1), _range(triplet)),
        _figure("precision", _percent(scores.triplet.precision), _range(triplet, "precision")),
        _figure("recall", _percent(scores.triplet.recall), _range(triplet, "recall")),
        _figure("entity F1", _percent(scores.entity.f1), _range(details.intervals["entity"])),
        _figure("relation F1", _percent(scores.relation.f1), _range(details.intervals["relation"])),
    ]
    if report.transcript is not None:
        words = report.transcript
        figures.append(_figure("word error rate", _percent(words.wer), f"{words.num_words} words"))
    if details.reliability is not None:
        figures.append(_figure("calibration error", _percent(details.reliability.ece), "of confidence"))
    free = details.relation_free
    if free["num_utterances"]:
        share = f"{free['num_answered']} of {free['num_utterances']} relation-free"
        figures.append(_figure("needless answers", _percent(free["share"]), share))
    levels = {"triplet": scores.triplet, "entity": scores.entity, "relation": scores.relation}
    sections = [("scores", "Scores"), ("relations", "Relations"), ("confidence", "Confidence"), ("parts", "Parts")]
    sections += [("mistakes", "Mistakes"), ("made", "How it was made")]
    return {
        "lead": f"Protocol {scores.protocol}, {scores.num_utterances} utterances. {report.lead}",
        "sections": [s for s in sections if s[0] != "confidence" or details.curve is not None],
        "figures": figures,
        "intervals_note": f"In percent. Below each figure its {100 * LEVEL:g} % interval, from {details.num_samples} "
        "bootstrap samples of the utterances.",
        "score_table": _counts_table("Scores", "item", levels, details.intervals),
        "machine_table": machine_table(report.machine),
        "config": None if report.config is None else json.dumps(report.config, indent=2, ensure_ascii=False),
    }


def _figure(name: str, value: str, note: str) -> dict[str, str]:
    return {"name": name, "value": value, "note": note}


def _relations(report: Report) -> dict[str, Any]:
    details = report.details
    relation_rows = _rows(report.per_relation, details.relation_intervals)
    vote = _rows({"vote": report.scores.triplet}, {"vote": details.intervals["triplet"]}, is_strong=True)
    orders = _rows(report.orders, details.order_intervals)
    order_table = _counts_table("Triplets by order", "order", report.orders, details.order_intervals)
    return {
        "relation_plot": interval_plot("Triplet F1 by relation", relation_rows) if relation_rows else "",
        "order_plot": interval_plot("Triplet F1 by order", [*vote, *orders]) if orders else "",
        "relation_table": _counts_table(
            "Triplets by relation", "relation", report.per_relation, details.relation_intervals
        ),
        "order_table": order_table if orders else None,
    }


def _rows(counts: Mapping[str, Counts], intervals: Mapping[str, Intervals], is_strong: bool = False) -> list[Row]:
    return [
        Row(name, c.f1, intervals[name]["f1"].low, intervals[name]["f1"].high, f", {c.num_gold} in gold", is_strong)
        for name, c in counts.items()
    ]


# -- confidence


def _confidence(report: Report) -> dict[str, Any]:
    curve, reliability = report.details.curve, report.details.reliability
    if curve is None or reliability is None:
        return {"curve_plot": ""}
    ticks = tuple(range(1, len(curve.votes) + 1))
    votes_plot = ""  # of predictions that say nothing of votes
    if curve.votes:
        votes_plot = line_plot("Scores by votes", _lines(curve.votes), "votes needed", ticks, report.min_votes)
    return {
        "curve_plot": line_plot(
            "Scores by threshold",
            _lines(curve.thresholds),
            "confidence needed",
            (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
            report.threshold,
        ),
        "votes_plot": votes_plot,
        "curve_note": _curve_note(curve),
        "width_plot": reliability_plot("Reliability, bins of equal width", reliability.equal_width),
        "mass_plot": reliability_plot("Reliability, bins of equal mass", reliability.equal_mass),
        "width_note": "Share of hits by confidence, bins of equal width: calibration error "
        f"{_percent(reliability.ece)} %, of which chance alone makes {_percent(reliability.by_chance.mean)} %.",
        "mass_note": "The same with about as many triplets in each bin: calibration error "
        f"{_percent(reliability.ece_equal_mass)} %.",
        "reliability_note": _reliability_note(reliability, report.details.told_reliability),
    }


def _lines(points: Sequence[tuple[float, Counts]]) -> list[Line]:
    return [
        Line(name, css, [(x, getattr(counts, css)) for x, counts in points])
        for name, css in (("F1", "f1"), ("precision", "precision"), ("recall", "recall"))
    ]


def _curve_note(curve: Curve) -> str:
    threshold, counts = curve.best
    note = (
        f"The scores when a triplet needs so much confidence. The best F1 is {_percent(counts.f1)}, at {threshold:g}; "
        "it was looked for on these data, so expect a little less on others."
    )
    if not curve.is_complete:
        note += " Only triplets that the file holds: what its writer left out is in no curve."
    return note


def _reliability_note(reliability: Reliability, told: Reliability | None) -> str:
    note = (
        f"Over {reliability.num_triplets} triplets at any confidence, {reliability.num_hits} of them right; Brier "
        f"score {reliability.brier:.3f}. Bars show how many of a bin are right, the red part how far that is from "
        "their mean confidence, and the grey bars on top how many triplets there are."
    )
    if told is not None:
        note += (
            f" Of the {told.num_triplets} triplets that were told {told.num_hits} are right; over these alone the "
            f"calibration error is {_percent(told.ece)} %. Were every confidence right, chance would make it "
            f"{_percent(told.by_chance.mean)} % on average and in 95 of 100 cases less than "
            f"{_percent(told.by_chance.high)} %."
        )
    return note


# -- parts of the data


def _parts(report: Report) -> dict[str, Any]:
    details = report.details
    voices, num_voices = details.by_speaker[:MAX_SPEAKERS], len(details.by_speaker)
    by_voice = "By voice" if num_voices <= MAX_SPEAKERS else f"By voice: the {MAX_SPEAKERS} largest of {num_voices}"
    return {
        "breakdown_tables": [
            _group_table("By duration", "duration", details.by_duration),
            _group_table(by_voice, "voice", voices),
            _group_table("By number of triplets to find", "triplets", details.by_num_gold),
        ]
    }


def _group_table(title: str, what: str, groups: Sequence[Group]) -> Table:
    header = (what, "utterances", "with an answer", "F1", "precision", "recall", "word error rate", "predicted", "gold")
    rows = (
        (
            "not known" if g.name is None else g.name,
            str(g.num_utterances),
            f"{_percent(g.num_answered / g.num_utterances)} %",
            *((_percent(g.counts.f1), _percent(g.counts.precision)) if g.counts.num_gold else (_NO_INTERVAL,) * 2),
            _percent(g.counts.recall) if g.counts.num_gold else _NO_INTERVAL,
            _percent(None if g.words is None else g.words.wer),
            str(g.counts.num_predicted),
            str(g.counts.num_gold),
        )
        for g in groups
    )
    return Table(title, header, tuple(rows))


# -- the gallery


def _gallery(details: Details, cards: Sequence[Card]) -> dict[str, Any]:
    mistakes = [m for u in details.utterances for m in u.mistakes]
    counts = Counter(m.kind for m in mistakes)
    num_with = sum(bool(u.mistakes) for u in details.utterances)
    note = (
        f"{len(mistakes)} in {num_with} of {len(details.utterances)} utterances. Missed: nothing like it was found. "
        "Spurious: nothing like it is annotated. Wrong type: the two ends are right, the relation or an entity's type "
        "is not. Near miss: the relation is right, and no more than a third of either end's characters differ."
    )
    if num_with > len(cards):
        note += f" Shown are {len(cards)} utterances; report.json has all."
    return {
        "gallery_note": note,
        "num_mistakes": len(mistakes),
        "kinds": [{"css": kind, "name": KIND_NAMES[kind], "count": counts[kind]} for kind in KINDS],
        "cards": [_card(card, details.protocol) for card in cards],
    }


def _card(card: Card, protocol: str) -> dict[str, Any]:
    detail = card.detail
    meta = [detail.utterance.speaker or ""]
    if detail.answer.duration_s is not None:
        meta.append(f"{detail.answer.duration_s:.1f} s")
    return {
        "id": detail.utterance.id,
        "meta": " · ".join(part for part in meta if part),
        "sound": card.sound,
        "sound_note": card.sound_note,
        "text": detail.utterance.text,
        "transcript": detail.answer.transcript,
        "mistakes": [_mistake(mistake, protocol) for mistake in detail.mistakes],
    }


def _mistake(mistake: Mistake, protocol: str) -> dict[str, Any]:
    note = f"a hit under {protocol}, which does not look at entity types" if mistake.is_hit else ""
    if mistake.distance is not None:
        note = f"{100 * mistake.distance:.0f} % of the characters differ"
    shown = (
        ("annotated", mistake.gold, mistake.predicted),
        ("found", mistake.predicted, mistake.gold),
        ("not kept", mistake.candidate, None),
    )
    lines = [
        {"role": role, "triplet": triplet, "differs": _differs(triplet, other), "sureness": _sureness(triplet)}
        for role, triplet, other in shown
        if triplet is not None
    ]
    return {"css": mistake.kind, "name": KIND_NAMES[mistake.kind], "note": note, "lines": lines}


def _differs(triplet: Triplet, other: Triplet | None) -> dict[str, bool]:
    if other is None:
        return dict.fromkeys(("head", "head_type", "relation", "tail", "tail_type"), False)
    return {
        "head": normalize_text(triplet.head.text) != normalize_text(other.head.text),
        "head_type": triplet.head.type != other.head.type,
        "relation": triplet.relation != other.relation,
        "tail": normalize_text(triplet.tail.text) != normalize_text(other.tail.text),
        "tail_type": triplet.tail.type != other.tail.type,
    }


def _sureness(triplet: Triplet) -> str:
    parts = [] if triplet.confidence is None else [f"confidence {triplet.confidence:.2f}"]
    if triplet.votes is not None:
        parts.append(f"{triplet.votes} vote{'' if triplet.votes == 1 else 's'}")
    return ", ".join(parts)
