"""Which ops an export runs, and whether a stock TensorFlow Serving has them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# Of TensorFlow Text, what stock servers have had since they link it at all. 2.16 to
# 2.19 link 2.12.1 (its `ops_lib`, tensorflow_serving/model_servers/BUILD).
_TEXT = {
    "CaseFoldUTF8",
    "ConstrainedSequence",
    "FastBertNormalize",
    "FastWordpieceTokenizeWithOffsets",
    "FindSourceOffsets",
    "MaxSpanningTree",
    "NormalizeUTF8",
    "NormalizeUTF8WithOffsetsMap",
    "RegexSplitWithOffsets",
    "SentenceFragments",
    "SentencepieceDetokenizeOp",
    "SentencepieceIdToStringOp",
    "SentencepieceOp",
    "SentencepieceStringToIdOp",
    "SentencepieceTokenizeOp",
    "SentencepieceTokenizeWithOffsetsOp",
    "SentencepieceVocabSizeOp",
    "SplitMergeTokenizeWithOffsets",
    "UnicodeScriptTokenizeWithOffsets",
    "WhitespaceTokenizeWithOffsets",
    "WordpieceTokenizeWithOffsets",
}
# What 2.20 has besides. Whether an older one has a part of it was not read: it is taken
# to have none, which is certain of the trimmers and of Utf8Binarize.
_LATER_TEXT = {
    "PhraseTokenize",
    "RougeL",
    "SentenceFragmentsV2",
    "TFText>BoiseTagsToOffsets",
    "TFText>ByteSplitByOffsets",
    "TFText>ByteSplitWithOffsets",
    "TFText>FastSentencepieceDetokenize",
    "TFText>FastSentencepieceTokenize",
    "TFText>FastWordpieceDetokenize",
    "TFText>NgramsStringJoin",
    "TFText>OffsetsToBoiseTags",
    "TFText>PhraseDetokenize",
    "TFText>RoundRobinGenerateMasks",
    "TFText>RoundRobinTrim",
    "TFText>Utf8Binarize",
    "TFText>WhitespaceTokenizeWithOffsetsV2",
    "TokenizerFromLogits",
}
_OLDEST = (2, 16)
_WITH_LATER_TEXT = (2, 20)
# Core ops that call back into Python, which a server is not.
_PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}


class Ops(NamedTuple):
    """The kinds of ops that an export runs.

    core: TensorFlow's own.
    text: TensorFlow Text's.
    other: of neither, or those that call Python.
    """

    core: list[str]
    text: list[str]
    other: list[str]


def ops_of(version: str | os.PathLike[str]) -> Ops:
    """The ops of a SavedModel, each once, by whose they are.

    Args:
        version: A version's folder.
    """
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(version) / "saved_model.pb").read_bytes())
    names: set[str] = set()
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        names |= {node.op for node in graph.node}
        for function in graph.library.function:
            names |= {node.op for node in function.node_def}
        names -= {function.signature.name for function in graph.library.function}
    text = names & (_TEXT | _LATER_TEXT)
    core = {name for name in names - text - _PYTHON if hasattr(tf.raw_ops, name)}
    return Ops(*(sorted(one) for one in (core, text, names - core - text)))


def check_ops(ops: Ops, server: str) -> None:
    """Refuses ops that the stock image of a TensorFlow Serving does not have.

    Core ops are taken to be there: that is so where none came after that server's own
    TensorFlow, and those of this package did not.

    Args:
        ops: From `ops_of`.
        server: Its version, such as "2.19" or "2.19.1".

    Raises:
        ValueError: An op is missing, or the version is none that is known.
    """
    found = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", server)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if number < _OLDEST:
        raise ValueError(
            f"server={server!r} is no version of TensorFlow Serving from "
            f"{'.'.join(map(str, _OLDEST))} on: give one such as '2.19', or None for "
            "an image of your own."
        )
    there = _TEXT | (_LATER_TEXT if number >= _WITH_LATER_TEXT else set())
    missing = sorted({*ops.text} - there) + ops.other
    if not missing:
        return
    remedy = "export without what runs it, or with server=None for an image that has it"
    if any(name.startswith("Scann>") for name in missing):
        remedy = (
            "ScaNN's ops are in no stock image. Serve parts='query' and search its "
            "vectors outside, or build a model server that links ScaNN and export with "
            "server=None"
        )
    elif {*missing} & _LATER_TEXT:
        remedy = (
            "take server='2.20' or later, or a preprocessor without it (such as those "
            "of tfrs_decay.encoders)"
        )
    elif {*missing} & _PYTHON:
        remedy = "a server runs no Python: write it in TensorFlow's ops"
    raise ValueError(
        f"the export runs {', '.join(missing)}, which TensorFlow Serving {server} does "
        f"not have: {remedy}."
    )
