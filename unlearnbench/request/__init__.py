"""Turn the words of the command line into typed values: compose, check, refuse."""
