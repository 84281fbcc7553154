"""The sizes that repacked weights, quantised activations and kernels agree on.

Weights are stored in groups of 16 output rows, so that one 64-byte line holds 4 consecutive
input values of each row: lane r of a vector belongs to row r of the group, and no kernel needs a
horizontal sum. Narrower vectors take a group in two or four parts.
"""

from bare import usize

GROUP = 16  # Output rows interleaved.
BLOCK = 32  # Input values that share a scale, in weights and activations.


def group_count(rows: usize) -> usize:
    """Groups that hold `rows` output rows; the last one is padded with zero rows."""
    return (rows + GROUP - 1) // GROUP
