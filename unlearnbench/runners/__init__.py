"""Who does the stages: this process, workers of this machine, or a cluster."""
