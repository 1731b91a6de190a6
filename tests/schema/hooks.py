"""What schemathesis does not know: how audio is spelt, and what becomes of those who send no token."""

import os
import struct

import schemathesis
from hypothesis import strategies


def wav(samples):
    """A WAV file, A-law, 8,000 Hz, mono."""
    form = struct.pack("<HHIIHHH", 6, 1, 8000, 8000, 1, 8, 0)
    fact = struct.pack("<I", len(samples))
    padding = b"\0" * (len(samples) % 2)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"fact" + struct.pack("<I", 4) + fact
    chunks += b"data" + struct.pack("<I", len(samples)) + samples + padding
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


audio = strategies.binary(min_size=160, max_size=1600).map(wav)
schemathesis.openapi.media_type("audio/x-wav", strategies.one_of(audio, audio, strategies.binary(max_size=200)))


@schemathesis.serializer("audio/x-wav")
def as_it_is(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.deserializer("audio/x-wav")
def as_text(ctx, response):
    assert response.content.startswith(b"RIFF")
    return "RIFF"


if "AXBRIDGE_NO_TOKEN" in os.environ:

    @schemathesis.check
    def nobody_is_let_in(ctx, response, case):
        assert response.status_code == 401, f"{response.status_code} without a token"
        assert response.headers["www-authenticate"] == ["Bearer"]
