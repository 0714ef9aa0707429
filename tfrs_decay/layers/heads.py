"""Weighted sums of a batch of histories, for heads that each decay in their own way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_decay.decay import NEVER, Constant, Decay, Elapsed, Exponential, Mixture
from tfrs_decay.layers.tensors import TENSORS
from tfrs_decay.layers.weighted_sums import exponential_sums

FAR = 1e30
"""Seconds after which no exponential weighs anything, whatever its half-life."""


class Head(NamedTuple):
    """A decay, and what it has learned, by name."""

    decay: Decay
    parameters: Mapping[str, tf.Tensor]


class Normalization(NamedTuple):
    """What sums of weighted vectors are made into.

    kind: "mean", "sum" or "l2".
    prior_mass: Under "mean", the weight of the prior; None for no prior.
    prior: [dim] float32; None for zeros.
    """

    kind: str
    prior_mass: float | None = None
    prior: tf.Tensor | None = None


class Events(NamedTuple):
    """The events of a batch, as every head reads them.

    vectors: [batch, time, dim].
    counts: [batch, time] bool.
    own: [batch, time] float32, what each weighs at age 0 beside the row's heaviest; 0
        where it does not count.
    heaviest: [batch, 1] float64, the logarithm of what that one weighs.
    alike: Whether every event that counts weighs 1 at age 0.
    since: [batch, time] float32 seconds before the row's youngest event; so many where
        it does not count that no exponential is left.
    youngest: [batch, 1] float64 seconds, that event's age; 0 without an event.
    elapsed: Ages and ranks in float64, and labels.
    """

    vectors: tf.Tensor
    counts: tf.Tensor
    own: tf.Tensor
    heaviest: tf.Tensor
    alike: bool
    since: tf.Tensor
    youngest: tf.Tensor
    elapsed: Elapsed


class Pooled(NamedTuple):
    """What heads answer, before they are combined.

    interest: [batch, heads, dim].
    weights: [batch, heads, time] or [batch, heads, time, dim], float32: `interest` is
        the sum with them, but for the prior. None where nobody asks.
    """

    interest: tf.Tensor
    weights: Any


def pool_heads(
    heads: Sequence[Head],
    events: Events,
    normalization: Normalization,
    *,
    return_weights: bool,
) -> Pooled:
    """Pools the same events once for each head.

    Heads with one weight for all features are one matrix product of [heads, time] and
    [time, dim], which reads the vectors once.
    """
    narrow = [head for head in heads if not head.decay.per_feature]
    found = _narrow(narrow, events, normalization) if narrow else None
    if found is not None and len(narrow) == len(heads):
        return found
    dim = events.vectors.shape[-1]
    each, place = [], 0
    for head in heads:
        if found is None or head.decay.per_feature:
            each.append(_wide(head, events, normalization, return_weights))
            continue
        one = slice(place, place + 1)
        # As wide as the others; what nobody asks for is never computed.
        weights = tf.repeat(found.weights[:, one, :, None], dim, axis=-1)
        each.append(Pooled(found.interest[:, one], weights))
        place += 1
    interest = tf.concat([tf.cast(one.interest, tf.float32) for one in each], 1)
    if not return_weights:
        return Pooled(interest, None)
    return Pooled(interest, tf.concat([one.weights for one in each], 1))


def _narrow(
    heads: Sequence[Head], events: Events, normalization: Normalization
) -> Pooled:
    """Heads with one weight for all features."""
    rates = [_rate(head) for head in heads]
    if all(rate is not None for rate in rates):
        rate = rates[0][None] if len(rates) == 1 else tf.stack(rates)
        log_weight = -rate[:, None] * events.since[:, None, :]
        peak = -tf.cast(rate, tf.float64) * events.youngest
    else:
        each = [_shifted(_formula(head, events), events) for head in heads]
        log_weight = tf.stack([one for one, _ in each], 1)
        peak = tf.stack([one for _, one in each], 1)
    weights = tf.exp(log_weight) * events.own[:, None, :]
    total = tf.reduce_sum(weights, 2, keepdims=True)
    peak = (peak + events.heaviest)[:, :, None]
    factor, of_prior = _normalizing(total, peak, normalization)
    weights *= factor
    vectors = events.vectors
    if normalization.kind == "l2":
        vectors = tf.cast(vectors, tf.float32)
    interest = tf.matmul(tf.cast(weights, vectors.dtype), vectors)
    return _finished(Pooled(interest, weights), of_prior, normalization)


def _wide(
    head: Head, events: Events, normalization: Normalization, return_weights: bool
) -> Pooled:
    """One head with weights of each feature's own."""
    rate = _rate(head)
    weights = None
    if rate is not None:
        rate = tf.broadcast_to(rate, events.vectors.shape[-1:])
        since = tf.where(events.counts, events.since, FAR)
        vectors = tf.cast(events.vectors, tf.float32)
        sums, total = exponential_sums(
            vectors, since, rate, None if events.alike else events.own
        )
        peak = -tf.cast(rate, tf.float64) * events.youngest
        if return_weights:
            weights = tf.exp(-rate * since[:, :, None]) * events.own[:, :, None]
    elif isinstance(head.decay, Mixture) and head.decay.by == "age":
        sums, total, peak, weights = _of_mixture(head, events)
    else:
        vectors = tf.cast(events.vectors, tf.float32)
        log_weight, peak = _shifted(_formula(head, events), events)
        weights = tf.exp(log_weight) * events.own[:, :, None]
        weights = tf.broadcast_to(weights, tf.shape(vectors))
        sums = tf.reduce_sum(weights * vectors, 1)
        total = tf.reduce_sum(weights, 1)
    peak = (peak + events.heaviest)[:, None]
    factor, of_prior = _normalizing(total[:, None], peak, normalization)
    if weights is not None:
        weights = weights[:, None] * factor[:, :, None, :]
    return _finished(Pooled(sums[:, None] * factor, weights), of_prior, normalization)


def _of_mixture(
    head: Head, events: Events
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """A mixture with shares of each feature's own, exact through its exponentials.

    Returns:
        [batch, dim] the sums of weighted vectors, and of weights, and the log weight
        that is e^0 there; [batch, time, dim] the weights.
    """
    mixture = head.decay
    assert isinstance(mixture, Mixture)  # for mypy
    vectors = tf.cast(events.vectors, tf.float32)
    rates = mixture.rates
    # [batch, time] of each exponential from the youngest event on, and [batch, dim] of
    # what is left of it there, beside the most that is left of any.
    each = tf.exp(-rates.astype(np.float32)[:, None] * events.since[:, None, :])
    each *= events.own[:, None, :]
    log_shares = tf.cast(mixture.log_shares(head.parameters, TENSORS), tf.float64)
    log_shares = tf.broadcast_to(log_shares, [vectors.shape[-1], len(rates)])
    left = tf.transpose(log_shares) - rates[:, None] * events.youngest[:, :, None]
    peak = tf.reduce_max(left, axis=1)
    left = tf.exp(tf.cast(left - peak[:, None], tf.float32))
    sums = tf.reduce_sum(tf.matmul(each, vectors) * left, 1)
    total = tf.reduce_sum(tf.reduce_sum(each, 2)[:, :, None] * left, 1)
    weights = tf.matmul(each, left, transpose_a=True)
    return sums, total, peak, weights


def _rate(head: Head) -> Any:
    """A head's rate per second, [] or [dim] float32; None where it is no exponential.

    An exponential may be taken from the row's youngest event on: what is then left out
    is one factor for all.
    """
    decay = head.decay
    if type(decay) is Constant:
        return tf.constant(0.0)
    if type(decay) is not Exponential or decay.by != "age" or decay.groups:
        return None
    if head.parameters:
        return math.log(2) * tf.exp(-head.parameters["log_half_life"])
    return tf.constant(math.log(2) / decay.values()["half_life"], tf.float32)


def _formula(head: Head, events: Events) -> tf.Tensor:
    """A head's log weights, [batch, time] or [batch, time, dim].

    In float64, for float32 has fewer integers than a year has seconds.
    """
    learned = {
        name: tf.cast(value, tf.float64) for name, value in head.parameters.items()
    }
    return head.decay.formula(events.elapsed, learned, TENSORS)


def _shifted(log_weight: tf.Tensor, events: Events) -> tuple[tf.Tensor, tf.Tensor]:
    """Log weights beside the row's largest, float32, and the largest, float64.

    The largest becomes e^0, so a row in which all underflow keeps its direction. The
    difference is taken in float64, its gradient too: events of one age pull at a rate
    with nothing, and rounding must not make something of it.
    """
    counts = events.counts
    if log_weight.shape.rank == 3:
        counts = counts[:, :, None]
    counts &= log_weight > NEVER / 2
    log_weight = tf.where(counts, log_weight, NEVER)
    # Of no event at all the largest would be minus infinity.
    peak = tf.maximum(tf.reduce_max(log_weight, axis=1, keepdims=True), NEVER)
    beside = tf.where(counts, log_weight - peak, NEVER)
    return tf.cast(beside, tf.float32), tf.squeeze(peak, 1)


def _normalizing(
    total: tf.Tensor, peak: tf.Tensor, normalization: Normalization
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """What weights are multiplied with, and what the prior weighs then.

    Args:
        total: [batch, heads, 1 or dim] the sum of weights, as they are beside `peak`.
        peak: [batch, heads, 1 or dim] float64, the log weight that is e^0 there.
        normalization: What is wanted.
    """
    mass = normalization.prior_mass
    if mass is not None:
        left = tf.exp(tf.cast(peak, tf.float32))
        every = total * left + mass
        return left / every, mass / every
    if normalization.kind == "mean":
        return tf.math.divide_no_nan(1.0, total), None
    if normalization.kind == "l2":
        # The length does not matter; what features are beside each other does.
        beside = peak - tf.reduce_max(peak, axis=-1, keepdims=True)
        return tf.exp(tf.cast(beside, tf.float32)), None
    return tf.exp(tf.cast(peak, tf.float32)), None


def _finished(
    pooled: Pooled, of_prior: tf.Tensor | None, normalization: Normalization
) -> Pooled:
    """With the prior, or of length 1."""
    interest, weights = pooled
    if of_prior is not None and normalization.prior is not None:
        prior = tf.cast(of_prior * normalization.prior, interest.dtype)
        return Pooled(interest + prior, weights)
    if normalization.kind != "l2":
        return pooled
    interest = tf.cast(interest, tf.float32)
    # The largest number first, for squares over- and underflow; and where all is 0 the
    # root sees a 1, so that its gradient is a number.
    largest = tf.reduce_max(tf.abs(interest), axis=-1, keepdims=True)
    largest = tf.where(largest > 0, largest, 1.0)
    interest /= largest
    square = tf.reduce_sum(tf.square(interest), axis=-1, keepdims=True)
    length = tf.sqrt(tf.where(square > 0, square, 1.0))
    if weights is not None:
        scale = largest * length
        weights /= scale[..., None] if weights.shape.rank == 4 else scale
    return Pooled(interest / length, weights)
