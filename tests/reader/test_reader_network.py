"""Pooling over intervals, and the two classifiers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechre.reader.network import RangeMax, SpanBatch, SpertNetwork
from speechre.reader.spans import WordTokenizer
from speechre.reader.text_encoder import load_text_encoder


@pytest.fixture(scope="module")
def network(bert_dir: Path) -> SpertNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SpertNetwork(load_text_encoder(str(bert_dir))[0], 4, 5, max_span_words=3, width_embedding=6).eval()


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13])
def test_range_max_is_the_maximum(length: int) -> None:
    hidden_BTD = torch.randn(2, length, 5, generator=torch.Generator().manual_seed(length), requires_grad=True)
    places = [(b, s, e) for b in range(2) for s in range(length) for e in range(s, length + 1)]
    found = RangeMax(hidden_BTD)(*torch.tensor(places).unbind(1))
    expected = [hidden_BTD[b, s:e].amax(0) if e > s else torch.zeros(5) for b, s, e in places]
    torch.testing.assert_close(found, torch.stack(expected))
    # Where an interval is covered twice, its maximum still gets the gradient of one maximum.
    gradient, reference = (
        torch.autograd.grad(out.sum(), hidden_BTD, retain_graph=True)[0] for out in (found, torch.stack(expected))
    )
    torch.testing.assert_close(gradient, reference)


def test_an_interval_of_no_rows() -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert RangeMax(torch.randn(2, 4, 3))(none, none, none).shape == (0, 3)


@torch.inference_mode()
def test_shapes_and_independence_of_neighbours(network: SpertNetwork, word_tokenizer: WordTokenizer) -> None:
    sentences = [word_tokenizer.sentence(text) for text in ("Ann Lee lives in Oslo.", "Bo works for Acme and Ann Lee.")]
    spans = [[(0, 2), (4, 5)], [(0, 1), (3, 4), (5, 7)]]

    def logits(rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        hidden_BTD = network.encode([sentences[row] for row in rows], word_tokenizer.pad_id)
        batch = network.span_batch([sentences[row] for row in rows], [spans[row] for row in rows])
        range_max = RangeMax(hidden_BTD)
        heads = SpanBatch(*(column[:-1] for column in batch))
        tails = SpanBatch(*(column[1:] for column in batch))
        keep = heads.sentence == tails.sentence
        pairs = (SpanBatch(*(column[keep] for column in side)) for side in (heads, tails))
        return network.entity_logits(hidden_BTD, range_max, batch), network.relation_logits(range_max, *pairs)

    entities, relations = logits([0, 1])
    assert (entities.shape, relations.shape) == ((5, 5), (3, 5))
    for row, own, pairs in ((0, slice(0, 2), slice(0, 1)), (1, slice(2, 5), slice(1, 3))):
        alone = logits([row])
        torch.testing.assert_close(entities[own], alone[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(relations[pairs], alone[1], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_relation_has_a_direction(network: SpertNetwork, word_tokenizer: WordTokenizer) -> None:
    sentence = [word_tokenizer.sentence("Ann lives in Oslo.")]
    range_max = RangeMax(network.encode(sentence, word_tokenizer.pad_id))
    ann, oslo = (network.span_batch(sentence, [[span]]) for span in ((0, 1), (3, 4)))
    there, back = network.relation_logits(range_max, ann, oslo), network.relation_logits(range_max, oslo, ann)
    assert not torch.allclose(there, back)


@torch.inference_mode()
def test_a_wider_span_counts_as_the_widest(network: SpertNetwork, word_tokenizer: WordTokenizer) -> None:
    sentence = [word_tokenizer.sentence("Ann and Bo and Ann.")]
    batch = network.span_batch(sentence, [[(0, 3), (0, 5)]])
    assert batch.num_words.tolist() == [3, 5]
    hidden_BTD = network.encode(sentence, word_tokenizer.pad_id)
    assert network.entity_logits(hidden_BTD, RangeMax(hidden_BTD), batch).shape == (2, 5)
