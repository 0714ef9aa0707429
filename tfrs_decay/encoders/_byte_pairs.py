"""GPT-2's byte-level byte-pair encoding, as RoBERTa uses it, in core operations.

Radford et al. (2019), "Language Models are Unsupervised Multitask Learners", section
2.2; Sennrich et al. (2016), https://arxiv.org/abs/1508.07909, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_decay.encoders._text_ops import CUT, WHITE_SPACE

# GPT-2's words. Its `\s+(?!\S)`, which RE2 has not, is `_LAST_SPACE` beforehand.
_WORD = (
    rf"('s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{WHITE_SPACE}\p{{L}}\p{{N}}]+"
    rf"|[{WHITE_SPACE}]+)"
)
# The last of several spaces belongs to the word after them.
_LAST_SPACE = rf"([{WHITE_SPACE}]+)([{WHITE_SPACE}][^{WHITE_SPACE}])"


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in `vocab.json`.

    Itself where it can be seen in print, and one from 256 on otherwise.
    """
    seen = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in seen else next(hidden)) for byte in range(256)]


BYTE_LETTERS = _byte_letters()


class BytePairs(tf.Module):
    """Texts to ids: cut into words, then in each the first merge of the list, again.

    Args:
        vocab: Ids by piece, all of `BYTE_LETTERS` among the pieces.
        merges: Pairs of pieces, the earliest the most urgent. Neither piece may be made
            by a later pair.
        prefix_space: Whether a text that does not begin with a space is given one.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        prefix_space: bool,
    ) -> None:
        super().__init__()
        self._prefix_space = prefix_space
        self._bytes = tf.constant([vocab[one] for one in BYTE_LETTERS], tf.int64)
        self._size = max(vocab.values()) + 1
        # Sorted, so that a pair's place among the merges is found by bisection: a hash
        # table would have to be tracked and initialised wherever this is loaded. The
        # last is no pair's.
        keys = np.array(
            [vocab[left] * self._size + vocab[right] for left, right in merges]
            + [np.iinfo(np.int64).max],
            np.int64,
        )
        order = np.argsort(keys, kind="stable")
        merged = [vocab[left + right] for left, right in merges] + [0]
        self._keys = tf.constant(keys[order])
        self._ranks = tf.constant(order.astype(np.int64))
        self._merged = tf.constant(merged, tf.int64)
        self._none = tf.constant(len(merges), tf.int64)

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """The texts as they are: every byte counts."""
        return texts

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Texts `[n]` to ids, int32 `[n, (tokens)]`."""
        if self._prefix_space:
            texts = tf.strings.regex_replace(texts, "^([^ ])", r" \1")
        texts = tf.strings.regex_replace(texts, _LAST_SPACE, rb"\1" + CUT + rb"\2")
        texts = tf.strings.regex_replace(texts, _WORD, rb"\1" + CUT)
        words = tf.strings.split(texts, CUT)
        # Each distinct word once: a batch of titles repeats most of its words.
        distinct, where = tf.unique(words.flat_values)
        return words.with_values(tf.gather(self._merge(distinct), where)).merge_dims(
            1, 2
        )

    def _merge(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Words `[n]` to ids, int32 `[n, (tokens)]`."""
        count = tf.size(words, tf.int64)
        # Latin-1 has a code point for every byte, and the same number for both.
        letters = tf.strings.unicode_decode(words, "ISO-8859-1")
        tokens = tf.gather(self._bytes, letters.flat_values)
        word = letters.value_rowids()

        def step(
            _: tf.Tensor, tokens: tf.Tensor, word: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            pairs = tokens[:-1] * self._size + tokens[1:]
            place = tf.searchsorted(self._keys, pairs)
            known = (tf.gather(self._keys, place) == pairs) & (word[:-1] == word[1:])
            ranks = tf.where(known, tf.gather(self._ranks, place), self._none)
            first = tf.math.unsorted_segment_min(ranks, word[:-1], count)
            chosen = known & (ranks == tf.gather(first, word[:-1]))
            chosen = _every_other(chosen)
            merged = tf.gather(self._merged, tf.where(chosen, ranks, self._none))
            no = tf.zeros([tf.minimum(tf.size(tokens), 1)], tf.bool)
            tokens = tf.where(
                tf.concat([chosen, no], 0), tf.concat([merged, tokens[-1:]], 0), tokens
            )
            kept = tf.concat([~no, ~chosen], 0)
            return (
                tf.reduce_any(chosen),
                tf.boolean_mask(tokens, kept),
                tf.boolean_mask(word, kept),
            )

        _, tokens, word = tf.while_loop(
            lambda more, *_: more,
            step,
            (tf.constant(True), tokens, word),
            shape_invariants=(
                tf.TensorShape([]),
                tf.TensorShape([None]),
                tf.TensorShape([None]),
            ),
        )
        return tf.RaggedTensor.from_value_rowids(
            tf.cast(tokens, tf.int32), word, nrows=count, validate=False
        )


def _every_other(chosen: tf.Tensor) -> tf.Tensor:
    """The first, third, fifth ... of each run: neighbouring pairs share a token."""
    run = tf.cumsum(tf.cast(~chosen, tf.int32))
    place = tf.range(tf.size(chosen))
    # Of each run, which a pair that is not chosen begins: all but the one at the front.
    begin = tf.math.unsorted_segment_min(place, run, tf.size(chosen) + 1)
    within = place - tf.gather(begin, run) - tf.cast(run > 0, tf.int32)
    return chosen & (within % 2 == 0)
