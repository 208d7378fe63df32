"""All that calibration chooses for a model, one after the other: prompts, orders, curves and the threshold.

Models are run by the caller: a function takes a config and tells what the model finds with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from speechre.audio import read_audio_ref
from speechre.config import Config
from speechre.decode.ensemble import Analysis
from speechre.errors import OnMessage, UsageError
from speechre.evaluate.calibrate import (
    Fit,
    OrderChoice,
    PromptChoice,
    evidence_of,
    fit,
    order_choices,
    prompt_choice,
    relation_thresholds,
)
from speechre.model.log_mel import WINDOW_SAMPLES
from speechre.types import Utterance
from speechre.vote import WeightedVote, vote_rule

Analyze = Callable[[Config], Mapping[str, Analysis]]
"""What the model finds in each utterance, by id, when it decodes as a config says."""


@dataclass(frozen=True)
class Fitted:
    """The config with everything fitted, and what was tried on the way."""

    config: Config
    fit: Fit
    prompts: tuple[PromptChoice, ...] = ()
    choices: tuple[OrderChoice, ...] = ()


def fit_decoding(
    config: Config,
    utterances: Sequence[Utterance],
    analyze: Analyze,
    protocol: str = "boundary",
    *,
    max_relation_free: float = 1.0,
    num_orders: int | None = None,
    keep_prompts: bool = False,
    report: OnMessage = lambda line: None,
) -> Fitted:
    """The relation head's threshold, the curves from support to confidence and the threshold of confidence; with
    ``num_orders`` the best so many orders too. With ``keep_prompts`` the relation head's threshold stays, so that
    everything is decoded once.

    ``utterances`` are of 30 s or less. Raises :class:`UsageError` for a model whose vote has no confidence, for more
    orders than it has, and where it finds nothing. Where nothing that it finds is right, ``report`` is told, and the
    threshold is the highest there is.
    """
    check_can_fit(config, num_orders)
    analyses = analyze(config)
    prompts: list[PromptChoice] = []
    if config.model.relation_prompt and not keep_prompts:
        config, analyses, prompts = _choose_prompts(config, utterances, analyses, analyze, protocol, report)
    choices: list[OrderChoice] = []
    if num_orders is not None:
        rule = vote_rule(_fit_curves(config, utterances, analyses, protocol, max_relation_free)[0].decode)
        assert isinstance(rule, WeightedVote)  # checked above
        choices = order_choices(utterances, analyses, rule, protocol)
        config = replace(config, decode=replace(config.decode, orders=choices[num_orders - 1].orders))
    config, found = _fit_curves(config, utterances, analyses, protocol, max_relation_free)
    if not found.has_hit:
        report(
            f"nothing that the model found in these utterances is right: its threshold is now {found.threshold:g}, so "
            "that it tells next to nothing; train it longer, or look whether they belong to its schema"
        )
    return Fitted(config, found, tuple(prompts), tuple(choices))


def check_can_fit(config: Config, num_orders: int | None = None) -> None:
    """Raises :class:`UsageError` for a model whose vote has no confidence and for more orders than it has."""
    if config.decode.vote != "weighted":
        raise UsageError(f"{config.name} votes as the paper does, without a confidence to calibrate")
    if num_orders is not None and num_orders > len(config.decode.orders):
        raise UsageError(f"--num-orders {num_orders}: only {len(config.decode.orders)} orders are asked for")


def _choose_prompts(
    config: Config,
    utterances: Sequence[Utterance],
    analyses: Mapping[str, Analysis],
    analyze: Analyze,
    protocol: str,
    report: OnMessage,
) -> tuple[Config, Mapping[str, Analysis], list[PromptChoice]]:
    """The relation head's threshold whose prompts serve the orders best; what was decoded with it; all that were tried.

    ``analyses`` is what was decoded with the model's own threshold.
    """
    own = config.decode.relation_threshold
    decoded = {own: analyses}
    tried = []
    for threshold in relation_thresholds(utterances, analyses, own):
        if threshold not in decoded:
            report(f"decoding again with the relation head's threshold {threshold:g}")
            decoded[threshold] = analyze(_with_relation_threshold(config, threshold))
        tried.append(prompt_choice(utterances, decoded[threshold], threshold, protocol))
    best = max(tried, key=lambda choice: (choice.triplet_f1, choice.threshold)).threshold
    return _with_relation_threshold(config, best), decoded[best], tried


def _with_relation_threshold(config: Config, threshold: float) -> Config:
    return replace(config, decode=replace(config.decode, relation_threshold=threshold))


def _fit_curves(
    config: Config,
    utterances: Sequence[Utterance],
    analyses: Mapping[str, Analysis],
    protocol: str,
    max_relation_free: float,
) -> tuple[Config, Fit]:
    """The config with its curves and threshold; the fit is that of all evidence, the reader's with it."""

    def fitted(reader: bool) -> Fit:
        evidence = evidence_of(analyses, config.decode.orders, reader)
        return fit(utterances, evidence, protocol, reader=reader, max_relation_free=max_relation_free)

    decode = config.decode
    has_reader = any(analysis.read is not None for analysis in analyses.values())
    found = None
    # A model whose orders write nothing yet, or nothing right, has a reader all the same; its curve for the orders
    # alone stays as it was.
    if not has_reader or any(evidence_of(analyses, decode.orders, reader=False).values()):
        found = fitted(reader=False)
    if found is not None and (found.has_hit or not has_reader):
        decode = replace(decode, calibration=(found.calibration.slope, found.calibration.intercept))
    decode = replace(decode, reader_calibration=())
    if has_reader:
        found = fitted(reader=True)
        joint = (found.calibration.slope, found.calibration.reader_slope, found.calibration.intercept)
        decode = replace(decode, reader_calibration=joint)
    assert found is not None
    return replace(config, decode=replace(decode, threshold=found.threshold)), found


def short_enough(utterances: Sequence[Utterance], report: OnMessage) -> list[Utterance]:
    """Those that are one chunk; the rest is reported by name. Beams of different chunks cannot be compared.

    Raises :class:`UsageError` when none is left, :class:`AudioError` on a recording that cannot be heard.
    """
    kept = []
    for utterance in utterances:
        if utterance.audio is not None and len(read_audio_ref(utterance.audio)) <= WINDOW_SAMPLES:
            kept.append(utterance)
        else:
            report(f'left out: utterance "{utterance.id}" is longer than the 30 s that are decoded at once')
    if not kept:
        raise UsageError("no utterance of 30 s or less is left to fit on")
    return kept
