"""Weights on their way from the file into the kernels' order, as far as the file has been read.

A file arrives from its front, and nobody promises the order of its tensors. So matrices are
repacked in the order in which they lie in the file: a job takes the groups of rows that follow the
last job's and have arrived, whatever matrices they belong to.

Invariant: all groups before (`place`, `group`) are repacked or part of the job under way.
"""

from bare import Arena, Slice, Struct, usize
from merlion.engine.kernels.shapes import GROUP
from merlion.engine.repack import repack
from merlion.engine.shares import overlap
from merlion.engine.tensor import Matrix


class Place(Struct):
    """Where the file keeps a matrix."""

    matrix: Matrix | None
    offset: usize  # Of its first byte.


class Filling(Struct):
    """All matrices of a model, by place."""

    places: Slice[Place]
    count: usize  # Of places in use.
    place: usize  # Where the next job begins.
    group: usize  # Of that place's matrix.
    job_place: usize  # Where the job under way began.
    job_group: usize

    def init(self, arena: Arena, matrix_count: usize) -> None:
        """Make room; `add` does the rest."""
        self.places = arena.slice(Place, matrix_count)
        self.count = 0
        self.place = 0
        self.group = 0

    def add(self, matrix: Matrix, offset: usize) -> None:
        """Put a matrix whose source begins at `offset` where it belongs."""
        at = self.count
        while at > 0 and self.places[at - 1].offset > offset:
            self.places[at].assign(self.places[at - 1])
            at -= 1
        self.places[at].matrix = matrix
        self.places[at].offset = offset
        self.count += 1

    def matrix(self, place: usize) -> Matrix:
        """The matrix at a place."""
        matrix = self.places[place].matrix
        assert matrix is not None, "add sets it"
        return matrix

    def is_done(self) -> bool:
        """Whether there is no job left to begin."""
        return self.place == self.count

    def begin(self, arrived: usize, byte_count: usize) -> usize:
        """Begin a job of at least `byte_count` bytes of the file, or of all that have arrived.

        Returns its groups. The job before has ended.
        """
        self.job_place = self.place
        self.job_group = self.group
        groups: usize = 0
        taken: usize = 0
        while taken < byte_count and self.place < self.count:
            matrix = self.matrix(self.place)
            stride = group_bytes(matrix)
            ready = arrived_groups(matrix, self.places[self.place].offset, arrived)
            wanted = (byte_count - taken + stride - 1) // stride
            count = min(ready - min(ready, self.group), wanted)
            if count == 0:
                break
            groups += count
            taken += count * stride
            self.group += count
            if self.group == matrix.groups:
                self.place += 1
                self.group = 0
        return groups

    def repack(self, first: usize, last: usize) -> None:
        """Fill groups [first, last) of the job."""
        place = self.job_place
        skipped = self.job_group
        start: usize = 0
        while start < last:
            matrix = self.matrix(place)
            count = matrix.groups - skipped
            low, high = overlap(first, last, start, count)
            if low < high:
                repack(matrix, matrix.source, skipped + low, skipped + high)
            start += count
            place += 1
            skipped = 0


def arrived_groups(matrix: Matrix, offset: usize, arrived: usize) -> usize:
    """Groups of a matrix at `offset` that lie whole in the first `arrived` bytes of the file."""
    if arrived <= offset:
        return 0
    if arrived - offset >= len(matrix.source):
        return matrix.groups
    return (arrived - offset) // group_bytes(matrix)


def group_bytes(matrix: Matrix) -> usize:
    """Bytes of the file that a group of rows takes; a last one that is not full takes less."""
    return len(matrix.source) // matrix.rows * GROUP
