"""The model card: what the model knows, what it was made from, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechre.finetune.plan import Plan
from speechre.page.table import Table

_FIGURES = (
    ("triplet F1", ("triplet", "f1")),
    ("precision", ("triplet", "precision")),
    ("recall", ("triplet", "recall")),
    ("entity F1", ("entity_f1",)),
    ("relation F1", ("relation_f1",)),
    ("word error rate", ("wer",)),
)

_CARD = """\
---
{head}
---
# {name}

Speech relation extraction: English recordings to (head, relation, tail) triplets. Made from `{start}` by
`speechre finetune`.

```python
from speechre import Extractor

extraction = Extractor.from_pretrained("{folder}")("talk.wav")
```

- **Entity types**: {entity_types}
- **Relations**: {relation_types}
- **Data**: {num_train} annotated utterances to learn from; {num_dev} held out (dev), {how}
- **Speech half**: {speech}
- **Text reader**: trained on the annotated texts and on what the model itself hears of the recordings, passes: {epochs}
- **Confidence**: {confidence}

{table}
{before}

The confidence and its threshold were fitted on this dev part too, so its figures flatter a little: measure on
recordings that the model has never met. `report/report.html` has every mistake to hear, `finetune.json` how all was
made. The license is yours to choose, within that of `{start}` and of your data.
"""


def model_card(plan: Plan, outcome: Mapping[str, Any]) -> str:
    """README.md of the model's folder, with the head that the Hugging Face hub reads; ``outcome`` is finetune.json."""
    import yaml

    head = {
        "language": "en",
        "library_name": "speechre",
        "tags": ["speech", "relation-extraction", "whisper", "rpg-moge"],
        "base_model": plan.start,
    }
    steps = f"{outcome['steps']} steps of training; encoder and words as they were"
    return _CARD.format(
        head=yaml.safe_dump(head, sort_keys=False).strip(),
        name=plan.model_name,
        start=plan.start,
        folder=plan.output.name,
        entity_types=", ".join(plan.schema.entity_types),
        relation_types=", ".join(plan.schema.relation_types),
        num_train=outcome["num_train"],
        num_dev=outcome["num_dev"],
        how=_how_held_out(plan, outcome),
        speech=steps if outcome["steps"] else "not trained; it only has the new types in its vocabulary",
        epochs=outcome["epochs"],
        confidence=f"not calibrated: {outcome['fault']}" if outcome["fault"] else "curves and threshold fitted on dev",
        table=score_table(outcome).to_markdown(),
        before=before_line(outcome),
    )


def _how_held_out(plan: Plan, outcome: Mapping[str, Any]) -> str:
    if plan.dev is not None:
        return "given as a manifest of its own"
    apart = "" if outcome["dev_shares_speakers"] else "speaker, "
    return f"no {apart}sentence or recording of which is in training"


def before_line(outcome: Mapping[str, Any]) -> str:
    """Why the score before is what it is."""
    shared = outcome["shared_relations"]
    if not shared:
        return "Before, the model could not find any of these relations: it knows none of them by name."
    return f"Before, the model knew {', '.join(shared)} of these relations by name, and none of the others."


def score_table(outcome: Mapping[str, Any]) -> Table:
    """The scores on dev, before and after, in percent."""
    rows = tuple((name, *(_percent(outcome[when], keys) for when in ("before", "after"))) for name, keys in _FIGURES)
    return Table(
        f"Dev, {outcome['num_dev']} utterances, boundary protocol, in percent", ("what", "before", "after"), rows
    )


def _percent(summary: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    value: Any = summary
    for key in keys:
        value = value[key]
    return "-" if value is None else f"{100 * value:.1f}"
