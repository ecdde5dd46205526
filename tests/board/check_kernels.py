"""Every operation, chains of them and the front end, against vectors (tests/device/vectors.py says what is in them).

Runs unchanged under CPython and MicroPython, from a folder that holds `signwave` and the vectors.
"""

import struct

from signwave import backend

kernels = backend.kernels


def read_u32s(f, n):
    data = bytearray(4 * n)
    assert f.readinto(data) == 4 * n
    return struct.unpack(f"<{n}I", data)


def read_bytes(f, n):
    data = bytearray(n)
    assert not n or f.readinto(data) == n
    return data


def check_graph(f, number):
    """All results of a graph; every other one is run operation by operation."""
    size, state_size, value_size, operations, frames, n_in, n_out = read_u32s(f, 7)
    graph = read_bytes(f, size)
    assert kernels.graph_check(graph) == (state_size, value_size), number
    state, value = bytearray(state_size), bytearray(value_size)
    kernels.graph_reset(graph, state)
    for frame in range(frames):
        value[:n_in] = read_bytes(f, n_in)
        if number & 1:
            for i in range(operations):
                kernels.graph_step(graph, state, value, i, i + 1)
        else:
            kernels.graph_step(graph, state, value, 0, operations)
        assert value[:n_out] == read_bytes(f, n_out), f"graph {number}, frame {frame}"


def check_front_end(f, number):
    size, frames, n_in, bands = read_u32s(f, 4)
    params = read_bytes(f, size)
    state, out = bytearray(kernels.frontend_state_size(params)), bytearray(bands)
    kernels.frontend_reset(params, state)
    for frame in range(frames):
        kernels.frontend_step(params, state, read_bytes(f, n_in), out)
        assert out == read_bytes(f, bands), f"front end {number}, frame {frame}"


with open("expected_backend", "rb") as f:
    expected = str(f.read(), "utf-8")
assert backend.name == expected, (backend.name, backend.reason)

with open("vectors.bin", "rb") as f:
    n_graphs, n_front_ends = read_u32s(f, 2)
    for i in range(n_graphs):
        check_graph(f, i)
    for i in range(n_front_ends):
        check_front_end(f, i)
print("checked", n_graphs, "graphs,", n_front_ends, "front ends:", backend.name)
