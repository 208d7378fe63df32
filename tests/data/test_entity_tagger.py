"""Recognizers: spaCy's small English pipeline as it is, a tiny token classifier with random weights, clear errors."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from speechre.data.entity_tagger import DEFAULT_TAGGER, HuggingFaceTagger, TaggedSpan, needed_components, open_tagger
from speechre.errors import UsageError

TEXTS = ["Sarah Collins lives in Denver.", "Nothing happened.", "", "General Motors hired Thomas Miller in Chicago."]


def test_spacy_finds_entities_with_their_places() -> None:
    with open_tagger() as tagger:
        assert tagger.name.startswith(f"{DEFAULT_TAGGER}@3.")
        found = tagger.tag(TEXTS)
        assert found[0] == [TaggedSpan("PERSON", 0, 13), TaggedSpan("GPE", 23, 29)]
        assert found[1:3] == [[], []]
        assert "General Motors" in {TEXTS[3][span.start : span.end] for span in found[3]}
        assert tagger.tag([]) == []


@pytest.mark.slow
def test_several_processes_find_the_same() -> None:
    texts = [f"{text} Number {i}." for i in range(150) for text in TEXTS]
    with open_tagger() as one, open_tagger(processes=2) as two:
        assert one.name == two.name
        assert one.tag(texts) == two.tag(texts)


@pytest.mark.parametrize(
    ("spec", "processes", "reason"),
    [
        ("en_core_web_sm", 1, "unknown recognizer"),
        ("spacy:", 1, "unknown recognizer"),
        ("nltk:x", 1, "expected spacy:NAME or hf:ID"),
        ("spacy:xx_no_such_pipeline", 1, 'no pipeline "xx_no_such_pipeline"'),
        ("hf:somebody/something", 2, "leave out --processes"),
    ],
)
def test_a_recognizer_that_is_not_there(spec: str, processes: int, reason: str) -> None:
    with pytest.raises(UsageError, match=reason), open_tagger(spec, processes):
        pass


@pytest.mark.parametrize(("library", "spec"), [("spacy", DEFAULT_TAGGER), ("transformers", "hf:x")])
def test_a_library_that_is_not_there(library: str, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=f"(?i){library} is not installed; try: pip install"), open_tagger(spec):
        pass


def pipeline(**parts: tuple[str, tuple[str, ...]]) -> Any:
    """A pipeline as far as its parts are concerned: name -> factory and who listens to it."""
    assigns = {"ner": ["doc.ents"], "entity_ruler": ["doc.ents"], "tagger": ["token.tag"], "tok2vec": ["doc.tensor"]}
    return SimpleNamespace(
        pipe_names=list(parts),
        pipeline=[(name, SimpleNamespace(listening_components=list(to))) for name, (_, to) in parts.items()],
        get_pipe_meta=lambda name: SimpleNamespace(factory=parts[name][0], assigns=assigns[parts[name][0]]),
    )


def test_only_what_a_recognizer_needs_runs() -> None:
    tok2vec, tagger, ner = ("tok2vec", ("tagger",)), ("tagger", ()), ("ner", ())
    assert needed_components(pipeline(tok2vec=tok2vec, tagger=tagger, ner=ner), "x") == ["ner"]
    shared = ("tok2vec", ("tagger", "ner"))
    assert needed_components(pipeline(tok2vec=shared, tagger=tagger, ner=ner), "x") == ["tok2vec", "ner"]
    ruled = pipeline(tok2vec=tok2vec, tagger=tagger, rules=("entity_ruler", ()), ner=ner)
    assert needed_components(ruled, "x") == ["tok2vec", "tagger", "rules", "ner"]
    with pytest.raises(UsageError, match="finds no entities; it has tagger"):
        needed_components(pipeline(tagger=tagger), "x")


def test_a_token_classifier_from_a_folder(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Ann", "Lee", "lives", "in"])}
    inner = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    config = BertConfig(
        **{"vocab_size": len(words), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
        **{"intermediate_size": 8, "id2label": names, "label2id": {name: i for i, name in names.items()}},
    )
    model = BertForTokenClassification(config)
    model.classifier.weight.data.zero_()
    model.classifier.bias.data = model.classifier.bias.data.new_tensor([0.0, 0.0, 5.0])  # everything is a person
    model.save_pretrained(tmp_path)
    tagger = HuggingFaceTagger(str(tmp_path))
    first, empty, second = tagger.tag(["Ann Lee lives", "", "in"])
    assert [(span.label, span.start, span.end) for span in first] == [("PER", 0, 13)]
    assert empty == []
    assert [(span.label, span.start, span.end) for span in second] == [("PER", 0, 2)]
    assert first[0].score == pytest.approx(0.9867, abs=1e-3)
    assert tagger.tag([]) == []
    with pytest.raises(UsageError, match="no token classifier"):
        HuggingFaceTagger(str(tmp_path / "none"))
