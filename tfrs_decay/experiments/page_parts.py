"""What pages are made of: a document that fetches nothing, and its parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tfrs_decay.experiments.page_style import STYLE


def document(title: str, body: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: Of the window, as text.
        body: Its parts as HTML; empty ones are left out.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src '
        "'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>"
        + "\n".join(filter(None, body))
        + "</main></body></html>\n"
    )


def section(heading: str, body: str) -> str:
    """A heading, which is text, and HTML below it."""
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def cautions(notes: Sequence[str]) -> str:
    """Words of caution, which are text; nothing where there are none."""
    if not notes:
        return ""
    return f'<section class="caution"><h2>Be careful</h2>{bullets(notes)}</section>'


def bullets(texts: Iterable[str]) -> str:
    """A list of texts."""
    return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in texts)}</ul>"


def figure(caption: str, drawn: str) -> str:
    """A drawing, which is HTML, below its caption, which is text."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}'
        "</tbody></table></div>"
    )
