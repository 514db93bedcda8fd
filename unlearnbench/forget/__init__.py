"""Forget sets: which training examples must go."""
