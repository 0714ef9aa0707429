"""Whether this machine has what the package needs, and what to do where it has not.

Nothing heavy is loaded with this module: what is missing or broken is found out, and
told, one by one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Checkup", "Finding", "examine"]

PACKAGE = "tfrs-decay"

DEVELOPMENT = ("test", "lint", "bench", "integration", "demo")
"""Extras that nobody needs to train and serve."""

CACHED_ENCODER = "all-MiniLM-L6-v2-hub-48"
"""What `tfrs-decay demo` leaves in its cache."""

LEAST_MEMORY, LEAST_DISK = 2e9, 1e9
"""Bytes below which training and encoders are likely to fail."""

TEXT = "a red lantern"

OK, WARNING, WRONG = "ok", "warning", "wrong"


class Finding(NamedTuple):
    """One thing that was looked at.

    name: What.
    verdict: "ok", "warning" or "wrong".
    says: What was found.
    remedy: What to do; None where there is nothing to do.
    """

    name: str
    verdict: str
    says: str
    remedy: str | None = None


class Checkup(NamedTuple):
    """All that was looked at, in order."""

    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; there may be warnings."""
        return all(one.verdict != WRONG for one in self.findings)

    def report(self) -> str:
        """A line for each, and what to do below where there is something to do."""
        width = max(len(one.name) for one in self.findings)
        lines = []
        for name, verdict, says, remedy in self.findings:
            lines.append(f"{verdict:<8} {name:<{width}}  {says}")
            if remedy is not None:
                lines.append(f"{'':<8} {'':<{width}}  -> {remedy}")
        counts = {
            verdict: sum(one.verdict == verdict for one in self.findings)
            for verdict in (WRONG, WARNING)
        }
        lines.append(f"{counts[WRONG]} wrong, {counts[WARNING]} to look at.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "healthy": self.healthy,
            "findings": [one._asdict() for one in self.findings],
        }


def examine(
    *,
    encoder: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] = ".cache",
) -> Checkup:
    """Looks at the installation and the machine.

    Args:
        encoder: A text encoder to load and to try: a folder as `train --encoder` takes
            it, or the handle of an encoder that reads strings itself. The one that
            `demo` left in the cache when left out, if it is there.
        cache: The folder that encoders are kept in.

    Returns:
        What was found. Nothing is raised for what is wrong, nor left behind.
    """
    return Checkup(
        [
            *_python(),
            *_requirements(),
            *_tensorflow(),
            *_text_ops(),
            *_native(),
            *_extras(),
            *_cache(Path(cache)),
            *_encoder(encoder, Path(cache)),
            *_machine(),
        ]
    )


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    try:
        bounds = importlib.metadata.metadata(PACKAGE)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("Python", OK, version)
        return
    yield _within("Python", version, bounds or "", f"make an environment of {bounds}")


def _requirements() -> Iterator[Finding]:
    try:
        written = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            PACKAGE,
            WARNING,
            "not installed, only found by its path: what it requires is not known",
            f"pip install {PACKAGE}",
        )
        return
    for line in written:
        one = Requirement.read(line)
        if one is None:
            says = f"its metadata requires {line!r}, which is not understood here"
            yield Finding(PACKAGE, WARNING, says, "see that it is there")
        elif one.extra is None:
            yield one.finding()


class Requirement(NamedTuple):
    """A line of a distribution's metadata.

    name: The distribution that is required.
    bounds: Its versions, as in "<2.22,>=2.18"; "" for any.
    extra: The extra that requires it; None for the package itself.
    """

    name: str
    bounds: str
    extra: str | None

    @classmethod
    def read(cls, written: str) -> Requirement | None:
        """Reads such a line, as in 'redis>=5; extra == "redis"'; None if it is none."""
        what, _, marker = written.partition(";")
        found = re.match(r"\s*([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^)]*)\)?", what)
        if found is None:
            return None
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", marker)
        return cls(found[1], found[2].strip(), extra[1] if extra else None)

    def version(self) -> str | None:
        """What is installed; None for nothing."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def finding(self) -> Finding:
        """Whether it is there, and within its bounds."""
        remedy = f"pip install '{self.name}{self.bounds}'"
        version = self.version()
        if version is None:
            return Finding(self.name, WRONG, "not installed", remedy)
        return _within(self.name, version, self.bounds, remedy)


def _within(name: str, version: str, bounds: str, remedy: str) -> Finding:
    """Whether a version is within bounds such as "<2.22,>=2.18"."""
    for bound in filter(None, (one.strip() for one in bounds.split(","))):
        found = re.fullmatch(r"(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)*)", bound)
        if found is None:
            says = f"{version}, and {bound!r} is a bound that is not understood here"
            return Finding(name, WARNING, says, f"see that it is {bounds}")
        least = _numbers(found[2])
        here = _numbers(version)
        # 2.18 and 2.18.0 are one version.
        length = max(len(least), len(here))
        here, least = (one + (0,) * (length - len(one)) for one in (here, least))
        if not _COMPARED[found[1]](here, least):
            return Finding(name, WRONG, f"{version}, and {bounds} is needed", remedy)
    return Finding(name, OK, version)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda here, bound: here < bound,
    "<=": lambda here, bound: here <= bound,
    ">": lambda here, bound: here > bound,
    ">=": lambda here, bound: here >= bound,
    "==": lambda here, bound: here == bound,
    "!=": lambda here, bound: here != bound,
}


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, without what follows it: (2, 21, 0) of "2.21.0rc1"."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(one) for one in found[0].split(".")) if found else (0,)


def _tensorflow() -> Iterator[Finding]:
    tensorflow = _imported("tensorflow")
    if isinstance(tensorflow, Finding):
        yield tensorflow
        return
    yield Finding("import tensorflow", OK, "works")
    yield from _legacy_keras(tensorflow)
    series = {
        name: ".".join(version.split(".")[:2])
        for name in ("tensorflow", "tf-keras", "tensorflow-text")
        if (version := Requirement(name, "", None).version()) is not None
    }
    if len(set(series.values())) > 1:
        yield Finding(
            "one series",
            WRONG,
            ", ".join(f"{name} {version}" for name, version in series.items())
            + ": each of these comes in a release for each TensorFlow",
            f"pip install 'tf-keras~={series['tensorflow']}.0' "
            f"'tensorflow-text~={series['tensorflow']}.0'",
        )


def _legacy_keras(tensorflow: Any) -> Iterator[Finding]:
    keras = _imported("tf_keras")
    if isinstance(keras, Finding):
        yield keras
        return
    try:
        legacy = tensorflow.keras.layers.Layer is keras.layers.Layer
    except Exception as error:
        yield Finding("legacy Keras", WRONG, _in_words(error), _REINSTALL)
        return
    asked = os.environ.get("TF_USE_LEGACY_KERAS")
    if legacy:
        says = f"tf.keras is tf_keras (TF_USE_LEGACY_KERAS={asked})"
        yield Finding("legacy Keras", OK, says)
    else:
        yield Finding(
            "legacy Keras",
            WRONG,
            f"tf.keras is Keras 3 (TF_USE_LEGACY_KERAS={asked}), which TensorFlow "
            "Recommenders cannot use",
            "set TF_USE_LEGACY_KERAS=1 before Python starts",
        )


def _text_ops() -> Iterator[Finding]:
    text = _imported("tensorflow_text")
    if isinstance(text, Finding):
        yield text
        return
    try:
        tokens = text.WhitespaceTokenizer().tokenize([TEXT]).to_list()[0]
    except Exception as error:
        yield Finding("TF Text's ops", WRONG, _in_words(error), _REINSTALL)
        return
    yield Finding("TF Text's ops", OK, f"{TEXT!r} has {len(tokens)} words")


def _native() -> Iterator[Finding]:
    from tfrs_decay.serving import native

    try:
        library = native.tensorflow_library()
        ops = native.text_op_libraries()
    except Exception as error:
        remedy = "pip install tensorflow tensorflow-text"
        yield Finding("NativeModel", WRONG, _in_words(error), remedy)
        return
    yield Finding("NativeModel", OK, f"{library.name}, {len(ops)} libraries of TF Text")


def _extras() -> Iterator[Finding]:
    try:
        told = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
        written = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return  # said before
    required = [one for line in written if (one := Requirement.read(line))]
    for extra in sorted(set(told) - set(DEVELOPMENT)):
        name = f"extra {extra}"
        own = [one for one in required if one.extra == extra]
        missing = [one.name for one in own if one.version() is None]
        install = f"pip install '{PACKAGE}[{extra}]'"
        if missing:
            says = f"not installed: no {', '.join(missing)}"
            yield Finding(name, OK, says, f"{install}, where it is wanted")
            continue
        outside = [
            f"{one.name} {found.says}"
            for one in own
            if (found := one.finding()).verdict != OK
        ]
        if outside:
            yield Finding(name, WARNING, "; ".join(outside), install)
        else:
            yield Finding(name, OK, ", ".join(f"{o.name} {o.version()}" for o in own))


def _cache(folder: Path) -> Iterator[Finding]:
    there = next(
        one for one in (folder.absolute(), *folder.absolute().parents) if one.exists()
    )
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Finding(
            "cache",
            WRONG,
            f"{folder} cannot be written: {error.strerror}",
            "give another folder with --cache, or the right to write there",
        )
        return
    free = shutil.disk_usage(there).free
    says = f"{folder} can be written, {free / 1e9:.1f} GB are free"
    if free < LEAST_DISK:
        yield Finding("cache", WARNING, says, "an encoder and a run take about 1 GB")
    else:
        yield Finding("cache", OK, says)


def _encoder(given: str | os.PathLike[str] | None, cache: Path) -> Iterator[Finding]:
    name = "encoder"
    if given is None and not (cache / CACHED_ENCODER).is_dir():
        yield Finding(
            name,
            OK,
            f"none given, and `tfrs-decay demo` left none in {cache}",
            "try one with --encoder DIR; `tfrs-decay encoder` makes one",
        )
        return
    handle = os.fspath(cache / CACHED_ENCODER if given is None else given)
    try:
        from tfrs_decay.layers import TextTower
        from tfrs_decay.runs import encoder_handles

        handles: dict[str, Any] = {"preprocessor": None, "encoder": handle}
        if (Path(handle) / "encoder").is_dir():
            handles = encoder_handles(handle)
        vector = np.asarray(TextTower(**handles).encode([TEXT]))[0]
    except Exception as error:
        yield Finding(
            name,
            WRONG,
            f"{handle} cannot be used: {_in_words(error)}",
            "make a local one with `tfrs-decay encoder`, and give its folder",
        )
        return
    if np.isfinite(vector).all() and vector.any():
        says = f"{handle}: {TEXT!r} became {len(vector)} numbers"
        yield Finding(name, OK, says)
    else:
        yield Finding(
            name,
            WRONG,
            f"{handle}: {TEXT!r} became a vector that is not finite, or nothing but 0",
            "choose another encoder",
        )


def _machine() -> Iterator[Finding]:
    yield Finding("processors", OK, str(_processors()))
    memory = _memory()
    says = "not told here" if memory is None else f"{memory / 1e9:.1f} GB"
    if memory is not None and memory < LEAST_MEMORY:
        remedy = "train with a smaller --sample, or on a larger machine"
        yield Finding("memory", WARNING, says, remedy)
    else:
        yield Finding("memory", OK, says)
    tensorflow = _imported("tensorflow")
    if not isinstance(tensorflow, Finding):
        found = tensorflow.config.list_physical_devices("GPU")
        yield Finding(
            "GPU", OK, f"{len(found)} seen" if found else "none seen: processors train"
        )


def _processors() -> int:
    """Those that this process may use; all of them where the system does not say."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> float | None:
    """Bytes that this process may have: the machine's, or its container's.

    None where the system does not say, as on Windows.
    """
    try:
        memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return memory
    return min(memory, float(limit)) if limit.isdigit() else memory


_REINSTALL = f"pip install --force-reinstall {PACKAGE}"


def _imported(package: str) -> Any:
    """A package; or, where it cannot be imported, the finding that says why."""
    try:
        return importlib.import_module(package)
    # What is broken raises what it likes.
    except Exception as error:
        return Finding(f"import {package}", WRONG, _in_words(error), _REINSTALL)


def _in_words(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:300]
