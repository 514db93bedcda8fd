"""Trackers: programs that show runs, each told of a finished one; one file each."""
