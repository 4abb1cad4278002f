"""Beyond one machine: one relay owns the board, and any number of edges own streams; NATS is between them."""
