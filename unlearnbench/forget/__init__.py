"""Forget sets: the training examples to forget."""
