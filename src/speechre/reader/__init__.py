"""The pipeline baseline: a plain Whisper writes the transcript, a text model in the manner of SpERT reads triplets in
it. Speech relation extraction is measured against it; no other room uses it. ``benchmarks/pipeline.py`` runs it.
"""
