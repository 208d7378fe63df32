"""The decoding engine: one encoder pass, six orders and their beams in one batch, constrained by the grammar."""
