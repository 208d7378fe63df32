"""The web service: recordings in over HTTP, extractions out; ``speechre serve`` runs it (docs/service.md).

``server`` opens the port and closes it, ``app`` knows the addresses, ``uploads`` what comes in, ``answers`` what goes
out, ``model_thread`` is the one thread that owns the model, ``limits`` and ``metrics`` are what their names say.
"""
