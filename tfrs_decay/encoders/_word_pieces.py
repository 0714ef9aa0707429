"""BERT's tokenizer in TensorFlow operations: clean, split into words, then pieces.

Devlin et al. (2019), https://arxiv.org/abs/1810.04805; Wu et al. (2016),
https://arxiv.org/abs/1609.08144, section 4.1; Song et al. (2021),
https://arxiv.org/abs/2012.15524, for the algorithm in TF Text.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tfrs_decay.encoders._text_ops import WHITE_SPACE, lower

# What the `tokenizers` library drops: controls but for \t \n \r, formats (soft hyphen,
# zero-width joiner), private use and the replacement character.
_DROPPED = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Cf}\p{Co}\x{FFFD}]"
# The ideographs that are words of their own: blocks of the year 2018, and neither kana
# nor Hangul.
_IDEOGRAPH = (
    r"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}])"
)
# ASCII's symbols are punctuation here, other symbols are not.
_PUNCTUATION = r"([!-/:-@\[-`{-~\p{P}])"


class WordPieceSettings(NamedTuple):
    """How words are made and cut.

    lower_case:    whether letters lose their case.
    strip_accents: whether they lose what is written above and below them.
    ideographs:    whether each Chinese character is a word.
    unknown:       the piece for a word that no pieces spell.
    longest:       characters of the longest word that is cut; longer ones are unknown.
    """

    lower_case: bool
    strip_accents: bool
    ideographs: bool
    unknown: str
    longest: int = 100


class WordPieces(tf.Module):
    """Texts to ids, as HF's `tokenizers` would make them.

    Args:
        vocab: Pieces by id, the unknown one among them.
        settings: How words are made and cut.
    """

    def __init__(self, vocab: list[str], settings: WordPieceSettings) -> None:
        super().__init__()
        self._settings = settings
        # TF Text fails on the NUL; no word has it, and none has a space.
        vocab = [f" {n}" if "\0" in one else one for n, one in enumerate(vocab)]
        self._pieces = tf_text.FastWordpieceTokenizer(
            vocab,
            # Words come ready: TF Text's own splitting knows only the settings of BERT,
            # and limits a word's bytes where the others limit its characters.
            no_pretokenization=True,
            max_bytes_per_word=4 * settings.longest,
            unknown_token=settings.unknown,
            token_out_type=tf.int32,
        )

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """Texts `[n]` without what the settings take away, words apart by a space."""
        texts = tf.strings.regex_replace(texts, _DROPPED, "")
        texts = tf.strings.regex_replace(texts, f"[{WHITE_SPACE}]", " ")
        if self._settings.ideographs:
            texts = tf.strings.regex_replace(texts, _IDEOGRAPH, r" \1 ")
        # Not TF Text's FastBertNormalizer: it folds compatibility forms too (½ becomes
        # 1 2, ß becomes ss), so that its ids are not those BERT learned.
        if self._settings.strip_accents:
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, r"\p{Mn}", "")
        return lower(texts) if self._settings.lower_case else texts

    def words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Normalised texts `[n]` to words `[n, (words)]`."""
        return tf.strings.split(tf.strings.regex_replace(texts, _PUNCTUATION, r" \1 "))

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Normalised texts `[n]` to ids, int32 `[n, (tokens)]`."""
        words = self.words(texts)
        flat = words.flat_values
        too_long = tf.strings.length(flat, "UTF8_CHAR") > self._settings.longest
        # No word is spelled so: its brackets are words.
        flat = tf.where(too_long, self._settings.unknown, flat)
        return words.with_values(self._pieces.tokenize(flat)).merge_dims(1, 2)
