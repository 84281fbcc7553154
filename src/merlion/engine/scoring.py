"""Scores of given tokens: negative log-likelihoods and the likeliest alternatives."""

from bare import Slice, f32, f64, u32, usize
from merlion.engine.elementary import exp, log
from merlion.engine.team import Team


def score_tokens(
    team: Team,
    tokens: Slice[u32],
    sequence: u32,
    losses: Slice[f64],
    top_ids: Slice[u32],
    top_logits: Slice[f32],
) -> None:
    """losses[i] = -log P(tokens[i + 1] | tokens[: i + 1]); len(losses) = len(tokens) - 1.

    The likeliest tokens at each of these places go to `top_ids` and `top_logits`, [losses][top];
    both may be empty. Overwrites `sequence` of the cache. Rows are batched as far as logits have
    room.
    """
    assert len(losses) > 0
    assert len(losses) + 1 == len(tokens)
    assert len(top_ids) % len(losses) == 0
    top = len(top_ids) // len(losses)
    rows_max = min(len(team.llama.batch.wanted), len(team.llama.batch.tokens))
    first: usize = 0
    while first < len(losses):
        last = min(first + rows_max, len(losses))
        score_rows(team, tokens, sequence, first, last)
        for i in range(first, last):
            logits = team.llama.logits(i - first)
            losses[i] = negative_log_likelihood(logits, tokens[i + 1])
            if top > 0:
                low, high = i * top, (i + 1) * top
                top_tokens(logits, top_ids[low:high], top_logits[low:high])
        first = last


def score_rows(team: Team, tokens: Slice[u32], sequence: u32, first: usize, last: usize) -> None:
    """Logits after each of tokens [first, last), whose predecessors are in the cache."""
    batch = team.llama.batch
    batch.clear()
    for position in range(first, last):
        batch.add(tokens[position], sequence, u32(position), True)
    team.run()


def negative_log_likelihood(logits: Slice[f32], token: u32) -> f64:
    """-log softmax(logits)[token]."""
    peak = logits[0]
    for value in logits:
        peak = max(peak, value)
    total: f64 = 0.0
    for value in logits:
        total += exp(f64(value) - f64(peak))
    return log(total) - (f64(logits[token]) - f64(peak))


def top_tokens(logits: Slice[f32], ids: Slice[u32], values: Slice[f32]) -> None:
    """The likeliest len(ids) tokens, best first; of equals the lowest id first."""
    assert len(ids) == len(values)
    assert len(ids) <= len(logits)
    count: usize = 0
    for token in range(len(logits)):
        value = logits[token]
        if count < len(ids) or value > values[count - 1]:
            if count < len(ids):
                count += 1
            at = count - 1
            while at > 0 and values[at - 1] < value:
                values[at] = values[at - 1]
                ids[at] = ids[at - 1]
                at -= 1
            values[at] = value
            ids[at] = u32(token)
