"""What a forward pass reads and writes besides weights and cache: the batch and its rows.

Rows of a batch are tokens of any sequences, each with its slot and position; the rows of one
sequence are consecutive and in order, so that a run of them shares the loads of attention.
"""

from bare import Arena, Array, Slice, Struct, array, f32, u8, u32, u64, usize
from merlion.engine.kernels.activations import Activations
from merlion.engine.kernels.attention import partial_stride
from merlion.engine.kernels.attention_tile import RANGE, TILE_QUERIES, QueryTile, tile_bytes
from merlion.engine.kernels.shapes import BLOCK, GROUP, group_count
from merlion.engine.model import Model

# Up to this many rows every member computes the norms for itself: cheaper than a phase.
PRIVATE_ROWS = 4


class Run(Struct):
    """Consecutive rows of one sequence, and the units of attention they make."""

    row: usize
    end: usize
    tiles: usize  # Of queries, for each key-value head.
    ranges: usize  # Of positions that are units of their own; 1 when a unit takes them all.
    unit: usize  # The run's first.

    def queries(self, group: usize) -> usize:
        """Queries of one key-value head that `group` heads share."""
        return (self.end - self.row) * group


class Batch(Struct):
    """What one forward pass computes. Filled by the leader before the team starts."""

    count: usize
    tokens: Slice[u32]
    slots: Slice[u32]  # Of the KV cache.
    positions: Slice[u32]
    wanted_count: usize
    wanted: Slice[u32]  # Rows whose logits are computed.
    run_count: usize
    runs: Slice[Run]
    units: usize  # Of attention, in a layer.

    def init(self, arena: Arena, rows_max: usize, wanted_max: usize) -> None:
        """Take room for `rows_max` tokens."""
        self.tokens = arena.slice(u32, rows_max)
        self.slots = arena.slice(u32, rows_max)
        self.positions = arena.slice(u32, rows_max)
        self.wanted = arena.slice(u32, wanted_max)
        self.runs = arena.slice(Run, rows_max)

    def clear(self) -> None:
        """Start an empty batch."""
        self.count = 0
        self.wanted_count = 0

    def add(self, token: u32, slot: u32, position: u32, wants_logits: bool) -> None:
        """Append a row."""
        assert self.count < len(self.tokens), "batch is full"
        if wants_logits:
            self.wanted[self.wanted_count] = u32(self.count)
            self.wanted_count += 1
        self.tokens[self.count] = token
        self.slots[self.count] = slot
        self.positions[self.count] = position
        self.count += 1

    @property
    def is_private(self) -> bool:
        """Whether every member prepares the inputs of products for itself."""
        return self.count <= PRIVATE_ROWS

    def find_runs(self, heads: usize, group: usize) -> None:
        """Cut the rows into runs, for `heads` key-value heads that `group` queries share each."""
        self.run_count = 0
        self.units = 0
        row: usize = 0
        while row < self.count:
            run = self.runs[self.run_count]
            run.row = row
            run.end = self.run_end(row)
            run.tiles = (run.queries(group) + TILE_QUERIES - 1) // TILE_QUERIES
            run.ranges = 1
            if self.is_private:
                visible = usize(self.positions[run.end - 1]) + 1
                run.ranges = (visible + RANGE - 1) // RANGE
            run.unit = self.units
            self.units += heads * run.tiles * run.ranges
            self.run_count += 1
            row = run.end

    def run_end(self, row: usize) -> usize:
        """Where the run of rows of the same sequence that starts at `row` ends."""
        end = row + 1
        while end < self.count and self.slots[end] == self.slots[row]:
            end += 1
        return end


class Desk(Struct):
    """What one member works with; nobody else reads it."""

    number: u64  # The phase that `normed` or `attended` was prepared for.
    normed: Activations  # PRIVATE_ROWS rows of width.
    attended: Activations  # PRIVATE_ROWS rows of heads.
    tile: QueryTile
    gate: Slice[f32]  # [row][BLOCK]
    up: Slice[f32]  # [row][BLOCK]
    partials: Slice[f32]  # [2][TILE_QUERIES][partial stride]
    padding: Array[u8] = array(64)


class Workspace(Struct):
    """Where a forward pass keeps its rows. A stride is an output length in whole groups."""

    hidden: Slice[f32]  # [row][width_stride], the residual stream.
    normed: Activations  # [row][width]
    attended: Activations  # [row][head_count * head_size]
    feed: Activations  # [row][hidden]
    queries: Slice[f32]  # [row][query_stride]
    keys: Slice[f32]  # [row][key_stride]
    values: Slice[f32]  # [row][key_stride]
    logits: Slice[f32]  # [wanted row][logits_stride]
    partials: Slice[f32]  # [row][head][range][partial stride], of a private batch.
    query_stride: usize
    key_stride: usize
    width_stride: usize
    logits_stride: usize
    ranges: usize  # Of positions in the context.
    desks: Slice[Desk]  # [member]

    def init(
        self,
        arena: Arena,
        model: Model,
        rows_max: usize,
        wanted_max: usize,
        members: usize,
        context: usize,
    ) -> None:
        """Take the storage for batches of `rows_max` rows."""
        heads = model.head_count * model.head_size
        self.query_stride = group_count(heads) * GROUP
        self.key_stride = group_count(model.head_count_kv * model.head_size) * GROUP
        self.width_stride = group_count(model.width) * GROUP
        self.logits_stride = group_count(model.vocabulary) * GROUP
        self.ranges = (context + RANGE - 1) // RANGE
        partial = partial_stride(model.head_size)

        self.hidden = arena.slice(f32, rows_max * self.width_stride)
        self.normed.init(arena, rows_max, model.width)
        self.attended.init(arena, rows_max, heads)
        self.feed.init(arena, rows_max, model.hidden)
        self.queries = arena.slice(f32, rows_max * self.query_stride)
        self.keys = arena.slice(f32, rows_max * self.key_stride)
        self.values = arena.slice(f32, rows_max * self.key_stride)
        self.logits = arena.slice(f32, wanted_max * self.logits_stride)
        self.partials = arena.slice(f32, PRIVATE_ROWS * model.head_count * self.ranges * partial)
        self.desks = arena.slice(Desk, members)
        for desk in self.desks:
            desk.normed.init(arena, PRIVATE_ROWS, model.width)
            desk.attended.init(arena, PRIVATE_ROWS, heads)
            desk.gate = arena.slice(f32, rows_max * BLOCK)
            desk.up = arena.slice(f32, rows_max * BLOCK)
            desk.tile.init(arena)
            desk.partials = arena.slice(f32, 2 * TILE_QUERIES * partial)

    def begin(self, rows: usize) -> None:
        """Prepare for a batch of `rows` rows."""
        self.normed.rows = rows
        self.attended.rows = rows
        self.feed.rows = rows


def workspace_bytes(
    model: Model, rows_max: usize, wanted_max: usize, members: usize, context: usize
) -> usize:
    """Arena bytes that `Workspace.init` and `Batch.init` take, with room for alignment."""
    heads = model.head_count * model.head_size
    partial = partial_stride(model.head_size)
    floats = rows_max * (model.width * 2 + heads * 4 + model.hidden + 8 * GROUP)
    floats += wanted_max * (model.vocabulary + GROUP)
    floats += PRIVATE_ROWS * model.head_count * (context // RANGE + 1) * partial
    int8 = rows_max * (model.width + heads + model.hidden) * 2
    member = PRIVATE_ROWS * (model.width + heads) * 7 + rows_max * BLOCK * 8
    member += TILE_QUERIES * 2 * partial * 4 + tile_bytes() + 4096
    return floats * 4 + int8 + members * member + rows_max * 64 + 8192
