"""From log-mels to generations: encoder, relation head, transcript, prompts, then all orders and beams in one batch.

The encoder runs once an utterance and its cross-attention keys and values are shared by all rows. Rows whose prompts
differ in length live in one batch without padding tokens: a shorter row leaves empty slots in its cache, which a mask
hides, and every token carries its own position. So an item's answer does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional as F

from speechre.config import DecodeConfig, ModelConfig
from speechre.decode.alignment import TranscriptTimes, alignment_heads, token_chars, token_times
from speechre.decode.constraints import Copying, TokenGrammar
from speechre.decode.readings import Hearing, WeighedTranscript, weighed_transcripts
from speechre.decode.rules import OrderRules
from speechre.decode.search import Generation, Group, best_by_logits, search_groups
from speechre.decode.transcripts import Replay, Transcript, TranscriptWriter, num_searched
from speechre.model.adapter import Adapter
from speechre.model.backbone import Decoder, KeyValues
from speechre.model.bfloat16 import hearing_in_bfloat16
from speechre.model.device import choose_precision
from speechre.model.half import half_decoder, has_half_kernel
from speechre.model.heap import keep_freed_memory
from speechre.model.network import Encoded, LowerLayers, SpeechReNetwork, one_behind_the_other
from speechre.model.row_changes import ChangedDecoder, changed_decoder
from speechre.model.rows import DecoderRows
from speechre.model.sequence import Sequencer
from speechre.orders import select_orders


@dataclass(frozen=True)
class Decoded:
    """What the network said about one utterance. ``generations`` maps an order's name to its beams, best first;
    ``times`` says when the transcript's words were said, None where there are none; ``transcripts`` are all readings of
    the sound that the search for the transcript ended with, and those of a second listener, the transcript first, and
    how likely each is among them.
    """

    transcript: str | None
    is_transcript_finished: bool
    relation_probabilities: Mapping[str, float]
    generations: Mapping[str, tuple[Generation, ...]]
    times: TranscriptTimes | None = None
    transcripts: tuple[WeighedTranscript, ...] = ()


@dataclass
class Timing:
    """Seconds spent so far, by stage; for benchmarks."""

    hearings_s: float = 0.0  # by a second listener
    encoder_s: float = 0.0  # of all speeds
    transcript_s: float = 0.0  # of all speeds
    alignment_s: float = 0.0
    prefill_s: float = 0.0
    orders_s: float = 0.0
    num_steps: int = 0


@dataclass(frozen=True)
class _Heard:
    """What the encoder heard of each sound, and the keys and values of it that the decoder's rows attend to."""

    encoded: Encoded
    cross: list[KeyValues]
    num_plain: int  # those behind were heard with an adapter's changes

    def __len__(self) -> int:
        return len(self.encoded.states)

    def part(self, start: int, end: int) -> _Heard:
        """Of some sounds alone, no longer than the longest of these."""
        if end - start >= len(self):
            return self
        encoded = self.encoded.part(slice(start, end))
        length = encoded.states.shape[1]
        # Copies, so that the others' can be forgotten.
        layout = torch.contiguous_format
        cross = [
            KeyValues(*(part[start:end, :, :length].clone(memory_format=layout) for part in parts))
            for parts in self.cross
        ]
        return _Heard(encoded, cross, min(max(self.num_plain - start, 0), len(encoded.states)))

    def before(self, changed: _Heard) -> _Heard:
        """These sounds and, behind them, others that were heard with changes."""
        cross = [
            KeyValues(*(one_behind_the_other(*parts) for parts in zip(ours, theirs, strict=True)))
            for ours, theirs in zip(self.cross, changed.cross, strict=True)
        ]
        return _Heard(self.encoded.before(changed.encoded), cross, self.num_plain)

    def rows(self, decoder: Decoder, watched_layers: Iterable[int] = ()) -> DecoderRows:
        """New rows, one a sound."""
        mask = self.encoded.mask
        mask = None if mask is None else mask[:, None, None, :]
        return DecoderRows(decoder, self.cross, mask, watched_layers, self.num_plain)


@dataclass(frozen=True)
class _WithChanges:
    """What hears and writes with an adapter's changes: an encoder, of which so many first layers are the same, and a
    decoder for whole batches, some of whose rows it writes so.
    """

    ears: SpeechReNetwork
    num_equal_layers: int
    decoder: ChangedDecoder


def writes_in_half(network: SpeechReNetwork, config: DecodeConfig) -> bool:
    """Whether the search reads float16 matrices, and some of its rows can be written with an adapter's changes."""
    return config.step_weights == "float16" and network.device.type == "cpu" and has_half_kernel()


class DecodingEngine:
    """Decodes batches of log-mels with one network and one :class:`DecodeConfig`."""

    def __init__(
        self,
        network: SpeechReNetwork,
        sequencer: Sequencer,
        model: ModelConfig,
        config: DecodeConfig,
        adapter: Adapter | None = None,
    ) -> None:
        """``adapter`` is what replays may be heard with, which fits the network; only where :func:`writes_in_half`."""
        self.network = network
        self.sequencer = sequencer
        self.model = model
        self.config = config
        self.orders = select_orders(config.orders)
        self.timing = Timing()
        self._grammar = TokenGrammar(self.orders, sequencer, network.device) if config.constrained else None
        self._decoder = network.whisper.decoder
        if writes_in_half(network, config):
            self._decoder = half_decoder(self._decoder)
        self.hears_in_bfloat16: bool = config.hearing == "bfloat16" or (
            config.hearing == "auto" and choose_precision("auto", str(network.device)) == "bf16"
        )
        self._ears = network
        if network.device.type == "cpu":
            keep_freed_memory()  # the relation head's pictures and what attention weighs, each time of another size
            if self.hears_in_bfloat16:
                self._ears = hearing_in_bfloat16(network)
        # What was heard in bfloat16 is read as that: slower where one row reads one recording, faster in batches.
        is_read_rounded = self.hears_in_bfloat16 and self._decoder is not network.whisper.decoder
        self._cross_dtype = torch.bfloat16 if is_read_rounded else network.whisper.decoder.embed_tokens.weight.dtype
        self._writer: TranscriptWriter | None = None
        if model.transcript:
            self._writer = TranscriptWriter(network, sequencer, config)
        self._with_changes: _WithChanges | None = None
        if adapter is not None:
            ears = adapter.heard_part().applied_to(network)
            ears = hearing_in_bfloat16(ears) if self.hears_in_bfloat16 else ears
            num_equal = adapter.num_equal_layers(network)
            self._with_changes = _WithChanges(ears, num_equal, changed_decoder(self._decoder, adapter))
        self._alignment_heads = alignment_heads(network.config, sequencer.tokenizer.is_multilingual)

    @torch.inference_mode()
    def decode(
        self,
        mels: Sequence[Tensor],
        relations: Sequence[Collection[str]] | None = None,
        heard: Sequence[Sequence[Hearing]] | None = None,
        replays: Sequence[Replay] = (),
    ) -> list[Decoded]:
        """Log-mels (M, F_i), each at most 30 s, to one :class:`Decoded` each, in the same sequence.

        ``relations`` names the types of each relation prompt; without it the relation head does. ``replays`` are heard
        too, and their transcripts written in the same search; ``heard`` is what another listener heard of each. Of all
        readings of ``transcript_beams`` the one with the fewest expected errors is the transcript.
        """
        start = self._clock()
        replays = sorted(replays, key=lambda replay: replay.is_changed)
        num_changed = sum(replay.is_changed for replay in replays)
        everything = self._hear([*mels, *(replay.mel for replay in replays)], num_changed)
        first = everything.part(0, len(mels))
        with self._hearing():
            probabilities_BR = self._ears.relation_logits(first.encoded).float().sigmoid()
        rows = first.rows(self._decoder, {layer for layer, _ in self._alignment_heads})
        self.timing.encoder_s += self._clock() - start
        start = self._clock()
        hidden_BD = rows.feed([self.sequencer.start_ids()] * len(mels))
        self.timing.prefill_s += self._clock() - start
        transcripts: list[Transcript] | None = None
        if self.model.transcript:
            start = self._clock()
            transcripts = self._write_transcripts(rows, hidden_BD, everything, heard, replays)
            self.timing.transcript_s += self._clock() - start
        del everything  # what was heard at other speeds has been read
        times = self._align(rows, transcripts, first.encoded.num_frames.tolist())
        spans = None
        if self.config.copy_entities and transcripts is not None:
            spans = [Copying(transcript.ids, self.sequencer) for transcript in transcripts]
        if relations is None:
            relations = self._expected_relations(probabilities_BR)
        groups = self._write_orders(rows, [self._relation_prompt(names) for names in relations], spans, len(mels))
        return self._collect(transcripts, times, probabilities_BR, groups)

    @torch.inference_mode()
    def transcribe(self, mels: Sequence[Tensor]) -> list[tuple[WeighedTranscript, ...]]:
        """What may have been said in each, the likeliest first: :meth:`decode` without relations and orders."""
        return [self._weighed(beams) for beams in self._search_transcripts(self._hear(mels))]

    @property
    def _transcript_writer(self) -> TranscriptWriter:
        assert self._writer is not None, "only models with a transcript write one"
        return self._writer

    def _hearing(self) -> AbstractContextManager[object]:
        """The precision in which encoder and relation head compute."""
        device = self.network.device.type
        return torch.autocast(device, torch.bfloat16) if self.hears_in_bfloat16 else nullcontext()

    def _hear(self, mels: Sequence[Tensor], num_changed: int = 0) -> _Heard:
        """The encoder's pass over log-mels, over the last ``num_changed`` with the adapter's changes."""
        num_plain = len(mels) - num_changed
        if not num_changed:
            return self._heard_by(self._ears, mels)
        assert self._with_changes is not None, "no adapter to hear with"
        lower = LowerLayers(self._with_changes.num_equal_layers)
        heard = self._heard_by(self._ears, mels[:num_plain], lower)
        return heard.before(self._heard_by(self._with_changes.ears, mels[num_plain:], lower))

    def _heard_by(self, ears: SpeechReNetwork, mels: Sequence[Tensor], lower: LowerLayers | None = None) -> _Heard:
        with self._hearing():
            encoded = ears.encode(mels, lower=lower)
            cross = ears.cross_memory(encoded)
        cross = [KeyValues(*(part.to(self._cross_dtype) for part in parts)) for parts in cross]
        return _Heard(encoded, cross, len(mels))

    def _clock(self) -> float:
        """Seconds, when all that was asked of the device is done: a GPU works on behind the program's back."""
        if self.network.device.type == "cuda":
            torch.cuda.synchronize(self.network.device)
        return perf_counter()

    def _write_transcripts(
        self,
        rows: DecoderRows,
        hidden_BD: Tensor,
        everything: _Heard,
        heard: Sequence[Sequence[Hearing]] | None,
        replays: Sequence[Replay],
    ) -> list[Transcript]:
        """What each utterance says; the prompts of ``rows`` then hold it. ``everything`` is the utterances, and behind
        them their replays.
        """
        writer, num_utterances = self._transcript_writer, len(hidden_BD)
        is_greedy = self.config.transcript_beams == 1
        choose = writer.own if is_greedy else writer.told
        by_others = heard or [()] * num_utterances
        if is_greedy and not replays:
            beams = writer.write(rows, hidden_BD, everything.encoded.num_frames.tolist())
            return [choose(ours, theirs) for ours, theirs in zip(beams, by_others, strict=True)]
        beams = self._search_transcripts(everything)
        own, replayed = beams[:num_utterances], beams[num_utterances:]
        again: list[list[Hearing]] = [[] for _ in own]
        for replay, theirs in zip(replays, replayed, strict=True):
            again[replay.utterance].append(Hearing(self._weighed(theirs), replay.share))
        transcripts = [
            choose(first, [*ours, *theirs]) for first, ours, theirs in zip(own, again, by_others, strict=True)
        ]
        rows.feed([transcript.ids for transcript in transcripts])
        return transcripts

    def _search_transcripts(self, heard: _Heard) -> list[tuple[Generation, ...]]:
        """The transcripts of each sound, best first."""
        size = num_searched(self.config)
        found: list[tuple[Generation, ...]] = []
        for start in range(0, len(heard), size):
            part = heard.part(start, start + size)
            decoder = self._decoder
            if self._with_changes is not None and part.num_plain < len(part):
                decoder = self._with_changes.decoder
            found += self._transcript_writer.search(part.rows(decoder), part.encoded.num_frames.tolist())
        return found

    def _weighed(self, beams: Sequence[Generation]) -> tuple[WeighedTranscript, ...]:
        return weighed_transcripts(beams, self.sequencer.tokenizer.decode_text)

    def _align(
        self, rows: DecoderRows, transcripts: list[Transcript] | None, num_frames: Sequence[int]
    ) -> list[TranscriptTimes | None]:
        """When the words of each transcript were said, as ``rows`` looked when they read it; None where there are no
        words.
        """
        written = [transcript.ids for transcript in transcripts or ()]
        if not any(written):
            return [None] * len(num_frames)
        start = self._clock()
        num_before, tokenizer = len(self.sequencer.start_ids()), self.sequencer.tokenizer
        weights_BHTS = rows.looks(self._alignment_heads)
        times: list[TranscriptTimes | None] = [None] * len(num_frames)
        for index, (frames, ids) in enumerate(zip(num_frames, written, strict=True)):
            if ids:
                weights_HTS = weights_BHTS[index, :, : num_before + len(ids), :frames]
                times[index] = TranscriptTimes(token_chars(ids, tokenizer), token_times(weights_HTS, num_before - 1))
        self.timing.alignment_s += self._clock() - start
        return times

    def _expected_relations(self, probabilities_BR: Tensor) -> list[list[str]]:
        """The types that the relation head gives its threshold or more."""
        names, threshold = self.sequencer.schema.relation_types, self.config.relation_threshold
        return [[n for n, p in zip(names, row, strict=True) if p >= threshold] for row in probabilities_BR.tolist()]

    def _relation_prompt(self, relations: Collection[str]) -> list[int]:
        """An utterance's relation prompt."""
        if not self.model.relation_prompt:
            # With a transcript, the prompt's first token still ends it.
            return [self.sequencer.relations_id] if self.model.transcript else []
        # Trained with padding tokens, the model never saw a prompt without any relation.
        padding = 1 if self.model.relation_padding and not relations else 0
        return self.sequencer.relation_prompt_ids(relations, padding)

    def _write_orders(
        self, rows: DecoderRows, prompts: list[list[int]], spans: list[Copying] | None, num_utterances: int
    ) -> list[Group]:
        """All orders of all utterances; groups lie utterance by utterance."""
        start = self._clock()
        rows.feed(prompts)
        rows.branch(len(self.orders))
        order_prompts = [self.sequencer.order_prompt_ids(order) for order in self.orders]
        hidden_GD = rows.feed(order_prompts * num_utterances)
        self.timing.prefill_s += self._clock() - start
        start = self._clock()
        rules = OrderRules(self._grammar, self.orders, spans, num_utterances, self.sequencer)
        groups = self._search(rows, hidden_GD, rules)
        self.timing.orders_s += self._clock() - start
        return groups

    def _search(self, rows: DecoderRows, hidden_ND: Tensor, rules: OrderRules) -> list[Group]:
        """All orders of all utterances, one group each."""
        config, max_positions = self.config, self.network.config.max_target_positions
        # Each group's own room behind its prompts: a neighbour with a long transcript takes none of it.
        limits = [max(1, min(config.max_new_tokens, max_positions - n)) for n in rows.lengths]
        groups = [Group(config.beams, limit, config.length_penalty) for limit in limits]
        weight_UD = self.network.whisper.output_weight(rules.vocabulary)
        self.timing.num_steps += search_groups(
            rows,
            hidden_ND,
            best_by_logits(lambda hidden: F.linear(hidden, weight_UD), rules),
            rules,
            groups,
            len(self.orders),
            self.sequencer.tokenizer.eot_id,
        )
        return groups

    def _collect(
        self,
        transcripts: list[Transcript] | None,
        times: list[TranscriptTimes | None],
        probabilities_BR: Tensor,
        groups: list[Group],
    ) -> list[Decoded]:
        names = self.sequencer.schema.relation_types
        out = []
        num_orders = len(self.orders)
        rows = probabilities_BR.tolist()
        for index, (row, when) in enumerate(zip(rows, times, strict=True)):
            ours = groups[index * num_orders : (index + 1) * num_orders]
            written = None if transcripts is None else transcripts[index]
            out.append(
                Decoded(
                    transcript=None if written is None else written.readings[0].text,
                    is_transcript_finished=written is None or written.is_finished,
                    relation_probabilities=dict(zip(names, row, strict=True)),
                    generations={o.name: group.best() for o, group in zip(self.orders, ours, strict=True)},
                    times=when,
                    transcripts=() if written is None else written.readings,
                )
            )
        return out
