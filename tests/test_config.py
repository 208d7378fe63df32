"""A run's config: typed, checked whole, and documented key by key."""

from __future__ import annotations

import dataclasses
import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.config import Config, DecodeConfig, TrainConfig, load_config, recipe_path
from speechre.errors import ConfigError, UsageError
from speechre.schemas import SCHEMAS

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "src/speechre/recipes").glob("*.yaml"))
SECTIONS = {f.name: f.default_factory for f in dataclasses.fields(Config) if f.name != "name"}
ABLATION = ("paper", "correct", "six-orders", "transcript", "copy", "vote", "own-corpus", "base")
KEYS = {
    "name",
    *(f"{section}.{f.name}" for section, kind in SECTIONS.items() for f in dataclasses.fields(kind)),  # type: ignore[arg-type]
}


def test_an_empty_mapping_is_the_default() -> None:
    assert Config.from_dict({}) == Config()


def test_round_trip_also_through_json() -> None:
    config = Config.from_dict({"train": {"orders_per_utterance": 1}, "model": {"orders": ["trh", "hrt"]}, "name": "x"})
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(
    st.builds(
        TrainConfig,
        steps=st.integers(1, 10**6),
        learning_rate=st.floats(1e-8, 1.0),
        entity_target=st.booleans(),
        prompt_source=st.sampled_from(["gold", "predicted", "noisy"]),
        orders_per_utterance=st.integers(1, 6),
    ),
    st.builds(DecodeConfig, beams=st.integers(1, 8), threshold=st.floats(0, 1)),
)
def test_any_valid_config_survives_the_round_trip(train: TrainConfig, decode: DecodeConfig) -> None:
    config = Config(train=train, decode=decode)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"train": {"learning_rat": 1}}, ["config.train", '"learning_rat"', 'did you mean "learning_rate"?']),
        ({"trian": {}}, ["config", '"trian"', 'did you mean "train"?']),
        ({"data": {"zzz": 1}}, ["config.data", '"zzz"', "expected one of train, repeats, dev, schema"]),
        ({"train": {"steps": "many"}}, ["config.train.steps", "'many'", "expected int"]),
        ({"train": {"steps": 1.5}}, ["config.train.steps", "1.5", "expected int"]),
        ({"train": {"steps": True}}, ["config.train.steps", "True", "expected int"]),
        ({"train": {"steps": [1]}}, ["config.train.steps", "expected int"]),
        ({"train": {"learning_rate": "fast"}}, ["config.train.learning_rate", "expected float"]),
        ({"train": {"entity_target": 1}}, ["config.train.entity_target", "expected bool"]),
        ({"train": {"precision": "fp8"}}, ["config.train.precision", "'fp8'", "auto, no, bf16"]),
        ({"train": {"precision": True}}, ["config.train.precision", "auto, no, bf16"]),
        ({"train": {"steps": 10**400}}, ["config.train.steps", "expected int"]),
        ({"data": {"schema": 4}}, ["config.data.schema", "expected str"]),
        ({"data": {"train": 4}}, ["config.data.train", "expected a list"]),
        ({"data": {"train": [4]}}, ["config.data.train", "expected str"]),
        ({"train": 3}, ["config.train", "expected a mapping"]),
        ({"train": {"steps": 0}}, ["train.steps is 0; expected 1 or more", "docs/training.md"]),
        ({"train": {"batch_size": 0}}, ["train.batch_size is 0"]),
        ({"train": {"orders_per_utterance": 7}}, ["train.orders_per_utterance is 7; expected 1 to 6 (model.orders)"]),
        ({"model": {"orders": ["hrt"]}}, ["train.orders_per_utterance is 6"]),
        ({"train": {"learning_rate": -1.0}}, ["train.learning_rate is -1.0"]),
        ({"train": {"warmup_steps": -1}}, ["train.warmup_steps is -1"]),
        ({"decode": {"beams": 0}}, ["decode.beams is 0"]),
        ({"decode": {"beams": 65}}, ["decode.beams is 65; expected 1 to 64"]),
        (
            {
                "model": {"orders": ["hrt", "trh"]},
                "train": {"orders_per_utterance": 2},
                "decode": {"orders": ["thr", "hrt"]},
            },
            ["decode.orders names thr", "hrt, trh (model.orders)"],
        ),
        ({"decode": {"threshold": 1.5}}, ["decode.threshold is 1.5"]),
        ({"decode": {"relation_threshold": -0.1}}, ["decode.relation_threshold is -0.1"]),
        ({"data": {"max_duration_s": 31}}, ["data.max_duration_s is 31"]),
        ({"data": {"max_duration_s": 0}}, ["data.max_duration_s is 0"]),
        ({"augment": {"speed": 0.5}}, ["augment.speed is 0.5"]),
    ],
)
def test_what_does_not_fit_is_named(data: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_dict(data)
    for part in parts:
        assert part in str(error.value)


def test_an_unknown_order_is_refused() -> None:
    for section in ("model", "decode"):
        with pytest.raises(UsageError, match='unknown order "xyz"'):
            Config.from_dict({section: {"orders": ["hrt", "xyz"]}})


def test_a_model_of_fewer_orders_decodes_its_own() -> None:
    data: dict[str, Any] = {"model": {"orders": ["trh", "hrt"]}, "train": {"orders_per_utterance": 1}}
    assert Config.from_dict(data).decode.orders == ("trh", "hrt")
    assert Config.from_dict({**data, "decode": {"beams": 2}}).decode.orders == ("trh", "hrt")
    assert Config.from_dict({**data, "decode": {"orders": ["hrt"]}}).decode.orders == ("hrt",)


def test_a_plain_no_of_yaml_is_no(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  precision: no\n", encoding="utf-8")
    assert load_config(str(path)).train.precision == "no"


def test_an_empty_list_from_the_command_line() -> None:
    assert load_config("conll04", {"data.dev": ""}).data.dev == ()


def test_values_from_the_command_line_are_text() -> None:
    config = load_config(
        "conll04",
        {
            "train.steps": "1e3",
            "train.learning_rate": "2e-5",
            "train.entity_target": "False",
            "data.train": "a.jsonl, b.jsonl",
            "model.orders": "hrt",
            "train.orders_per_utterance": "1",
            "name": "mine",
        },
    )
    assert config.train.steps == 1000
    assert config.train.learning_rate == 2e-5
    assert config.train.entity_target is False
    assert config.data.train == ("a.jsonl", "b.jsonl")
    assert config.model.orders == ("hrt",)
    assert config.name == "mine"
    assert config.train.batch_size == load_config("conll04").train.batch_size


def test_overrides_are_checked_too() -> None:
    with pytest.raises(ConfigError, match='did you mean "steps"'):
        load_config("conll04", {"train.step": "3"})
    with pytest.raises(ConfigError, match="name is a value, not a section"):
        load_config("conll04", {"name.x": "3"})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    config = load_config(path.stem)
    assert config == load_config(f"recipes/{path.stem}.yaml") == load_config(str(path))
    assert config.data.schema in SCHEMAS
    assert config.name != Config().name
    assert f"`{path.stem}`" in (ROOT / "docs/training.md").read_text(encoding="utf-8")


def test_there_are_the_recipes_that_the_docs_promise() -> None:
    expected = {"conll04", "paper-conll04", "commonvoice-speechre", "retacred", "smoke"}
    assert {path.stem for path in RECIPES} >= expected


def test_the_baseline_differs_from_our_recipe_in_the_method_only() -> None:
    ours, paper = load_config("conll04"), load_config("paper-conll04")
    assert ours.data == paper.data
    assert ours.augment == paper.augment
    assert ours.model.backbone == paper.model.backbone
    method = {
        "orders_per_utterance",
        "entity_target",
        "prompt_source",
        "loss_on",
    }
    for field in dataclasses.fields(TrainConfig):
        if field.name not in method:
            assert getattr(ours.train, field.name) == getattr(paper.train, field.name), field.name


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r'no recipe "nope".*conll04.*smoke'):
        recipe_path("nope")


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: conll04\nname: mine\ntrain:\n  steps: 3\n", encoding="utf-8")
    (tmp_path / "next.yaml").write_text("extends: mine.yaml\ntrain:\n  seed: 9\n", encoding="utf-8")
    base, found = load_config("conll04"), load_config(str(tmp_path / "next.yaml"), {"train.batch_size": "2"})
    assert found == dataclasses.replace(
        base, name="mine", train=dataclasses.replace(base.train, steps=3, seed=9, batch_size=2)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: nope", r"mine\.yaml\.extends: no recipe \"nope\""),
        ("extends: [conll04]", r"mine\.yaml\.extends: got \['conll04'\], expected a shipped recipe's name or a file"),
        ("extends: mine.yaml", r"mine\.yaml: extends itself"),
        ("extends: conll04\ntrain: 3", r"train: got 3, expected a mapping"),
    ],
)
def test_a_recipe_that_extends_nothing_good(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / "mine.yaml"))


def test_the_rows_of_the_ablation_build_on_each_other() -> None:
    """Each row adds what its name says and nothing else; steps, rates and seed are the same in all."""
    rows = [load_config(f"ablation-{name}") for name in ABLATION]
    added = {
        "correct": {"prompt_style", "relation_padding", "prompt_source", "loss_on", "constrained", "copy_entities"},
        "six-orders": {"orders_per_utterance"},
        "transcript": {"transcript"},
        "copy": {"copy_entities", "entity_target", "answer_vocabulary"},
        "vote": {"vote"},
        "own-corpus": {"train", "repeats"},
        "base": {"backbone", "frozen_encoder_layers"},
    }
    for name, before, after in zip(ABLATION[1:], rows, rows[1:], strict=False):
        assert _differences(before, after) == added[name], name
    assert rows[0] == dataclasses.replace(load_config("paper-conll04"), name="ablation-paper")


def _differences(one: Config, other: Config) -> set[str]:
    return {
        key
        for section in SECTIONS
        for key, value in dataclasses.asdict(getattr(one, section)).items()
        if value != getattr(getattr(other, section), key)
    }


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  steps: 3\n", encoding="utf-8")
    assert load_config(str(path)).train.steps == 3
    path.write_text("train:\n  stepz: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml\.train"):
        load_config(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"- 1\n", "expected a mapping"), (b"a: [", "cannot be read as YAML"), (b"\xff\xfe\x00", "cannot be read")],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(str(path))


def documented() -> dict[str, str]:
    """Key -> default, from the tables of docs/training.md."""
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| `?([^|`]*)`? \|", page, flags=re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a key is documented twice"
    return dict(rows)


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    assert set(documented()) == KEYS


def test_documented_defaults_are_the_code_s() -> None:
    default = Config().to_dict()
    for key, shown in documented().items():
        value: Any = default
        for part in key.split("."):
            value = value[part]
        text = json.dumps(value) if isinstance(value, bool) else str(value)
        if isinstance(value, tuple | list):
            text = ", ".join(map(str, value)) or "none"
        assert shown.strip() == text, key


def test_the_examples_of_the_page() -> None:
    failed, attempted = doctest.testfile(str(ROOT / "docs" / "training.md"), module_relative=False)
    assert (failed, attempted) == (0, 3)


def test_a_transcript_needs_a_prompt_that_no_word_begins_like() -> None:
    with pytest.raises(ConfigError, match=r"model\.transcript true needs model\.prompt_style compact"):
        load_config("paper-conll04", {"model.transcript": "true"})
