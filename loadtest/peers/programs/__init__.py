"""The servers that are written around a library, as its users would write them. Each is run by its path."""
