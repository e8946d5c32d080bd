"""Decisions. Pure: no async, I/O, clock, randomness or logging; tests/test_layers.py checks this."""
