"""What `import unlearnbench` offers: the command from Python, and its methods for a model and data in hand."""
