"""``speechre data split``: parts that share nothing, and the check of parts that somebody else made."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.options import Commands
from speechre.cli.output import check_replaces_no_input, message, one_line, open_output, print_tables
from speechre.data.formats.carry import SPLITS
from speechre.data.near_duplicates import SIMILARITY
from speechre.data.ties import TRAITS, Trait, check_traits
from speechre.errors import DataError, UsageError
from speechre.page.table import Table

if TYPE_CHECKING:
    from speechre.data.leaks import Leak
    from speechre.data.split import Split
    from speechre.types import Utterance

_NAMES = {2: ("train", "test"), 3: ("train", "dev", "test")}
_TOLERANCE = 0.05
"""How far a part's share of the utterances may be off without a word."""

_DESCRIPTION = """\
Deal a manifest out into parts that share no speaker, no recording and no sentence (near duplicates count as the same),
each with its share of every relation. The same utterances and seed always give the same parts.

With --check, parts that exist: one manifest a part, or one whose utterances name their "split". Every speaker,
recording and sentence that stands in two parts is listed; the exit code is 1 if there is one."""


def add_parser(kinds: Commands) -> None:
    """The arguments of this command."""
    parser = kinds.add_parser("split", help="disjoint parts, or a check of them", description=_DESCRIPTION)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="M.jsonl", help="one manifest; with --check, more")
    parser.add_argument("--check", action="store_true", help="list what the parts share; write nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="gets train.jsonl, ... and split.json")
    parser.add_argument(
        "--shares", type=_share, nargs="+", metavar="P", help="one a part, in any unit (default: 0.8 0.1 0.1)"
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="of the parts (default: train dev test; of two, train test)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="another one deals otherwise (default: 1)")
    parser.add_argument(
        "--by",
        type=_traits,
        default=TRAITS,
        metavar="TRAIT,...",
        help=f"what no two parts may share, some of {','.join(TRAITS)} (default: all)",
    )
    parser.add_argument(
        "--similarity",
        type=_similarity,
        default=SIMILARITY,
        metavar="S",
        help=f"sentences whose words overlap this much count as the same, over 0 to 1 (default: {SIMILARITY:g})",
    )
    parser.add_argument(
        "--leave-out",
        action="store_true",
        help="where many speakers read the same sentences: keep each sentence in one part and write the others' "
        "utterances of it to left-out.jsonl",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Split, or check; 1 if the check finds something."""
    return _run_check(args) if args.check else _run_split(args)


# --- split ---


def _run_split(args: argparse.Namespace) -> int:
    from speechre.data.split import split_utterances
    from speechre.data.store import read_manifest, write_atomically, write_manifest

    if len(args.manifests) != 1:
        raise UsageError(f"{len(args.manifests)} manifests to split; expected one (with --check, one a part)")
    if args.output is None:
        raise UsageError('no place for the parts; add "--output DIR", or --check to check parts that exist')
    names = _part_names(args.names, args.shares or [0.8, 0.1, 0.1])
    places = {name: args.output / f"{name}.jsonl" for name in [*names, *(["left-out"] if args.leave_out else [])]}
    report = args.output / "split.json"
    for place in (*places.values(), report):
        check_replaces_no_input(place, args.manifests)
    _check_leaves_no_part(args.output, places, args.manifests[0])
    utterances = read_manifest(args.manifests[0])
    seed = 1 if args.seed is None else args.seed
    try:
        split = split_utterances(
            utterances, names, by=args.by, seed=seed, similarity=args.similarity, leave_out=args.leave_out
        )
    except DataError as error:
        raise DataError(f"{args.manifests[0]}: {error} (--by, --names, --shares, --leave-out)") from error
    for name, found in {**split.parts, "left-out": split.left_out}.items():
        if name in places:
            write_manifest(places[name], found)
    write_atomically(report, json.dumps(split.to_dict(), indent=2, ensure_ascii=False) + "\n")
    with open_output(None) as out:
        if args.json:
            out.write_json(split.to_dict())
        else:
            print_tables(out, _split_tables(split))
    for line in _remarks(split):
        message(line)
    message(f"wrote {split.num_utterances} utterances to {args.output}, {len(split.left_out)} left out")
    return 0


def _part_names(names: Sequence[str] | None, shares: Sequence[float]) -> dict[str, float]:
    given = names or _NAMES.get(len(shares))
    if given is None:
        raise UsageError(f"{len(shares)} shares, but no names of their parts; add --names")
    if len(given) != len(shares):
        raise UsageError(f"{len(shares)} shares for {len(given)} parts ({', '.join(given)}); give each part one")
    for name in given:
        if not name.strip() or Path(name).name != name or name == "left-out" or name.startswith("."):
            raise UsageError(f'a part cannot be called "{name}"; expected a plain name, as train')
    if len(set(given)) != len(given):
        raise UsageError(f"a part's name stands twice in {' '.join(given)}; name each once")
    return dict(zip(given, shares, strict=True))


def _check_leaves_no_part(folder: Path, names: Collection[str], manifest: Path) -> None:
    """Raises :class:`UsageError` where parts of an earlier split would stay beside the new ones, which may share
    everything with them: those that its ``split.json`` lists, or that are called as parts usually are.

    Other manifests may stay in the folder; the one that is split often lies there.
    """
    others = [name for name in {*_parts_listed(folder / "split.json"), *SPLITS, "left-out"} if name not in names]
    places = [place for name in sorted(others) if os.path.isfile(place := folder / f"{name}.jsonl")]
    stale = [place.name for place in places if not _is_same_file(place, manifest)]
    if stale:
        raise UsageError(
            f"{folder}: {', '.join(stale)} of another split would stay and be taken for a part of this one; delete "
            f"{'it' if len(stale) == 1 else 'them'} or choose another folder"
        )


def _parts_listed(report: Path) -> list[str]:
    """The parts of an earlier split; none where ``report`` is none of ours, which is replaced as any file is."""
    from speechre.data.store import read_json

    try:
        record = read_json(report)
    except DataError:
        return []
    parts = record.get("parts") if isinstance(record, dict) else None
    return list(parts) if isinstance(parts, dict) else []


def _is_same_file(place: Path, manifest: Path) -> bool:
    try:
        return os.path.samefile(place, manifest)
    except OSError:
        return False  # no such manifest: reading it says so


def _split_tables(split: Split) -> Iterator[Table]:
    parts = list(split.parts)
    rows = [
        (
            name,
            f"{100 * split.shares[name]:.1f}",
            f"{100 * split.share_of(name):.1f}",
            str(len(found)),
            str(len({u.speaker for u in found if u.speaker is not None})),
            str(sum(len(u.relations) for u in found)),
        )
        for name, found in split.parts.items()
    ]
    yield Table("parts", ("part", "wanted %", "got %", "utterances", "speakers", "relations"), tuple(rows))
    relations = [
        (name, str(sum(counts.values())), *(f"{100 * counts[part] / sum(counts.values()):.1f}" for part in parts))
        for name, counts in split.relation_counts.items()
    ]
    if relations:
        yield Table("relations", ("relation", "number", *(f"{part} %" for part in parts)), tuple(relations))


def _remarks(split: Split) -> Iterator[str]:
    """What a person should know before using the parts."""
    for trait, number in split.num_unknown.items():
        if number:
            yield f"{number} utterances have no {trait}; each counts as one of its own"
    off = [name for name, share in split.shares.items() if abs(split.share_of(name) - share) > _TOLERANCE]
    if off:
        yield (
            f"the shares of {', '.join(off)} are not what was asked for: the largest of {split.num_groups} groups that "
            f"must stay together holds {split.largest_group} utterances; tie them by less (--by) or see --leave-out"
        )


# --- check ---


def _run_check(args: argparse.Namespace) -> int:
    from speechre.data.leaks import find_leaks
    from speechre.data.ties import count_unknown

    for name in ("output", "shares", "names", "seed"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name} has no effect with --check; leave one of them out")
    if args.leave_out:
        raise UsageError("--leave-out has no effect with --check; leave one of them out")
    parts = _read_parts(args.manifests)
    leaks = find_leaks(parts, args.by, args.similarity)
    counts = Counter(leak.kind for leak in leaks)
    unknown = count_unknown([u for part in parts.values() for u in part], args.by)
    with open_output(None) as out:
        if args.json:
            out.write_json(_check_record(parts, leaks, counts))
        else:
            for leak in leaks:
                out.write(one_line(str(leak)) + "\n")
    for trait, number in unknown.items():
        if number:
            message(f"{number} utterances have no {trait}, which therefore was not checked for them")
    told = ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "no leak"
    message(f"{', '.join(f'{name} ({len(part)})' for name, part in parts.items())}: {told}")
    return 1 if leaks else 0


def _check_record(parts: dict[str, list[Utterance]], leaks: Sequence[Leak], counts: Counter[str]) -> dict[str, object]:
    return {
        "parts": {name: len(found) for name, found in parts.items()},
        "num_leaks": len(leaks),
        "num_by_kind": dict(counts),
        "leaks": [leak.to_dict() for leak in leaks],
    }


def _read_parts(manifests: Sequence[Path]) -> dict[str, list[Utterance]]:
    from speechre.data.leaks import parts_by_split
    from speechre.data.store import read_manifest

    if len(manifests) == 1:
        parts = parts_by_split(read_manifest(manifests[0]), str(manifests[0]))
        if len(parts) == 1:
            raise UsageError(
                f'{manifests[0]}: all utterances are of the part "{next(iter(parts))}"; expected two parts'
            )
        return parts
    names = [path.stem for path in manifests]
    if len(set(names)) != len(names):
        names = [str(path) for path in manifests]
    if len(set(names)) != len(names):
        raise UsageError("a manifest is given twice; name each part once")
    return {name: read_manifest(path) for name, path in zip(names, manifests, strict=True)}


# --- arguments ---


def _traits(text: str) -> tuple[Trait, ...]:
    try:
        return check_traits(name.strip() for name in text.split(",") if name.strip())
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f'got "{text}", expected a number above 0')
    return value


def _similarity(text: str) -> float:
    value = _share(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f'got "{text}", expected a number over 0, at most 1')
    return value
