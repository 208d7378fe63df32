"""The cached, batched engine against a reference that has no cache and no batch of utterances or orders, and against
itself in other batches.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

import pytest
import torch

from speechre.config import DecodeConfig, ModelConfig
from speechre.decode.constraints import TokenGrammar, transcript_mask
from speechre.decode.engine import Decoded, DecodingEngine
from speechre.decode.readings import weighed_transcripts
from speechre.decode.search import Generation
from speechre.decode.transcripts import TranscriptWriter
from speechre.grammar import END, START, TEXT, Grammar
from speechre.linearize import Piece
from speechre.model.backbone import KeyValues
from speechre.model.best_token import BestToken
from speechre.model.half import half_decoder, has_half_kernel
from speechre.model.network import SpeechReNetwork
from speechre.model.sequence import Sequencer
from speechre.model.shortlist import has_integer_kernel
from speechre.orders import ORDERS, Order
from speechre.parse import parse
from tests.tiny import random_mels, tiny_network

DECODE = DecodeConfig(max_new_tokens=24, max_transcript_tokens=6, relation_threshold=0.5)


def last_hidden(network: SpeechReNetwork, sequences: Sequence[list[int]], cross: list[KeyValues]) -> torch.Tensor:
    """Hidden states (K, D) behind K ``sequences`` of one length: one whole uncached pass, each from its first token.
    ``cross`` is what one utterance sounds like; every sequence gets all of it.
    """
    num_rows, length = len(sequences), len(sequences[0])
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    positions = torch.arange(length).expand(num_rows, length)
    memory = [KeyValues(*(part.expand(num_rows, -1, -1, -1) for part in layer)) for layer in cross]
    hidden: torch.Tensor = network.whisper.decoder(torch.tensor(sequences), positions, causal, memory, None)
    return hidden[:, -1]


def forward(network: SpeechReNetwork, sequences: Sequence[list[int]], cross: list[KeyValues]) -> torch.Tensor:
    """Logits (K, V) behind K ``sequences`` of one length."""
    return network.whisper.logits(last_hidden(network, sequences, cross)).float()


@cache
def grammar_of(order: Order, sequencer: Sequencer) -> Grammar:
    """It remembers its transitions, and is not changed by them."""
    return Grammar(order, sequencer.schema)


def allowed_ids(order: Order, sequencer: Sequencer, answer: list[int]) -> torch.Tensor:
    """What may follow ``answer``, from the automaton itself, token by token."""
    grammar = grammar_of(order, sequencer)
    state = START
    for token in answer:
        piece = TEXT if token < sequencer.tokenizer.num_text_tokens else sequencer.pieces([token])[0]
        state = grammar.transitions(state)[piece]
    mask = torch.zeros(sequencer.tokenizer.vocab_size, dtype=torch.bool)
    for piece in grammar.transitions(state):
        if piece == TEXT:
            mask[: sequencer.tokenizer.num_text_tokens] = True
        else:
            mask[sequencer.tokenizer.eot_id if piece == END else sequencer.piece_id(piece)] = True
    return mask


def copied_ids(sequencer: Sequencer, answer: list[int], transcript: list[int], mask: torch.Tensor) -> torch.Tensor:
    """``mask`` without the text that no span of whole words of ``transcript`` continues, by trying all spans."""
    text = sequencer.tokenizer.num_text_tokens
    if not transcript:
        return torch.arange(len(mask)) == sequencer.tokenizer.eot_id
    if not mask[:text].any():
        return mask
    entity: list[int] = []
    for token in reversed(answer):
        if token >= text:
            break
        entity.insert(0, token)
    words = [sequencer.tokenizer.decode_text([token]) for token in transcript]
    out = mask.clone()
    out[:] = False
    for start in range(len(transcript)):
        if start and words[start][0] != " ":
            continue
        if transcript[start : start + len(entity)] == entity:
            after = start + len(entity)
            if after < len(transcript):
                out[transcript[after]] = True
            ends_word = after == len(transcript) or not (words[after][0].isalnum() or words[after][0] == "\ufffd")
            if entity and ends_word:
                out[text:] = mask[text:]
    return out


def repeats_itself(sequencer: Sequencer, answer: list[int], order: Order) -> bool:
    """Whether the answer's last token completes a triplet that stands in it already."""
    markers = [sequencer.piece_id(Piece("marker", element)) for element in order.elements]
    triplets: list[tuple[tuple[int, ...], ...]] = []
    for end in range(1, len(answer) + 1):
        beginning = answer[:end]
        is_closed = beginning[-1] >= sequencer.tokenizer.num_text_tokens and beginning[-1] not in markers
        last = {marker: max((i for i, t in enumerate(beginning) if t == marker), default=-1) for marker in markers}
        first, second, third = (last[marker] for marker in markers)
        if is_closed and -1 < first < second < third:
            ends = [next(i for i in range(start + 1, end) if beginning[i] in markers) for start in (first, second)]
            elements = (beginning[first : ends[0]], beginning[second : ends[1]], beginning[third:])
            triplets.append(tuple(map(tuple, elements)))
            is_new = triplets[-1] not in triplets[:-1]
            if end == len(answer):
                return not is_new
    return False


def reference_search(
    network: SpeechReNetwork,
    sequencer: Sequencer,
    cross: list[KeyValues],
    prefix: list[int],
    order: Order,
    config: DecodeConfig,
    transcript: list[int] | None,
) -> list[Generation]:
    """The search of one order: its logits are those of whole passes under masks made anew at every step."""
    eot = sequencer.tokenizer.eot_id

    def allowed(answer: list[int]) -> torch.Tensor:
        mask = allowed_ids(order, sequencer, answer)
        if config.copy_entities and transcript is not None:
            mask = copied_ids(sequencer, answer, transcript, mask)
        if repeats_itself(sequencer, answer, order):
            mask = torch.arange(len(mask)) == eot
        return mask

    def next_logits(answers: list[list[int]]) -> torch.Tensor:
        logits = forward(network, [prefix + answer for answer in answers], cross)
        if not config.constrained:
            return logits
        return logits.masked_fill(~torch.stack([allowed(answer) for answer in answers]), -torch.inf)

    return reference_beams(next_logits, config.beams, config.max_new_tokens, config.length_penalty, eot)


def several_relations(sequencer: Sequencer, count: int) -> list[list[str]]:
    """Relation prompts of one, none, three, two and then again one type."""
    return [list(sequencer.schema.relation_types[: (1, 0, 3, 2)[i % 4]]) for i in range(count)]


def reference_beams(
    next_logits: Callable[[list[list[int]]], torch.Tensor], width: int, limit: int, length_penalty: float, eot: int
) -> list[Generation]:
    """Beam search as speechre.decode.search states it: plain lists, every step a new forward pass over every beam from
    its first token. All beams of a step have one length, so that one pass takes them all.
    """
    live: list[tuple[list[int], float]] = [([], 0.0)]
    finished: list[Generation] = []

    def rank(one: Generation) -> tuple[bool, float]:
        return (one.is_finished, one.score(length_penalty))

    for _ in range(limit):
        candidates = []
        all_log_probs = next_logits([answer for answer, _ in live]).log_softmax(1)
        for beam, ((_, score), log_probs) in enumerate(zip(live, all_log_probs, strict=True)):
            best, tokens = log_probs.topk(2 * width)
            candidates += [
                (score + b, beam, t) for b, t in zip(best.tolist(), tokens.tolist(), strict=True) if b > -torch.inf
            ]
        candidates.sort(key=lambda c: -c[0])
        following = []
        for place, (score, beam, token) in enumerate(candidates[: 2 * width]):
            if token == eot:
                if place < width:
                    finished.append(Generation(tuple(live[beam][0]), score, True))
            elif len(following) < width:
                following.append(([*live[beam][0], token], score))
        live = following
        if not live or (width == 1 and finished):
            break
        if width > 1 and len(finished) >= width:
            worst = sorted(map(rank, finished), reverse=True)[width - 1][1]
            if live[0][1] / (limit + 1) ** length_penalty <= worst:
                break
    else:
        finished += [Generation(tuple(answer), score, False) for answer, score in live]
    return sorted(finished, key=rank, reverse=True)[:width]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    ("constrained", "style", "transcript", "copy_entities", "step_weights"),
    [
        # Every way to restrict what follows.
        (True, "compact", True, True, "float32"),
        (True, "compact", True, False, "float32"),
        (True, "paper", False, True, "float32"),  # nothing to copy from
        (False, "compact", True, True, "float32"),  # copying is a constraint too
        (False, "paper", False, True, "float32"),
        # Rounded matrices know of no restriction: with all of them, and with none.
        (True, "compact", True, True, "float16"),
        (False, "paper", False, True, "float16"),
    ],
)
def test_engine_equals_uncached_unbatched_search(
    beams: int,
    constrained: bool,
    style: str,
    transcript: bool,
    copy_entities: bool,
    step_weights: Literal["float32", "float16"],
) -> None:
    network, sequencer = tiny_network(style)
    config = dataclasses.replace(
        DECODE,
        beams=beams,
        constrained=constrained,
        copy_entities=copy_entities,
        step_weights=step_weights,
        orders=("hrt", "trh", "rth"),
        # Free answers of random weights never end: what they write after some tokens tells nothing new.
        max_new_tokens=DECODE.max_new_tokens if constrained else 12,
    )
    model = ModelConfig(transcript=transcript, prompt_style=style)  # type: ignore[arg-type]
    mels = random_mels(3, seed=beams)
    engine = DecodingEngine(network, sequencer, model, config)
    # What random weights hear is always one relation: for prompts of several lengths, some are told.
    told = several_relations(sequencer, 3) if style == "compact" and copy_entities else None
    if step_weights == "float16" and has_half_kernel():
        network = copy.deepcopy(network)
        network.whisper.decoder = half_decoder(network.whisper.decoder)
    with torch.inference_mode():
        for index, (mel, decoded) in enumerate(zip(mels, engine.decode(mels, told), strict=True)):
            encoded = network.encode([mel])
            cross = network.cross_memory(encoded)
            prefix = sequencer.start_ids()
            written: list[int] = []
            if transcript:
                mask = transcript_mask(sequencer, network.device)
                while len(written) < config.max_transcript_tokens:
                    (logits,) = forward(network, [prefix + written], cross)
                    token = int(logits.masked_fill(~mask, -torch.inf).argmax())
                    if token in (sequencer.relations_id, sequencer.tokenizer.eot_id):
                        break
                    written.append(token)
                assert decoded.transcript == sequencer.tokenizer.decode_text(written).strip()
                prefix += written
            probabilities = network.relation_logits(encoded)[0].sigmoid().tolist()
            assert list(decoded.relation_probabilities.values()) == pytest.approx(probabilities, abs=1e-5)
            names = [n for n, p in zip(sequencer.schema.relation_types, probabilities, strict=True) if p >= 0.5]
            names = names if told is None else told[index]
            prefix += sequencer.relation_prompt_ids(names)
            for name, generations in decoded.generations.items():
                order = ORDERS[name]
                prompt = prefix + sequencer.order_prompt_ids(order)
                said = written if transcript else None
                expected = reference_search(network, sequencer, cross, prompt, order, config, said)
                assert [g.ids for g in generations] == [g.ids for g in expected]
                assert [g.is_finished for g in generations] == [g.is_finished for g in expected]
                assert [g.log_prob for g in generations] == pytest.approx([g.log_prob for g in expected], abs=1e-3)


@pytest.mark.parametrize("beams", [2, 5])
@pytest.mark.parametrize(("step_weights", "has_integers"), [("float32", True), ("float16", True), ("float16", False)])
def test_transcript_beams_equal_uncached_unbatched_search(
    beams: int,
    step_weights: Literal["float32", "float16"],
    has_integers: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_integers &= has_integer_kernel()
    monkeypatch.setattr("speechre.decode.transcripts.has_integer_kernel", lambda: has_integers)
    network, sequencer = tiny_network()
    config = dataclasses.replace(DECODE, transcript_beams=beams, step_weights=step_weights, orders=("hrt", "trh"))
    mels = random_mels(3, seed=beams)
    decoded = DecodingEngine(network, sequencer, ModelConfig(), config).decode(mels)
    output_VD = network.whisper.output_weight()
    if step_weights == "float16" and has_half_kernel():
        network = copy.deepcopy(network)
        network.whisper.decoder = half_decoder(network.whisper.decoder)
        output_VD = output_VD if has_integers else output_VD.half().float()
    allowed = transcript_mask(sequencer, network.device)
    allowed[sequencer.tokenizer.eot_id] = False
    for mel, one in zip(mels, decoded, strict=True):
        with torch.inference_mode():
            cross = network.cross_memory(network.encode([mel]))

            def next_logits(
                beams: list[list[int]], network: SpeechReNetwork = network, cross: list[KeyValues] = cross
            ) -> torch.Tensor:
                hidden_KD = last_hidden(network, [[*sequencer.start_ids(), *ids] for ids in beams], cross)
                return (hidden_KD @ output_VD.T).masked_fill(~allowed, -torch.inf)

            expected = reference_beams(next_logits, beams, DECODE.max_transcript_tokens, 0.0, sequencer.relations_id)
            texts = [sequencer.tokenizer.decode_text(beam.ids).strip() for beam in expected]
            masses = torch.tensor([beam.log_prob for beam in expected]).softmax(0).tolist()
            assert one.transcript == texts[0]
            assert one.is_transcript_finished == expected[0].is_finished
            assert [other.text for other in one.transcripts] == list(dict.fromkeys(texts))
            for other in one.transcripts:
                said = sum(mass for text, mass in zip(texts, masses, strict=True) if text == other.text)
                assert other.share == pytest.approx(said, abs=1e-3)
            # The orders go on from the best transcript, as they do from one that was written greedily.
            names = [n for n, p in one.relation_probabilities.items() if p >= config.relation_threshold]
            prefix = [*sequencer.start_ids(), *expected[0].ids, *sequencer.relation_prompt_ids(names)]
            for name, generations in one.generations.items():
                prompt = prefix + sequencer.order_prompt_ids(ORDERS[name])
                heard = list(expected[0].ids)
                answers = reference_search(network, sequencer, cross, prompt, ORDERS[name], config, heard)
                assert [g.ids for g in generations] == [g.ids for g in answers]


def test_a_processor_without_float16_products_finds_greedy_words_in_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechre.decode.transcripts.has_half_kernel", lambda: False)
    network, sequencer = tiny_network()
    config = dataclasses.replace(DECODE, step_weights="float16")
    assert isinstance(TranscriptWriter(network, sequencer, config)._next_word, BestToken)


def test_equal_texts_of_several_beams_are_one_transcript() -> None:
    beams = [Generation((1, 2), -1.0, True), Generation((3,), -2.0, True), Generation((12,), -3.0, False)]
    texts = {(1, 2): " Ann ", (3,): "Anne", (12,): "Ann"}
    first, second = weighed_transcripts(beams, lambda ids: texts[tuple(ids)])
    total = sum(math.exp(-n) for n in (1, 2, 3))
    assert (first.text, second.text) == ("Ann", "Anne")
    assert first.share == pytest.approx((math.exp(-1) + math.exp(-3)) / total)
    assert second.share == pytest.approx(math.exp(-2) / total)
    assert (first.log_prob, second.log_prob) == (-1.0, -2.0)  # the beam without an end proves nothing
    assert weighed_transcripts((), str) == ()


@pytest.mark.parametrize(
    ("beams", "transcript_beams", "step_weights", "hearing"),
    [
        # Of the four, any three in all their combinations.
        (1, 1, "float32", "float32"),
        (1, 1, "float16", "bfloat16"),
        (1, 4, "float32", "bfloat16"),
        (1, 4, "float16", "float32"),
        (3, 1, "float32", "bfloat16"),
        (3, 1, "float16", "float32"),
        (3, 4, "float32", "float32"),
        (3, 4, "float16", "bfloat16"),
    ],
)
def test_answers_do_not_depend_on_the_batch(
    beams: int,
    transcript_beams: int,
    step_weights: Literal["float32", "float16"],
    hearing: Literal["float32", "bfloat16"],
) -> None:
    network, sequencer = tiny_network()
    config = dataclasses.replace(
        DECODE,
        beams=beams,
        transcript_beams=transcript_beams,
        step_weights=step_weights,
        hearing=hearing,
        # Where there is room, transcripts are of several lengths.
        max_transcript_tokens=40 if beams == transcript_beams == 1 else DECODE.max_transcript_tokens,
    )
    engine = DecodingEngine(network, sequencer, ModelConfig(), config)
    mels, relations = random_mels(9, seed=7), several_relations(sequencer, 9)

    def ids(decoded: object) -> object:
        return {name: [g.ids for g in gs] for name, gs in decoded.generations.items()}  # type: ignore[attr-defined]

    def decode(chosen: Sequence[int]) -> list[Decoded]:
        return engine.decode([mels[i] for i in chosen], [relations[i] for i in chosen])

    alone = [decode([i])[0] for i in range(9)]
    for size in (4, 9):  # the ninth stays alone behind batches of four
        batched = [one for i in range(0, 9, size) for one in decode(range(9)[i : i + size])]
        assert [ids(one) for one in batched] == [ids(one) for one in alone]
        assert [one.transcript for one in batched] == [one.transcript for one in alone]
        for one, same in zip(batched, alone, strict=True):
            assert [other.text for other in one.transcripts] == [other.text for other in same.transcripts]
            shares = [other.share for other in same.transcripts]
            assert [other.share for other in one.transcripts] == pytest.approx(shares, abs=1e-3)
    sequence = torch.randperm(9, generator=torch.Generator().manual_seed(1)).tolist()
    shuffled = decode(sequence)
    assert [ids(one) for one in shuffled] == [ids(alone[i]) for i in sequence]


@pytest.mark.slow  # on a machine that others use too
def test_answers_do_not_depend_on_the_batch_where_threads_share_the_work() -> None:
    """As most users run it; all other tests have one thread."""
    torch.set_num_threads(2)
    network, sequencer = tiny_network()
    config = dataclasses.replace(DECODE, beams=2, transcript_beams=2, max_new_tokens=12)
    engine = DecodingEngine(network, sequencer, ModelConfig(), config)
    mels = random_mels(3, seed=7)
    alone = [engine.decode([mel])[0] for mel in mels]
    for one, same in zip(engine.decode(mels), alone, strict=True):
        assert one.transcript == same.transcript
        for name, generations in one.generations.items():
            assert [g.ids for g in generations] == [g.ids for g in same.generations[name]]


def test_hearing_in_bfloat16_is_nearly_that_in_float32() -> None:
    network, sequencer = tiny_network()
    mels = random_mels(4, seed=5)

    def probabilities(hearing: Literal["float32", "bfloat16"]) -> torch.Tensor:
        config = dataclasses.replace(DECODE, hearing=hearing)
        decoded = DecodingEngine(network, sequencer, ModelConfig(), config).decode(mels)
        return torch.tensor([list(one.relation_probabilities.values()) for one in decoded])

    exact, rounded = probabilities("float32"), probabilities("bfloat16")
    assert torch.allclose(exact, rounded, atol=0.02)
    assert not torch.allclose(exact, rounded, atol=1e-6)


@pytest.mark.parametrize(("fast", "expected"), [("bf16", "bfloat16"), ("no", "float32")])
def test_auto_hears_in_what_is_fast(monkeypatch: pytest.MonkeyPatch, fast: str, expected: str) -> None:
    monkeypatch.setattr("speechre.decode.engine.choose_precision", lambda name, device: fast)
    network, sequencer = tiny_network()
    mels = random_mels(2, seed=6)

    def answers(hearing: str) -> list[Mapping[str, float]]:
        config = dataclasses.replace(DECODE, hearing=hearing)  # type: ignore[arg-type]
        engine = DecodingEngine(network, sequencer, ModelConfig(), config)
        return [one.relation_probabilities for one in engine.decode(mels)]

    other = {"float32": "bfloat16", "bfloat16": "float32"}[expected]
    assert answers("auto") == answers(expected) != answers(other)


def test_an_answer_that_repeats_itself_ends() -> None:
    network, sequencer = tiny_network()
    config = dataclasses.replace(DECODE, max_new_tokens=60)
    repeated = 0
    for decoded in DecodingEngine(network, sequencer, ModelConfig(), config).decode(random_mels(8, seed=3)):
        for name, (generation,) in decoded.generations.items():
            ids = list(generation.ids)
            assert not any(repeats_itself(sequencer, ids[:end], ORDERS[name]) for end in range(1, len(ids)))
            if repeats_itself(sequencer, ids, ORDERS[name]):
                repeated += 1
                assert generation.is_finished
                assert any("twice" in p for p in parse(sequencer.pieces(ids), ORDERS[name], sequencer.schema).problems)
    assert repeated > 5


def test_constrained_generations_have_no_problem_but_their_length() -> None:
    network, sequencer = tiny_network()
    engine = DecodingEngine(network, sequencer, ModelConfig(), dataclasses.replace(DECODE, beams=3, max_new_tokens=40))
    finished = 0
    for decoded in engine.decode(random_mels(8, seed=3)):
        for name, generations in decoded.generations.items():
            for generation in generations:
                parsed = parse(sequencer.pieces(generation.ids), ORDERS[name], sequencer.schema)
                if generation.is_finished:
                    finished += 1
                    assert all("twice" in problem or "without text" in problem for problem in parsed.problems)
                for triplet in parsed.triplets:
                    if triplet.head.type and triplet.tail.type:
                        assert sequencer.schema.allows(triplet.head.type, triplet.relation, triplet.tail.type)
    assert finished > 0


def test_token_grammar_follows_the_automaton() -> None:
    _, sequencer = tiny_network()
    table = TokenGrammar(tuple(ORDERS.values()), sequencer, torch.device("cpu"))
    for name, order in ORDERS.items():
        state = table.start[name]
        answer: list[int] = []
        generator = torch.Generator().manual_seed(5)
        for _ in range(40):
            expected = allowed_ids(order, sequencer, answer)
            assert torch.equal(table.allowed[state], expected)
            choices = expected.nonzero().flatten()
            choices = choices[choices != sequencer.tokenizer.eot_id]
            token = choices[torch.randint(len(choices), (1,), generator=generator)][0]
            if len(choices) > 100:  # text and types: end the entity now and then
                token = choices[-1] if torch.rand(1, generator=generator) < 0.5 else token
            state = table.advance(state, int(token))
            answer.append(int(token))


def test_entities_are_spans_of_the_transcript() -> None:
    network, sequencer = tiny_network()
    engine = DecodingEngine(network, sequencer, ModelConfig(), dataclasses.replace(DECODE, beams=2, max_new_tokens=40))
    entities = 0
    for decoded in engine.decode(random_mels(8, seed=11)):
        for name, generations in decoded.generations.items():
            for generation in generations:
                for triplet in parse(sequencer.pieces(generation.ids), ORDERS[name], sequencer.schema).triplets:
                    for entity in (triplet.head, triplet.tail):
                        entities += 1
                        assert entity.text in " ".join((decoded.transcript or "").split())
    assert entities > 20


def test_every_stage_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of a clock that counts its readings is one second on; the start token's feed is prefill."""
    network, sequencer = tiny_network()
    engine = DecodingEngine(network, sequencer, ModelConfig(), DECODE)
    readings = iter(range(100))
    monkeypatch.setattr("speechre.decode.engine.perf_counter", lambda: float(next(readings)))
    engine.decode(random_mels(1))
    timing = engine.timing
    assert (timing.encoder_s, timing.transcript_s, timing.prefill_s, timing.orders_s) == (1, 1, 2, 1)


def test_transcripts_that_end_earlier_leave_the_batch() -> None:
    network, sequencer = tiny_network()
    config = dataclasses.replace(DECODE, transcript_beams=3, max_transcript_tokens=40)
    engine = DecodingEngine(network, sequencer, ModelConfig(), config)
    generator = torch.Generator().manual_seed(7)
    mels = [torch.randn(network.config.num_mel_bins, frames, generator=generator) for frames in (40, 400, 120)]
    together = engine.transcribe(mels)
    lengths = set()
    for mel, ours in zip(mels, together, strict=True):
        (alone,) = engine.transcribe([mel])
        assert [one.text for one in ours] == [one.text for one in alone]
        assert [one.share for one in ours] == pytest.approx([one.share for one in alone], abs=1e-3)
        lengths.add(len(sequencer.tokenizer.encode_text(ours[0].text)))
    assert len(lengths) > 1
