"""The signature at the end of a manifest or a proof.

The text is a JSON object, and the signature is its last key, so that one object of the store has both:

    {
     "format": 2,
     ...
     "signature": "BASE64"
    }

The signature is over the exact bytes of the text without its last line, and not over values that were parsed from it.
"""

import re
from base64 import b64decode, b64encode

_END = b"\n}\n"
# 64 bytes in base64.
_SIGNATURE = re.compile(rb',\n "signature": "([A-Za-z0-9+/]{86}==)"\n}\n\Z')


def append_signature(text: bytes, signature: bytes) -> bytes:
    """Return the text with the signature as its last key. The text ends as `json.dumps` with an indent ends."""
    body = text.removesuffix(_END)
    assert body != text, "the text ends with a bracket on its own line"
    return body + b',\n "signature": "' + b64encode(signature) + b'"' + _END


def split_signature(content: bytes) -> tuple[bytes, bytes]:
    """Return the text that was signed, and its signature. The signature is empty if there is none."""
    found = _SIGNATURE.search(content)
    if found is None:
        return content, b""
    return content[: found.start()] + _END, b64decode(found[1])
