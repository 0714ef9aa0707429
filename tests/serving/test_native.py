"""A SavedModel run by TensorFlow's C++ loader, compared with Python TensorFlow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.serving import native
from tfrs_decay.serving.native import NativeModel, TensorSpec, text_op_libraries

import tensorflow as tf  # isort: skip  # After tfrs_decay, which settles legacy Keras.
import tensorflow_text as tf_text  # isort: skip
from tensorflow.core.protobuf import saved_model_pb2  # isort: skip

SCRIPT = Path(native.__file__)
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "milk", "oat", "##s", "caf", "##e"]
LONG = "a string that its 24 bytes cannot hold, and more of it: ü€😀"


class Plain(tf.Module):
    """Signatures of every dtype that a recommender's export has."""

    def __init__(self):
        super().__init__()
        self.kept = tf.Variable(tf.constant([""]), shape=[None], dtype=tf.string)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="values"),
            tf.TensorSpec([None], tf.int64, name="counts"),
            tf.TensorSpec([None], tf.bool, name="wanted"),
            tf.TensorSpec([None], tf.string, name="names"),
        ]
    )
    def mixed(self, values, counts, wanted, names):
        return {
            "total": tf.reduce_sum(values, axis=1),
            "next": counts + 1,
            "unwanted": tf.logical_not(wanted),
            "doubled": tf.strings.join([names, names]),
            "bytes": tf.strings.length(names),  # int32
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.float64, name="a"),
            tf.TensorSpec([], tf.int32, name="b"),
            tf.TensorSpec([], tf.string, name="c"),
        ]
    )
    def scalars(self, a, b, c):
        return {"a": a / 4, "b": b - 1, "c": c + "!"}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def twice(self, x):
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(self, text):
        # The first output is the input's own buffer.
        return {"same": text, "doubled": tf.strings.join([text, text])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def first_byte(self, text):
        return {"byte": tf.strings.substr(text, 0, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def keep(self, text):
        self.kept.assign(text)
        return {"size": tf.size(text)}

    @tf.function(input_signature=[])
    def kept_text(self):
        return {"text": self.kept.read_value()}

    @tf.function(
        input_signature=[
            tf.TensorSpec(None, tf.int64, name="a"),
            tf.TensorSpec(None, tf.int64, name="b"),
        ]
    )
    def quotient(self, a, b):
        return {"quotient": a // b}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="base"),
            tf.TensorSpec([], tf.float32, name="exponent"),
        ]
    )
    def power(self, base, exponent=tf.constant(2.0)):  # noqa: B008
        return {"power": base**exponent}

    @tf.function(input_signature=[tf.TensorSpec([], tf.bfloat16, name="x")])
    def brain(self, x):
        return {"x": x}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
    def to_complex(self, x):
        return {"z": tf.complex(x, x)}


class Table(tf.Module):
    """Ids of known words: an initialiser that reads an asset."""

    def __init__(self, vocabulary):
        super().__init__()
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=-1,
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def find(self, word):
        return {"id": self.table.lookup(word)}


class Bert(tf.Module):
    """Ops that TensorFlow does not have itself."""

    def __init__(self):
        super().__init__()
        self.tokenizer = tf_text.FastBertTokenizer(
            VOCABULARY, token_out_type=tf.int64, lower_case_nfd_strip_accents=True
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def tokenize(self, text):
        tokens = self.tokenizer.tokenize(text).merge_dims(1, -1)
        return {"ids": tokens.to_tensor(shape=[None, 4])}


class Version(tf.Module):
    """A number, and as many bytes of variables as one likes."""

    def __init__(self, number, size=1):
        super().__init__()
        self.number = tf.constant(number)
        self.ballast = tf.Variable(tf.zeros([size], tf.int8))

    @tf.function(input_signature=[])
    def which(self):
        return {"number": tf.identity(self.number)}


def save(module, path, **signatures):
    tf.saved_model.save(module, str(path), signatures=signatures)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    base = tmp_path_factory.mktemp("exports")
    plain = Plain()
    save(
        plain,
        base / "plain",
        serving_default=plain.mixed,
        scalars=plain.scalars,
        twice=plain.twice,
        echo=plain.echo,
        first_byte=plain.first_byte,
        keep=plain.keep,
        kept=plain.kept_text,
        quotient=plain.quotient,
        power=plain.power,
        brain=plain.brain,
        to_complex=plain.to_complex,
    )
    vocabulary = base / "words.txt"
    vocabulary.write_text("milk\nCafé\n日本\n", encoding="utf-8")
    table = Table(vocabulary)
    save(table, base / "table", serving_default=table.find)
    vocabulary.unlink()  # The export has its own copy, or it is of no use elsewhere.
    bert = Bert()
    save(bert, base / "bert", serving_default=bert.tokenize)
    return base


@pytest.fixture(scope="module")
def model(exports):
    with NativeModel(exports / "plain") as loaded:
        yield loaded


def in_python(path, signature, inputs):
    """The same signature, run by Python TensorFlow."""
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.signatures[signature](**inputs)
    return {name: output.numpy() for name, output in outputs.items()}


def assert_same(answer, expected):
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        assert answer[name].dtype == value.dtype, name
        np.testing.assert_array_equal(answer[name], value, err_msg=name)


def mixed_inputs(names):
    size = len(names)
    return {
        "values": np.arange(3 * size, dtype=np.float32).reshape(size, 3) / 8,
        "counts": np.arange(size, dtype=np.int64) + 2**40,
        "wanted": np.arange(size) % 2 == 0,
        "names": np.array(names, dtype=object),
    }


# Values.


@pytest.mark.parametrize(
    "names",
    [
        ["milk", "", "Café", LONG, "日本\N{NULL}語", "x" * 22, "x" * 23, "x" * 5000],
        ["one"],
        [],
    ],
    ids=["many", "one", "none"],
)
def test_python_tensorflow_gives_the_same(exports, model, names):
    inputs = mixed_inputs(names)
    encoded = [name.encode() for name in names]
    expected = in_python(
        exports / "plain",
        "serving_default",
        # A list with no strings would be a list of floats to TensorFlow.
        {
            name: tf.constant(encoded, tf.string, shape=[len(names)])
            if name == "names"
            else tf.constant(value)
            for name, value in inputs.items()
        },
    )
    assert_same(model("serving_default", inputs), expected)


def test_a_small_request_by_hand(model):
    answer = model(
        "serving_default",
        {
            "values": [[1, 2, 3.5], [0, 0, -1]],
            "counts": [2**60, -1],
            "wanted": [True, False],
            "names": ["é", b"\xff\x00"],
        },
    )
    assert answer["total"].tolist() == [6.5, -1.0]
    assert answer["next"].tolist() == [2**60 + 1, 0]
    assert answer["unwanted"].tolist() == [False, True]
    assert answer["doubled"].tolist() == [b"\xc3\xa9\xc3\xa9", b"\xff\x00\xff\x00"]
    assert answer["bytes"].tolist() == [2, 2]
    assert {name: value.dtype.name for name, value in answer.items()} == {
        "total": "float32",
        "next": "int64",
        "unwanted": "bool",
        "doubled": "object",
        "bytes": "int32",
    }


def test_scalars(model):
    answer = model("scalars", {"a": 1, "b": -5, "c": "né"})
    assert answer["a"].shape == answer["b"].shape == answer["c"].shape == ()
    assert answer["a"] == 0.25
    assert answer["b"] == -6
    assert answer["c"].item() == "né!".encode()


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(st.binary(max_size=60) | st.text(max_size=30), max_size=8))
def test_any_strings_come_back(model, texts):
    encoded = [t.encode() if isinstance(t, str) else t for t in texts]
    answer = model("echo", {"text": texts})
    assert answer["same"].tolist() == encoded
    assert answer["doubled"].tolist() == [text + text for text in encoded]


@pytest.mark.parametrize(
    "given_text",
    [
        ["a", "é"],
        np.array(["a", "é"]),
        np.array([b"a", "é".encode()]),
        np.array(["a", "é".encode()], dtype=object),
        tf.constant(["a", "é"]),
        np.array([["a", "é"], ["b", "c"]])[0],
        np.array(["é", "a"])[::-1],
    ],
    ids=["list", "U", "S", "object", "tensor", "row", "reversed"],
)
def test_text_in_any_array(model, given_text):
    answer = model("echo", {"text": given_text})
    assert answer["same"].tolist() == [b"a", b"\xc3\xa9"]


@pytest.mark.parametrize(
    "x",
    [
        [[1, 2, 3], [4, 5, 6]],
        [[1.0, 2, 3], [4, 5, 6]],
        ((1, 2, 3), (4, 5, 6)),
        np.array([[1, 4], [2, 5], [3, 6]], np.float32).T,
        np.array([[1, 9, 2, 9, 3], [4, 9, 5, 9, 6]], np.float32)[:, ::2],
        np.array([[1, 2, 3], [4, 5, 6]], ">f4"),
        np.array([[1, 4], [2, 5], [3, 6]], np.float16).T,
        np.array([[1, 2, 3], [4, 5, 6]], np.int16),
        tf.constant([[1.0, 2, 3], [4, 5, 6]]),
    ],
    ids="ints floats tuples transposed strided big half short tensor".split(),
)
def test_numbers_in_any_layout(model, x):
    before = np.array(x)
    answer = model("twice", {"x": x})
    assert answer["y"].tolist() == [[2, 4, 6], [8, 10, 12]]
    np.testing.assert_array_equal(np.array(x), before)


def test_an_empty_list_has_the_type_of_its_input(model):
    assert model("quotient", {"a": [], "b": []})["quotient"].tolist() == []
    assert model("echo", {"text": []})["same"].tolist() == []


def test_nan_and_infinity_are_values(model):
    answer = model("twice", {"x": [[np.nan, np.inf, -np.inf]]})
    np.testing.assert_array_equal(answer["y"], [[np.nan, np.inf, -np.inf]])


def test_integers_are_widened_and_stay_exact(model):
    answer = model("scalars", {"a": 2**53, "b": np.int16(7), "c": ""})
    assert answer["a"] == 2**51
    assert answer["b"] == 6


def test_an_answer_is_the_callers_own(model):
    first = model("twice", {"x": [[1, 2, 3]]})["y"]
    text = model("echo", {"text": [LONG]})["same"]
    for _ in range(50):
        model("twice", {"x": [[7, 7, 7]]})
        model("echo", {"text": ["?" * len(LONG.encode())]})
    assert first.tolist() == [[2, 4, 6]]
    assert text.tolist() == [LONG.encode()]
    first[0, 0] = 5  # And writable.


def test_strings_that_the_model_keeps_stay(model):
    model("keep", {"text": [LONG, "short", LONG[::-1]]})
    for _ in range(50):
        model("echo", {"text": ["?" * len(LONG.encode())] * 3})
    kept = [LONG.encode(), b"short", LONG[::-1].encode()]
    assert model("kept", {})["text"].tolist() == kept


def test_a_table_is_filled_from_its_asset(exports):
    words = ["日本", "milk", "café", "Café", ""]
    with NativeModel(exports / "table") as model:
        answer = model("serving_default", {"word": words})
    assert answer["id"].tolist() == [2, 0, -1, 1, -1]
    assert_same(
        answer,
        in_python(exports / "table", "serving_default", {"word": tf.constant(words)}),
    )


def test_an_input_with_a_default_may_be_left_out(model):
    assert model.signatures["power"].optional == {"exponent"}
    assert model("power", {"base": [3.0]})["power"].tolist() == [9.0]
    answer = model("power", {"base": [3.0], "exponent": 3.0})
    assert answer["power"].tolist() == [27.0]


def test_two_threads_get_their_own_answers(model):
    both = threading.Barrier(2)
    wrong = []

    def work(offset):
        both.wait()
        for step in range(300):
            number = offset + 2 * step
            text = f"{number} " * 10
            y = model("twice", {"x": [[number, 0, 1]]})["y"].tolist()
            doubled = model("echo", {"text": [text]})["doubled"].tolist()
            if y != [[2 * number, 0, 2]] or doubled != [(text * 2).encode()]:
                wrong.append((number, y, doubled))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Signatures.


def test_signatures_are_those_of_the_protocol_buffer(exports, model):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((exports / "plain" / "saved_model.pb").read_bytes())
    theirs = dict(saved.meta_graphs[0].signature_def)
    del theirs["__saved_model_init_op"]

    def specs(infos):
        return {
            name: TensorSpec(
                info.name,
                tf.dtypes.as_dtype(info.dtype).name,
                None
                if info.tensor_shape.unknown_rank
                else tuple(
                    None if dim.size == -1 else dim.size
                    for dim in info.tensor_shape.dim
                ),
            )
            for name, info in infos.items()
        }

    assert len(theirs) == 11
    assert model.signatures.keys() == theirs.keys()
    for name, signature in model.signatures.items():
        assert dict(signature.inputs) == specs(theirs[name].inputs)
        assert dict(signature.outputs) == specs(theirs[name].outputs)
        assert signature.method_name == theirs[name].method_name
        assert signature.optional == set(theirs[name].defaults)


def test_a_signature_by_hand(model):
    signature = model.signatures["serving_default"]
    assert signature.inputs["values"] == TensorSpec(
        "serving_default_values:0", "float32", (None, 3)
    )
    assert signature.outputs["bytes"].dtype == "int32"
    assert signature.method_name == "tensorflow/serving/predict"
    assert model.signatures["quotient"].inputs["a"].shape is None
    assert model.signatures["scalars"].inputs["a"].shape == ()


def edited(exports, tmp_path, edit):
    """A copy of the export whose signature "twice" has been edited."""
    path = shutil.copytree(exports / "plain", tmp_path / "edited")
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    edit(saved.meta_graphs[0].signature_def["twice"])
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    return path


def test_a_sparse_input_is_refused(exports, tmp_path):
    def edit(signature):
        signature.inputs["x"].coo_sparse.values_tensor_name = "values:0"

    with NativeModel(edited(exports, tmp_path, edit)) as model:
        with pytest.raises(ValueError, match=r"Input 'x' .* is sparse or composite"):
            model("twice", {"x": [[1, 2, 3]]})
        assert model("power", {"base": [3.0]})["power"].tolist() == [9.0]


def test_a_signature_of_another_graph(exports, tmp_path):
    def edit(signature):
        signature.inputs["x"].name = "elsewhere:0"

    with pytest.raises(RuntimeError, match=r"'twice' .*'elsewhere:0', which its graph"):
        NativeModel(edited(exports, tmp_path, edit))


# Requests that do not fit.

X = [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("twise", {"x": X}, r"no signature 'twise': .*'scalars', 'serving_default'"),
        ("twice", {}, r"'twice' takes the inputs \['x'\]: missing are \['x'\]"),
        ("twice", {"x": X, "y": X}, r"missing are \[\], unknown are \['y'\]"),
        ("twice", {"X": X}, r"missing are \['x'\], unknown are \['X'\]"),
        ("power", {"exponent": 2.0}, r"missing are \['base'\], unknown are \[\]"),
        ("twice", {"x": [1, 2, 3]}, r"'x' .* shape \(3,\), and \(None, 3\)"),
        ("twice", {"x": [[1, 2]]}, r"'x' .* shape \(1, 2\), and \(None, 3\)"),
        ("twice", {"x": []}, r"'x' .* shape \(0,\), and \(None, 3\)"),
        ("twice", {"x": [[1, 2, 3], [4]]}, "'x' .* has rows of unequal length"),
        ("twice", {"x": [["1", "2", "3"]]}, "'x' .* is str.*, and float32"),
        ("twice", {"x": [[None, 1, 2]]}, "'x' .* is object, and float32"),
        ("twice", {"x": [[True] * 3]}, "'x' .* is bool, and float32"),
        ("twice", {"x": np.ones([1, 3])}, "'x' .* is float64, and float32"),
        ("twice", {"x": np.ones([1, 3], int)}, "'x' .* is int64, and float32"),
        ("twice", {"x": [[2**24 + 1, 0, 0]]}, "'x' .* has 16777217, which float32"),
        ("twice", {"x": [[-1e39, 0, 0]]}, r"'x' .* has -1e\+39, which float32"),
        ("scalars", {"a": 0, "b": 2**31, "c": ""}, "'b' .* has 2147483648, which int"),
        ("scalars", {"a": 0, "b": -(2**40), "c": ""}, "'b' .* has -1099511627776, "),
        ("scalars", {"a": 0, "b": 1.0, "c": ""}, "'b' .* is float64, and int32"),
        ("scalars", {"a": 0, "b": False, "c": ""}, "'b' .* is bool, and int32"),
        ("scalars", {"a": 0, "b": np.int64(1), "c": ""}, "'b' .* is int64, and int32"),
        ("scalars", {"a": 2**53 + 1, "b": 1, "c": ""}, "'a' .* has 9007199254740993,"),
        (
            "scalars",
            {"a": np.int64(2**53 + 1), "b": 1, "c": ""},
            "'a' .*07199254740993",
        ),
        ("scalars", {"a": 0, "b": 1, "c": ["x"]}, r"'c' .* shape \(1,\), and \(\)"),
        ("quotient", {"a": [2**63], "b": [1]}, "'a' .* has 9223372036854775808, which"),
        ("quotient", {"a": [2**70], "b": [1]}, "'a' .* is object, and int64"),
        ("echo", {"text": [1, 2]}, r"'text' .* has 1 \(int\), and string"),
        ("echo", {"text": ["a", None]}, r"'text' .* has None \(NoneType\), and string"),
        ("echo", {"text": np.arange(2)}, "'text' .* is int64, and string"),
        ("echo", {"text": np.zeros(0)}, "'text' .* is float64, and string"),
        ("echo", {"text": [["a"], ["b", "c"]]}, "'text' .* rows of unequal length"),
        ("echo", {"text": "milk"}, r"'text' .* shape \(\), and \(None,\)"),
        (
            "echo",
            {"text": ["\ud800"]},
            r"'text' .*'\\ud800', which is no valid Unicode",
        ),
        ("brain", {"x": 1.0}, "Input 'x' of signature 'brain' is bfloat16, which"),
        ("to_complex", {"x": 1.0}, "Output 'z' of signature 'to_complex' is complex64"),
    ],
)
def test_a_request_that_does_not_fit(model, signature, inputs, message):
    with pytest.raises(ValueError, match=message):
        model(signature, inputs)


def test_tensorflows_own_failure(model):
    with pytest.raises(
        native.TensorFlowError,
        match=r"'quotient': INVALID_ARGUMENT: .*[Dd]ivision by zero",
    ) as failed:
        model("quotient", {"a": [1, 2], "b": [1, 0]})
    assert model("quotient", {"a": 7, "b": 2})["quotient"] == 3  # It goes on.
    assert failed.value.code == "INVALID_ARGUMENT"


# Closing.


def test_a_closed_model_says_so(exports):
    model = NativeModel(exports / "table")
    with model as entered:
        assert entered is model
        model("serving_default", {"word": ["milk"]})
    model.close()  # Once more does nothing.
    with pytest.raises(RuntimeError, match=r"The model of .*table is closed"):
        model("serving_default", {"word": ["milk"]})


def test_close_waits_for_a_running_call(exports, monkeypatch):
    model = NativeModel(exports / "table")
    entered, go_on = threading.Event(), threading.Event()
    answers = []
    make_tensor = native._tensor

    def slow_tensor(lib, data):
        entered.set()
        assert go_on.wait(30)
        return make_tensor(lib, data)

    monkeypatch.setattr(native, "_tensor", slow_tensor)
    caller = threading.Thread(
        target=lambda: answers.append(model("serving_default", {"word": ["日本"]}))
    )
    closer = threading.Thread(target=model.close)
    caller.start()
    assert entered.wait(30)
    closer.start()
    closer.join(0.2)
    assert closer.is_alive()
    go_on.set()
    caller.join()
    closer.join()
    assert [answer["id"].tolist() for answer in answers] == [[2]]


# Where a model is.


def test_the_highest_version_is_served(tmp_path):
    for name, number in [("1", 1), ("2", 2), ("10", 10), ("1_2", 12), ("x", 7)]:
        version = Version(number)
        save(version, tmp_path / name, serving_default=version.which)
    (tmp_path / "11").mkdir()  # A version that is still being copied.
    with NativeModel(tmp_path) as model:
        assert model.path == tmp_path / "10"
        assert model("serving_default", {})["number"] == 10
    with NativeModel(str(tmp_path / "2")) as model:
        assert model("serving_default", {})["number"] == 2


def test_no_saved_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no directory .*absent"):
        NativeModel(tmp_path / "absent")
    (tmp_path / "1").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no saved_model.pb, and no version"):
        NativeModel(tmp_path)


def test_a_saved_model_that_does_not_parse(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(
        RuntimeError, match=r"SavedModel .*: [A-Z_]+: .*parse"
    ) as raised:
        NativeModel(tmp_path)
    assert "\n" not in str(raised.value)


def test_variables_that_are_not_there(exports, tmp_path):
    path = shutil.copytree(exports / "plain", tmp_path / "half")
    next((path / "variables").glob("*.data-*")).unlink()
    with pytest.raises(RuntimeError, match=r"SavedModel .*half: [A-Z_]+: .*variables"):
        NativeModel(path)
    # Without an index TensorFlow takes the model to have no variables, and loads it.
    (path / "variables" / "variables.index").unlink()
    with NativeModel(path) as model:
        with pytest.raises(
            RuntimeError, match=r"'kept': FAILED_PRECONDITION: .*variable"
        ):
            model("kept", {})


# Op libraries. Once loaded they stay in the process, hence another one.

IMPORT_ALONE = (
    f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import native\n"
)


def python(*arguments, request=None):
    """Runs Python without this package, or any folder of it, on its path."""
    return subprocess.run(
        [sys.executable, "-I", *map(str, arguments)],
        input=request,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )


def test_a_tokeniser_needs_its_op_libraries(exports):
    texts = ["Oat milks", "café MILK!", ""]
    request = json.dumps({"inputs": {"text": texts}})
    arguments = [SCRIPT, exports / "bert"]
    without = python(*arguments, request=request)
    assert without.returncode == 2
    assert re.search(r"NOT_FOUND: Op type not registered '\w*FastBert", without.stderr)
    assert "op_libraries=text_op_libraries()" in without.stderr
    assert without.stderr.count("\n") == 1
    for library in text_op_libraries():
        arguments += ["--op-library", library]
    found = python(*arguments, request=request)
    assert found.stderr == ""
    ids = [[5, 4, 6, 0], [7, 8, 4, 1], [0, 0, 0, 0]]  # caf ##e milk [UNK]
    assert json.loads(found.stdout)["outputs"] == {"ids": ids}
    expected = in_python(
        exports / "bert", "serving_default", {"text": tf.constant(texts)}
    )
    assert expected["ids"].tolist() == ids


def test_op_libraries_come_late_and_leave_the_process_whole(exports):
    # TensorFlow's libraries have a BoringSSL and a zlib, and become global here.
    done = python(
        "-c",
        IMPORT_ALONE
        + f"""
first = native.NativeModel({str(exports / "table")!r})
second = native.NativeModel(
    {str(exports / "bert")!r}, op_libraries=native.text_op_libraries()
)
print(second("serving_default", {{"text": ["oat"]}})["ids"].tolist())
print(first("serving_default", {{"word": ["milk"]}})["id"].tolist())
import hashlib, ssl, zlib
ssl.create_default_context()
print(hashlib.new("sha256", b"").hexdigest()[:8], zlib.decompress(zlib.compress(b"z")))
""",
    )
    assert done.stdout == "[[5, 0, 0, 0]]\n[0]\ne3b0c442 b'z'\n", done.stderr


def test_op_libraries_that_python_has_loaded_do_no_harm(exports):
    with NativeModel(
        exports / "bert", op_libraries=[str(path) for path in text_op_libraries()]
    ) as model:
        assert model("serving_default", {"text": ["milk"]})["ids"].tolist() == [
            [4, 0, 0, 0]
        ]


def test_bad_op_libraries(exports, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no op library .*absent\.so"):
        NativeModel(exports / "table", op_libraries=[tmp_path / "absent.so"])
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(RuntimeError, match=r"op library .*text\.so: NOT_FOUND: "):
        NativeModel(exports / "table", op_libraries=[tmp_path / "text.so"])
    with pytest.raises(ValueError, match=r"op_libraries is the one path 'text\.so'"):
        NativeModel(exports / "table", op_libraries="text.so")


def test_wheels_that_are_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install tensorflow-text"):
        text_op_libraries()
    monkeypatch.setattr(native, "_wheel", lambda *names: tmp_path)
    with pytest.raises(FileNotFoundError, match="has no op library"):
        text_op_libraries()
    with pytest.raises(FileNotFoundError, match=r"has no libtensorflow_cc\.so\.2"):
        native._library.__wrapped__()


# As a script.


def test_the_script_imports_no_tensorflow(exports):
    inputs = {
        "values": [[1, 2, 3.5]],
        "counts": [2**60],
        "wanted": [True],
        "names": [LONG],
    }
    done = python(SCRIPT, exports / "plain", request=json.dumps({"inputs": inputs}))
    assert done.stderr == ""
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "outputs": {
            "total": [6.5],
            "next": [2**60 + 1],
            "unwanted": [False],
            "doubled": [LONG + LONG],
            "bytes": [len(LONG.encode())],
        },
        "modules": {
            "tensorflow": False,
            "tf_keras": False,
            "keras": False,
            "tfrs_decay": False,
        },
    }


def test_the_script_tells_what_was_imported(exports):
    # The control of the test above: a process that has imported this package.
    root = str(SCRIPT.parents[2])
    done = python(
        "-c",
        f"import runpy, sys; sys.path.insert(0, {root!r}); import tfrs_decay\n"
        f"sys.argv = ['native.py', {str(exports / 'plain')!r}, '--signature', 'kept']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')",
        request='{"inputs": {}}',
    )
    answer = json.loads(done.stdout)
    assert answer["outputs"] == {"text": [""]}
    assert answer["modules"]["tfrs_decay"] is True
    assert answer["modules"]["tensorflow"] is False


@pytest.mark.parametrize(
    ("arguments", "request_text", "message"),
    [
        (["--signature", "none"], '{"inputs": {}}', "no signature 'none'"),
        (["--signature", "kept"], "[1]", 'The request is not {"inputs"'),
        (["--signature", "kept"], '{"inputs": 3}', 'The request is not {"inputs"'),
        (["--signature", "kept"], "{", "Expecting property name"),
        (["--op-library", "absent.so"], '{"inputs": {}}', "no op library absent.so"),
        (["--sginature", "kept"], '{"inputs": {}}', "unrecognized arguments: --sgi"),
        (
            ["--signature", "first_byte"],
            '{"inputs": {"text": ["é"]}}',
            r"Output 'byte' has b'\xc3', which is not UTF-8",
        ),
        (
            ["--signature", "quotient"],
            '{"inputs": {"a": 1, "b": 0}}',
            "INVALID_ARGUMENT: ",
        ),
    ],
)
def test_the_script_fails_in_one_line(exports, arguments, request_text, message):
    done = python(SCRIPT, exports / "plain", *arguments, request=request_text)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("native.py: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


# Beside Python TensorFlow (which this process has imported first), and in the long run.


def test_python_tensorflow_can_be_imported_afterwards(exports):
    done = python(
        "-c",
        IMPORT_ALONE
        + f"""
path = {str(exports / "table")!r}
model = native.NativeModel(path)
before = model("serving_default", {{"word": ["milk", "x"]}})["id"].tolist()
assert "tensorflow" not in sys.modules
import tensorflow as tf
theirs = tf.saved_model.load(path).signatures["serving_default"](
    word=tf.constant(["milk", "x"])
)["id"].numpy().tolist()
after = model("serving_default", {{"word": ["milk", "x"]}})["id"].tolist()
print(before, theirs, after)
""",
    )
    assert done.stdout == "[0, -1] [0, -1] [0, -1]\n", done.stderr


def test_memory_does_not_grow(exports, tmp_path):
    # A tensor or string leaked at each call would be 192 MB, a model at each load 320.
    version = Version(1, size=8 * 2**20)
    save(version, tmp_path / "big", serving_default=version.which)
    done = python(
        "-c",
        IMPORT_ALONE
        + f"""
import numpy as np
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
model = native.NativeModel({str(exports / "plain")!r})
numbers = np.ones([5_461, 3], np.float32)
text = ["x" * 65_536]
def fails():
    try:
        model("quotient", {{"a": np.zeros(8_192, np.int64), "b": np.int64(0)}})
    except RuntimeError:
        return
    raise AssertionError
def closes():
    with native.NativeModel(path) as big:
        assert big("serving_default", {{}})["number"] == 1
path = {str(tmp_path / "big")!r}
for call, times in [
    (lambda: model("twice", {{"x": numbers}}), 3_000),
    (lambda: model("echo", {{"text": text}}), 3_000),
    (fails, 3_000),
    (closes, 40),
    (lambda: native.NativeModel(path), 40),
]:
    for _ in range(times // 10):
        call()
    before = resident()
    for _ in range(times):
        call()
    print(resident() - before)
""",
    )
    growth = [float(line) for line in done.stdout.split()]
    assert len(growth) == 5, done.stderr
    assert max(growth) < 30, growth
