"""Training: examples from manifests, objectives, and one loop that survives ``kill -9``."""
