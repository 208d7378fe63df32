"""Foreign formats: a module each, and ``table`` that lists them. Importing this package loads nothing."""
