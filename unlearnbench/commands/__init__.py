"""The commands, a file each: what is typed after `unlearnbench`."""
