"""The text reader: a small text model in the manner of SpERT, which reads triplets in transcripts.

A speech model may carry one, whose belief counts beside the vote of the orders. Behind a plain Whisper the same reader
is the pipeline that speech relation extraction is measured against (``benchmarks/pipeline.py``).
"""
