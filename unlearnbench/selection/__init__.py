"""Forget sets that trained models choose."""
