"""Hailo's model scripts (.alls): text to statements and back.

The grammar was worked out from the scripts of Hailo's public model zoo, since the vendor documents it behind
a login:

    script     one statement a line; inside brackets it may go on over lines; # starts a comment
    statement  [result {, result} =] [scope.]command(argument {, argument})      also: {} = command(...)
    argument   value, or key=value; keys come last
    value      number, name, "string", {layer pattern}, [value {, value}]; names may be scoped (net/conv1)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from fer_hailo.common.errors import UserError, printable

MAX_BYTES = 4 << 20  # the largest known script has 0.34 MB
MAX_WORD = 400  # the longest word of a known script has 127 letters
MAX_DEPTH = 16  # lists in lists: known scripts have one level, and the parser recurses
MAX_DIGITS = 100  # Python refuses to read whole numbers of thousands of digits
Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = get_args(Level)

TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f]+) | (?P<newline>\n) | (?P<comment>\#[^\n]*)
    | (?P<string>"[^"\n]*"|'[^'\n]*') | (?P<glob>\{[^{}\n]*\})
    | (?P<word>[^\s,=()\[\]{}"'\#]+) | (?P<mark>.)""",
    re.VERBOSE,
)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NAME = re.compile(r"(?=[^/]*[A-Za-z_])\w[\w.\-]*(/\w[\w.\-]*)*", re.ASCII)
KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)
CALL = re.compile(r"(?:(?P<scope>\w[\w\-]*)\.)?(?P<command>[A-Za-z_]\w*)", re.ASCII)
PATTERN = re.compile(r"([\w.\-/*?]|\[!?[\w.\-]+\])*", re.ASCII)
# A line that can only begin a statement: where it follows an open bracket, the bracket was forgotten.
BEGINNING = re.compile(
    r"[ \t]*(?:(?:[\w./\-]+[ \t]*(?:,[ \t]*[\w./\-]+[ \t]*)*|\{\}[ \t]*)=[ \t]*)?[\w.\-]+[ \t]*\(", re.ASCII
)
CLOSER = {"(": ")", "[": "]"}


@functools.total_ordering
@dataclass(frozen=True)
class Finding:
    """What is to be said of one place of a script. Lines and columns count from 1; findings sort by place."""

    level: Level
    line: int
    column: int
    message: str
    suggestion: str = ""  # what was probably meant

    def _key(self) -> tuple:
        return self.line, self.column, LEVELS.index(self.level), self.message

    def __lt__(self, other: Finding) -> bool:
        return self._key() < other._key()


def format_finding(finding: Finding, name: str) -> str:
    """`NAME:LINE:COLUMN: error: MESSAGE (did you mean X?)`, as compilers write it."""
    hint = f" (did you mean {finding.suggestion}?)" if finding.suggestion else ""
    return printable(f"{name}:{finding.line}:{finding.column}: {finding.level}: {finding.message}{hint}")


@dataclass(frozen=True)
class Number:
    """text: the number as it was written, so that rendering does not round it. line, column: its place, which
    equality ignores.
    """

    value: int | float
    line: int = field(compare=False)
    column: int = field(compare=False)
    text: str = ""


@dataclass(frozen=True)
class _Word:
    value: str
    line: int = field(compare=False)
    column: int = field(compare=False)


class Name(_Word):
    """A word without quotes."""


class Text(_Word):
    """A word in quotes, here without them."""


class Glob(_Word):
    """A pattern in braces, here without them."""


@dataclass(frozen=True)
class Items:
    """A list."""

    value: tuple[Value, ...]
    line: int = field(compare=False)
    column: int = field(compare=False)


Value: TypeAlias = "Number | Name | Text | Glob | Items"


@dataclass(frozen=True)
class Keyword:
    """One key=value; line and column are the key's."""

    key: str
    value: Value
    line: int = field(compare=False)
    column: int = field(compare=False)


@dataclass(frozen=True)
class Statement:
    """One command; line and column are where its name (or its scope) stands, results and arguments know their
    own places.

    results: names; a single empty glob stands for `{} =`. scope: what precedes the dot (context_0.place), or
    "".
    """

    results: tuple[Value, ...]
    scope: str
    command: str
    args: tuple[Value, ...]
    kwargs: tuple[Keyword, ...]
    line: int = field(compare=False)
    column: int = field(compare=False)

    def get(self, key: str) -> Value | None:
        """The value of a key, or None."""
        return next((keyword.value for keyword in self.kwargs if keyword.key == key), None)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int
    column: int


class _Fault(Exception):
    """The rest of a statement cannot be understood."""

    def __init__(self, at: _Token, message: str):
        super().__init__(message)
        self.finding = Finding("error", at.line, at.column, message)


def read_script(path: Path | str) -> str:
    """The text of a script file.

    Raises UserError when it is missing, larger than MAX_BYTES or not UTF-8 text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"cannot read the model script {path}: {error.strerror}; give the path of an .alls file"
        ) from None
    if len(data) > MAX_BYTES:
        raise UserError(
            f"{path} is larger than {MAX_BYTES >> 20} MiB: that is no model script; give the path of an "
            ".alls file"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text (UTF-8): give the path of an .alls file") from None


def parse_script(text: str) -> tuple[list[Statement], list[Finding]]:
    """Statements of a script and what is wrong with its grammar.

    A statement with a fault gives one error and is left out; the rest is parsed all the same. A positional
    argument after a key and a repeated key give an error, but keep their statement. Comments give one warning
    for the whole script.
    """
    statements: list[Statement] = []
    findings: list[Finding] = []
    comments: list[_Token] = []
    for tokens in _split(text, comments):
        try:
            statements.append(_Parser(tokens, findings).statement())
        except _Fault as fault:
            findings.append(fault.finding)
    if comments:
        count = f"{len(comments)} comments" if len(comments) > 1 else "a comment"
        message = f"{count} in the script: one version of the SDK refused comments, so leave them out"
        findings.append(Finding("warning", comments[0].line, comments[0].column, message))
    return statements, sorted(findings)


def render(statements: Sequence[Statement]) -> str:
    """The text of a script, one statement a line, without comments. Parsing it gives the same statements."""
    return "".join(_render_statement(statement) + "\n" for statement in statements)


def render_value(value: Value) -> str:
    """One value as a script writes it."""
    if isinstance(value, Items):
        return "[" + ", ".join(render_value(item) for item in value.value) + "]"
    if isinstance(value, Text):
        quote = "'" if '"' in value.value else '"'
        return f"{quote}{value.value}{quote}"
    if isinstance(value, Glob):
        return "{" + value.value + "}"
    return value.text or str(value.value) if isinstance(value, Number) else value.value


def _render_statement(statement: Statement) -> str:
    results = ", ".join(render_value(result) for result in statement.results)
    arguments = [render_value(value) for value in statement.args] + [
        f"{k.key}={render_value(k.value)}" for k in statement.kwargs
    ]
    scope = f"{statement.scope}." if statement.scope else ""
    return f"{results} = " * bool(results) + f"{scope}{statement.command}({', '.join(arguments)})"


def _split(text: str, comments: list[_Token]) -> Iterator[list[_Token]]:
    """The tokens of one statement after another; comments are put aside.

    The last token of each is an "end" without text.
    """
    tokens: list[_Token] = []
    depth, line, start = 0, 1, 0
    for match in TOKEN.finditer(text):
        token = _Token(match.lastgroup or "", match.group(), line, match.start() - start + 1)
        if token.kind == "newline":
            line, start = line + 1, match.end()
            if tokens and (depth <= 0 or BEGINNING.match(text, start)):
                yield [*tokens, _Token("end", "", token.line, token.column)]
                tokens, depth = [], 0
        elif token.kind == "comment":
            comments.append(token)
        elif token.kind != "space":
            tokens.append(token)
            depth += (token.text in CLOSER) - (token.text in CLOSER.values())
    if tokens:
        yield [*tokens, _Token("end", "", line, len(text) - start + 1)]


class _Parser:
    """Recursive descent over the tokens of one statement. Raises _Fault; milder faults go to `findings`."""

    def __init__(self, tokens: list[_Token], findings: list[Finding]):
        self.tokens, self.findings, self.at = tokens, findings, 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.token
        if len(token.text) > MAX_WORD:
            raise _Fault(token, f"a word of {len(token.text)} letters is no part of a script")
        self.at += token.kind != "end"
        return token

    def follows(self) -> str:
        return self.tokens[min(self.at + 1, len(self.tokens) - 1)].text

    def statement(self) -> Statement:
        results = self.results() if self.follows() in ("=", ",") else ()
        name = self.take()
        parts = CALL.fullmatch(name.text)
        if parts is None or name.kind != "word":
            raise _Fault(name, f"a command is expected here, not {_shown(name)}")
        if self.token.text != "(":
            raise _Fault(self.token, f"'(' is expected after {name.text}, not {_shown(self.token)}")
        args, kwargs = self.arguments(self.take())
        if self.token.kind != "end":
            raise _Fault(
                self.token,
                f"the statement ends before {_shown(self.token)}: one statement a line, every bracket closed "
                "once",
            )
        return Statement(
            results, parts["scope"] or "", parts["command"], args, kwargs, name.line, name.column
        )

    def results(self) -> tuple[Value, ...]:
        if self.token.kind == "glob" and self.token.text == "{}":
            results = [self.value(0)]
        else:
            results = [self.name()]
            while self.token.text == ",":
                self.take()
                results.append(self.name())
        if self.token.text != "=":
            raise _Fault(
                self.token, f"'=' is expected after the names of the results, not {_shown(self.token)}"
            )
        self.take()
        return tuple(results)

    def name(self) -> Value:
        token = self.take()
        if token.kind != "word" or not NAME.fullmatch(token.text):
            raise _Fault(token, f"the name of a result is expected here, not {_shown(token)}")
        return Name(token.text, token.line, token.column)

    def arguments(self, opened: _Token) -> tuple[tuple[Value, ...], tuple[Keyword, ...]]:
        args: list[Value] = []
        kwargs: dict[str, Keyword] = {}
        for _ in self.items(opened):
            if self.follows() == "=":
                self.keyword(kwargs)
                continue
            if kwargs:
                message = (
                    f"{_shown(self.token)} has no key but follows {next(reversed(kwargs))}=: "
                    "positional arguments come first"
                )
                self.findings.append(Finding("error", self.token.line, self.token.column, message))
            args.append(self.value(0))
        return tuple(args), tuple(kwargs.values())

    def keyword(self, kwargs: dict[str, Keyword]) -> None:
        key = self.take()
        if key.kind != "word" or not KEY.fullmatch(key.text):
            raise _Fault(key, f"{_shown(key)} cannot be a key")
        self.take()
        value = Keyword(key.text, self.value(0), key.line, key.column)
        if key.text in kwargs:
            self.findings.append(
                Finding("error", key.line, key.column, f"{key.text} is given twice: keep one")
            )
        kwargs.setdefault(key.text, value)

    def items(self, opened: _Token) -> Iterator[None]:
        """Stop at each item between brackets; the caller takes it. Takes commas and the closing bracket."""
        closer = CLOSER[opened.text]
        if self.token.text == closer:
            self.take()
            return
        while True:
            if self.token.kind != "end":
                yield
            token = self.take()
            if token.text == closer:
                return
            if token.kind == "end":
                raise _Fault(opened, f"this '{opened.text}' is never closed")
            if token.text in CLOSER.values():
                raise _Fault(
                    token,
                    f"'{closer}' is expected here, not '{token.text}': it closes the '{opened.text}' of "
                    f"column {opened.column}",
                )
            if token.text != ",":
                raise _Fault(token, f"a comma is missing before {_shown(token)}")
            if self.token.text in (",", *CLOSER.values()):
                raise _Fault(self.token, f"an argument is missing before '{self.token.text}'")

    def value(self, depth: int) -> Value:
        token = self.take()
        place = token.line, token.column
        if token.text == "[":
            if depth == MAX_DEPTH:
                raise _Fault(token, f"lists are nested deeper than {MAX_DEPTH}")
            return Items(tuple(self.value(depth + 1) for _ in self.items(token)), *place)
        if token.kind == "string":
            return Text(token.text[1:-1], *place)
        if token.kind == "glob":
            pattern = token.text[1:-1].strip()
            if not PATTERN.fullmatch(pattern):
                raise _Fault(
                    token,
                    f"{token.text} is no layer pattern: letters, digits, _ - / * ? and [ ] may stand in it",
                )
            return Glob(pattern, *place)
        if NUMBER.fullmatch(token.text):
            number = float(token.text) if re.search("[.eE]", token.text) else int(token.text[:MAX_DIGITS])
            return Number(number, *place, token.text)
        if NAME.fullmatch(token.text):
            return Name(token.text, *place)
        raise _Fault(token, _no_value(token))


def _no_value(token: _Token) -> str:
    if token.text in ('"', "'"):
        return "the string that begins here does not end on this line: close the quotes"
    if token.text == "{":
        return "this '{' is never closed"
    if (
        token.kind == "word"
        and re.fullmatch(r"[\w./\-*?!]+", token.text, re.ASCII)
        and re.search("[*?]", token.text)
    ):
        return f"a layer pattern stands in braces: {{{token.text}}}"
    return f"a value is expected here, not {_shown(token)}"


def _shown(token: _Token) -> str:
    text = token.text if len(token.text) <= 60 else token.text[:57] + "..."
    return {"end": "the end of the statement", "string": text}.get(token.kind, ascii(text))
