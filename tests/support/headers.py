"""Headers of safetensors files changed, and the one line of what is refused."""

import json
import struct

import pytest

from branchfold.errors import NetworkError


def rewrite_header(path, change):
    """Changes the header's JSON and leaves the tensors alone."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header = change(header) or header
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


def describe(path, **changes):
    """Changes entries of the description."""

    def change(header):
        description = json.loads(header["__metadata__"]["branchfold"])
        for name, value in changes.items():
            if value is ...:
                del description[name]
            else:
                description[name] = value
        header["__metadata__"]["branchfold"] = json.dumps(description)

    rewrite_header(path, change)


def message_of(function, *arguments):
    with pytest.raises(NetworkError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
