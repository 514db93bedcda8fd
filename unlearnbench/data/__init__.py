"""Data sets: each a small typed configuration that is checked before it is loaded."""
