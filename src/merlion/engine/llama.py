"""The forward pass of a llama: a batch of tokens in, logits of the wanted rows out.

A pass is a sequence of phases; a phase is cut into chunks, and whichever member of the team takes
a chunk computes it whole (shares.py). Five phases a layer: queries, keys and values (turned, and in
the cache); attention; its projection; gate and up; down. A batch of more than PRIVATE_ROWS rows has
phases for the norms too; in a smaller one every member computes them for itself. Which member
computes a value, and with what beside it, never changes the value.
"""

from enum import IntEnum

from bare import Slice, Struct, f32, u64, usize
from merlion.engine.kernels.activations import Activations, quantise, quantise_block, quantise_row
from merlion.engine.kernels.attention import attend, attend_range, fold, partial_stride, settle
from merlion.engine.kernels.attention_tile import RANGE, TILE_QUERIES
from merlion.engine.kernels.matmul import matmul
from merlion.engine.kernels.rope import rotate
from merlion.engine.kernels.rows import rms_norm, silu_multiply
from merlion.engine.kernels.shapes import BLOCK, GROUP
from merlion.engine.kv_cache import KvCache
from merlion.engine.model import Layer, Model
from merlion.engine.quant import is_quantised
from merlion.engine.shares import overlap, share
from merlion.engine.tensor import Matrix
from merlion.engine.workspace import PRIVATE_ROWS, Batch, Desk, Run, Workspace

# Chunks a member gets of a phase. Where few rows are multiplied a chunk is a stream from memory and
# should be long (four instead of one cost a tenth of decode): a long one, and a short one to even
# out with.
CHUNKS_FEW = 2
LONG_PART = 3  # Of 4.
CHUNKS_MANY = 8
ROWS_MANY = 32
GROUPS_A_BLOCK = BLOCK // GROUP


class Phase(IntEnum):
    """In the order they are computed; the first eight once a layer."""

    NORM_HEADS = 0
    HEADS = 1
    ATTEND = 2
    QUANTISE = 3
    OUTPUT = 4
    NORM_FEED = 5
    FEED = 6
    DOWN = 7
    NORM_LOGITS = 8
    LOGITS = 9
    END = 10


class Llama(Struct):
    """A loaded model with its cache and workspace, and how far the pass has come."""

    model: Model
    cache: KvCache
    work: Workspace
    batch: Batch
    members: usize  # For how many to cut phases into chunks.
    phase: Phase
    layer: usize
    chunks: usize  # Of the phase.
    units: usize  # Of the phase; a chunk is a run of them.
    is_uneven: bool  # Whether every second chunk is a short one.
    number: u64  # Phases ever started.

    def begin(self) -> None:
        """Leader: prepare a pass over the batch."""
        model = self.model
        self.batch.find_runs(model.head_count_kv, model.head_count // model.head_count_kv)
        for row in range(self.batch.count):
            model.embed(self.batch.tokens[row], self.hidden_row(row))
        self.work.begin(self.batch.count)
        self.layer = 0
        self.phase = Phase.END
        if len(model.layers) > 0 and self.batch.count > 0:
            self.phase = Phase.NORM_HEADS

    def next_phase(self) -> usize:
        """Go to the next phase that has work: its number of chunks, 0 at the end of the pass."""
        while self.phase != Phase.END:
            units = self.count_units()
            if units > 0:
                self.units = units
                self.chunks = self.count_chunks()
                self.number += 1
                return self.chunks
            self.leave_phase()
        return 0

    def leave_phase(self) -> None:
        """Go to the phase after this one."""
        if self.phase == Phase.DOWN and self.layer + 1 < len(self.model.layers):
            self.layer += 1
            self.phase = Phase.NORM_HEADS
        else:
            self.phase = Phase(self.phase + 1)
            if self.phase == Phase.NORM_LOGITS:
                self.work.normed.rows = self.batch.wanted_count

    def count_chunks(self) -> usize:
        """Into how many chunks to cut the units of this phase."""
        self.is_uneven = False
        if self.members == 1:
            return 1
        if self.batch.count >= ROWS_MANY or self.units < self.members * CHUNKS_FEW * 4:
            return min(self.units, self.members * CHUNKS_MANY)
        self.is_uneven = True
        return self.members * CHUNKS_FEW

    def span(self, chunk: usize) -> tuple[usize, usize]:
        """The units of a chunk."""
        if self.is_uneven:
            return self.cut(chunk), self.cut(chunk + 1)
        return share(self.units, chunk, self.chunks)

    def cut(self, chunk: usize) -> usize:
        """Where a chunk begins, of a long and a short one for each member."""
        quarters = chunk // CHUNKS_FEW * 4 + chunk % CHUNKS_FEW * LONG_PART
        return self.units * quarters // (self.members * 4)

    def count_units(self) -> usize:
        """How many pieces the work of this phase has."""
        layer = self.model.layers[self.layer]
        rows = 0 if self.batch.is_private else self.batch.count
        match self.phase:
            case Phase.NORM_HEADS | Phase.NORM_FEED:
                return rows
            case Phase.HEADS:
                return layer.query.groups + layer.key.groups + layer.value.groups
            case Phase.ATTEND:
                return self.batch.units
            case Phase.QUANTISE:
                whole = self.model.head_size % BLOCK == 0 or not self.model.uses_int8
                return 0 if whole else rows
            case Phase.OUTPUT:
                return layer.output.groups
            case Phase.FEED:
                return (layer.gate.groups + GROUPS_A_BLOCK - 1) // GROUPS_A_BLOCK
            case Phase.DOWN:
                return layer.down.groups
            case Phase.NORM_LOGITS:
                wanted = self.batch.wanted_count
                return wanted if wanted > PRIVATE_ROWS else 0
            case Phase.LOGITS:
                return self.model.output.groups if self.batch.wanted_count > 0 else 0
            case _:
                return 0

    def compute(self, member: usize, chunk: usize) -> None:
        """One chunk of the phase."""
        first, last = self.span(chunk)
        layer = self.model.layers[self.layer]
        work = self.work
        desk = work.desks[member]
        match self.phase:
            case Phase.HEADS:
                inputs = self.normed_inputs(desk, layer.attention_norm)
                self.project_heads(layer, inputs, first, last)
            case Phase.ATTEND:
                self.attend_units(desk, first, last)
            case Phase.OUTPUT:
                self.add_product(layer.output, self.attended_inputs(desk), first, last)
            case Phase.FEED:
                inputs = self.normed_inputs(desk, layer.feed_norm)
                self.gate_and_up(layer, desk, inputs, first, last)
            case Phase.DOWN:
                self.add_product(layer.down, work.feed, first, last)
            case Phase.LOGITS:
                self.project_logits(desk, first, last)
            case _:
                self.prepare_rows(layer, first, last)

    def prepare_rows(self, layer: Layer, first: usize, last: usize) -> None:
        """The phases between the products of a batch that is not private, row by row."""
        work = self.work
        for i in range(first, last):
            match self.phase:
                case Phase.NORM_HEADS:
                    self.normalise_row(i, layer.attention_norm, work.normed, i)
                case Phase.QUANTISE:
                    quantise_row(work.attended, i)
                case Phase.NORM_FEED:
                    self.normalise_row(i, layer.feed_norm, work.normed, i)
                case _:
                    row = usize(self.batch.wanted[i])
                    self.normalise_row(row, self.model.output_norm, work.normed, i)

    def logits(self, wanted: usize) -> Slice[f32]:
        """Logits of the `wanted`-th row that asked for them."""
        assert wanted < self.batch.wanted_count
        start = wanted * self.work.logits_stride
        return self.work.logits[start : start + self.model.vocabulary]

    def hidden_row(self, row: usize) -> Slice[f32]:
        """The residual stream of one row."""
        start = row * self.work.width_stride
        return self.work.hidden[start : start + self.model.width]

    def normed_inputs(self, desk: Desk, weight: Slice[f32]) -> Activations:
        """The normed rows, as inputs of a product: the member's own, or shared by all."""
        if not self.batch.is_private:
            return self.work.normed
        if desk.number != self.number:
            desk.number = self.number
            desk.normed.rows = self.batch.count
            for row in range(self.batch.count):
                self.normalise_row(row, weight, desk.normed, row)
        return desk.normed

    def normalise_row(
        self, row: usize, weight: Slice[f32], inputs: Activations, target: usize
    ) -> None:
        """inputs[target] = norm of hidden[row]."""
        rms_norm(self.hidden_row(row), weight, self.model.epsilon, inputs.row(target))
        if self.model.uses_int8:
            quantise_row(inputs, target)

    def project_heads(self, layer: Layer, inputs: Activations, first: usize, last: usize) -> None:
        """Queries, keys and values; queries and keys turned; keys and values into the cache."""
        work = self.work
        count = self.batch.count
        queries = layer.query.groups
        keys = layer.key.groups
        q_first, q_last = overlap(first, last, 0, queries)
        k_first, k_last = overlap(first, last, queries, keys)
        v_first, v_last = overlap(first, last, queries + keys, layer.value.groups)
        out = work.queries[q_first * GROUP :]
        matmul(layer.query, inputs, count, out, work.query_stride, q_first, q_last, False)
        out = work.keys[k_first * GROUP :]
        matmul(layer.key, inputs, count, out, work.key_stride, k_first, k_last, False)
        out = work.values[v_first * GROUP :]
        matmul(layer.value, inputs, count, out, work.key_stride, v_first, v_last, False)

        q_end = min(q_last * GROUP, layer.query.rows)
        k_end = min(k_last * GROUP, layer.key.rows)
        v_end = min(v_last * GROUP, layer.value.rows)
        size = self.model.head_size
        for row in range(count):
            position = self.batch.positions[row]
            slot = self.batch.slots[row]
            query = work.queries[row * work.query_stride : (row + 1) * work.query_stride]
            key = work.keys[row * work.key_stride : (row + 1) * work.key_stride]
            value = work.values[row * work.key_stride : (row + 1) * work.key_stride]
            if q_first < q_last:
                rotate(query, q_first * GROUP, q_end, size, self.model.rope, position)
            if k_first < k_last:
                rotate(key, k_first * GROUP, k_end, size, self.model.rope, position)
                self.cache.store_key(self.layer, slot, position, key, k_first * GROUP, k_end)
            if v_first < v_last:
                self.cache.store_value(self.layer, slot, position, value, v_first * GROUP, v_end)

    def attend_units(self, desk: Desk, first: usize, last: usize) -> None:
        """Attention units [first, last): run, key-value head, tile of queries, range."""
        for index in range(self.batch.run_count):
            run = self.batch.runs[index]
            count = self.model.head_count_kv * run.tiles * run.ranges
            low, high = overlap(first, last, run.unit, count)
            for unit in range(low, high):
                head = unit // (run.tiles * run.ranges)
                tile = unit // run.ranges % run.tiles
                if self.batch.is_private:
                    self.attend_private(desk, run, head, tile, unit % run.ranges)
                else:
                    self.attend_tile(desk, run, head, tile)

    def set_tile(self, desk: Desk, run: Run, head: usize, number: usize) -> None:
        """Tile `number` of a run: query i is row i // group, head i % group of the head."""
        group = self.model.head_count // self.model.head_count_kv
        size = self.model.head_size
        tile = desk.tile
        first = number * TILE_QUERIES
        tile.count = min(TILE_QUERIES, run.queries(group) - first)
        for i in range(TILE_QUERIES):
            query = first + min(i, tile.count - 1)
            row = run.row + query // group
            tile.row[i] = row
            tile.head[i] = head * group + query % group
            tile.visible[i] = usize(self.batch.positions[row]) + 1
            tile.source[i] = row * self.work.query_stride + tile.head[i] * size

    def attend_private(
        self, desk: Desk, run: Run, head: usize, number: usize, index: usize
    ) -> None:
        """One range of positions; `attended_inputs` puts the ranges together."""
        work = self.work
        tile = desk.tile
        self.set_tile(desk, run, head, number)
        stride = partial_stride(self.model.head_size)
        for i in range(TILE_QUERIES):
            at = (tile.row[i] * self.model.head_count + tile.head[i]) * work.ranges + index
            tile.target[i] = at * stride
        slot = self.batch.slots[run.row]
        keys = self.cache.head_keys(self.layer, slot, head)
        values = self.cache.head_values(self.layer, slot, head)
        size = self.model.head_size
        attend_range(tile, work.queries, keys, values, size, index * RANGE, work.partials)

    def attend_tile(self, desk: Desk, run: Run, head: usize, number: usize) -> None:
        """All positions of a tile, and its outputs as inputs of a product."""
        tile = desk.tile
        self.set_tile(desk, run, head, number)
        slot = self.batch.slots[run.row]
        keys = self.cache.head_keys(self.layer, slot, head)
        values = self.cache.head_values(self.layer, slot, head)
        size = self.model.head_size
        attend(tile, self.work.queries, keys, values, size, desk.partials)
        stride = partial_stride(size)
        attended = self.work.attended
        for i in range(tile.count):
            partial = desk.partials[i * stride : (i + 1) * stride]
            start = tile.head[i] * size
            settle(partial, attended.row(tile.row[i])[start : start + size])
            if self.model.uses_int8 and size % BLOCK == 0:
                quantise(attended, tile.row[i], start // BLOCK, (start + size) // BLOCK)

    def attended_inputs(self, desk: Desk) -> Activations:
        """Outputs of attention, as inputs of a product."""
        if not self.batch.is_private:
            return self.work.attended
        if desk.number == self.number:
            return desk.attended
        desk.number = self.number
        desk.attended.rows = self.batch.count
        size = self.model.head_size
        stride = partial_stride(size)
        sums = desk.partials[:stride]
        for row in range(self.batch.count):
            ranges = usize(self.batch.positions[row]) // RANGE + 1
            outputs = desk.attended.row(row)
            for head in range(self.model.head_count):
                at = (row * self.model.head_count + head) * self.work.ranges * stride
                sums.copy_from(self.work.partials[at : at + stride])
                for index in range(1, ranges):
                    start = at + index * stride
                    fold(sums, self.work.partials[start : start + stride])
                settle(sums, outputs[head * size : (head + 1) * size])
            if self.model.uses_int8:
                quantise_row(desk.attended, row)
        return desk.attended

    def add_product(self, matrix: Matrix, inputs: Activations, first: usize, last: usize) -> None:
        """hidden += matrix * inputs, for some groups of the matrix."""
        work = self.work
        out = work.hidden[first * GROUP :]
        matmul(matrix, inputs, self.batch.count, out, work.width_stride, first, last, True)

    def gate_and_up(
        self, layer: Layer, desk: Desk, inputs: Activations, first: usize, last: usize
    ) -> None:
        """feed = silu(gate * inputs) * (up * inputs), for blocks [first, last) of `feed`.

        As many blocks at a time as the desk holds for all rows: all of one row's, so that weights
        come in long streams; one of 64 rows, so that what lies between the products stays in the
        L1 cache.
        """
        feed = self.work.feed
        count = self.batch.count
        step = len(desk.gate) // (count * BLOCK)
        for block in range(first, last, step):
            blocks = min(step, last - block)
            stride = blocks * BLOCK
            gate = desk.gate[: count * stride]
            up = desk.up[: count * stride]
            group = block * GROUPS_A_BLOCK
            end = min(group + blocks * GROUPS_A_BLOCK, layer.gate.groups)
            matmul(layer.gate, inputs, count, gate, stride, group, end, False)
            matmul(layer.up, inputs, count, up, stride, group, end, False)
            silu_multiply(gate, up, gate)
            if is_quantised(layer.down.format):
                for i in range(blocks):
                    quantise_block(feed, block + i, gate[i * BLOCK :], stride)
            else:
                start = block * BLOCK
                length = min(stride, layer.gate.rows - start)
                for row in range(count):
                    values = gate[row * stride : row * stride + length]
                    feed.row(row)[start : start + length].copy_from(values)

    def project_logits(self, desk: Desk, first: usize, last: usize) -> None:
        """Logits of the wanted rows, for some groups of the vocabulary."""
        wanted = self.batch.wanted_count
        inputs = self.work.normed
        if wanted <= PRIVATE_ROWS:
            inputs = desk.normed
            if desk.number != self.number:
                desk.number = self.number
                desk.normed.rows = wanted
                for i in range(wanted):
                    row = usize(self.batch.wanted[i])
                    self.normalise_row(row, self.model.output_norm, inputs, i)
        stride = self.work.logits_stride
        out = self.work.logits[first * GROUP :]
        matmul(self.model.output, inputs, wanted, out, stride, first, last, False)
