"""What several tokenizers do to texts, in TensorFlow operations."""

from __future__ import annotations

import tensorflow as tf

# Unicode's White_Space, which RE2's \s is not, to stand within the brackets of a class.
WHITE_SPACE = (
    r"\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}"
    r"\x{3000}"
)
# Where a text is to be cut. In no text: it is not UTF-8.
CUT = b"\xff"


def lower(texts: tf.Tensor) -> tf.Tensor:
    """Lower-cases every letter by itself, whatever the machine's locale."""
    # A sigma at the end of a word would become a final one.
    texts = tf.strings.regex_replace(texts, "\u03a3", "\u03c3")
    # ASCII first: the second call obeys the machine's locale, and in a Turkish one
    # would make I a dotless i.
    return tf.strings.lower(tf.strings.lower(texts), encoding="utf-8")
