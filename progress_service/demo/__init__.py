"""A page to play with: upload contacts, watch a real worker enrich them, and take the result home."""
