"""``speechre data agreement``: several people's annotations of the same utterances, compared and made one."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.labeling import add_audio, audio_urls_of, tell_served, write_project
from speechre.cli.options import Commands, probability
from speechre.cli.output import check_replaces_no_input, message, open_output, print_tables
from speechre.errors import UsageError
from speechre.page.table import Table

if TYPE_CHECKING:
    from speechre.data.agreement import Agreement
    from speechre.types import Utterance

_DESCRIPTION = """\
How far annotators agree, each in a manifest of the same utterances: F1 of triplets and entities between them, Cohen's
and Fleiss' kappa, by type, and every utterance that they annotated differently. docs/labeling.md explains the figures.

The exit code is 0 also where they disagree, as for "speechre score"; --fail-under makes it 1 below a share."""

_NUM_SHOWN = 20


def add_parser(kinds: Commands) -> None:
    """The arguments of this command."""
    parser = kinds.add_parser("agreement", help="annotators against each other", description=_DESCRIPTION)
    parser.add_argument(
        "manifests", type=Path, nargs="+", metavar="A B", help="two manifests or more, one an annotator"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, fractions from 0 to 1")
    parser.add_argument(
        "--worklist", type=Path, metavar="DIR", help="write what they disagree on as a Label Studio project"
    )
    parser.add_argument("--schema", metavar="NAME|YAML", help="the worklist's labels (default: the types in use)")
    parser.add_argument("--merge", type=Path, metavar="M.jsonl", help="write what more than half of them marked")
    parser.add_argument(
        "--decided", type=Path, metavar="M.jsonl", help="with --merge: utterances that somebody has decided since"
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="call the annotators a1, a2, ... in the sequence given, in all that is written and printed, and leave out "
        "extra.label_studio, which says who annotated",
    )
    parser.add_argument(
        "--fail-under", type=probability, metavar="F1", help="exit with 1 where the strict triplet F1 is lower, 0 to 1"
    )
    add_audio(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure; 1 only under ``--fail-under``."""
    from speechre.data.agreement import measure_agreement
    from speechre.data.annotator_names import stand_ins
    from speechre.data.store import read_manifest

    if args.decided is not None and args.merge is None:
        raise UsageError("--decided changes what --merge writes; give --merge")
    versions = [_of_annotator(args, read_manifest(path)) for path in args.manifests]
    names = _names(args.manifests)
    if args.anonymous:
        names = stand_ins(len(names))
        message(", ".join(f"{name} is {path}" for name, path in zip(names, args.manifests, strict=True)))
    annotators = {
        name: {utterance.id: utterance for utterance in utterances}
        for name, utterances in zip(names, versions, strict=True)
    }
    agreement = measure_agreement(annotators)
    if args.merge is not None or args.worklist is not None:
        _write(args, agreement, annotators)
    with open_output(None) as out:
        if args.json:
            out.write_json({**agreement.to_dict(), **_disagreements_dict(agreement, annotators)})
        else:
            print_tables(out, _tables(agreement, annotators))
    message(f"{len(agreement.disagreements)} of {agreement.num_shared} utterances are annotated differently")
    if agreement.num_shared < agreement.num_utterances:
        message(f"{agreement.num_utterances - agreement.num_shared} utterances have one annotator and are not compared")
    f1 = agreement.mean_f1("triplet", "strict")
    if args.fail_under is not None and f1 < args.fail_under:
        message(f"the strict triplet F1 is {f1:.4f}, below {args.fail_under:g}")
        return 1
    return 0


def _of_annotator(args: argparse.Namespace, utterances: list[Utterance]) -> list[Utterance]:
    """What one person annotated, or decided, as far as it may be told."""
    from speechre.data.annotator_names import without_provenance

    return without_provenance(utterances) if args.anonymous else utterances


def _names(paths: list[Path]) -> list[str]:
    """The files' names, or their paths where these are the same."""
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else str(path) for path in paths]
    if len(set(names)) < len(names):
        raise UsageError(f"{max(names, key=names.count)} is given twice; expected one manifest an annotator")
    return names


# --- files ---


def _write(args: argparse.Namespace, agreement: Agreement, annotators: Mapping[str, Mapping[str, Utterance]]) -> None:
    from speechre.data.adjudicate import EXTRA_KEY, apply_decisions, merge_annotators, worklist_tasks
    from speechre.data.label_studio import schema_of
    from speechre.data.store import read_manifest, write_manifest
    from speechre.schemas import load_schema

    merged = merge_annotators(annotators)
    recordings = [m.utterance.audio.path for m in merged if m.utterance.audio is not None]
    inputs = [*args.manifests, *([args.decided] if args.decided else []), *recordings]
    check_replaces_no_input(args.merge, inputs)
    if args.worklist is not None and not agreement.disagreements:
        message(f"no disagreements: {args.worklist} is not written")
    elif args.worklist is not None:
        by_id = {m.utterance.id: m.utterance for m in merged}
        open_ones = [by_id[one.utterance_id] for one in agreement.disagreements]
        everything = [utterance for some in annotators.values() for utterance in some.values()]
        schema = load_schema(args.schema) if args.schema is not None else schema_of(everything)
        urls = audio_urls_of(open_ones, args.manifests[0], args.worklist, args)
        tasks = worklist_tasks(agreement, annotators, by_id, urls, args.manifests[0].parent)
        write_project(args.worklist, schema, tasks, inputs)
        message(f"wrote {len(tasks)} tasks and their config to {args.worklist}")
        tell_served(urls, args.manifests[0], args.worklist, args)
    if args.merge is not None:
        utterances = [m.utterance for m in merged]
        if args.decided is not None:
            decisions = _of_annotator(args, read_manifest(args.decided))
            utterances = apply_decisions(utterances, decisions, annotators)
        count = write_manifest(args.merge, utterances)
        kept = sum(len(u.entities) + len(u.relations) for u in utterances)
        left_out = sum(len(u.extra[EXTRA_KEY]["rejected"]) for u in utterances)
        why = "no majority marked" if args.decided is None else "were not kept"
        message(
            f"wrote {count} utterances with {kept} entities and relations to {args.merge}; {left_out} that {why} "
            "stand in extra.agreement.rejected"
        )


# --- tables ---


def _disagreements_dict(agreement: Agreement, annotators: Mapping[str, Mapping[str, Utterance]]) -> dict[str, object]:
    from speechre.data.agreement import item_text

    texts = _texts(annotators)
    return {
        "num_disagreements": len(agreement.disagreements),
        "disagreements": [
            {
                "id": one.utterance_id,
                "share": one.share,
                "items": [
                    {"item": item_text(item, texts[one.utterance_id]), "annotators": list(names)}
                    for item, names in one.items.items()
                ],
            }
            for one in agreement.disagreements
        ],
    }


def _texts(annotators: Mapping[str, Mapping[str, Utterance]]) -> dict[str, str]:
    return {utterance.id: utterance.text for some in annotators.values() for utterance in some.values()}


def _tables(agreement: Agreement, annotators: Mapping[str, Mapping[str, Utterance]]) -> Iterator[Table]:
    yield _f1_table(agreement)
    yield _kappa_table(agreement)
    yield from _type_tables(agreement)
    if agreement.disagreements:
        yield _disagreement_table(agreement, _texts(annotators))


def _f1_table(agreement: Agreement) -> Table:
    from speechre.data.agreement import PROTOCOLS, f1_between

    header = ("annotators", "utterances", *(f"{item} {name}" for item in ("triplet", "entity") for name in PROTOCOLS))
    rows = [
        (
            f"{pair.a}, {pair.b}",
            str(pair.num_utterances),
            *(_percent(f1_between(counts[name])) for counts in (pair.triplet, pair.entity) for name in PROTOCOLS),
        )
        for pair in agreement.pairs
    ]
    if len(rows) > 1:
        means = (agreement.mean_f1(item, name) for item in ("triplet", "entity") for name in PROTOCOLS)
        rows.append(("mean", str(agreement.num_shared), *map(_percent, means)))
    return Table("F1 in percent", header, tuple(rows))


def _kappa_table(agreement: Agreement) -> Table:
    from speechre.data.agreement import UNITS

    header = ("annotators", "kappa", *(part for unit in UNITS for part in (unit.replace("_", " "), "units")))
    rows = [
        (f"{pair.a}, {pair.b}", "Cohen", *(cell for unit in UNITS for cell in _kappa_cells(pair.kappa[unit])))
        for pair in agreement.pairs
    ]
    rows.append(("all", "Fleiss", *(cell for unit in UNITS for cell in _kappa_cells(agreement.fleiss[unit]))))
    return Table("Agreement beyond chance", header, tuple(rows))


def _kappa_cells(kappa: object) -> tuple[str, str]:
    from speechre.data.agreement import Kappa

    assert isinstance(kappa, Kappa)
    return _kappa(kappa.value), str(kappa.num_units)


def _type_tables(agreement: Agreement) -> Iterator[Table]:
    """The counts of all pairs together; kappa is Cohen's of two annotators and Fleiss' of more."""
    from speechre.data.agreement import f1_between
    from speechre.metrics import Counts

    two = len(agreement.annotators) == 2 and agreement.pairs
    kappas = agreement.pairs[0].kappa if two else agreement.fleiss
    entities: dict[str, Counts] = {}
    relations: dict[str, dict[str, Counts]] = {}
    for pair in agreement.pairs:
        for kind, counts in pair.per_entity_type.items():
            entities[kind] = entities.get(kind, Counts()) + counts
        for name, some in pair.per_relation.items():
            for kind, counts in some.items():
                found = relations.setdefault(kind, {})
                found[name] = found.get(name, Counts()) + counts
    name = "Cohen" if two else "Fleiss"
    if entities:
        rows = [
            (kind, _percent(f1_between(c)), _kappa(kappas["words"].per_type.get(kind)), str(c.num_hits))
            for kind, c in sorted(entities.items())
        ]
        yield Table("Entities by type", ("type", "F1 strict", f"{name} (words)", "agreed"), tuple(rows))
    if relations:
        relation_rows = [
            (
                kind,
                _percent(f1_between(some["strict"])),
                _percent(f1_between(some["boundary"])),
                _kappa(kappas["relations"].per_type.get(kind)),
                str(some["strict"].num_hits),
            )
            for kind, some in sorted(relations.items())
        ]
        header = ("relation", "F1 strict", "F1 boundary", f"{name} (relations)", "agreed")
        yield Table("Triplets by relation", header, tuple(relation_rows))


def _disagreement_table(agreement: Agreement, texts: Mapping[str, str]) -> Table:
    from speechre.data.agreement import item_text

    shown = agreement.disagreements[:_NUM_SHOWN]
    rows = [
        (one.utterance_id, item_text(item, texts[one.utterance_id]), ", ".join(names))
        for one in shown
        for item, names in one.items.items()
    ]
    total = len(agreement.disagreements)
    title = (
        "Disagreements" if total <= _NUM_SHOWN else f"Disagreements of {_NUM_SHOWN} of {total} utterances (--json: all)"
    )
    return Table(title, ("utterance", "what", "marked by"), tuple(rows))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _kappa(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
