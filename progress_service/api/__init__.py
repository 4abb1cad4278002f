"""The HTTP edge: who is calling, what they may see, and how a refusal reads."""
