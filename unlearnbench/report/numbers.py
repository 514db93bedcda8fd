"""How numbers are written where there is little room."""

from __future__ import annotations


def number(value: float) -> str:
    """Return a number with three digits, short: .853, 0 or 1.204."""
    text = f"{value:.3f}"
    return "0" if float(text) == 0 else text.replace("0.", ".", 1) if abs(value) < 1 else text


def three(value: float) -> str:
    """Return a number with three digits, and zero without a sign."""
    return f"{round(value, 3) or 0.0:.3f}"


def four(value: float) -> str:
    """Return a number with four digits, and zero without a sign."""
    return f"{round(value, 4) or 0.0:.4f}"
