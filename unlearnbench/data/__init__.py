"""Data sets: each one is a small typed configuration, checked before its data is loaded."""
