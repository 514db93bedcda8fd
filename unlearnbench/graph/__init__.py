"""Stages by their keys: computed once, kept on disk."""
