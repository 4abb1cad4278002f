"""Bytes and rows to values, and values to bytes. Pure, like the core that it serves."""
