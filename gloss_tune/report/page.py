"""The report as one HTML file that needs nothing else: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1.5rem 4rem; color: #1b1f24; background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 0.8rem; padding-top: 0.6rem; border-top: 1px solid #dfe3e8; }
p, nav, figure, .wide { margin: 0.8rem 0; }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; font-size: 0.92rem; }
a { color: #0b5394; }
code { font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: #f3f5f7;
  padding: 0.1em 0.3em; border-radius: 3px; }
pre { background: #f3f5f7; padding: 0.8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
  border-radius: 5px; line-height: 1.4; }
pre code { background: none; padding: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.28rem 0.8rem 0.28rem 0; text-align: left; border-bottom: 1px solid #e8ebee; white-space: nowrap; }
td:last-child { white-space: normal; padding-right: 0; }
th { border-bottom: 2px solid #c9d0d8; }
figure { text-align: center; }
img { max-width: 100%; height: auto; }
footer { margin-top: 3rem; color: #5a6570; font-size: 0.88rem; }
@media print { h2 { break-after: avoid; } figure, table, pre { break-inside: avoid; } nav { display: none; } }
"""


def page(text: str, pictures: Mapping[str, bytes], title: str, footer: str) -> str:
    """A report's Markdown as one HTML page.

    Args:
        text: Markdown; HTML in it is shown and not obeyed.
        pictures: SVG by name, for ``![…](pictures/NAME.svg)``.
        title: of the window.
        footer: one line of plain text.

    Raises:
        KeyError: the text shows a picture that is not there.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    headings = _number_headings(tokens)
    markdown.add_render_rule("image", lambda _, found, index, *__: _picture(found[index], pictures))
    markdown.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    body = markdown.renderer.render(tokens, markdown.options, {})
    body = re.sub(r"<p>(<figure>.*?</figure>)</p>", r"\1", body, flags=re.DOTALL)
    links = " ".join(f'<a href="#{key}">{html.escape(name)}</a>' for key, name in headings)
    first, _, rest = body.partition("<h2")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{first}<nav>{links}</nav>\n"
        f"{'<h2' + rest if rest else ''}<footer>{html.escape(footer)}</footer>\n</body>\n</html>\n"
    )


def _number_headings(tokens: Sequence[Any]) -> list[tuple[str, str]]:
    """Give each second-level heading a key to link to; returns keys and texts."""
    found: list[tuple[str, str]] = []
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h2":
            key = f"section-{len(found) + 1}"
            opening.attrSet("id", key)
            found.append((key, content.content.replace("\\", "")))
    return found


def _picture(token: Any, pictures: Mapping[str, bytes]) -> str:
    name = str(token.attrs["src"]).removeprefix("pictures/").removesuffix(".svg")
    data = base64.b64encode(pictures[name]).decode()
    alt = html.escape(token.content.replace("\\", ""), quote=True)
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{alt}"></figure>'
