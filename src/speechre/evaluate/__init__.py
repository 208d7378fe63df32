"""Evaluation: what a model said about a manifest, held against the annotation itself.

The rooms that make answers are not imported here: the caller hands them over.
"""
