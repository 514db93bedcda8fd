"""Evaluations: what is asked of the models of a run, one file each."""
