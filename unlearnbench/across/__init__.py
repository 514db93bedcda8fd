"""What only the runs of a sweep together can say: numbers over models of several seeds, each with its null."""
