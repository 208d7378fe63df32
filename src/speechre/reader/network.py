"""SpERT: spans as entities, pairs of spans as relations (Eberts and Ulges 2020, arXiv 1909.07755).

A span is its tokens' states, max-pooled, with an embedding of its width and the state of [CLS]; a softmax over the
entity types and "none" classifies it. A pair is both spans and the max-pooled states between them; a sigmoid for each
relation type classifies it. The encoder runs once a sentence.

Shape letters: B sentences, T tokens, D width, N spans, P pairs, W width of the width embedding, E entity types, R
relation types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechre.reader.spans import Sentence, Span
from speechre.reader.text_encoder import TextEncoder


class SpanBatch(NamedTuple):
    """Spans of a batch of sentences, each (N,): the sentence, the half-open interval of tokens, the number of words."""

    sentence: Tensor
    start: Tensor
    end: Tensor
    num_words: Tensor


class RangeMax:
    """The maximum over any interval of tokens, from log2(T) tables made once: two look-ups a span instead of a mask
    over (N, T, D).
    """

    def __init__(self, hidden_BTD: Tensor) -> None:
        # Table k holds at t the maximum over t to t + 2^k - 1; ends past T are cut off.
        self._tables = [hidden_BTD]
        width = 1
        while 2 * width <= hidden_BTD.shape[1]:
            last = self._tables[-1]
            self._tables.append(torch.maximum(last[:, :-width], last[:, width:]))
            width *= 2

    def __call__(self, sentence_N: Tensor, start_N: Tensor, end_N: Tensor) -> Tensor:
        """(N, D); zeros where the interval is empty, as SpERT has it between neighbours."""
        length_N = end_N - start_N
        out_ND = self._tables[0].new_zeros(len(start_N), self._tables[0].shape[2])
        for power, table in enumerate(self._tables):
            rows = ((length_N >= 1 << power) & (length_N < 2 << power)).nonzero()[:, 0]
            sentence, start, end = sentence_N[rows], start_N[rows], end_N[rows]
            pooled = torch.maximum(table[sentence, start], table[sentence, end - (1 << power)])
            out_ND = out_ND.index_put((rows,), pooled)
        return out_ND


class SpertNetwork(nn.Module):
    """A text encoder under an entity and a relation classifier."""

    def __init__(
        self,
        encoder: TextEncoder,
        num_entity_types: int,
        num_relation_types: int,
        max_span_words: int = 10,
        width_embedding: int = 25,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.max_span_words = max_span_words
        self.encoder = encoder
        size = encoder.config.hidden_size
        self.widths = nn.Embedding(max_span_words, width_embedding)
        self.entity_classifier = nn.Linear(2 * size + width_embedding, num_entity_types + 1)
        self.relation_classifier = nn.Linear(3 * size + 2 * width_embedding, num_relation_types)
        self.dropout = nn.Dropout(dropout)

    @property
    def device(self) -> torch.device:
        return self.widths.weight.device

    def encode(self, sentences: Sequence[Sentence], pad_id: int) -> Tensor:
        """States (B, T, D) of the sentences' tokens; what stands behind a shorter one's end means nothing."""
        longest = max(len(sentence.token_ids) for sentence in sentences)
        ids_BT = torch.full((len(sentences), longest), pad_id)
        mask_BT = torch.zeros(len(sentences), longest, dtype=torch.bool)
        for row, sentence in enumerate(sentences):
            ids_BT[row, : len(sentence.token_ids)] = torch.tensor(sentence.token_ids)
            mask_BT[row, : len(sentence.token_ids)] = True
        return self.encoder(ids_BT.to(self.device), mask_BT.to(self.device))  # type: ignore[no-any-return]

    def span_batch(self, sentences: Sequence[Sentence], spans: Sequence[Sequence[Span]]) -> SpanBatch:
        """The spans of each sentence, one behind the other."""
        rows = [
            (index, *sentence.tokens_of(span), span[1] - span[0])
            for index, (sentence, ours) in enumerate(zip(sentences, spans, strict=True))
            for span in ours
        ]
        return SpanBatch(*torch.tensor(rows, dtype=torch.long, device=self.device).reshape(-1, 4).unbind(1))

    def entity_logits(self, hidden_BTD: Tensor, range_max: RangeMax, spans: SpanBatch) -> Tensor:
        """(N, 1 + E): "none", then the entity types."""
        features = (
            range_max(spans.sentence, spans.start, spans.end),
            self._width_embeddings(spans),
            hidden_BTD[spans.sentence, 0],
        )
        return self.entity_classifier(self.dropout(torch.cat(features, dim=1)))  # type: ignore[no-any-return]

    def relation_logits(self, range_max: RangeMax, heads: SpanBatch, tails: SpanBatch) -> Tensor:
        """(P, R): the relation types between ``heads`` and ``tails``, two spans of one sentence at each place."""
        features = (
            range_max(heads.sentence, torch.minimum(heads.end, tails.end), torch.maximum(heads.start, tails.start)),
            range_max(heads.sentence, heads.start, heads.end),
            range_max(tails.sentence, tails.start, tails.end),
            self._width_embeddings(heads),
            self._width_embeddings(tails),
        )
        return self.relation_classifier(self.dropout(torch.cat(features, dim=1)))  # type: ignore[no-any-return]

    def _width_embeddings(self, spans: SpanBatch) -> Tensor:
        """(N, W). A gold span that is wider than those looked at in prediction counts as the widest of them."""
        return self.widths(spans.num_words.clamp(max=self.max_span_words) - 1)  # type: ignore[no-any-return]
