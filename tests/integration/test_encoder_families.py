"""Each family of encoders beside PyTorch's: small random models, real tokenizers."""

from __future__ import annotations

# First, for it settles legacy Keras and tensorflow_hub touches tf.keras.
from tfrs_decay import encoders

# isort: split
import io
import json
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from mixed_texts import LONG, TEXTS
from tokenizers import AddedToken, ByteLevelBPETokenizer, pre_tokenizers

from tfrs_decay.encoders._tokenizer import read_tokenizer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("default"),  # PyTorch's and transformers' own.
]

LENGTH = 32
SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "intermediate_size": 64,
}
DISTILBERT = {"dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 64}
# Their class, its sizes, and the tokenizer that a checkpoint of theirs has.
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("Bert", SIZES, "word pieces"),
    "bert, tanh": ("Bert", {**SIZES, "hidden_act": "gelu_new"}, "word pieces"),
    "bert, multilingual": ("Bert", SIZES, "xlm"),
    "distilbert": ("DistilBert", DISTILBERT, "word pieces"),
    "distilbert, waves": (
        "DistilBert",
        {**DISTILBERT, "sinusoidal_pos_embds": True, "activation": "relu"},
        "word pieces",
    ),
    "albert": ("Albert", {**SIZES, "embedding_size": 16}, "albert"),
    "albert, groups": (
        "Albert",
        {**SIZES, "embedding_size": 16, "num_hidden_layers": 5, "num_hidden_groups": 2},
        "albert",
    ),
    "albert, chinese": ("Albert", {**SIZES, "embedding_size": 8}, "word pieces"),
    "roberta": ("Roberta", {**SIZES, "type_vocab_size": 1}, "byte pairs"),
    "xlm-roberta": ("XLMRoberta", {**SIZES, "type_vocab_size": 1}, "xlm"),
    "mpnet": ("MPNet", SIZES, "mpnet"),
}


def torch() -> Any:
    """PyTorch; a test that needs it is skipped where it is not."""
    return pytest.importorskip("torch", reason="PyTorch is what this is compared with")


def transformers() -> Any:
    """Transformers, likewise."""
    return pytest.importorskip("transformers", reason="its models and tokenizers")


def write_word_pieces(folder: Path, names: list[str]) -> int:
    letters = {one for text in TEXTS for one in text.lower() if not one.isspace()}
    letters = sorted(letters - {"\x00"})
    kept = [one for number, one in enumerate(letters) if number % 11 or one < "\x7f"]
    vocab = [*names, *kept, *(f"##{one}" for one in kept), "the", "中国", "##ing"]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    return len(vocab)


def write_byte_pairs(folder: Path) -> int:
    learner = ByteLevelBPETokenizer()
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learner.train_from_iterator(TEXTS, 900, special_tokens=names, show_progress=False)
    learner.save_model(str(folder))
    return learner.get_vocab_size()


def write_sentence_pieces(folder: Path, name: str, **options: Any) -> int:
    """A model that SentencePiece trained, with its usual table of replacements."""
    reason = "it trains the models that its own tokenizer is compared on"
    sentencepiece = pytest.importorskip("sentencepiece", reason=reason)
    pytest.importorskip("google.protobuf", reason="transformers reads models with it")
    model = io.BytesIO()
    words = [word for text in TEXTS for word in text.split() if "\x00" not in word]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 3),
        model_writer=model,
        vocab_size=1_200,
        hard_vocab_limit=False,
        character_coverage=0.98,
        model_type="unigram",
        minloglevel=2,
        **options,
    )
    (folder / name).write_bytes(model.getvalue())
    return len(sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())) + 20


def write_tokenizer(folder: Path, kind: str) -> int:
    """Writes a tokenizer's own files and gives the rows its model needs."""
    if kind == "word pieces":
        return write_word_pieces(folder, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    if kind == "mpnet":
        names = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
        return write_word_pieces(folder, names)
    if kind == "byte pairs":
        return write_byte_pairs(folder)
    if kind == "xlm":
        # Of a model that is called "bert": sentence-transformers' multilingual MiniLM.
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "XLMRobertaTokenizer"})
        )
        return write_sentence_pieces(folder, "sentencepiece.bpe.model")
    return write_sentence_pieces(
        folder,
        "spiece.model",
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
    )


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkpoint folder, its model in PyTorch, and what became of it."""
    torch(), transformers()
    name, sizes, kind = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp("checkpoint")
    rows = write_tokenizer(folder, kind)
    config = getattr(transformers(), f"{name}Config")(
        vocab_size=rows,
        max_position_embeddings=300,
        attn_implementation="eager",
        # What the families' published files say.
        pad_token_id=1 if kind in ("byte pairs", "xlm", "mpnet") else 0,
        **sizes,
    )
    torch().manual_seed(0)
    model = getattr(transformers(), f"{name}Model")(config).eval()
    with torch().no_grad():
        for parameter in model.parameters():
            # Large enough that attention is far from uniform.
            parameter.add_(0.2 * torch().randn_like(parameter))
    model.save_pretrained(folder)
    paths = encoders.convert(folder, folder / "out", seq_length=LENGTH)
    return request.param, folder, model, paths


def reference_tokenizer(folder: Path, kind: str) -> Any:
    """Transformers' tokenizer of a kind, made of the folder's own files."""
    if kind == "albert":
        return albert_as_published(folder)
    name = {
        "word pieces": "BertTokenizer",
        "mpnet": "MPNetTokenizer",
        "byte pairs": "RobertaTokenizer",
        "xlm": "XLMRobertaTokenizer",
    }[kind]
    masks = {}
    if kind != "word pieces":
        # As their published files have it.
        masks = {"mask_token": AddedToken("<mask>", lstrip=True, normalized=False)}
    return getattr(transformers(), name).from_pretrained(folder, **masks)


def albert_as_published(folder: Path) -> Any:
    """As in the tokenizer.json of the published checkpoints.

    Today's class leaves a number's comma with it, and today's converter makes a token
    of white space at the end.
    """
    from transformers.convert_slow_tokenizer import AlbertConverter

    names = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    slow = SimpleNamespace(
        vocab_file=str(folder / "spiece.model"),
        keep_accents=False,
        do_lower_case=True,
        convert_tokens_to_ids=names.index,
    )
    made = AlbertConverter(slow).converted()
    made.add_special_tokens(names[:-1])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    return transformers().PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token=AddedToken("[MASK]", lstrip=True, normalized=False),
    )


def processor(folder: Path) -> Any:
    """SentencePiece's own reading of a folder's model."""
    import sentencepiece

    (path,) = folder.glob("*.model")
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def fully_alike(kind: str, folder: Path, texts: list[str]) -> list[str]:
    """The texts that the `tokenizers` library and SentencePiece normalise alike.

    The library looks only at the single code points of what is one letter to a reader
    and over 5 bytes long: Hangul in jamo, half-width kana with their marks.
    """
    if kind not in ("xlm", "albert"):
        return texts
    model, library = processor(folder), reference_tokenizer(folder, kind)
    normalizer = library.backend_tokenizer.normalizer
    plain = [albert_cleaned(text) if kind == "albert" else text for text in texts]
    return [
        text
        for text, clean in zip(texts, plain, strict=True)
        if "".join(normalizer.normalize_str(text).split())
        == "".join(model.normalize(clean).replace("▁", " ").split())
    ]


def albert_cleaned(text: str) -> str:
    text = text.replace("``", '"').replace("''", '"')
    text = unicodedata.normalize("NFKD", text)
    # Letter by letter: Python gives a sigma at a word's end another form.
    return "".join(one.lower() for one in text if unicodedata.category(one)[0] != "M")


def test_token_ids_equal_those_of_transformers(family: Any) -> None:
    name, folder, _, paths = family
    kind = FAMILIES[name][2]
    tokenizer = reference_tokenizer(folder, kind)
    texts = fully_alike(kind, folder, TEXTS + LONG)
    made = hub.load(str(paths.preprocessor)).tokenize(texts).to_list()
    expected = tokenizer(texts, add_special_tokens=False)["input_ids"]
    differing = {
        text[:80]: (row, other)
        for text, row, other in zip(texts, made, expected, strict=True)
        if row != other and not equally_likely(kind, folder, row, other)
    }
    print(f"{name}: {len(texts)} of {len(TEXTS + LONG)} texts, {len(differing)} differ")
    assert differing == {}
    assert len(texts) > 0.9 * len(TEXTS + LONG)


def equally_likely(kind: str, folder: Path, one: list[int], two: list[int]) -> bool:
    """Whether two splits have the same probability, as "aa" "a" and "a" "aa" have."""
    if kind not in ("xlm", "albert"):
        return False
    model = processor(folder)
    first = 1 if kind == "xlm" else 0
    scores = [
        sum(model.get_score(id - first) for id in ids if id - first < len(model))
        for ids in (one, two)
    ]
    return len(one) == len(two) and abs(scores[0] - scores[1]) < 1e-4


@pytest.mark.parametrize("kind", ["xlm", "albert"])
def test_sentence_pieces_equal_those_of_sentencepiece_itself(
    tmp_path: Path, kind: str
) -> None:
    """On every text but those with a special token or the next-line control."""
    rows = write_tokenizer(tmp_path, kind)
    model = processor(tmp_path)
    names = ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[MASK]")
    texts = [
        text
        for text in TEXTS + LONG
        if "\x85" not in text and not any(name in text for name in names)
    ]
    assert len(texts) > 400
    read = read_tokenizer(tmp_path, "bert", rows)
    made = read.tokenizer.tokenize(read.tokenizer.normalize(tf.constant(texts)))
    if kind == "xlm":
        expected = [
            [3 if one == 0 else one + 1 for one in row] for row in model.encode(texts)
        ]
    else:
        expected = [albert_ids(model, text) for text in texts]
    differing = {
        text[:80]: (row, other)
        for text, row, other in zip(texts, made.to_list(), expected, strict=True)
        if row != other and not equally_likely(kind, tmp_path, row, other)
    }
    print(f"{kind}: {len(texts)} texts, {len(differing)} differ from SentencePiece")
    assert differing == {}


def albert_ids(model: Any, text: str) -> list[int]:
    """ALBERT's own rule: the comma of a number is cut off, and the rest cut anew."""
    pieces: list[str] = []
    for piece in model.encode(albert_cleaned(text), out_type=str):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            rest = model.encode(piece[:-1].replace("▁", ""), out_type=str)
            if piece[0] != "▁" and rest[0][0] == "▁":
                rest = rest[1:] if rest[0] == "▁" else [rest[0][1:], *rest[1:]]
            pieces += [*rest, ","]
        else:
            pieces.append(piece)
    ids: list[int] = model.piece_to_id(pieces)
    return ids


def inputs_of(rows: int, types: int, pad: int) -> tuple[Any, dict[str, Any]]:
    """Random sequences of many lengths, padded, for PyTorch and for TensorFlow."""
    rng = np.random.default_rng(0)
    length = 280
    lengths = np.array([1, 2, 3, 10, 31, 130, 200, length])
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(5, rows, mask.shape), pad).astype(np.int32)
    kinds = rng.integers(0, max(types, 1), mask.shape).astype(np.int32)
    given = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": kinds}
    theirs = {
        "input_ids": torch().tensor(ids.astype(np.int64)),
        "attention_mask": torch().tensor(mask.astype(np.int64)),
    }
    if types > 1:
        theirs["token_type_ids"] = torch().tensor(kinds.astype(np.int64))
    return theirs, {key: tf.constant(value) for key, value in given.items()}


def test_every_layer_equals_that_of_pytorch(family: Any) -> None:
    name, _, model, paths = family
    config = model.config
    types = getattr(config, "type_vocab_size", 0) if "mpnet" not in name else 0
    theirs, given = inputs_of(config.vocab_size, types, config.pad_token_id)
    with torch().no_grad():
        expected = model(**theirs, output_hidden_states=True)
    made = hub.load(str(paths.encoder))(given)
    kept = given["input_mask"].numpy().astype(bool)
    hidden = expected.hidden_states[1:]
    assert len(made["encoder_outputs"]) == len(hidden)
    worst = 0.0
    for ours, layer in zip(made["encoder_outputs"], hidden, strict=True):
        worst = max(worst, np.abs(ours.numpy()[kept] - layer.numpy()[kept]).max())
    last = expected.last_hidden_state.numpy()
    sequence = np.abs(made["sequence_output"].numpy()[kept] - last[kept]).max()
    pooled = getattr(expected, "pooler_output", None)
    pooled = last[:, 0] if pooled is None else pooled.numpy()
    end = np.abs(made["pooled_output"].numpy() - pooled).max()
    print(f"{name}: layers {worst:.1e}, sequence {sequence:.1e}, pooled {end:.1e}")
    assert max(worst, sequence, end) < 1e-5
    np.testing.assert_array_equal(made["default"], made["pooled_output"])
    # And the numbers say something: tokens are not alike.
    assert last[kept].std(0).mean() > 0.05, last[kept].std(0).mean()


def with_equal_ids(tokenizer: Any, paths: Any, texts: list[str]) -> list[str]:
    """Nearly all; which others there are is what the first test says."""
    made = hub.load(str(paths.preprocessor)).tokenize(texts).to_list()
    expected = tokenizer(texts, add_special_tokens=False)["input_ids"]
    found = [t for t, a, b in zip(texts, made, expected, strict=True) if a == b]
    assert len(found) > 0.9 * len(texts)
    return found


def test_texts_give_the_vectors_of_pytorch(family: Any) -> None:
    name, folder, model, paths = family
    tokenizer = reference_tokenizer(folder, FAMILIES[name][2])
    texts = with_equal_ids(tokenizer, paths, TEXTS[:80])
    batch = tokenizer(
        texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt"
    )
    with torch().no_grad():
        expected = model(**batch).last_hidden_state.numpy()
    inputs = hub.load(str(paths.preprocessor))(texts)
    # Cut to the longest of the batch, as padding=True does.
    longest = expected.shape[1]
    inputs = {key: value[:, :longest] for key, value in inputs.items()}
    np.testing.assert_array_equal(inputs["input_mask"], batch["attention_mask"])
    made = hub.load(str(paths.encoder))(inputs)["sequence_output"].numpy()
    kept = batch["attention_mask"].numpy().astype(bool)
    assert np.abs(made[kept] - expected[kept]).max() < 1e-5


def test_two_segments_are_packed_as_transformers_packs_them(family: Any) -> None:
    name, folder, _, paths = family
    tokenizer = reference_tokenizer(folder, FAMILIES[name][2])
    texts = with_equal_ids(tokenizer, paths, TEXTS[:100])
    middle = len(texts) // 2
    first, second = texts[:middle], texts[middle : 2 * middle]
    made = hub.load(str(paths.preprocessor))
    segments = [made.tokenize(first), made.tokenize(second)]
    packed = made.bert_pack_inputs(segments, LENGTH)
    expected = tokenizer(
        first,
        second,
        truncation="longest_first",
        max_length=LENGTH,
        padding="max_length",
        return_tensors="np",
    )
    np.testing.assert_array_equal(packed["input_word_ids"], expected["input_ids"])
    np.testing.assert_array_equal(packed["input_mask"], expected["attention_mask"])
    if "token_type_ids" in expected:
        np.testing.assert_array_equal(
            packed["input_type_ids"], expected["token_type_ids"]
        )


def test_what_transformers_saves_anew_converts_to_the_same(
    family: Any, tmp_path: Path
) -> None:
    """Its tokenizer is in one file then, and nowhere else."""
    name, folder, model, paths = family
    saved = tmp_path / "saved"
    reference_tokenizer(folder, FAMILIES[name][2]).save_pretrained(saved)
    assert not (saved / "vocab.txt").exists()
    model.save_pretrained(saved)
    again = encoders.convert(saved, tmp_path / "out", seq_length=LENGTH)
    made, old = (
        hub.load(str(one.preprocessor)).tokenize(TEXTS).to_list()
        for one in (again, paths)
    )
    assert made == old
    theirs = hub.load(str(again.preprocessor))(TEXTS[:5])
    np.testing.assert_array_equal(
        hub.load(str(again.encoder))(theirs)["pooled_output"],
        hub.load(str(paths.encoder))(theirs)["pooled_output"],
    )
