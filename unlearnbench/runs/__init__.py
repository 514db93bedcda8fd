"""The life of a run and of a sweep."""
