"""Tests: laws for the core, a virtual clock for time, and for everything else the real thing."""
