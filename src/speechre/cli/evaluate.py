"""``speechre evaluate``: a model on a manifest."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from speechre.cli.options import Commands, add_decoding, add_names, add_protocol, add_report
from speechre.cli.output import Output, check_replaces_no_input, open_output, print_tables, with_progress
from speechre.cli.report import open_report
from speechre.errors import DataError, UsageError
from speechre.evaluate.report import evaluation_tables
from speechre.types import Utterance

if TYPE_CHECKING:
    from speechre.evaluate.answers import Result
    from speechre.extract.extractor import Extractor

_DESCRIPTION = """\
Run a model on all recordings of a manifest and score the vote, each order alone, the relation head and the
transcripts.

Every utterance counts: one without a readable recording ends the evaluation with an error."""


def add_parser(commands: Commands) -> None:
    """The arguments of this command."""
    parser = commands.add_parser("evaluate", help="a model on a manifest", description=_DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="annotated utterances (.jsonl)")
    parser.add_argument("--model", required=True, metavar="DIR|NAME", help="a model folder or a shipped model's name")
    add_protocol(parser)
    add_report(parser, "report.html, report.json, report.md and predictions.jsonl")
    parser.add_argument("--predictions", type=Path, metavar="FILE.jsonl", help="write one extraction a line here")
    parser.add_argument("--json", action="store_true", help="one JSON object, fractions from 0 to 1")
    add_decoding(parser)
    add_names(parser)
    parser.add_argument(
        "--relation-prompt",
        choices=("predicted", "gold", "none", "all"),
        default="predicted",
        help="which relation types the decoder is told: those that the relation head predicts (the default), the "
        "annotated ones, none or all; to see what a prompt is worth",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate."""
    from speechre.data.store import read_manifest

    utterances = read_manifest(args.manifest)
    inputs = [args.manifest, *(utterance.audio.path for utterance in utterances if utterance.audio is not None)]
    inputs += [] if args.names is None else [args.names]
    check_replaces_no_input(args.predictions, inputs)
    check_recordings(args.manifest, utterances)
    write = open_report(args, inputs)
    with ExitStack() as stack:
        predictions = None
        if args.predictions is not None:
            predictions = stack.enter_context(open_output(args.predictions))
        # Torch takes seconds to load: only after all that can be wrong with the arguments was checked.
        from speechre.cli.model import load_extractor
        from speechre.evaluate.answers import evaluate_answers

        extractor = load_extractor(args)
        extractor.relations_of = _relations_of(args.relation_prompt, utterances, extractor)
        results = _results(extractor, utterances, predictions)
        checkpoint = extractor.checkpoint
        answers = evaluate_answers(
            utterances, results, args.protocol, model=extractor.model_id, config=checkpoint.config
        )
    evaluation = answers.evaluation
    if write is not None:
        write(answers.report, answers.extractions)
    with open_output(None) as out:
        if args.json:
            out.write_json(evaluation.to_dict())
        else:
            print_tables(out, evaluation_tables(evaluation))
    return 0


def _relations_of(
    source: str, utterances: Sequence[Utterance], extractor: Extractor
) -> Callable[[str], Collection[str]] | None:
    """The relation prompt of each utterance; ``None``: the relation head's."""
    if source == "predicted":
        return None
    if not extractor.checkpoint.config.model.relation_prompt:
        raise UsageError(f"--relation-prompt {source}: {extractor.checkpoint.model_id} was trained without prompts")
    if source == "gold":
        gold = {utterance.id: frozenset(r.type for r in utterance.relations) for utterance in utterances}
        return gold.__getitem__
    told = extractor.checkpoint.schema.relation_types if source == "all" else ()
    return lambda utterance_id: told


def _results(extractor: Extractor, utterances: Sequence[Utterance], predictions: Output | None) -> Iterator[Result]:
    """What the model answers, utterance by utterance, written where asked."""
    sources = with_progress(utterances, len(utterances), "utterances")
    for recording, analysis, candidates in extractor.analyze_with_candidates(sources):
        extraction = extractor.extraction(recording, analysis)
        if predictions is not None:
            predictions.write_json(extraction.to_dict())
        yield extraction, analysis, candidates


def check_recordings(manifest: Path, utterances: Sequence[Utterance]) -> None:
    """Raises :class:`DataError` unless every utterance has a recording that is there."""
    faults = [
        (utterance.id, "has no audio" if utterance.audio is None else f"has no file {utterance.audio.path}")
        for utterance in utterances
        if utterance.audio is None or not os.path.isfile(utterance.audio.path)
    ]
    if faults:
        utterance_id, fault = faults[0]
        raise DataError(
            f'{manifest}: utterance "{utterance_id}" {fault} '
            f"({len(faults)} of {len(utterances)} such utterances); "
            "add the recordings, or leave the utterances out of the manifest"
        )
