"""Kernels: what runs for every weight or every cached position, written with `Vec`.

Each is compiled for every ISA level and picked at boot. Two rules hold for all of them:

1. A row of a batch gives the same bits whatever else is in the batch: lanes and tiles only change
   which results are computed together, never the order of the operations of one result.
2. A float result does not depend on the width of the vectors, except that `baseline` has no
   fused multiply-add.
"""
