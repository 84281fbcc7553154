"""The HTTP server, sans IO: connections of bytes on one side, the engine on the other.

The transport opens a connection, gives it bytes with `receive`, takes bytes with `pending` and
`sent`, asks `wants_close`, and says `hangup` when the connection is gone, for whatever reason.
`poll` moves everything else: timers, tokens, requests that were pipelined. The composition root
steps the engine between polls. Time is an argument, in nanoseconds since start.

A request goes HEAD → BODY (→ LARGE_WAIT → BODY) → GENERATE, or not → DRAIN → HEAD. Pipelined
requests are answered one after the other: the next is not looked at before the client has taken the
reply before it.

Invariants: a connection in GENERATE owns exactly one slot of the backend, every other none; the
large buffer belongs to at most one connection; nothing is allocated after `start`.
"""

from bare import Arena, Bytes, Slice, Struct, u8, u32, u64, usize
from merlion.serve.backend import Backend
from merlion.serve.connection import Connection, Phase
from merlion.serve.errors import busy
from merlion.serve.http import Head, HttpError, blank_length, find_head
from merlion.serve.limits import (
    BODY_TIMEOUT_NS,
    CONNECTIONS_MAX,
    HEAD_BYTES_MAX,
    HEAD_TIMEOUT_NS,
    IDLE_KEPT_NS,
    IDLE_TIMEOUT_NS,
    INPUT_BYTES,
    LARGE_BODY_BYTES,
    LARGE_WAIT_NS,
    OUTPUT_BYTES,
    SCRATCH_BYTES,
    WRITE_TIMEOUT_NS,
)
from merlion.serve.response import CONTINUE
from merlion.serve.service import NOBODY, Service


class ServerConfig(Struct):
    """Sizes and secrets; the defaults are those of limits.py."""

    connection_count: u32 = CONNECTIONS_MAX
    input_bytes: usize = INPUT_BYTES
    output_bytes: usize = OUTPUT_BYTES
    large_body_bytes: usize = LARGE_BODY_BYTES
    api_key: Bytes = b""
    boot_unix_s: u64 = 0
    entropy: u64 = 0


class Server(Struct):
    """All connections, and the service behind them."""

    connections: Slice[Connection]
    service: Service
    now_ns: u64  # Of the last call that said it.

    def start(self, arena: Arena, config: ServerConfig, backend: Backend) -> None:
        """Carve every buffer from `arena`. The backend may still be loading its model."""
        assert config.input_bytes >= 2 * HEAD_BYTES_MAX, "a head and a small body share the input"
        assert config.large_body_bytes >= config.input_bytes, "a large body is the larger one"
        service = self.service
        service.backend = backend
        service.large_owner = NOBODY
        service.scratch = arena.slice(u8, SCRATCH_BYTES)
        service.large = arena.slice(u8, config.large_body_bytes)
        key = arena.slice(u8, len(config.api_key))
        key.copy_from(config.api_key)
        service.api_key = key
        service.boot_unix_s = config.boot_unix_s
        service.entropy = config.entropy
        self.connections = arena.slice(Connection, usize(config.connection_count))
        for connection in self.connections:
            connection.input = arena.slice(u8, config.input_bytes)
            connection.outbox.storage = arena.slice(u8, config.output_bytes)

    def open(self, now_ns: u64) -> u32 | None:
        """A client connected. Returns the connection, or None when there are too many."""
        for index, connection in enumerate(self.connections):
            if connection.phase == Phase.FREE:
                connection.reset(now_ns)
                self.service.connections_open += 1
                return u32(index)
        self.close_idle(now_ns)
        return None

    def close_idle(self, now_ns: u64) -> None:
        """Close the connection that has been idle longest, so that a new one finds a place soon."""
        found: Connection | None = None
        for connection in self.connections:
            if connection.is_idle and now_ns - connection.since_ns >= IDLE_KEPT_NS:
                if found is None or connection.since_ns < found.since_ns:
                    found = connection
        if found is not None:
            self.shut(found)

    def receive(self, index: u32, data: Bytes, now_ns: u64) -> usize:
        """Bytes from the client. Returns how many were taken; offer the rest again later."""
        connection = self.connections[index]
        assert connection.phase != Phase.FREE, "this connection is not open"
        self.now_ns = now_ns
        if connection.outbox.is_empty:
            connection.departure.begin(now_ns)
        taken: usize = 0
        while taken < len(data):
            count = connection.take(data[taken:], now_ns)
            if count == 0:
                break
            taken += count
            self.advance(connection, index, now_ns)
        return taken

    def pending(self, index: u32) -> Bytes:
        """Bytes for the client."""
        return self.connections[index].outbox.pending()

    def sent(self, index: u32, count: usize) -> None:
        """The transport took the first `count` bytes of `pending`."""
        connection = self.connections[index]
        connection.outbox.sent(count)
        connection.departure.move(count, self.now_ns)

    def wants_close(self, index: u32) -> bool:
        """Say whether everything was said: close, and then `hangup`."""
        connection = self.connections[index]
        return connection.phase == Phase.CLOSING and connection.outbox.is_empty

    def finish_input(self, index: u32) -> None:
        """The client will send nothing more (FIN): it is taken to be gone, but for a reply that is
        complete already."""
        connection = self.connections[index]
        if connection.phase == Phase.GENERATE:
            self.abandon(connection)
            self.shut(connection)
        elif connection.phase == Phase.DRAIN:
            connection.close_after = True
        else:
            self.service.free_large(connection)
            connection.phase = Phase.CLOSING

    def hangup(self, index: u32) -> None:
        """The connection is gone: stop its completion, free its place."""
        connection = self.connections[index]
        if connection.phase == Phase.FREE:
            return
        if connection.phase == Phase.GENERATE:
            self.abandon(connection)
        self.service.free_large(connection)
        connection.outbox.clear()
        connection.phase = Phase.FREE
        self.service.connections_open -= 1

    def poll(self, now_ns: u64) -> bool:
        """Timers, tokens, and requests that were waiting. Returns False when nothing moved."""
        self.now_ns = now_ns
        moved = False
        for at, connection in enumerate(self.connections):
            if connection.phase == Phase.FREE:
                continue
            index = u32(at)
            if connection.phase == Phase.GENERATE:
                moved = self.service.pump(connection, now_ns) or moved
            moved = self.advance(connection, index, now_ns) or moved
            self.check_timers(connection, now_ns)
        return moved

    def abandon(self, connection: Connection) -> None:
        """Nobody waits for this completion any more."""
        connection.generation.abandon(self.service.backend, self.service.metrics, self.now_ns)

    def shut(self, connection: Connection) -> None:
        """Close without another word."""
        self.service.free_large(connection)
        connection.outbox.clear()
        connection.phase = Phase.CLOSING

    def advance(self, connection: Connection, index: u32, now_ns: u64) -> bool:
        """Go as far as the bytes at hand allow."""
        moved = False
        while self.advance_once(connection, index, now_ns):
            moved = True
        return moved

    def advance_once(self, connection: Connection, index: u32, now_ns: u64) -> bool:
        """One step of the protocol. Returns False when it waits for something."""
        match connection.phase:
            case Phase.HEAD:
                return self.read_head(connection, index, now_ns)
            case Phase.BODY:
                return self.read_body(connection, index, now_ns)
            case Phase.LARGE_WAIT:
                return self.move_to_large(connection, index, now_ns)
            case Phase.DRAIN:
                return self.end_reply(connection, now_ns)
            case _:
                return False

    def end_reply(self, connection: Connection, now_ns: u64) -> bool:
        """The reply is complete; when the client has it, the next request may come."""
        if connection.close_after:
            # What the tail points to may be the large buffer: keep it until it was sent.
            if connection.outbox.is_empty:
                self.service.free_large(connection)
                connection.phase = Phase.CLOSING
                return True
            return False
        if not connection.outbox.is_empty:
            return False
        self.service.free_large(connection)
        connection.begin_request(now_ns)
        return True

    def read_head(self, connection: Connection, index: u32, now_ns: u64) -> bool:
        """A head that is complete, or wrong."""
        connection.skip_raw(blank_length(connection.raw()))
        raw = connection.raw()
        if len(raw) == 0:
            return False
        found = find_head(raw, connection.searched)
        if isinstance(found, HttpError):
            if found == HttpError.NEED_MORE:
                connection.searched = len(raw)
                return False
            connection.head.assign(Head.zeroed())
            self.service.refuse_http(connection, found)
            return True
        connection.head_length = connection.raw_start + found
        error = connection.head.parse(raw[:found])
        if error is None:
            connection.begin_body()
            connection.close_after = not connection.head.keep_alive
            if not self.service.judge_head(connection):
                return True
            error = connection.decoder.start(connection.head, len(self.service.large))
        if error is not None:
            self.service.refuse_http(connection, error)
            return True
        if connection.head.expect_continue and connection.head.has_body:
            connection.outbox.append(CONTINUE)
        connection.enter(Phase.BODY, now_ns)
        connection.arrival.begin(now_ns)
        room = len(connection.input) - connection.head_length
        if connection.head.content_length > room:
            connection.enter(Phase.LARGE_WAIT, now_ns)
        return True

    def read_body(self, connection: Connection, index: u32, now_ns: u64) -> bool:
        """Decode what is there; answer when it is all there."""
        service = self.service
        decoder = connection.decoder
        raw = connection.raw()
        if len(raw) > 0 and not decoder.done:
            room = connection.body_room()
            if connection.uses_large:
                room = service.large[service.large_length :]
            error = decoder.decode(raw, room)
            if error is not None:
                service.refuse_http(connection, error)
                return True
            connection.skip_raw(decoder.consumed)
            if connection.uses_large:
                service.large_length += decoder.produced
            else:
                connection.body_end += decoder.produced
        if decoder.done:
            service.answer(connection, index, now_ns)
            if len(connection.outbox.tail) == 0:
                service.free_large(connection)
            return True
        if not connection.uses_large and connection.body_end == len(connection.input):
            connection.enter(Phase.LARGE_WAIT, now_ns)
            return True
        return False

    def move_to_large(self, connection: Connection, index: u32, now_ns: u64) -> bool:
        """Go on in the large buffer, as soon as it is free."""
        service = self.service
        if not service.claim_large(connection, index):
            return False
        body = connection.body()
        service.large[: len(body)].copy_from(body)
        service.large_length = len(body)
        connection.body_end = connection.head_length
        connection.enter(Phase.BODY, now_ns)
        connection.arrival.begin(now_ns)
        return True

    def check_timers(self, connection: Connection, now_ns: u64) -> None:
        """Clients too slow: in the middle of a request, between two, or while we talk."""
        if connection.outbox.is_empty:
            connection.departure.begin(now_ns)
        elif connection.departure.is_slow(WRITE_TIMEOUT_NS, now_ns):
            if connection.phase == Phase.GENERATE:
                self.abandon(connection)
            self.shut(connection)
            return
        self.check_input(connection, now_ns)

    def check_input(self, connection: Connection, now_ns: u64) -> None:
        """Clients that send nothing, or too little."""
        waited = now_ns - connection.since_ns
        if connection.phase == Phase.HEAD:
            if len(connection.raw()) == 0:
                if waited > IDLE_TIMEOUT_NS:
                    self.shut(connection)
            elif waited > HEAD_TIMEOUT_NS:
                connection.head.assign(Head.zeroed())
                self.service.refuse_http(connection, HttpError.TIMEOUT)
        elif connection.phase == Phase.BODY:
            if connection.arrival.is_slow(BODY_TIMEOUT_NS, now_ns):
                self.service.refuse_http(connection, HttpError.TIMEOUT)
        elif connection.phase == Phase.LARGE_WAIT and waited > LARGE_WAIT_NS:
            self.service.refuse(connection, busy())
