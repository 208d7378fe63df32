"""The hand-made pairs: enough, well-formed, in two halves; and the merging stays as good as docs/graphs.md says."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("entity_merges", ROOT / "benchmarks" / "entity_merges.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_pairs_are_many_and_of_both_kinds_in_both_halves(benchmark: ModuleType) -> None:
    pairs = benchmark.read_pairs()
    assert len(pairs) >= 300
    keys = Counter((str(p["a"]), str(p["b"]), p["recording"], str(p.get("context"))) for p in pairs)
    assert max(keys.values()) == 1
    for pair in pairs:
        assert set(pair) <= {"a", "b", "recording", "same", "why", "half", "context"}
        assert set(pair["a"]) == set(pair["b"]) == {"text", "type"}
        assert pair["recording"] in ("same", "other")
    counts = Counter((pair["half"], pair["same"]) for pair in pairs)
    assert set(counts) == {(half, same) for half in benchmark.HALVES for same in (True, False)}
    assert min(counts.values()) >= 80


@pytest.mark.parametrize("half", ["tuning", "held-out"])
def test_merging_is_as_good_as_the_docs_say(benchmark: ModuleType, half: str) -> None:
    pairs = [pair for pair in benchmark.read_pairs() if pair["half"] == half]
    page = (ROOT / "docs" / "graphs.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {half}, {len(pairs)} pairs | default rules |")]
    found = benchmark.measure(pairs, benchmark.joined_by)
    hits, predicted, gold = found["num_hits"], found["num_predicted"], found["num_gold"]
    assert row.endswith(f"| {hits} | {predicted - hits} | {gold - hits} |")
    assert f"| {100 * found['precision']:.1f} (" in row
    assert f"| {100 * found['recall']:.1f} (" in row


def test_an_interval_is_no_point_where_all_are_hits(benchmark: ModuleType) -> None:
    low, high = benchmark.wilson_interval(82, 82)
    assert (round(low, 3), round(high, 3)) == (0.955, 1.0)
    assert benchmark.wilson_interval(0, 0) == (0.0, 1.0)
