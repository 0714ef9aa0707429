"""Texts to the inputs of a BERT encoder, in TensorFlow operations."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

from tfrs_decay.encoders._checkpoint import SPECIAL_PIECES

# What HF's BERT tokenizer drops: controls but for \t \n \r, formats (soft hyphen,
# zero-width joiner), private use and the replacement character.
_DROPPED = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Cf}\p{Co}\x{FFFD}]"


class Preprocessor(tf.Module):
    """Texts to BERT's inputs, as HF's `tokenizers` would make them.

    Args:
        vocab: Word pieces by id, `SPECIAL_PIECES` among them.
        lower_case: Whether texts lose case and accents.
        seq_length: Tokens a text is cut or padded to.
    """

    def __init__(self, vocab: list[str], lower_case: bool, seq_length: int) -> None:
        super().__init__()
        self._pad, _, self._cls, self._sep = (
            vocab.index(piece) for piece in SPECIAL_PIECES
        )
        self._lower_case = lower_case
        self._seq_length = seq_length
        self._word_pieces = tf_text.FastWordpieceTokenizer(
            vocab, token_out_type=tf.int32
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")])
    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts `[batch]` to the three inputs, int32 `[batch, seq_length]`."""
        return self._pack(self._tokenize(texts), self._seq_length)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")])
    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Texts `[batch]` to token ids, int32 `[batch, (tokens)]`."""
        return self._tokenize(texts)

    @tf.function(
        input_signature=[
            [tf.RaggedTensorSpec([None, None], tf.int32)],
            tf.TensorSpec([], tf.int32, "seq_length"),
        ]
    )
    def bert_pack_inputs(
        self, inputs: list[tf.RaggedTensor], seq_length: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """One segment of token ids to the three inputs, `[batch, seq_length]`."""
        return self._pack(inputs[0], seq_length)

    @tf.function(input_signature=[])
    def seq_length(self) -> tf.Tensor:
        """The length that `__call__` gives, an int32 scalar."""
        return tf.constant(self._seq_length, tf.int32)

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        texts = tf.strings.regex_replace(texts, _DROPPED, "")
        if self._lower_case:
            # Not TF Text's FastBertNormalizer: it folds compatibility forms too (½
            # becomes 1 2, ß becomes ss), so that its ids are not those BERT learned.
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, r"\p{Mn}", "")
            # A sigma at the end of a word would become a final one.
            texts = tf.strings.regex_replace(texts, "\u03a3", "\u03c3")
            # ASCII first: the second call obeys the machine's locale, and in a Turkish
            # one would make I a dotless i.
            texts = tf.strings.lower(tf.strings.lower(texts), encoding="utf-8")
        return self._word_pieces.tokenize(texts)

    def _pack(
        self, tokens: tf.RaggedTensor, seq_length: int | tf.Tensor
    ) -> dict[str, tf.Tensor]:
        # Slices, not TF Text's trimmers: stock TensorFlow Serving has none till 2.20.
        tokens = tokens[:, : seq_length - 2]
        ends = tf.ones([tokens.nrows(), 1], tf.int32)
        tokens = tf.concat([ends * self._cls, tokens, ends * self._sep], axis=1)
        mask = tf.sequence_mask(tokens.row_lengths(), seq_length, tf.int32)
        word_ids = tokens.to_tensor(self._pad, shape=tf.stack([-1, seq_length]))
        return {
            "input_word_ids": word_ids,
            "input_mask": mask,
            "input_type_ids": tf.zeros_like(word_ids),
        }
