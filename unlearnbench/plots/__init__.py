"""Figures of a run and of a report, drawn without a display."""
