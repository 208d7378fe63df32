"""First of all: is the data sound, and which part of it is held out?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechre.data.audio_findings import MAX_UTTERANCE_S
from speechre.data.leaks import find_leaks
from speechre.data.split import split_utterances
from speechre.data.store import read_manifest
from speechre.data.ties import TRAITS, Trait, count_unknown
from speechre.data.validate import Issue, validate_manifest
from speechre.errors import DataError, OnMessage
from speechre.finetune.plan import MIN_UTTERANCES, Plan, num_dev
from speechre.types import Utterance

_LARGEST_DEV = 2.0  # times what was wanted: more would be taken from training
_SMALLEST_DEV = 0.5


@dataclass(frozen=True)
class Parts:
    """What is learned from and what is held out, without an utterance, sentence or recording in common.

    ``shares_speakers``: there were too few of them to keep dev's apart.
    """

    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    shares_speakers: bool = False


def check_data(plan: Plan, report: OnMessage) -> None:
    """Validate the manifests against the schema and report every fault, warnings counted by their code.

    Raises :class:`DataError` on an error in them, on an utterance without a recording and on too few utterances, those
    that are too long for the speech half not counted.
    """
    num_errors = num_long = 0
    for path in (plan.manifest, *(() if plan.dev is None else (plan.dev,))):
        issues = validate_manifest(path, plan.schema)
        # Without a recording nothing can be heard: a warning elsewhere, an error here.
        errors = [issue for issue in issues if issue.severity == "error" or issue.code == "no-audio"]
        for issue in errors:
            report(str(replace(issue, severity="error")))
        _report_warnings([issue for issue in issues if issue not in errors], report)
        num_errors += len(errors)
        if path == plan.manifest and plan.speech:
            num_long = sum(issue.code == "long-audio" for issue in issues)
    if num_errors:
        where = plan.manifest if plan.dev is None else f"{plan.manifest} and {plan.dev}"
        what = "1 error" if num_errors == 1 else f"{num_errors} errors"
        raise DataError(f"{where}: {what}, listed above; nothing was trained. Correct them, then start again")
    count = len(read_manifest(plan.manifest)) - num_long
    if count < MIN_UTTERANCES:
        long = f" of {MAX_UTTERANCE_S:g} s at most ({num_long} longer ones; cut them)" if num_long else ""
        raise DataError(f"{plan.manifest}: {count} utterances{long}; expected {MIN_UTTERANCES} or more to learn from")


def _report_warnings(warnings: Sequence[Issue], report: OnMessage) -> None:
    for code, count in Counter(issue.code for issue in warnings).items():
        first = next(issue for issue in warnings if issue.code == code)
        report(str(first) + (f" ({count - 1} more such warnings)" if count > 1 else ""))


def make_parts(plan: Plan, report: OnMessage) -> Parts:
    """Training and dev: as given, or split by the seed.

    Raises :class:`DataError` when no part of the utterances can be held out, or an id stands in both parts.
    """
    train = read_manifest(plan.manifest)
    if plan.dev is not None:
        parts = Parts(tuple(train), tuple(read_manifest(plan.dev)))
        _check_apart(plan.manifest, plan.dev, parts, report)
    else:
        parts = _split(train, plan, report)
    if not any(utterance.relations for utterance in parts.dev):
        raise DataError(
            "no utterance that is held out states a relation, so nothing can be calibrated or scored; annotate more, "
            "or pass some with --dev"
        )
    seen = {relation.type for utterance in parts.train for relation in utterance.relations}
    unseen = [name for name in plan.schema.relation_types if name not in seen]
    if unseen:
        report(f"no training utterance states {', '.join(unseen)}; the model will not find it")
    report(f"{len(parts.train)} utterances to learn from, {len(parts.dev)} held out (dev)")
    return parts


def _check_apart(manifest: Path, dev: Path, parts: Parts, report: OnMessage) -> None:
    both = sorted({utterance.id for utterance in parts.train} & {utterance.id for utterance in parts.dev})
    if both:
        raise DataError(
            f'{dev}: utterance "{both[0]}" stands in {manifest} too ({len(both)} such ids); make them differ'
        )
    leaks = find_leaks({"train": parts.train, "dev": parts.dev}, ("sentence", "recording"))
    if leaks:
        report(f"dev shares sentences or recordings with training, so its scores flatter ({len(leaks)}): {leaks[0]}")


def _split(utterances: Sequence[Utterance], plan: Plan, report: OnMessage) -> Parts:
    """A dev part without training's speakers, sentences and recordings; with its speakers, where they are too few."""
    unknown = count_unknown(utterances, TRAITS)
    known: tuple[Trait, ...] = tuple(trait for trait in TRAITS if unknown.get(trait) != len(utterances))
    wanted = num_dev(len(utterances)) / len(utterances)
    parts = _try_split(utterances, wanted, known, plan.seed) if "speaker" in known else None
    if parts is not None:
        return parts
    report("too few speakers to hold some of them out: dev shares its speakers with training")
    others: tuple[Trait, ...] = tuple(trait for trait in known if trait != "speaker")
    parts = _try_split(utterances, wanted, others, plan.seed)
    if parts is None:
        raise DataError(
            f"{plan.manifest}: the {len(utterances)} utterances share their sentences or recordings so much that no "
            "part can be held out; pass other recordings with --dev"
        )
    return Parts(parts.train, parts.dev, shares_speakers=True)


def _try_split(utterances: Sequence[Utterance], share: float, by: Sequence[Trait], seed: int) -> Parts | None:
    """A split into parts of about the right size; ``None`` where what ties utterances together does not allow it."""
    try:
        split = split_utterances(utterances, {"train": 1 - share, "dev": share}, by=by, seed=seed)
    except DataError:  # fewer groups than parts
        return None
    if not _SMALLEST_DEV * share <= split.share_of("dev") <= _LARGEST_DEV * share:
        return None
    return Parts(tuple(split.parts["train"]), tuple(split.parts["dev"]))
