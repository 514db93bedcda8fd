"""The machine: its devices, number formats, threads and costs."""
