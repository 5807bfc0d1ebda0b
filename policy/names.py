"""Host names in the one form in which they are compared, and the patterns that rules have for them.

A name is compared label by label, in lower case, without the final dot, in the ASCII form that DNS and TLS carry (A-labels,
RFC 5890 §2.3.2.1). So a look-alike in another script is another name, and nothing that is no host name equals any pattern.
The wire brings A-labels only: what is not ASCII there is malformed, and is never mapped to something that a rule might allow.
People who write rules may use Unicode: `*.bücher.example` is converted as browsers do it (UTS 46, not transitional).
"""

from __future__ import annotations

import re

from usernat.policy.errors import PolicyError

MAX_NAME = 253  # characters of a name without its final dot: 255 octets on the wire (RFC 1035 §2.3.4)
WILDCARD = "*."
_MAX_TEXT = 4 * MAX_NAME  # of a pattern in Unicode: no more is looked at

# LDH labels and the underscore, which service names have (RFC 8552); hyphens anywhere, as names in use have them
_LABEL = r"[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def normalise(name: str) -> str | None:
    """The form in which names are compared; None for what is no host name. Never raises."""
    # Before lower(): that would turn the Kelvin sign into a k
    if len(name) > MAX_NAME + 1 or not name.isascii():
        return None
    lower = name.removesuffix(".").lower()
    return lower if len(lower) <= MAX_NAME and _NAME.fullmatch(lower) else None


def parse_pattern(text: str) -> str:
    """A pattern in that form: a name, or `*.` and a name, which stands for every name below it, and not for itself. Raises PolicyError."""
    base = text.removeprefix(WILDCARD)
    if "*" in base:
        raise PolicyError(f"{text!r}: a star stands for whole labels in front, as in '*.pypi.org'")
    name = normalise(_to_ascii(base, text))
    if name is None:
        raise PolicyError(f"{text!r} is no host name")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise PolicyError(f"{text!r} is no host name: for an address there are rules of their own")
    return text[: len(text) - len(base)] + name


def parents(name: str) -> list[str]:
    """The names above a normal one, the nearest first: b.c and c for a.b.c."""
    found = []
    rest = name.partition(".")[2]
    while rest:
        found.append(rest)
        rest = rest.partition(".")[2]
    return found


def _to_ascii(name: str, text: str) -> str:
    if name.isascii():
        return name
    if len(name) > _MAX_TEXT:
        raise PolicyError(f"{text[:MAX_NAME]!r}… is too long for a host name")
    import idna  # noqa: PLC0415 - with its tables it is large, and few patterns need it

    try:
        return idna.encode(name, uts46=True, transitional=False).decode("ascii")
    except UnicodeError as error:
        raise PolicyError(f"{text!r} is no host name: {error}") from None
