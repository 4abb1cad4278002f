"""The simulation: the real board, publisher, hub and feed in a world where time is virtual and much goes wrong."""
