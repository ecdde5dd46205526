"""What is damaged, hostile or does not fit is refused with a ValueError, and memory beside the buffers stays as it is."""

import struct

from signwave import Model, backend

kernels = backend.kernels


def all_of(path):
    with open(path, "rb") as f:
        return f.read()


def refusal(function, *arguments):
    """The message of the ValueError that a call raises."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def check_bad_files():
    """bad/index names each file and a part of the message that is due, from the path and from memory."""
    lines = str(all_of("bad/index"), "utf-8").split("\n")[:-1]
    for line in lines:
        name, part = line.split("\t")
        message = refusal(Model, "bad/" + name)
        assert part in message, (name, part, message)
        message = refusal(Model, all_of("bad/" + name))
        assert part in message, (name, part, message)
    return len(lines)


class Guarded:
    """A buffer in the middle of a larger one; `intact` tells whether what lies around it is untouched."""

    def __init__(self, n, fill=0):
        self.whole = bytearray(b"\xa5" * 64 + bytes([fill]) * n + b"\xa5" * 64)
        self.view = memoryview(self.whole)[64 : 64 + n]

    def intact(self):
        return self.whole[:64] == b"\xa5" * 64 and self.whole[-64:] == b"\xa5" * 64


def try_step(graph, state, value, operations):
    try:
        kernels.graph_step(graph, state, value, 0, operations)
    except ValueError:
        return False
    return True


def check_damaged_graphs():
    """Truncations and flipped bits: a checked graph runs, an unchecked one never leaves its buffers."""
    good = all_of("graph.bin")
    (operations,) = struct.unpack_from("<I", good)
    state_size, value_size = kernels.graph_check(good)
    for n in list(range(0, len(good) - 1, 37)) + [len(good) - 1]:
        refusal(kernels.graph_check, bytearray(good[:n]))
        state, value = Guarded(state_size), Guarded(value_size)
        try_step(bytearray(good[:n]), state.view, value.view, operations)
        assert state.intact() and value.intact()
    accepted, at = 0, 4
    for _ in range(operations):
        for i in range(at, at + 20):
            graph = bytearray(good)
            graph[i] ^= 1 << (i % 8)
            sizes = None
            try:
                sizes = kernels.graph_check(graph)
                accepted += 1
            except ValueError:
                pass
            state, value = Guarded((sizes or (state_size, 0))[0]), Guarded((sizes or (0, value_size))[1])
            done = try_step(graph, state.view, value.view, operations)
            assert done or not sizes
            assert state.intact() and value.intact()
        (length,) = struct.unpack_from("<I", good, at + 4)
        at += length
    return accepted


def check_buffers():
    graph = bytearray(all_of("graph.bin"))
    (operations,) = struct.unpack_from("<I", graph)
    state_size, value_size = kernels.graph_check(graph)
    state, value = bytearray(state_size), bytearray(value_size)
    kernels.graph_reset(graph, state)
    kernels.graph_step(graph, state, value, 0, operations)
    for part in (0, 3, state_size - 4):
        refusal(kernels.graph_reset, graph, bytearray(part))
        refusal(kernels.graph_step, graph, bytearray(part), value, 0, operations)
    refusal(kernels.graph_step, graph, state, bytearray(value_size - 4), 0, operations)
    refusal(kernels.graph_step, graph, state, value, 0, operations + 1)
    refusal(kernels.graph_step, graph, state, value, 2, 1)
    state[0:4] = b"\xff\xff\xff\x7f"  # a ring position far outside
    refusal(kernels.graph_step, graph, state, value, 0, operations)
    for arguments in ((None, state, value, 0, 1), (graph, 1, value, 0, 1)):
        try:
            kernels.graph_step(*arguments)
            raise AssertionError("not a buffer, yet accepted")
        except TypeError:
            pass


def check_misaligned():
    """Native kernels refuse what a chip could not read; the portable ones do not care."""
    good = all_of("graph.bin")
    shifted = bytearray(len(good) + 1)
    shifted[1:] = good
    graph = memoryview(shifted)[1:]
    if backend.name == "portable":
        assert kernels.graph_check(graph) == kernels.graph_check(good)
    else:
        assert "aligned" in refusal(kernels.graph_check, graph)


def check_front_end_buffers():
    params = bytearray(all_of("front_end.bin"))
    state, out = bytearray(kernels.frontend_state_size(params)), bytearray(64)
    kernels.frontend_reset(params, state)
    hop, bands = struct.unpack_from("<H", params, 2)[0], struct.unpack_from("<H", params, 8)[0]
    kernels.frontend_step(params, state, bytes(2 * hop), out)
    for samples in (b"", bytes(2 * hop - 1), bytes(2 * hop - 2), bytes(2 * hop + 2)):
        refusal(kernels.frontend_step, params, state, samples, out)
    refusal(kernels.frontend_step, params, state, bytes(2 * hop), bytearray(bands - 1))
    refusal(kernels.frontend_step, params, bytearray(len(state) - 4), bytes(2 * hop), out)
    refusal(kernels.frontend_reset, params, bytearray(8))
    for i in (0, 2, 8, 12, 13, len(params) - 1):
        wrong = bytearray(params)
        wrong[i] ^= 0xFF
        refusal(kernels.frontend_state_size, wrong)
    for n in (0, 2, 11, len(params) - 2):
        refusal(kernels.frontend_state_size, params[:n])


def check_samples():
    model = Model("audio.swm")
    for samples in (b"", bytes(2), bytes(639), bytes(1280)):
        refusal(model.step, samples)
    refusal(model.classify, bytes(100))
    refusal(model.step_features, bytes(3))


n_files = check_bad_files()
n_accepted = check_damaged_graphs()
check_buffers()
check_misaligned()
check_front_end_buffers()
check_samples()
print("checked", n_files, "bad files,", n_accepted, "changed graphs that are still valid:", backend.name)
