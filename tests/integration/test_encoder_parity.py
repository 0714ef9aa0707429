"""The converted all-MiniLM-L6-v2 beside the libraries it was made with."""

from __future__ import annotations

# First, for it settles legacy Keras and tensorflow_hub touches tf.keras.
from tfrs_decay import encoders

# isort: split
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from mixed_texts import LONG
from mixed_texts import TEXTS as MIXED
from tokenizers import Tokenizer

pytestmark = pytest.mark.integration

# Assigned blocks of Unicode 8, which the tokenizers library's tables know.
BLOCKS = [
    (0x00, 0x24F),
    (0x370, 0x373),
    (0x384, 0x38A),
    (0x391, 0x3A1),
    (0x3A3, 0x481),
    (0x48A, 0x52F),
    (0x5D0, 0x5EA),
    (0x620, 0x64A),
    (0x904, 0x939),
    (0xE01, 0xE3A),
    (0x1E00, 0x1EFF),
    (0x2010, 0x2027),
    (0x2028, 0x205E),
    (0x20A0, 0x20BE),
    (0x2100, 0x218A),
    (0x2190, 0x23FA),
    (0x2460, 0x27BF),
    (0x3000, 0x303F),
    (0x3041, 0x3096),
    (0x30A0, 0x30FF),
    (0x3200, 0x321E),
    (0x32D0, 0x33FF),
    (0x4E00, 0x4E80),
    (0xAC00, 0xAC80),
    (0xF900, 0xF980),
    (0xFF01, 0xFFBE),
    (0x1F300, 0x1F579),
    (0x1F600, 0x1F64F),
]
GOODS = (
    "organic whole milk 2%|fair-trade coffee, ½ kg|CRÈME BRÛLÉE|jalapeño|tofu|Kid's "
    "sugar-free cereal™|AA batteries (8-pack)|USB-C cable 1.5m|frozen pizza \u2013 4 "
    "cheeses|shampoo & conditioner|Straßenkarte|wasserdicht|dog food w/ salmon|noodles "
    "拉麺|antibacterial hand-soap|ice cream 🍦"
).split("|")
SIZES = "|$3.99|12 oz.|1/2 gal|XXL|n° 5|№ 7|10\u201312 ct|(new!)".split("|")
TEXTS = [
    *(f"{good} {size}".strip() for good in GOODS for size in SIZES),
    *["", " ", "\t\n", "a" * 100, "a" * 101, "milk " * 200, "milk,bread;" * 60],
    *["İSTANBUL \u0131s\u0131", "ΟΔΥΣΣΕΥΣ ὈΔΥΣΣΕΎΣ", "ﬁsh & chips", "e\u0301clair"],
    *["👨\u200d👩\u200d👧", "nul\x00l bell\x07 soft\u00adhyphen", "no\u00a0break"],
    *["\ufeffbom", "\ufffd\ue000"],
]
LENGTH = 64


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    given = os.environ.get("TFRS_DECAY_MINILM")
    if given is not None:
        return Path(given)
    return encoders.fetch_minilm(Path(__file__).parents[2] / ".cache")


@pytest.fixture(scope="module")
def paths(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> encoders.EncoderPaths:
    out = tmp_path_factory.mktemp("minilm") / "out"
    return encoders.convert(checkpoint, out, seq_length=LENGTH)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Any:
    """The checkpoint's own tokenizer.json, cut and padded to our length."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    return tokenizer


def test_token_ids_equal_the_checkpoints_tokenizer(
    paths: encoders.EncoderPaths, tokenizer: Any
) -> None:
    texts = TEXTS + MIXED + LONG
    texts += [
        f"price {chr(code)} a{chr(code)}b {chr(code)}1"
        for first, last in BLOCKS
        for code in range(first, last + 1)
    ]
    ids = hub.load(str(paths.preprocessor))(texts)["input_word_ids"].numpy().tolist()
    differing = {
        text: (row, encoding.ids)
        for text, row, encoding in zip(
            texts, ids, tokenizer.encode_batch(texts), strict=True
        )
        if row != encoding.ids
    }
    assert len(texts) > 4_000
    assert differing == {}


@pytest.mark.filterwarnings("default")  # PyTorch's and transformers' own.
def test_vectors_equal_those_of_pytorch(
    checkpoint: Path, paths: encoders.EncoderPaths, tokenizer: Any
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is what this is beside")
    transformers = pytest.importorskip("transformers", reason="it has the model")
    encodings = tokenizer.encode_batch(TEXTS)
    ids = torch.tensor([encoding.ids for encoding in encodings])
    mask = torch.tensor([encoding.attention_mask for encoding in encodings])
    model = transformers.BertModel.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        hidden = model(ids, mask)[0]
    weights = mask[:, :, None].float()
    pooled = (hidden * weights).sum(1) / weights.sum(1)
    expected = torch.nn.functional.normalize(pooled, dim=1).numpy()

    inputs = hub.KerasLayer(str(paths.preprocessor))(tf.constant(TEXTS))
    outputs = hub.KerasLayer(str(paths.encoder))(inputs)
    made = outputs["pooled_output"].numpy()
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=0, atol=1e-5)
    cosines = (made * expected).sum(1)
    print(
        f"{len(TEXTS)} texts: least cosine {cosines.min():.8f}, largest difference "
        f"{np.abs(made - expected).max():.1e}"
    )
    assert cosines.min() >= 0.9999
    # And that cosine says something: other texts are not alike.
    apart = made @ expected.T
    assert np.median(apart[np.triu_indices(len(TEXTS), 1)]) < 0.9
    kept = mask.numpy().astype(bool)
    np.testing.assert_allclose(
        outputs["sequence_output"].numpy()[kept], hidden.numpy()[kept], atol=1e-3
    )
