"""Reading and writing files that anything may happen to."""
