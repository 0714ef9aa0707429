"""Texts to the inputs of an encoder, in TensorFlow operations."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfrs_decay.encoders._text_ops import CUT, WHITE_SPACE

# What an added token begins with, once it is found. In no text, as `CUT`.
_ADDED = b"\xfe"


class Tokenizer(Protocol):
    """Texts to ids, in two steps: a token may be looked for before or between them."""

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """Texts `[n]` to texts `[n]`."""

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Normalised texts `[n]` to ids, int32 `[n, (tokens)]`; none for ""."""


class AddedToken(NamedTuple):
    """A token that is found in a text as it stands, before the text is cut.

    lstrip, rstrip: whether it takes the white space before and after it along.
    normalized:     whether it is looked for in the normalised text.
    """

    content: str
    id: int
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class Packing(NamedTuple):
    """What stands around the segments of a sequence.

    pad, start, end: ids.
    ends:            how many `end` stand between two segments: RoBERTa has two.
    second_type:     the type id of a second segment.
    """

    pad: int
    start: int
    end: int
    ends: int = 1
    second_type: int = 1


class Preprocessor(tf.Module):
    """Texts to an encoder's inputs, as HF's `tokenizers` would make them.

    Args:
        tokenizer: Texts to ids.
        added: Tokens that are looked for in a text first.
        packing: What stands around the segments.
        seq_length: Tokens a text is cut or padded to.

    Raises:
        ValueError: An added token is nothing once normalised.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        added: Sequence[AddedToken],
        packing: Packing,
        seq_length: int,
    ) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._added = [token for token in added if not token.normalized]
        self._added_later = [
            token._replace(content=_normal(tokenizer, token.content))
            for token in added
            if token.normalized
        ]
        self._packing = packing
        self._seq_length = seq_length

    # Without autograph: there is no control flow to convert, and it takes seconds.
    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "texts")], autograph=False
    )
    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts `[batch]` to the three inputs, int32 `[batch, seq_length]`."""
        return self._pack([self._tokenize(texts)], self._seq_length)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "texts")], autograph=False
    )
    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Texts `[batch]` to token ids, int32 `[batch, (tokens)]`."""
        return self._tokenize(texts)

    @tf.function(autograph=False)
    def bert_pack_inputs(
        self, inputs: list[tf.RaggedTensor], seq_length: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """One or two segments of token ids to the inputs, `[batch, seq_length]`."""
        if seq_length is None:
            return self._pack(inputs, self._seq_length)
        least = 2 + self._packing.ends * (len(inputs) - 1)
        too_short = f"seq_length: expected {least} or more for {len(inputs)} segment(s)"
        enough = tf.debugging.assert_greater_equal(seq_length, least, message=too_short)
        with tf.control_dependencies([enough]):
            return self._pack(inputs, tf.identity(seq_length))

    @tf.function(input_signature=[], autograph=False)
    def seq_length(self) -> tf.Tensor:
        """The length that `__call__` gives, an int32 scalar."""
        return tf.constant(self._seq_length, tf.int32)

    def save(self, path: str) -> None:
        """Writes the SavedModel, its signature that of `__call__`."""
        # TF-Hub's API wants as many segments as the encoder knows types for, and the
        # length given or left out; a call after loading needs a trace of its kind.
        segment = tf.RaggedTensorSpec([None, None], tf.int32)
        for segments in ([segment], [segment, segment]):
            self.bert_pack_inputs.get_concrete_function(segments)
            self.bert_pack_inputs.get_concrete_function(
                segments, tf.TensorSpec([], tf.int32, "seq_length")
            )
        signature = self.__call__.get_concrete_function()
        tf.saved_model.save(self, path, signatures=signature)

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        def plain(texts: tf.Tensor) -> tf.RaggedTensor:
            texts = self._tokenizer.normalize(texts)
            return _around(texts, self._added_later, self._tokenizer.tokenize)

        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        return _around(texts, self._added, plain)

    def _pack(
        self, segments: list[tf.RaggedTensor], seq_length: int | tf.Tensor
    ) -> dict[str, tf.Tensor]:
        pad, start, end, ends, second_type = self._packing
        last = len(segments) - 1
        lengths = _fitting(segments, seq_length - 2 - ends * last)
        place = tf.range(seq_length)
        # Where the next token of each row goes, [batch, 1].
        begin = tf.ones_like(lengths[0])[:, None]
        ids = tf.zeros_like(begin) * place + start
        types = tf.zeros_like(ids)
        for number, (segment, length) in enumerate(zip(segments, lengths, strict=True)):
            # No trimmer of TF Text's: stock TensorFlow Serving has none till 2.20.
            stop = begin + length[:, None]
            values = segment.to_tensor(pad, shape=tf.stack([-1, seq_length]))
            from_it = tf.clip_by_value(place - begin, 0, seq_length - 1)
            values = tf.gather(values, from_it, batch_dims=1)
            ids = tf.where((place >= begin) & (place < stop), values, ids)
            after = stop + (1 if number == last else ends)
            ids = tf.where((place >= stop) & (place < after), end, ids)
            if number:
                types = tf.where((place >= begin) & (place < after), second_type, types)
            begin = after
        within = place < begin
        return {
            "input_word_ids": tf.where(within, ids, pad),
            "input_mask": tf.cast(within, tf.int32),
            "input_type_ids": types,
        }


def _normal(tokenizer: Tokenizer, content: str) -> str:
    normal: str = tokenizer.normalize(tf.constant([content])).numpy()[0].decode()
    if not normal:  # As of a lone accent: it would be found anywhere.
        raise ValueError(
            f"the added token {content!r} is nothing once normalised; expected one "
            "that can be found in a text, or normalized=false"
        )
    return normal


def _around(
    texts: tf.Tensor,
    added: Sequence[AddedToken],
    tokenize: Callable[[tf.Tensor], tf.RaggedTensor],
) -> tf.RaggedTensor:
    """Tokenises what stands around added tokens: `[n]` to int32 `[n, (tokens)]`."""
    if not added:
        return tokenize(texts)
    space = f"[{WHITE_SPACE}]*"
    for side, pattern in (("lstrip", f"{space}(%s)"), ("rstrip", f"(%s){space}")):
        greedy = [token for token in added if getattr(token, side)]
        if greedy:
            texts = tf.strings.regex_replace(texts, pattern % _any_of(greedy), r"\1")
    marked = tf.strings.regex_replace(
        texts, f"({_any_of(added)})", CUT + _ADDED + rb"\1" + CUT
    )
    pieces = tf.strings.split(marked, CUT)
    flat = pieces.flat_values
    contents = tf.constant([_ADDED + token.content.encode() for token in added])
    equal = flat[:, None] == contents
    found = tf.reduce_any(equal, axis=1)
    others = tokenize(tf.where(found, "", flat))
    # An added token's row of others is empty: its id stands there instead, and what
    # comes after moves on by one.
    before = tf.cumsum(tf.cast(found, tf.int32), exclusive=True)
    starts = tf.cast(others.row_starts(), tf.int32) + before
    places = tf.range(tf.size(others.values)) + tf.gather(before, others.value_rowids())
    ids = tf.gather([token.id for token in added], tf.argmax(equal, axis=1))
    values = tf.dynamic_stitch(
        [places, tf.boolean_mask(starts, found)],
        [others.values, tf.boolean_mask(ids, found)],
    )
    lengths = others.row_lengths() + tf.cast(found, tf.int64)
    lengths = tf.math.segment_sum(lengths, pieces.value_rowids())
    return tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)


def _any_of(added: Sequence[AddedToken]) -> str:
    """A pattern for any of them; of two that begin at one place, the longer."""
    contents = sorted((token.content for token in added), key=len, reverse=True)
    return "|".join(map(re.escape, contents))


def _fitting(
    segments: Sequence[tf.RaggedTensor], room: int | tf.Tensor
) -> list[tf.Tensor]:
    """How many tokens of each segment are kept, int32 `[batch]` each.

    Of two the longer is cut first, and then both alike, until they have room.
    """
    lengths = [tf.cast(one.row_lengths(), tf.int32) for one in segments]
    if len(lengths) == 1:
        return [tf.minimum(lengths[0], room)]
    less = tf.minimum(*lengths)
    more = tf.maximum(less, room - less)
    # Neither fits beside the other: half for each, the odd token for the longer, and
    # for the second where they are alike.
    half = less + more > room
    less = tf.where(half, room // 2, less)
    more = tf.where(half, room - room // 2, more)
    first_is_longer = lengths[0] > lengths[1]
    return [
        tf.minimum(lengths[0], tf.where(first_is_longer, more, less)),
        tf.minimum(lengths[1], tf.where(first_is_longer, less, more)),
    ]
