"""The forward pass of a llama: a batch of tokens in, logits of the wanted rows out.

Every member of the team runs `forward` with its own index. A member computes its share of each
phase and meets the others at a barrier where the next phase reads what others wrote: five times a
layer, and twice more where a batch is large enough to share the norms. Which member computes a
value never changes the value.

Rows of a batch are tokens of any sequences, each with its slot and position; the rows of one
sequence are consecutive and in order, so that a run of them shares the loads of attention.
"""

from bare import Arena, Slice, Struct, f32, u32, usize
from merlion.engine.barrier import Barrier, overlap, share
from merlion.engine.kernels.activations import Activations, quantise, quantise_row
from merlion.engine.kernels.attention import QUERIES, QueryTile, attend
from merlion.engine.kernels.matmul import matmul
from merlion.engine.kernels.rope import rotate
from merlion.engine.kernels.rows import add_to, rms_norm, silu_multiply
from merlion.engine.kernels.shapes import BLOCK, GROUP, PANEL, group_count
from merlion.engine.kv_cache import KvCache
from merlion.engine.model import Layer, Model
from merlion.engine.tensor import Matrix

# Up to this many rows every member computes the norms for itself: cheaper than a barrier.
PRIVATE_ROWS = 4


class Batch(Struct):
    """What one forward pass computes. Filled by the leader before the team starts."""

    count: usize
    tokens: Slice[u32]
    slots: Slice[u32]  # Of the KV cache.
    positions: Slice[u32]
    wanted_count: usize
    wanted: Slice[u32]  # Rows whose logits are computed.

    def init(self, arena: Arena, rows_max: usize, wanted_max: usize) -> None:
        """Take room for `rows_max` tokens."""
        self.tokens = arena.slice(u32, rows_max)
        self.slots = arena.slice(u32, rows_max)
        self.positions = arena.slice(u32, rows_max)
        self.wanted = arena.slice(u32, wanted_max)

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


class Workspace(Struct):
    """Where a forward pass keeps its rows. A stride is an output length in whole groups."""

    hidden: Slice[f32]  # [row][width], the residual stream.
    normed: Activations  # [row][width]
    attended: Activations  # [row][head_count * head_size]
    feed: Activations  # [row][hidden]
    queries: Slice[f32]  # [row][query_stride]
    keys: Slice[f32]  # [row][key_stride]
    values: Slice[f32]  # [row][key_stride]
    delta: Slice[f32]  # [row][width_stride], what a sub-layer adds.
    gate: Slice[f32]  # [row][feed_stride]
    up: Slice[f32]  # [row][feed_stride]
    logits: Slice[f32]  # [wanted row][logits_stride]
    query_stride: usize
    key_stride: usize
    width_stride: usize
    feed_stride: usize
    logits_stride: usize
    private: Slice[Activations]  # [member], PRIVATE_ROWS rows of width.
    tiles: Slice[QueryTile]  # [member]

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
        rows = (rows_max + PANEL - 1) // PANEL * PANEL
        wanted = (wanted_max + PANEL - 1) // PANEL * PANEL
        heads = model.head_count * model.head_size
        self.query_stride = group_count(heads) * GROUP
        self.key_stride = group_count(model.head_count_kv * model.head_size) * GROUP
        self.width_stride = group_count(model.width) * GROUP
        self.feed_stride = group_count(model.hidden) * GROUP
        self.logits_stride = group_count(model.vocabulary) * GROUP

        self.hidden = arena.slice(f32, rows * model.width)
        self.normed.init(arena, rows, model.width)
        self.attended.init(arena, rows, heads)
        self.feed.init(arena, rows, model.hidden)
        self.queries = arena.slice(f32, rows * self.query_stride)
        self.keys = arena.slice(f32, rows * self.key_stride)
        self.values = arena.slice(f32, rows * self.key_stride)
        self.delta = arena.slice(f32, rows * self.width_stride)
        self.gate = arena.slice(f32, rows * self.feed_stride)
        self.up = arena.slice(f32, rows * self.feed_stride)
        self.logits = arena.slice(f32, wanted * self.logits_stride)
        self.private = arena.slice(Activations, members)
        self.tiles = arena.slice(QueryTile, members)
        for member in range(members):
            self.private[member].init(arena, PRIVATE_ROWS, model.width)
            self.tiles[member].init(arena, context)


class Llama(Struct):
    """A loaded model with its cache and workspace."""

    model: Model
    cache: KvCache
    work: Workspace
    batch: Batch
    barrier: Barrier

    def forward(self, member: usize) -> None:
        """Compute the batch. Returns when all members are done."""
        self.embed(member)
        for index in range(len(self.model.layers)):
            layer = self.model.layers[index]
            inputs = self.normalise(member, layer.attention_norm)
            self.project_heads(member, layer, index, inputs)
            self.barrier.wait()
            self.attend_heads(member, index)
            self.barrier.wait()
            self.add_product(member, layer.output, self.work.attended)
            self.barrier.wait()
            inputs = self.normalise(member, layer.feed_norm)
            self.gate_and_up(member, layer, inputs)
            self.barrier.wait()
            self.add_product(member, layer.down, self.work.feed)
            self.barrier.wait()
        self.project_logits(member)
        self.barrier.wait()

    def logits(self, wanted: usize) -> Slice[f32]:
        """Logits of the `wanted`-th row that asked for them."""
        assert wanted < self.batch.wanted_count
        start = wanted * self.work.logits_stride
        return self.work.logits[start : start + self.model.vocabulary]

    def hidden_row(self, row: usize) -> Slice[f32]:
        """The residual stream of one row."""
        width = self.model.width
        return self.work.hidden[row * width : (row + 1) * width]

    def embed(self, member: usize) -> None:
        """hidden = embedding of each token."""
        first, last = share(self.batch.count, member, self.barrier.members)
        for row in range(first, last):
            self.model.embed(self.batch.tokens[row], self.hidden_row(row))
        self.barrier.wait()

    def normalise(self, member: usize, weight: Slice[f32]) -> Activations:
        """The normed rows, as inputs of a product: each member's own, or shared by all."""
        if self.batch.count <= PRIVATE_ROWS:
            inputs = self.work.private[member]
            for row in range(self.batch.count):
                self.normalise_row(row, weight, inputs, row)
            return inputs
        first, last = share(self.batch.count, member, self.barrier.members)
        for row in range(first, last):
            self.normalise_row(row, weight, self.work.normed, row)
        self.barrier.wait()
        return self.work.normed

    def normalise_row(
        self, row: usize, weight: Slice[f32], inputs: Activations, target: usize
    ) -> None:
        """inputs[target] = norm of hidden[row]."""
        rms_norm(self.hidden_row(row), weight, self.model.epsilon, inputs.row(target))
        if self.model.uses_int8:
            quantise_row(inputs, target)

    def project_heads(self, member: usize, layer: Layer, index: usize, inputs: Activations) -> None:
        """Queries, keys and values; queries and keys turned; keys and values into the cache."""
        work = self.work
        count = self.batch.count
        queries = layer.query.groups
        keys = layer.key.groups
        total = queries + keys + layer.value.groups
        first, last = share(total, member, self.barrier.members)
        q_first, q_last = overlap(first, last, 0, queries)
        k_first, k_last = overlap(first, last, queries, keys)
        v_first, v_last = overlap(first, last, queries + keys, layer.value.groups)
        matmul(layer.query, inputs, count, work.queries, work.query_stride, q_first, q_last)
        matmul(layer.key, inputs, count, work.keys, work.key_stride, k_first, k_last)
        matmul(layer.value, inputs, count, work.values, work.key_stride, v_first, v_last)

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
            rotate(query, q_first * GROUP, q_end, size, self.model.rope, position)
            rotate(key, k_first * GROUP, k_end, size, self.model.rope, position)
            self.cache.store_key(index, slot, position, key, k_first * GROUP, k_end)
            self.cache.store_value(index, slot, position, value, v_first * GROUP, v_end)

    def attend_heads(self, member: usize, index: usize) -> None:
        """Attention of every run of rows: tiles of four queries of a head, dealt out in turn."""
        group = self.model.head_count // self.model.head_count_kv
        unit: usize = 0
        row: usize = 0
        while row < self.batch.count:
            end = self.run_end(row)
            queries = (end - row) * group
            for head in range(self.model.head_count_kv):
                for start in range(0, queries, QUERIES):
                    if unit % self.barrier.members == member:
                        self.attend_tile(member, index, head, row, start, min(start + 4, queries))
                    unit += 1
            row = end
        if self.model.uses_int8 and self.model.head_size % BLOCK != 0:
            self.barrier.wait()
            first, last = share(self.batch.count, member, self.barrier.members)
            for done in range(first, last):
                quantise_row(self.work.attended, done)

    def run_end(self, row: usize) -> usize:
        """Where the run of rows of the same sequence that starts at `row` ends."""
        end = row + 1
        while end < self.batch.count and self.batch.slots[end] == self.batch.slots[row]:
            end += 1
        return end

    def attend_tile(
        self, member: usize, index: usize, head: usize, row: usize, first: usize, last: usize
    ) -> None:
        """Queries [first, last) of a run: query i is row i // group, head i % group of the head."""
        model = self.model
        tile = self.work.tiles[member]
        group = model.head_count // model.head_count_kv
        size = model.head_size
        for i in range(QUERIES):
            query = first + i
            if query >= last:
                query = last - 1
            query_row = row + query // group
            at = (head * group + query % group) * size
            tile.visible[i] = usize(self.batch.positions[query_row]) + 1
            tile.source[i] = query_row * self.work.query_stride + at
            tile.target[i] = query_row * self.work.attended.columns + at
        slot = self.batch.slots[row]
        attend(
            tile,
            self.work.queries,
            self.cache.head_keys(index, slot, head),
            self.cache.head_values(index, slot, head),
            size,
            self.cache.value_stride,
            self.work.attended.values,
        )
        if model.uses_int8 and size % BLOCK == 0:
            for query in range(first, last):
                block = (head * group + query % group) * size // BLOCK
                quantise(self.work.attended, row + query // group, block, block + size // BLOCK)

    def add_product(self, member: usize, matrix: Matrix, inputs: Activations) -> None:
        """hidden += matrix * inputs, for this member's rows of the matrix."""
        work = self.work
        first, last = share(matrix.groups, member, self.barrier.members)
        matmul(matrix, inputs, self.batch.count, work.delta, work.width_stride, first, last)
        start = first * GROUP
        end = min(last * GROUP, matrix.rows)
        if start < end:
            for row in range(self.batch.count):
                at = row * work.width_stride
                add_to(self.hidden_row(row)[start:end], work.delta[at + start : at + end])

    def gate_and_up(self, member: usize, layer: Layer, inputs: Activations) -> None:
        """feed = silu(gate * inputs) * (up * inputs), in whole blocks of activations."""
        work = self.work
        count = self.batch.count
        groups = layer.gate.groups
        first_pair, last_pair = share((groups + 1) // 2, member, self.barrier.members)
        first = first_pair * 2
        last = min(last_pair * 2, groups)
        if first >= last:
            return
        matmul(layer.gate, inputs, count, work.gate, work.feed_stride, first, last)
        matmul(layer.up, inputs, count, work.up, work.feed_stride, first, last)
        start = first * GROUP
        end = min(last * GROUP, layer.gate.rows)
        for row in range(count):
            at = row * work.feed_stride
            gate = work.gate[at + start : at + end]
            up = work.up[at + start : at + end]
            silu_multiply(gate, up, work.feed.row(row)[start:end])
            if self.model.uses_int8:
                quantise(work.feed, row, start // BLOCK, end // BLOCK)

    def project_logits(self, member: usize) -> None:
        """Logits of the wanted rows."""
        wanted = self.batch.wanted_count
        if wanted == 0:
            return
        inputs = self.work.private[member]
        if wanted <= PRIVATE_ROWS:
            for i in range(wanted):
                row = self.batch.wanted[i]
                self.normalise_row(row, self.model.output_norm, inputs, i)
        else:
            inputs = self.work.normed
            first, last = share(wanted, member, self.barrier.members)
            for i in range(first, last):
                row = self.batch.wanted[i]
                self.normalise_row(row, self.model.output_norm, inputs, i)
            self.barrier.wait()
        matrix = self.model.output
        first, last = share(matrix.groups, member, self.barrier.members)
        stride = self.work.logits_stride
        matmul(matrix, inputs, wanted, self.work.logits, stride, first, last)


def workspace_bytes(
    model: Model, rows_max: usize, wanted_max: usize, members: usize, context: usize
) -> usize:
    """Arena bytes that `Workspace.init` and `Batch.init` take, with room for alignment."""
    rows = rows_max + PANEL
    heads = model.head_count * model.head_size
    floats = rows * (model.width * 4 + heads * 4 + model.hidden * 5 + 8 * GROUP)
    floats += (wanted_max + PANEL) * (model.vocabulary + GROUP)
    int8 = rows * (model.width + heads + model.hidden) * 2
    member = PANEL * model.width * 7 + QUERIES * context * 4 + 1024
    return floats * 4 + int8 + members * member + rows * 16 + 8192
