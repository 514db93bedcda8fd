"""Read and write files safely: damage, crashes, full disks and hostile content are expected."""
