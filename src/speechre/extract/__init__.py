"""Inference for users: recordings of any kind in, one :class:`speechre.types.Extraction` each out."""
