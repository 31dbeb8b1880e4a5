"""Taking out of a text what tells of people and machines: names, paths, addresses, and images in it.

Better too much than too little. What stays is what a reader of somebody else's log needs: messages, numbers,
layer names, the place in a traceback below site-packages.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import re
import socket
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

USER, HOST, PATH, VALUE = "<user>", "<host>", "<path>", "<removed>"
MOST_NUMBERS = 64  # together: shapes and confusion matrices are fewer, images and weights more
MOST_LINE = 2000  # characters
# Names that tell of nobody, and words of the texts themselves
NOBODY = set(
    re.findall(
        r"\w+",
        "root user users username ubuntu debian admin administrator docker hailo local localhost localdomain "
        "home guest runner python linux windows public default nobody test host hostname device name path "
        "removed none true false null data shared share work workspace project projects gpu cpu cuda nvidia "
        "tensorflow server desktop laptop machine node info error warning log file net model layer conv "
        "input output image images",
    )
)
# File names that this project or the SDK gave
KNOWN = re.compile(
    r"(?:model(?:_float32(?:_primitive)?|_int8|_quantized|_rejected)?|effective|int8|fast|bias|acceleras|sdk"
    r"|hailo_sdk\.\w+|manifest|steps|compile_report|conversion|calib_set|eval_set|int8_answers)"
    r"\.(?:har|hef|tflite|alls|log|json|html|npy|npz)"
)
_PEOPLE = ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
_MACHINES = ("HOSTNAME", "HOST", "COMPUTERNAME", "USERDOMAIN", "USERDNSDOMAIN")
# Entries of a JSON object that are not for others
_KEYS = re.compile(
    r"(?i)(?:user|log|sudo_user|host|computer|machine)_?(?:name)?|logname|home|userprofile|userdomain|pwd|cwd"
    r"|command|argv|e?mail|author|git_?(?:user|email)|ssh_\w+|\w*(?:token|secret|passw|api_?key)\w*"
)

_END = r"\s\"'`<>|:,;()\[\]{}/\\"
# A part of a path may hold spaces where another part follows, unless an ending shows that it was the last
_PART = (
    rf"[^{_END}]{{1,255}}(?:(?<!\.\w\w)(?<!\.\w\w\w)(?<!\.\w\w\w\w)(?<!\.\w\w\w\w\w)[ ,;()\[\]]"
    r"[^\r\n\"'`<>|:/\\]{0,40}(?=[\\/]))?"
)
_ENDINGS = (
    r"(?:png|jpe?g|bmp|gif|tiff?|webp|heic|svg|pgm|ppm|mp4|avi|mov|mkv|npy|npz|har|hef|tflite|onnx|h5|keras"
    r"|alls|zip|tar|gz|csv|txt|json|ya?ml|pdf|log|html)(?![\w(])"
)
_LAST = rf"(?:(?: [^{_END}]{{1,255}}){{1,3}}\.{_ENDINGS})?"
_SEP = r"[\\/]+"
_START = rf"(?:~?\\*/+|[a-z]:{_SEP}|\\\\+\w)"
_PATH = re.compile(
    "|".join((
        rf"(?<=\"){_START}[^\"\r\n]{{0,1000}}(?=\")",  # whole between quotes
        rf"(?<='){_START}[^'\r\n]{{0,1000}}(?=')",
        rf"(?<=[\"'])[^\"'`<>|:\r\n]{{1,200}}\.{_ENDINGS}(?=[\"'])",
        rf"(?<![a-z0-9])[a-z]:{_SEP}{_PART}(?:{_SEP}{_PART})*(?:{_SEP})?{_LAST}",  # C:\Users\...
        rf"(?<![\w\\:])\\\\+[\w.$-]+(?:{_SEP}{_PART})+{_LAST}",  # \\server\share, \\wsl$\...
        rf"(?<![\w.~\])}}>%*/\\-])(?:~|\.{{1,2}})?\\*/+{_PART}(?:{_SEP}{_PART})*(?:{_SEP})?{_LAST}",
        # ... of which the last was /x, ~/x, ../x; a file, alone or by a relative path
        rf"(?<![\w.<>/\\-])[^{_END}]{{1,255}}(?:[\\/][^{_END}]{{1,255}}){{0,40}}\.{_ENDINGS}",
    )),
    re.I,
)  # fmt: skip
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}:\\*/\\*/[^\s\"'<>]*", re.I)
_AT = re.compile(r"[\w.+%-]{1,64}@[\w-]+(?:\.[\w-]+)*")
_PROMPT = re.compile(r"([\w.-]{1,64})@([\w.-]+)(?=:[~/])")
_MAC = re.compile(r"(?<![\w:-])[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:-])", re.I)
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-f]{0,4}:[0-9a-f:]{0,40}:[0-9a-f.:]{0,20}(?:%\w+)?", re.I)
_ID = re.compile(r"(?<!\w)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w-])", re.I)
_SET = re.compile(
    r"(?<!\w)((USER(?:NAME|PROFILE|DOMAIN)?|LOGNAME|SUDO_USER|HOST(?:NAME)?|COMPUTERNAME|HOME|PWD|OLDPWD|MAIL"
    r"|SSH_\w{1,20}|user name|host name|\w{0,30}(?:TOKEN|SECRET|PASSW|API_?KEY)\w{0,30})\\*[\"']? ?[=:] ?)"
    r"(\\*\"[^\"\r\n]*\"|'[^'\r\n]*'|[^\s,;\"']+)",
    re.I,
)
_UNAME = re.compile(r"\b(Linux|Darwin) ([\w.-]+) (?=\d+\.\d+)")
_DATA = re.compile(
    r"[A-Za-z0-9+/=]{200,}|(?<!\\)(?:\\+x[0-9a-f]{2}(?:[ -\[\]-~]|\\[nrt']){0,8}){16,}"
)  # base64; b'\x89PNG...'
_OF_HOMES = re.compile(
    r"(?:[\\/](?:home|Users)|Documents and Settings)[\\/]+([^\s\"'`<>|:,;()\[\]{}\\/]+)", re.I
)
_ESCAPED = re.compile(r"(?<!\\)\\+u([0-9a-f]{4})", re.I)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBER = re.compile(r"[-+]?\d[\d.]*(?:e[-+]?\d+)?|nan|inf", re.I)


class Scrubber:
    """Takes out the names that it was given or has learnt, and all that has the shape of a path, an address,
    or of data.
    """

    def __init__(self, people: Iterable[str] = (), machines: Iterable[str] = ()):
        self._names: dict[str, tuple[str, bool]] = {}  # what stands for each; whether within words too
        self._pattern = re.compile(r"(?!)")
        self._add(people, USER, within=True)
        self._add(machines, HOST, within=True)

    def learn(self, text: str) -> None:
        """Remember the names that a text tells by its form, so that they are taken out elsewhere too: of home
        folders, settings such as USER=name, `uname -a`, a shell's prompt.
        """
        text = plain(text)
        self._add(_OF_HOMES.findall(text), USER)
        self._add((found[1] for found in _UNAME.findall(text)), HOST)
        for _, name, value in _SET.findall(text):
            if name.upper() in (*_PEOPLE, *_MACHINES):
                self._add([value], USER if name.upper() in _PEOPLE else HOST)
        for person, machine in _PROMPT.findall(text):
            self._add([person], USER)
            self._add([machine], HOST)

    def name(self, names: Iterable[str], shown: str) -> None:
        """Remember names, where they stand as words, and what is to stand for them."""
        self._add(names, shown)

    def text(self, text: str) -> str:
        """A text of one or many lines without all that."""
        text = _DATA.sub("<data>", _without_numbers(plain(text)))
        text = _URL.sub("<url>", text)
        text = _PATH.sub(_shown, text)
        text = _SET.sub(rf"\1{VALUE}", text)
        text = _UNAME.sub(rf"\1 {HOST} ", text)
        text = _AT.sub(f"{USER}@{HOST}", text)
        text = _ID.sub("<id>", _MAC.sub("<address>", text))
        text = _IPV6.sub(_address, _IPV4.sub(_address, text))
        return "\n".join(_short(line) for line in self.names_out_of(text).split("\n"))

    def names_out_of(self, text: str) -> str:
        """A text without the names alone: for one whose form is known, as a version or a file's name."""
        # Letters without regard to case are more than `lower` knows: a long s is an s
        return self._pattern.sub(lambda found: self._names.get(found[0].lower(), (USER,))[0], text)

    def values(self, value: Any) -> Any:
        """What JSON holds, without all that: texts and keys are scrubbed, long lists of numbers left out."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                self.text(key): VALUE if _KEYS.fullmatch(key) else self.values(content)
                for key, content in value.items()
            }
        if isinstance(value, list):
            count = _count(value)
            return f"<{count} numbers>" if count > MOST_NUMBERS else [self.values(one) for one in value]
        return value

    def _add(self, names: Iterable[str], shown: str, within: bool = False) -> None:
        for name in (form.lower() for whole in names for form in _forms(whole, shown == HOST)):
            if len(name) > 1 and name not in NOBODY and not name.isdigit():
                self._names.setdefault(name, (shown, within and len(name) > 3))
        parts = [
            re.escape(name) if within else rf"(?<![^\W\d_]){re.escape(name)}(?![^\W\d_])"
            for name, (_, within) in sorted(self._names.items(), key=lambda entry: -len(entry[0]))
        ]
        self._pattern = re.compile("|".join(parts) or r"(?!)", re.I)


def of_this_machine() -> Scrubber:
    """One that knows the names of this user and this machine."""
    people = [os.environ.get(name, "") for name in _PEOPLE]
    people += [os.path.basename(os.path.expanduser("~")), os.path.basename(os.environ.get("USERPROFILE", ""))]
    with contextlib.suppress(ImportError, KeyError, AttributeError):
        import pwd  # not on Windows

        own = pwd.getpwuid(os.getuid())
        people += [own.pw_name, own.pw_gecos.split(",")[0], *own.pw_gecos.split(",")[0].split()]
    machines = [os.environ.get(name, "") for name in _MACHINES]
    with contextlib.suppress(OSError):
        machines.append(socket.gethostname())
    return Scrubber(people, machines)


def plain(text: str) -> str:
    r"""A text in which no escape hides a name: \u00fc is written out, at any depth of escaping, accents are
    composed, colours and control characters are gone.
    """
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), _COLOURS.sub("", text))
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = unicodedata.normalize("NFC", text)
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def _forms(name: str, machine: bool) -> Iterator[str]:
    r"""A name as texts may write it: whole, and each part of it (DOMAIN\name, first.last, machine.domain)."""
    name = plain(name).strip(" \"'<>\\").lower()
    first, _, domain = name.partition(".")
    parts = [first, domain if "." in domain else ""] if machine else re.split(r"[\\@.\s]+", name)
    for form in (name, *(part for part in parts if len(part) > 3)):
        yield form
        if not form.isascii():
            yield from _spellings(form)


def _spellings(name: str) -> Iterator[str]:
    """Of a name with other letters than English ones: without accents, and as programs garble them."""
    yield "".join(letter for letter in unicodedata.normalize("NFKD", name) if letter.isascii())
    yield "".join(letter if letter.isascii() else "\ufffd" for letter in name)
    yield plain(name.encode().decode("latin-1"))
    yield plain(name.encode().decode("cp1252", "replace"))
    yield urllib.parse.quote(name).lower()
    yield repr(name.encode())[2:-1]


def _shown(found: re.Match) -> str:
    """What is kept of a path: where it lies in an installed package, or a file name that tells nothing."""
    parts = re.split(_SEP, found[0].strip())
    for place in ("site-packages", "dist-packages"):
        if place in parts[:-1]:
            return "/".join([PATH, *parts[parts.index(place) + 1 :]])
    if not KNOWN.fullmatch(parts[-1]):
        return PATH
    return parts[-1] if len(parts) == 1 else f"{PATH}/{parts[-1]}"


def _address(found: re.Match) -> str:
    """`<address>` for what is one; a time of day or a C++ name has only the look of it."""
    for text in (found[0], found[0].rstrip(".:")):
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(text.split("%")[0])
            return "<address>" + found[0][len(text) :]
    return found[0]


def _without_numbers(text: str) -> str:
    """Lines that hold little but numbers, as a printed image has, say how many they were, if many."""
    kept: list[str] = []
    for numeric, group in itertools.groupby(text.split("\n"), _is_numeric):
        lines = list(group)
        count = sum(len(_numbers(line)) for line in lines) if numeric else 0
        kept += [f"<{count} numbers>"] if count > MOST_NUMBERS else lines
    return "\n".join(kept)


def _is_numeric(line: str) -> bool:
    return len(_numbers(line)) > 0.8 * len(_words(line)) or not line.strip()


def _numbers(line: str) -> list[str]:
    return [word for word in _words(line) if _NUMBER.fullmatch(word)]


def _words(line: str) -> list[str]:
    return [word for word in re.split(r"[\s,;\[\](){}.]+(?=\s|$)|[\s,;\[\](){}]+", line) if word]


def _count(value: Any) -> int:
    """Numbers in a list of numbers, or of such lists; 0 of any other."""
    if isinstance(value, (int, float)):
        return 1
    if not isinstance(value, list):
        return 0
    counts = [_count(one) for one in value]
    return sum(counts) if all(counts) else 0


def _short(line: str) -> str:
    left = len(line) - MOST_LINE
    return line if left <= 0 else f"{line[:MOST_LINE]} ... ({left:,} characters left out)"
