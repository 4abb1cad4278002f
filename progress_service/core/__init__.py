"""Pure core: job model, events, reducer, ETA. No I/O and no clock."""
