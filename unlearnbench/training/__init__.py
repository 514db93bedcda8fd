"""The one place that optimises, and what it needs."""
