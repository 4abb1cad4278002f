"""Finds out why a progress bar does not move: looks at all that can be wrong, and says what mends it."""
