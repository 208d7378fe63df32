"""Manifests of annotated speech: reading, writing, importing, checking and counting them.

Import the module you need (``from speechre.data.store import read_manifest``); this package itself loads
nothing.
"""
