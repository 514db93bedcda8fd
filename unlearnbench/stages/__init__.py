"""What a run computes, a stage each."""
