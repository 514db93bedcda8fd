"""Models: each one is a small typed configuration that builds a torch module and names its parts."""
