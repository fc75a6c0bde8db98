"""The embedded data set: documentation strings of the running Python's standard library.

A document is the documentation string of a module, class or function; its label is the chapter of the library
reference that describes the module. Sources are parsed, never imported, so modules written in C have no
documents. What would give the label away is taken out: dotted names, doctests, and the same list of words
(the names of all modules used here and of all classes) from every document, whatever its class, so that a gap
tells nothing either; and the file's own name.
"""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from gloss_tune.data.cache import cache_dir, write_atomically
from gloss_tune.data.dataset import Document
from gloss_tune.errors import DataError

_log = logging.getLogger(__name__)

MIN_WORDS = 8
MAX_PER_CLASS = 600
MIN_PER_CLASS = 50

# By chapter of the library reference, with every module of it that some Python from 3.10 on has in Python
# source. Left out: small chapters, and distutils and lib2to3, large ones that newer Pythons lack.
CHAPTERS = {
    # Networking and Interprocess Communication; Concurrent Execution
    "concurrency": (
        "asyncio socket ssl selectors asyncore asynchat threading _threading_local multiprocessing "
        "concurrent subprocess sched queue contextvars"
    ),
    # Internet Protocols and Support
    "internet": (
        "webbrowser wsgiref urllib nturl2path http ftplib poplib imaplib nntplib smtplib smtpd "
        "telnetlib uuid socketserver xmlrpc ipaddress cgi cgitb"
    ),
    # Internet Data Handling; Structured Markup Processing Tools
    "markup": "email json mailbox mailcap mimetypes base64 binhex quopri uu html xml",
    # Graphical User Interfaces with Tk; Program Frameworks
    "gui": "tkinter idlelib turtle turtledemo cmd shlex",
    # Numeric and Mathematical Modules; Data Types
    "numbers": (
        "numbers decimal _pydecimal fractions random statistics datetime _pydatetime _strptime "
        "zoneinfo calendar collections _collections_abc heapq bisect weakref _weakrefset types copy "
        "pprint reprlib enum graphlib"
    ),
    # Text Processing Services; Binary Data Services; File and Directory Access; Data Persistence; Data
    # Compression and Archiving; File Formats
    "files": (
        "string re sre_parse difflib textwrap stringprep codecs pathlib posixpath ntpath genericpath "
        "fileinput filecmp tempfile glob fnmatch linecache shutil pickle copyreg shelve dbm sqlite3 "
        "gzip bz2 lzma zipfile tarfile csv configparser tomllib netrc plistlib"
    ),
    # Generic and Unix-Specific Operating System Services; Command-Line Interface Libraries;
    # Internationalization
    "system": (
        "os io _pyio argparse optparse getopt logging getpass curses platform ctypes pty tty pipes "
        "crypt gettext locale"
    ),
    # Development Tools; Debugging and Profiling
    "development": "typing pydoc doctest unittest bdb pdb profile cProfile pstats timeit trace tracemalloc",
    # Python Runtime, Language and Import Services; Custom Interpreters; Functional Programming; Packaging
    "language": (
        "warnings dataclasses contextlib abc _py_abc traceback __future__ inspect annotationlib site "
        "sysconfig code codeop zipimport pkgutil modulefinder runpy imp importlib ast symtable token "
        "keyword tokenize tabnanny pyclbr py_compile compileall dis opcode pickletools functools "
        "operator ensurepip venv zipapp"
    ),
}

_LABEL_WORDS = {module.strip("_").lower() for modules in CHAPTERS.values() for module in modules.split()}
_LABEL_WORDS |= {"idle", "tk", "tcl", *CHAPTERS}

_DOCTEST = re.compile(r"^[ \t]*>>>.*(?:\n(?![ \t]*$).*)*", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+")
_ADDRESS_OR_DOTTED_NAME = re.compile(r"https?://\S+|\w+(?:\.\w+)+")


def stdlib_documents() -> tuple[dict[str, list[Document]], list[str]]:
    """Builds the data set, or takes it from the cache where the same sources gave it before.

    Returns:
        Documents of ``train`` (about 70 %), ``val`` and ``test`` (about 15 % each), the split decided by the
        hash of each text; and warnings, about classes left out because this Python lacks most of their
        sources.

    Raises:
        DataError: this Python comes without the sources of its standard library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    sources = list(_sources(root))
    documents = _read_cache(path := cache_dir() / "stdlib" / f"{_sources_key(root, sources)}.json")
    if not documents:
        documents = _label_documents(root, sources)
        try:
            write_atomically(path, json.dumps(documents).encode())
        except OSError as error:
            _log.warning(
                "the stdlib data set is built anew each time, since it could not be cached: %s", error
            )
    by_class = {chapter: [text for text, label in documents if label == chapter] for chapter in CHAPTERS}
    kept = {chapter: _thin(texts) for chapter, texts in by_class.items() if len(texts) >= MIN_PER_CLASS}
    if len(kept) < 2:
        raise DataError(
            f"The data set 'stdlib' is made from the sources of Python's standard library, but {root} holds "
            f"too few of them. Use a Python with its sources, or another data set."
        )
    splits: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    for chapter, texts in kept.items():
        for text in texts:
            splits[_split_of(text)].append((text, chapter))
    notes = [
        f"Class {chapter!r} is left out: this Python has only {len(by_class[chapter])} of its documentation "
        "strings."
        for chapter in CHAPTERS
        if chapter not in kept
    ]
    return splits, notes


def _sources(root: Path) -> Iterator[tuple[Path, str]]:
    """Every source file with its chapter, in an order that does not depend on the file system."""
    for chapter, modules in CHAPTERS.items():
        for module in modules.split():
            files = [root / f"{module}.py", *sorted((root / module).rglob("*.py"))]
            for file in files:
                if file.is_file() and not {"test", "tests", "idle_test"} & set(file.relative_to(root).parts):
                    yield file, chapter


def _sources_key(root: Path, sources: list[tuple[Path, str]]) -> str:
    key = hashlib.sha256(Path(__file__).read_bytes())
    for file, _ in sources:
        key.update(f"{file.relative_to(root)}:{file.stat().st_size}\n".encode())
    return key.hexdigest()[:16]


def _read_cache(path: Path) -> list[Document]:
    try:
        return [(str(text), str(label)) for text, label in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


def _label_documents(root: Path, sources: list[tuple[Path, str]]) -> list[Document]:
    """The distinct texts of all sources; one that two chapters share has no right label and is left out."""
    found: dict[str, tuple[str, set[str]]] = {}
    for file, chapter in sources:
        own_words = {part.strip("_").lower() for part in file.relative_to(root).with_suffix("").parts}
        for docstring in _docstrings(file):
            text = without_label(docstring, own_words)
            words = re.findall(r"[a-z]{2,}", text.lower())
            if len(words) >= MIN_WORDS:
                found.setdefault(" ".join(words), (text, set()))[1].add(chapter)
    return [(text, next(iter(chapters))) for text, chapters in found.values() if len(chapters) == 1]


def _docstrings(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in other people's strings
            module = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    pending: list[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = [module]
    while pending:
        node = pending.pop()
        yield ast.get_docstring(node) or ""
        if isinstance(node, (ast.Module, ast.ClassDef)):
            inner = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            pending.extend(child for child in node.body if isinstance(child, inner))


def without_label(docstring: str, own_words: Iterable[str] = ()) -> str:
    """A documentation string as one line of prose, without what would give its chapter away.

    Args:
        docstring: as written.
        own_words: the parts of its module's name, taken out as well.
    """
    hidden = _LABEL_WORDS.union(own_words)
    text = _ADDRESS_OR_DOTTED_NAME.sub(" ", _DOCTEST.sub(" ", docstring))
    # An underscore ends a word here, so that json_type loses its first half.
    text = _WORD.sub(lambda match: "" if match[0].lower() in hidden else match[0], text)
    return " ".join(text.split())


def _thin(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: _fraction("thin", text))[:MAX_PER_CLASS]


def _split_of(text: str) -> str:
    fraction = _fraction("split", text)
    return "train" if fraction < 0.7 else "val" if fraction < 0.85 else "test"


def _fraction(purpose: str, text: str) -> float:
    """A number in [0, 1) from the text alone; unrelated between purposes."""
    return int.from_bytes(hashlib.sha256(f"{purpose}\0{text}".encode()).digest()[:6], "big") / 2**48
