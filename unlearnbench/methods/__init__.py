"""Unlearning methods: one file and one YAML each; adding one edits nothing else."""
