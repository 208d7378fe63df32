"""Your own relations in one command: a shipped model, a schema and annotated recordings to a model of the new types.

docs/finetune.md walks through it. ``run`` puts the stages together; ``prepare``, ``speech``, ``reading`` and ``assess``
are one stage each, made of what ``speechre train``, ``train-reader``, ``calibrate`` and ``evaluate`` are made of.
"""
