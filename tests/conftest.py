"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow, not wrong: pytest-timeout is the only clock.
settings.register_profile("speechre", deadline=None)
settings.load_profile("speechre")
