"""What an export is made of, for people. Nothing here loads TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tfrs_decay.serving.asking import metadata_of
from tfrs_decay.serving.native import version_directory


class Report(NamedTuple):
    """What an export holds.

    version: its folder.
    size: bytes of its parts: "graph", "variables", "assets" and "assets.extra".
    variables: bytes of its largest variables, by name.
    items: how many the catalogue has.
    signatures: what each is for, by name.
    left_out: why others are not there, by name.
    core_ops: how many kinds of TensorFlow's core ops it runs.
    other_ops: the kinds of ops of others that it runs, such as TensorFlow Text's.
    server: the TensorFlow Serving whose stock image has them all; None where that was
        not asked.
    warmup: how many requests a server runs before it serves.
    no_warmup: why there are none.
    """

    version: Path
    size: dict[str, int]
    variables: dict[str, int]
    items: int
    signatures: dict[str, str]
    left_out: dict[str, str]
    core_ops: int
    other_ops: list[str]
    server: str | None
    warmup: int
    no_warmup: str | None

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.size.values())

    def __str__(self) -> str:
        ops = f"{self.core_ops} of TensorFlow's core"
        if self.other_ops:
            ops += f", and {', '.join(self.other_ops)}"
        stock = (
            "any image that has them"
            if self.server is None
            else (f"the stock image of {self.server} has them all")
        )
        lines = [
            f"{self.version}: {self.items:,} items, {_bytes(self.total)}",
            "  size:        "
            + ", ".join(f"{name} {_bytes(size)}" for name, size in self.size.items()),
            "  variables:   "
            + ", ".join(
                f"{name} {_bytes(size)}" for name, size in self.variables.items()
            ),
            f"  ops:         {ops}; {stock}",
            f"  warm-up:     {self.warmup} requests"
            + ("" if self.no_warmup is None else f", {self.no_warmup}"),
            "  signatures:",
            *(f"    {name:<24} {says}" for name, says in self.signatures.items()),
        ]
        if self.left_out:
            lines.append("  left out:")
            lines += [f"    {name:<24} {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)


def report(export_directory: str | os.PathLike[str]) -> Report:
    """Reads what an export holds.

    Args:
        export_directory: What `serving.export` wrote: the model's folder or a version.

    Raises:
        FileNotFoundError: There is no export.
        ValueError: It is none of this package, or of before it was described.
    """
    version = version_directory(Path(export_directory))
    metadata = metadata_of(version)
    if "ops" not in metadata:
        raise ValueError(f"{version} does not say what it holds: export it again.")
    size = {"graph": 0, "variables": 0, "assets": 0, "assets.extra": 0}
    for file in version.rglob("*"):
        if file.is_file():
            part = file.relative_to(version).parts[0]
            size[part if part in size else "graph"] += file.stat().st_size
    ops, warmup = metadata["ops"], metadata["warmup"]
    return Report(
        version=version,
        size=size,
        variables=metadata["variables"],
        items=len(metadata["texts"]),
        signatures={name: one["says"] for name, one in metadata["signatures"].items()},
        left_out=metadata.get("left_out", {}),
        core_ops=ops["core"],
        other_ops=ops["other"],
        server=metadata["server"],
        warmup=warmup["requests"],
        no_warmup=warmup["why"],
    )


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"
