"""Reads a page as a browser would, and refuses what is not closed."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "line", "circle", "polyline", "polygon", "br"}


class Reader(HTMLParser):
    """Refuses elements that are not closed in turn, and keeps text and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.attributes, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def said(self):
        return " ".join(" ".join(self.text).split())
