"""Where the stages of a graph are computed: in this process, in workers on this machine, or on a cluster."""
