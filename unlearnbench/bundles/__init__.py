"""Bundles: the runs of a leaderboard in one zip, whose numbers anybody can compute again."""
