"""The simulation: the real board, publisher, hub and feed, where time is virtual and much goes wrong."""
