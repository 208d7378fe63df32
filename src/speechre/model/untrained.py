"""A network at its start: a pretrained Whisper that has new tokens and has not learned to use them."""

from __future__ import annotations

from speechre.model.network import SpeechReNetwork, from_whisper
from speechre.model.sequence import PromptStyle, Sequencer, new_tokens
from speechre.model.tokenizer import Tokenizer
from speechre.model.weights import WhisperWeights
from speechre.schema import Schema


def untrained_network(
    weights: WhisperWeights, schema: Schema, prompt_style: PromptStyle = "compact"
) -> tuple[SpeechReNetwork, Sequencer]:
    """The network with the tokens of ``schema``, and the sequencer that fits it; the relation head starts at random.

    The token that ends a transcript starts as Whisper's own end, so its transcripts are those of the plain Whisper.
    """
    tokens = new_tokens(schema)
    tokenizer = Tokenizer.from_whisper(weights.tokenizer_json, list(tokens))
    sequencer = Sequencer(tokenizer, schema, prompt_style)
    return from_whisper(weights, tokenizer, tokens, len(schema.relation_types)), sequencer
