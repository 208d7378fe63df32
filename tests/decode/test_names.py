"""Known names in the search for a transcript: what each token gains, and what the search then writes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechre import Extractor
from speechre.config import Config
from speechre.decode.engine import DecodingEngine
from speechre.decode.names import NameBias, Names, _Node
from speechre.decode.readings import weighed_transcripts
from speechre.decode.search import BestNext, Generation
from speechre.decode.transcripts import _with_gains
from speechre.errors import ConfigError
from speechre.extract.listener import mel_of
from speechre.model.checkpoint import Checkpoint, load_checkpoint
from tests.conftest import noise

VOCAB, WIDTH, BONUS = 12, 8, 1.5
NAMES = {"a": (1, 2, 3), "b": (1, 2), "c": (4,), "d": (2, 5), "e": (4, 6)}


def never(row: int) -> bool:
    return False


class Search:
    """One row that is led along a sequence; its scores are those of random states and a random projection."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(VOCAB, WIDTH, generator=generator)
        self.states = torch.randn(20, WIDTH, generator=generator)
        names = Names(NAMES, lambda name: NAMES[name.strip()])
        self.bias = NameBias(names, BONUS, self.weight, 1)

    def all_tokens(self) -> BestNext:
        def best(hidden: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
            return (hidden @ self.weight.T).log_softmax(dim=1).topk(count, dim=1)

        return best

    def gains(self, tokens: Sequence[int]) -> list[float]:
        """What each token scored more than its log-probability."""
        out = []
        for state, token in zip(self.states, tokens, strict=False):
            plain = (state @ self.weight.T).log_softmax(dim=0)
            scores, found = self.bias.best(self.all_tokens(), never)(state[None], VOCAB)
            assert sorted(found[0].tolist()) == list(range(VOCAB))  # each once
            assert scores[0].tolist() == sorted(scores[0].tolist(), reverse=True)
            out.append(float(scores[0, found[0].tolist().index(token)] - plain[token]))
            self.bias.advance([0], [token])
        return out


@pytest.mark.parametrize(
    ("tokens", "gains"),  # a third for "c", which has one token
    [
        ((1, 2, 3, 9), (1, 1, 1, 0)),  # "b" on the way to "a"
        ((1, 2, 9), (1, 1, 0)),
        ((1, 9, 9), (1, -1, 0)),  # unfinished
        ((1, 4, 9), (1, -2 / 3, 0)),  # unfinished, and another begins
        ((1, 1, 2, 9), (1, 0, 1, 0)),
        ((1, 2, 1, 9), (1, 1, 1, -1)),
        ((1, 2, 3, 4, 2, 5, 0), (1, 1, 1, 1 / 3, 1, 1, 0)),
        ((9, 3, 5), (0, 0, 0)),  # these are inside of names only
        ((2, 5, 2, 9), (1, 1, 1, -1)),
        ((4, 4, 9), (1 / 3, 0, 0)),  # told again
        ((4, 6, 9), (1 / 3, 1, 0)),  # "e"
        ((1, 2, 3, 1, 2, 3, 9), (1, 1, 1, 1, -1, 0, 0)),
        ((1, 2, 1, 2, 3, 9), (1, 1, 1, -1, 1, 0)),  # only "a" is new
        ((1, 4, 1, 4, 9), (1, -2 / 3, 1, -1, 0)),
    ],
)
def test_whole_names_gain_once_and_others_give_back(tokens: tuple[int, ...], gains: tuple[int, ...]) -> None:
    search = Search()
    assert search.gains(tokens) == pytest.approx([BONUS * gain for gain in gains], abs=1e-4)
    for end in range(len(tokens) + 1):
        gained, owed = search.bias.gain(tokens[:end])
        assert gained == pytest.approx(BONUS * sum(gains[:end]))
        after = search.bias.gain((*tokens[:end], 9))[0]  # no name goes on with it
        assert gained - owed == pytest.approx(after)


def test_names_in_any_form(tiny_model_dir: Path) -> None:
    encode = load_checkpoint(str(tiny_model_dir)).tokenizer.encode_text

    def paths(node: _Node, before: tuple[int, ...] = ()) -> set[tuple[int, ...]]:
        ends = {before} if node.is_end else set()
        return ends.union(*(paths(child, (*before, token)) for token, child in node.children.items()))

    def found(*names: str) -> set[tuple[int, ...]]:
        return paths(Names(names, encode).root)

    assert found("  Zoltan   Quux ") == found("Zoltan Quux") == {tuple(encode(" Zoltan Quux"))}
    assert found(unicodedata.normalize("NFD", "Åse")) == found("Åse")
    assert found("Washington, D.C.") == {tuple(encode(" Washington, D.C.")), tuple(encode(" Washington, D.C"))}
    assert found("   ", ".") == {tuple(encode(" ."))}
    assert not Names([], encode).root.children


def test_rows_go_on_from_their_parents_and_those_that_are_over_stay() -> None:
    search = Search()
    bias = NameBias(Names(NAMES, lambda name: NAMES[name.strip()]), BONUS, search.weight, 2)
    bias.advance([0, 1], [1, 9])
    bias.advance([1, 0, 0], [None, 2, 9])  # the rows are now: nothing, "b" whole, a name left
    hidden = search.states[:3]
    scores, tokens = bias.best(search.all_tokens(), lambda row: row == 2)(hidden, VOCAB)
    assert scores[2].tolist() == (search.all_tokens()(hidden, VOCAB)[0])[2].tolist()

    def score(row: int, token: int) -> float:
        return float(scores[row, tokens[row].tolist().index(token)])

    def gain(row: int, token: int) -> float:
        return score(row, token) - float((hidden[row] @ search.weight.T).log_softmax(dim=0)[token])

    assert [gain(0, 1), gain(0, 3), gain(0, 9)] == pytest.approx([BONUS, 0, 0], abs=1e-4)
    assert [gain(1, 1), gain(1, 3), gain(1, 9)] == pytest.approx([BONUS, BONUS, 0], abs=1e-4)
    # Of few, a token that begins a name is found though it is none of the best by itself.
    few = bias.best(search.all_tokens(), never)(hidden, 4)[1][0].tolist()
    plain = set(search.all_tokens()(hidden, 4)[1][0].tolist())
    assert few == sorted(plain | {1, 2, 4}, key=lambda token: -score(0, token))[:4]
    assert set(few) - plain


def test_beams_that_were_cut_off_give_back_what_they_owe() -> None:
    bias = Search().bias
    whole = Generation((1, 2, 3, 2, 5, 9), -3.0 + 5 * BONUS, True)
    cut = Generation((9, 1, 2, 1), -2.0 + 3 * BONUS, False)
    better = Generation((9, 9), -1.0, False)
    told = _with_gains((whole, cut, better), bias)
    assert [(one.ids, one.log_prob, one.gain) for one in told] == [
        (whole.ids, whole.log_prob, 5 * BONUS),
        (cut.ids, -2.0 + 2 * BONUS, 2 * BONUS),
        (better.ids, -1.0, 0.0),
    ]
    assert told == tuple(sorted(told, key=lambda one: (not one.is_finished, -one.log_prob)))
    circle = Generation((1, 2) * 12, -1.0 + 2 * BONUS, True)
    assert _with_gains((circle,), bias)[0].gain == 2 * BONUS


def test_a_hearing_is_not_believed_for_its_names() -> None:
    beams = (Generation((1, 2), -4.0 + 2 * BONUS, True, 2 * BONUS), Generation((1, 9), -4.0, True))
    named, other = weighed_transcripts(beams, str)
    assert named.share > other.share
    assert named.log_prob == other.log_prob == -4.0


def engine_with(checkpoint: Checkpoint, **decode: object) -> DecodingEngine:
    config = replace(checkpoint.config.decode, transcript_beams=3, **decode)  # type: ignore[arg-type]
    return DecodingEngine(checkpoint.network, checkpoint.sequencer(), checkpoint.config.model, config)


@pytest.mark.parametrize("step_weights", ["float32", "float16"])
def test_the_search_writes_what_is_known(tiny_model_dir: Path, step_weights: str) -> None:
    checkpoint = load_checkpoint(str(tiny_model_dir))
    mels = [mel_of(noise(seconds, seed), checkpoint) for seed, seconds in enumerate((1.0, 2.0))]
    plain = engine_with(checkpoint, step_weights=step_weights).transcribe(mels)
    without = engine_with(checkpoint, step_weights=step_weights, names=("Zoltan Quux",), name_bonus=0.0)
    assert [[one.text for one in ours] for ours in without.transcribe(mels)] == [
        [one.text for one in ours] for ours in plain
    ]
    known = engine_with(checkpoint, step_weights=step_weights, names=("Zoltan Quux", "Oslo"), name_bonus=20.0)
    for ours, theirs in zip(known.transcribe(mels), plain, strict=True):
        assert "Zoltan Quux" not in theirs[0].text
        assert "Zoltan Quux" in ours[0].text or "Oslo" in ours[0].text
    alone = [known.transcribe([mel])[0] for mel in mels]
    assert [[one.text for one in ours] for ours in known.transcribe(mels)] == [
        [one.text for one in ours] for ours in alone
    ]


def test_names_that_would_have_no_effect_are_refused(tiny_model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"known names: the transcript is written greedily here.*transcript-beams 5"):
        Extractor.from_pretrained(tiny_model_dir, names=["Ann"])
    with pytest.raises(ConfigError, match="known names: the transcript is written greedily"):
        Config.from_dict({"decode": {"names": ["Ann"]}})
    for name, shown in ((" ", "' ' of 1 characters"), ("x" * 101, "xxx' of 101"), ("\ud800", r"'\\ud800' of 1")):
        with pytest.raises(ConfigError, match=rf"known names: got .*{shown}.*; expected text of 1 to 100"):
            Extractor.from_pretrained(tiny_model_dir, names=[name], transcript_beams=2)
    checkpoint = load_checkpoint(str(tiny_model_dir))
    config = checkpoint.config
    mute = replace(
        config,
        model=replace(config.model, transcript=False),
        decode=replace(config.decode, names=("Ann",), transcript_beams=2),
    )
    with pytest.raises(ConfigError, match="writes no transcript; choose one that does"):
        Extractor(replace(checkpoint, config=mute))
