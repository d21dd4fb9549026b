"""Text that came from a file: as it may be shown, and whether it may name a folder."""

from __future__ import annotations

__all__ = ["in_markdown", "in_table", "is_name", "printable"]

_LONGEST = 200


def printable(text: str, keep: str = "\n") -> str:
    r"""The text with an escape for each character that a terminal would obey or hide, but for those of `keep`.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(letter if letter.isprintable() or letter in keep else repr(letter)[1:-1] for letter in text)


def in_markdown(text: str) -> str:
    r"""The text within one line of Markdown: it opens no tag, no code, no link and no cell of a table.

    >>> in_markdown("<b>|[x](y)")
    '&lt;b&gt;\\|[x]\\(y)'
    """
    plain = printable(text, keep="").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("`", "\\`").replace("](", "]\\(").replace("|", "\\|")


def in_table(cell: object) -> object:
    """A cell of a CSV file: a text that a spreadsheet would compute as a formula begins with an apostrophe.

    >>> in_table("=1+1"), in_table(-0.5)
    ("'=1+1", -0.5)
    """
    if not isinstance(cell, str):
        return cell
    plain = printable(cell, keep="")
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) else plain


def is_name(text: object) -> bool:
    """Whether something read from a file may name one file or folder, which then lies where it is made."""
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST or text in (".", ".."):
        return False
    return text.isprintable() and not any(letter in "/\\" for letter in text)
