"""The shell: line in, command out."""
