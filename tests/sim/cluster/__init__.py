"""The same simulation for relays and edges: real ones, between a simulated database, NATS and browsers."""
