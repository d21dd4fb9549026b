"""Faults made to real commands, and what they led to: docs/reliability.md."""
