"""What a complete request gets: a document at once, an error, or a completion from the backend.

The protocol machine (`server.py`) calls `judge_head` when a head is read, `answer` when its body is
there, and `pump` while a completion is under way. All checks come before the first byte of a reply.
"""

from bare import Bytes, Slice, Struct, u8, u32, u64, usize, wrap
from bare.text import Writer
from merlion.serve.backend import Backend
from merlion.serve.chat_page import CHAT_PAGE
from merlion.serve.completion import Progress
from merlion.serve.connection import Connection, Phase
from merlion.serve.errors import (
    ApiError,
    busy,
    from_http,
    invalid,
    loading,
    no_model,
    not_found,
    queue_full,
    stopped,
    too_long,
    unauthorized,
    write_error,
    wrong_method,
)
from merlion.serve.http import HttpError, Method, same_name, trim
from merlion.serve.limits import SECOND_NS
from merlion.serve.metrics import Gauges, Metrics, write_metrics
from merlion.serve.openai import GenerateRequest
from merlion.serve.outcome import Refusal
from merlion.serve.prompt import read_messages, read_prompt
from merlion.serve.replies import write_model, write_props
from merlion.serve.resources import detokenize, tokenize, write_health, write_models
from merlion.serve.response import (
    HTML,
    JSON,
    METRICS_TEXT,
    end_head,
    write_allow,
    write_head,
    write_preflight,
    write_retry,
)
from merlion.serve.router import (
    Endpoint,
    allowed,
    allows,
    find_endpoint,
    is_public,
    names_model,
)

NOBODY = 0xFFFF_FFFF
BEARER = b"bearer "


def same_secret(left: Bytes, right: Bytes) -> bool:
    """Compare in a time that does not tell where the first difference is."""
    if len(left) != len(right):
        return False
    difference = 0
    for i in range(len(left)):
        difference |= left[i] ^ right[i]
    return difference == 0


def mix(value: u64) -> u64:
    """Spread a counter over 64 bits: splitmix64 (Steele, Lea, Flood 2014)."""
    x = wrap(u64, value + 0x9E37_79B9_7F4A_7C15)
    x = wrap(u64, (x ^ x >> 30) * 0xBF58_476D_1CE4_E5B9)
    x = wrap(u64, (x ^ x >> 27) * 0x94D0_49BB_1331_11EB)
    return x ^ x >> 31


class Service(Struct):
    """Everything about answering that is shared by all connections."""

    backend: Backend
    scratch: Slice[u8]
    large: Slice[u8]  # For one body, or one reply, that fits no connection's buffer.
    large_owner: u32  # A connection, or NOBODY.
    large_length: usize
    api_key: Bytes
    boot_unix_s: u64  # Unix time when `now_ns` was 0.
    entropy: u64
    counter: u64
    connections_open: u64
    metrics: Metrics
    request: GenerateRequest

    def random(self) -> u64:
        """Identifiers and seeds: distinct, and not to be guessed without `entropy`."""
        self.counter += 1
        return mix(self.entropy ^ mix(self.counter))

    def unix_s(self, now_ns: u64) -> u64:
        """Unix time in seconds."""
        return self.boot_unix_s + now_ns // SECOND_NS

    def judge_head(self, connection: Connection) -> bool:
        """Refuse before the body is read what the head alone decides. Returns False if refused."""
        head = connection.head
        if head.method == Method.OPTIONS:
            return True
        endpoint = find_endpoint(head.target)
        if not is_public(endpoint) and not self.has_key(connection):
            self.refuse(connection, unauthorized())
        elif endpoint == Endpoint.NONE:
            self.refuse(connection, not_found())
        elif not allows(endpoint, head.method):
            self.refuse(connection, wrong_method())
        else:
            return True
        return False

    def has_key(self, connection: Connection) -> bool:
        """`Authorization: Bearer KEY` or `x-api-key: KEY`, where a key is set."""
        if len(self.api_key) == 0:
            return True
        given = connection.head.authorization
        if len(given) > len(BEARER) and same_name(given[: len(BEARER)], BEARER):
            given = trim(given[len(BEARER) :])
            return same_secret(given, self.api_key)
        return same_secret(connection.head.api_key, self.api_key)

    def refuse(self, connection: Connection, error: ApiError) -> None:
        """Answer before the body was read: what follows could be body, so close after it."""
        if connection.head.has_body:
            connection.close_after = True
        self.reply_error(connection, error)

    def refuse_http(self, connection: Connection, error: HttpError) -> None:
        """Answer what is not HTTP: nothing that follows can be trusted."""
        connection.close_after = True
        self.reply_error(connection, from_http(error))

    def reply_error(self, connection: Connection, error: ApiError) -> None:
        """Send an error object."""
        self.metrics.http_errors += 1
        body = Writer(self.scratch)
        write_error(body, error)
        out = Writer(connection.outbox.storage[connection.outbox.end :])
        write_head(out, error.status, JSON, body.length, not connection.close_after)
        if error.status == 429 or error.status == 503:
            write_retry(out)
        if error.status == 405:
            write_allow(out, allowed(find_endpoint(connection.head.target)))
        end_head(out)
        if connection.head.method != Method.HEAD:
            out.text(body.written())
        self.queue(connection, out)

    def reply(self, connection: Connection, content_type: Bytes, body: Bytes) -> None:
        """Send a whole document that fits the outbox."""
        out = Writer(connection.outbox.storage[connection.outbox.end :])
        write_head(out, 200, content_type, len(body), not connection.close_after)
        end_head(out)
        if connection.head.method != Method.HEAD:
            out.text(body)
        self.queue(connection, out)

    def reply_tail(self, connection: Connection, content_type: Bytes, body: Bytes) -> None:
        """Send a whole document from where it lies; it must stay there until it is sent."""
        out = Writer(connection.outbox.storage[connection.outbox.end :])
        write_head(out, 200, content_type, len(body), not connection.close_after)
        end_head(out)
        self.queue(connection, out)
        if connection.head.method != Method.HEAD:
            connection.outbox.tail = body

    def queue(self, connection: Connection, out: Writer) -> None:
        """What was written behind the outbox's end becomes pending."""
        assert not out.truncated, "a reply fits an empty outbox"
        connection.outbox.end += out.length
        self.metrics.http_requests += 1
        connection.phase = Phase.DRAIN

    def claim_large(self, connection: Connection, index: u32) -> bool:
        """Give the large buffer to a connection, if nobody else has it."""
        if self.large_owner != NOBODY and self.large_owner != index:
            return False
        if self.large_owner == NOBODY:
            self.large_length = 0
        self.large_owner = index
        connection.uses_large = True
        return True

    def free_large(self, connection: Connection) -> None:
        """The connection is done with the large buffer."""
        if connection.uses_large:
            connection.uses_large = False
            self.large_owner = NOBODY

    def answer(self, connection: Connection, index: u32, now_ns: u64) -> None:
        """A request is complete. Leaves the connection in DRAIN or GENERATE."""
        head = connection.head
        body = self.large[: self.large_length] if connection.uses_large else connection.body()
        if head.method == Method.OPTIONS:
            out = Writer(connection.outbox.storage[connection.outbox.end :])
            write_preflight(out, not connection.close_after)
            self.queue(connection, out)
            return
        endpoint = find_endpoint(head.target)
        if endpoint == Endpoint.PAGE:
            self.reply_tail(connection, HTML, CHAT_PAGE)
        elif endpoint == Endpoint.METRICS:
            self.answer_metrics(connection)
        elif endpoint == Endpoint.MODELS:
            out = Writer(self.scratch)
            write_models(out, self.backend, self.unix_s(0))
            self.reply(connection, JSON, out.written())
        elif not self.backend.ready():
            self.reply_error(connection, loading())
        elif endpoint == Endpoint.CHAT or endpoint == Endpoint.COMPLETIONS:
            self.begin_completion(connection, body, endpoint == Endpoint.CHAT, now_ns)
        elif endpoint == Endpoint.TOKENIZE or endpoint == Endpoint.DETOKENIZE:
            self.answer_tokens(connection, index, body, endpoint == Endpoint.TOKENIZE)
        else:
            self.answer_about(connection, endpoint)

    def answer_about(self, connection: Connection, endpoint: Endpoint) -> None:
        """Health, properties, and the one model."""
        backend = self.backend
        out = Writer(self.scratch)
        if endpoint == Endpoint.MODEL:
            if not names_model(connection.head.target, backend.model_name()):
                self.reply_error(connection, no_model())
                return
            write_model(out, backend.model_name(), self.unix_s(0), backend.context_tokens())
        elif endpoint == Endpoint.PROPS:
            write_props(out, backend.model_name(), backend.context_tokens(), backend.slot_count())
        else:
            write_health(out)
        self.reply(connection, JSON, out.written())

    def answer_metrics(self, connection: Connection) -> None:
        """Send the Prometheus text."""
        backend = self.backend
        gauges = Gauges.zeroed()
        if backend.ready():
            gauges.running = backend.running()
            gauges.waiting = backend.waiting()
            gauges.decode_steps = backend.decode_steps()
            gauges.kv_used = backend.kv_used()
            gauges.kv_total = backend.kv_total()
        gauges.connections = self.connections_open
        out = Writer(self.scratch)
        write_metrics(out, self.metrics, gauges)
        assert not out.truncated, "the metrics fit the scratch buffer"
        self.reply(connection, METRICS_TEXT, out.written())

    def answer_tokens(
        self, connection: Connection, index: u32, body: Slice[u8], encode: bool
    ) -> None:
        """Lists of tokens may be long: they are written to the large buffer.

        A long one is sent from there too; a short one is copied, so that a client that is slow to
        take it does not keep the buffer from others.
        """
        if not self.claim_large(connection, index):
            self.reply_error(connection, busy())
            return
        out = Writer(self.large)
        if encode:
            error = tokenize(out, self.backend, body)
        else:
            error = detokenize(out, self.backend, self.scratch, body)
        if error is not None:
            self.reply_error(connection, error)
        elif out.length <= len(connection.outbox.storage) // 2:
            self.reply(connection, JSON, out.written())
        else:
            self.reply_tail(connection, JSON, out.written())

    def begin_completion(
        self, connection: Connection, body: Slice[u8], chat: bool, now_ns: u64
    ) -> None:
        """Check and submit a request for text."""
        request = self.request
        error = request.parse(body, chat)
        if error is None:
            if chat:
                error = read_messages(self.backend, body, request.prompt_at)
            else:
                error = read_prompt(self.backend, body, request.prompt_at)
        count = self.backend.prompt_token_count()
        context = self.backend.context_tokens()
        param: Bytes = b"messages" if chat else b"prompt"
        if error is None and count >= context:
            error = too_long(param, count, context)
        if error is not None:
            self.reply_error(connection, error)
            return
        room = u32(context - count)
        request.params.max_tokens = min(request.params.max_tokens, room)
        if not request.has_seed:
            request.params.seed = self.random()
        slot = self.backend.submit(request.params, now_ns)
        if isinstance(slot, Refusal):
            self.reply_error(connection, refusal_error(slot, param, count, context))
        else:
            self.begin_generation(connection, slot, now_ns)

    def begin_generation(self, connection: Connection, slot: u32, now_ns: u64) -> None:
        """The backend has taken the request in `self.request`."""
        generation = connection.generation
        generation.slot = slot
        generation.stream = self.request.stream
        generation.chunked = connection.head.minor == 1
        if not generation.chunked:
            connection.close_after = True  # Only the close ends a body without chunks.
        generation.keep_alive = not connection.close_after
        completion = generation.completion
        completion.chat = self.request.chat
        completion.include_usage = self.request.include_usage
        completion.id_high = self.random()
        completion.id_low = self.random()
        completion.created = self.unix_s(now_ns)
        completion.model = self.backend.model_name()
        self.metrics.http_requests += 1
        connection.enter(Phase.GENERATE, now_ns)
        generation.begin(connection.outbox, self.scratch, now_ns)

    def pump(self, connection: Connection, now_ns: u64) -> bool:
        """Move tokens of a connection in GENERATE. Returns False when there were none."""
        generation = connection.generation
        progress = generation.pump(
            self.backend, connection.outbox, self.scratch, self.metrics, now_ns
        )
        if progress == Progress.FINISHED:
            connection.enter(Phase.DRAIN, now_ns)
        elif progress == Progress.FAILED:
            generation.abandon(self.backend, self.metrics, now_ns)
            connection.enter(Phase.DRAIN, now_ns)
            if generation.started:
                connection.close_after = True  # No last chunk: the client sees that it was cut.
            else:
                self.reply_error(connection, stopped())
        return progress != Progress.WAITING


def refusal_error(refusal: Refusal, param: Bytes, count: usize, context: usize) -> ApiError:
    """What the scheduler's refusal means to the client."""
    if refusal == Refusal.QUEUE_FULL:
        return queue_full()
    if refusal == Refusal.TOO_LONG:
        return too_long(param, count, context)
    return invalid(param, b"The prompt is empty.")
