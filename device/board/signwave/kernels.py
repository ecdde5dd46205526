"""The kernels in plain MicroPython: the same functions over the same buffers as the native module (export/FORMAT.md).

    state_size, value_size = graph_check(graph)
    graph_reset(graph, state)
    graph_step(graph, state, value, first, last)      # operations first <= i < last on one frame, in place in `value`

    state = bytearray(frontend_state_size(params))
    frontend_reset(params, state)
    frontend_step(params, state, samples, out)        # one hop of 16-bit samples in, i8 out[bands]

All raise ValueError on buffers that do not fit. Correct everywhere and slow: bytes and small integers are all it uses,
because MicroPython cannot look at a bytearray as words, and integers past 30 bits allocate on a board.
"""

from array import array

from .words import i16, i32, u16, u32

CONV_I4, CONV_1B, DENSE_I8, SUM_WINDOW = 1, 2, 3, 4
_HEADER = 20
_NAMES = ("", "conv_i4", "conv_1b", "dense_i8", "sum_window")


def _set16(b, i, v):
    """Store v, clamped to 16 bits."""
    v = -32768 if v < -32768 else 32767 if v > 32767 else v
    b[i] = v & 255
    b[i + 1] = v >> 8 & 255


def _set32(b, i, v):
    b[i] = v & 255
    b[i + 1] = v >> 8 & 255
    b[i + 2] = v >> 16 & 255
    b[i + 3] = v >> 24 & 255


def _span(graph, at):
    return (u16(graph, at + 12) - 1) * u16(graph, at + 14) + 1


def _arrays(graph, at):
    """Bytes of each array of a record, without padding: the order of FORMAT.md, weights last."""
    op, cin, cout, taps = graph[at], u16(graph, at + 8), u16(graph, at + 10), u16(graph, at + 12)
    if op == CONV_I4:
        return 2 * cout, 4 * cout, (cout + 7 >> 3) * taps * cin * 4
    if op == CONV_1B:
        return 2 * cin, (cin + 31 >> 5) * 4, 2 * cout, 2 * cout, 4 * cout, taps * cin * (cout + 31 >> 5) * 4
    if op == DENSE_I8:
        return 2 * cin, 4 * cin, 4 * cout, cout * cin
    return ()


def _state_bytes(graph, at):
    op, cin = graph[at], u16(graph, at + 8)
    if op == CONV_I4:
        return 4 + _span(graph, at) * cin
    if op == CONV_1B:
        return 4 + _span(graph, at) * (cin + 31 >> 5) * 4
    if op == SUM_WINDOW:
        return 4 + 4 * cin + (2 * u16(graph, at + 12) * cin + 3 & ~3)
    return 0


# Checking


def graph_check(graph):
    """Validate a graph section completely; (bytes of state, bytes of the value buffer)."""
    if len(graph) < 4:
        raise ValueError("graph: shorter than its operation count")
    count, at, state, channels, kind = u32(graph, 0), 4, 0, 0, 0
    if not 1 <= count <= 64:
        raise ValueError(f"graph: {count} operations, allowed are 1 to 64")
    for i in range(count):
        where = f"graph: operation {i}: "
        if len(graph) - at < _HEADER:
            raise ValueError(where + "truncated")
        fault = _fault_of_shape(graph, at) or _fault_of_record(graph, at) or _fault_of_chain(graph, at, kind, channels)
        if fault:
            raise ValueError(where + fault)
        kind, channels = graph[at], u16(graph, at + 10)
        state += _state_bytes(graph, at)
        at += u32(graph, at + 4)
    if at != len(graph):
        raise ValueError(f"graph: {len(graph) - at} bytes behind the last operation")
    if state > 65536:
        raise ValueError(f"graph: needs {state} bytes of state, allowed are 65536")
    return state, _value_bytes(graph, count)


def _value_bytes(graph, count):
    at, most = 4, 0
    for _ in range(count):
        most = max(most, u16(graph, at + 8), u16(graph, at + 10))
        at += u32(graph, at + 4)
    return 4 * most


def _fault_of_shape(graph, at):
    """What is wrong with a record's header, or None; nothing behind the header is looked at."""
    op, shortcut, zero = u16(graph, at), u16(graph, at + 2), u16(graph, at + 18)
    cin, cout, taps, dilation = (u16(graph, at + i) for i in (8, 10, 12, 14))
    shift_a, shift_b = graph[at + 16], graph[at + 17]
    if not CONV_I4 <= op <= SUM_WINDOW:
        return f"opcode {op} is not known; another version of signwave may"
    if shortcut > 1 or zero or (shortcut and not (op == CONV_1B and cin == cout)):
        return "shortcut or reserved field is not valid"
    if not (1 <= cin <= 512 and 1 <= cout <= 512):
        return f"{cin} to {cout} channels, allowed are 1 to 512"
    if not (1 <= taps <= (256 if op == SUM_WINDOW else 64) and 1 <= dilation <= 64 and _span(graph, at) <= 256):
        return f"{taps} taps with dilation {dilation} are beyond the limits"
    if op != SUM_WINDOW and taps * cin > 4096:
        return f"{taps} taps x {cin} channels are more than 4096 inputs"
    if shift_a > (0 if op == SUM_WINDOW else 24) or shift_b > (24 if op in (CONV_I4, DENSE_I8) else 0):
        return f"shifts {shift_a} and {shift_b} are beyond the limits"
    if op in (CONV_I4, DENSE_I8) and cin & 3:
        return f"{cin} channels are not a multiple of 4"
    if (op == DENSE_I8 and (taps != 1 or dilation != 1)) or (op == SUM_WINDOW and (cin != cout or dilation != 1)):
        return "taps, dilation or channels do not suit a " + _NAMES[op]


def _fault_of_record(graph, at):
    """What is wrong with a record's length, padding, biases or weights' padding bits, or None."""
    op, length = graph[at], u32(graph, at + 4)
    arrays = _arrays(graph, at)
    need = _HEADER + sum([n + 3 & ~3 for n in arrays])
    if length != need:
        return f"record of {length} bytes, its shape needs {need}"
    if length > len(graph) - at:
        return "record reaches past the section"
    p, biases = at + _HEADER, {CONV_I4: (1,), CONV_1B: (4,), DENSE_I8: (1, 2)}.get(op, ())
    for i, n in enumerate(arrays):
        for pad in range(p + n, p + (n + 3 & ~3)):
            if graph[pad]:
                return "padding is not zero"
        if i in biases:
            for q in range(p, p + n, 4):
                top = (graph[q + 3] ^ 128) - 128  # the bias' top byte: -64 to 63 means -2^30 <= bias < 2^30
                if not -64 <= top <= 63 or (top == -64 and not (graph[q] or graph[q + 1] or graph[q + 2])):
                    return "a bias is beyond 2^30"
        p += n + 3 & ~3
    cin, cout = u16(graph, at + 8), u16(graph, at + 10)
    if op == CONV_1B and (_set_beyond_cin(graph, p - arrays[-1] - _offset(arrays, 1, 5), cin)
                          or _set_beyond_cout(graph, p - arrays[-1], p, cout)):  # fmt: skip
        return "padding bits in flip or weights are not zero"
    if op == CONV_I4 and cout & 7:
        for q in range(p - arrays[-1] // (cout + 7 >> 3), p, 16):
            if any(graph[q + 2 * (cout & 7) : q + 16]):
                return "padding in the weights is not zero"


def _offset(arrays, first, last):
    """Bytes from the beginning of array `first` to that of array `last`."""
    return sum([n + 3 & ~3 for n in arrays[first:last]])


def _set_beyond_cin(graph, flip, cin):
    """Whether a word of bits has one that belongs to no channel."""
    end = flip + (cin + 31 >> 5) * 4
    return (cin & 7 and graph[flip + (cin >> 3)] >> (cin & 7)) or any(graph[flip + (cin + 7 >> 3) : end])


def _set_beyond_cout(graph, p, end, cout):
    """Whether a row of weights has a bit that belongs to no output: in byte k, bit i is that of output 4 i + k."""
    row, left = (cout + 31 >> 5) * 4, (cout - 1 & 31) + 1
    for last in range(p + row - 4, end, row):
        for k in range(4):
            if graph[last + k] >> (left - k + 3 >> 2):
                return True
    return False


def _fault_of_chain(graph, at, kind, channels):
    """Whether a record can follow an operation of that kind (0: none before) with that many results."""
    if not kind:
        return None
    if graph[at] == CONV_I4 or kind == SUM_WINDOW:
        return f"a {_NAMES[graph[at]]} cannot follow a {_NAMES[kind]}"
    if u16(graph, at + 8) != channels:
        return f"reads {u16(graph, at + 8)} channels, the operation before gives {channels}"


# Running


def _checked_state_bytes(graph, at, i):
    """Bytes of state of operation i, whose record lies within the graph: for graphs that nobody has checked."""
    if len(graph) - at < _HEADER or _fault_of_shape(graph, at):
        raise ValueError(f"graph: operation {i} is damaged or truncated")
    need = _HEADER + sum([n + 3 & ~3 for n in _arrays(graph, at)])
    if u32(graph, at + 4) != need or need > len(graph) - at:
        raise ValueError(f"graph: operation {i} is damaged or truncated")
    return _state_bytes(graph, at)


def graph_reset(graph, state):
    """Put `state` before the first frame."""
    at, s = 4, 0
    for i in range(u32(graph, 0) if len(graph) >= 4 else 0):
        n = _checked_state_bytes(graph, at, i)
        if s + n > len(state):
            raise ValueError("state buffer is too small")
        for p in range(s, s + n):
            state[p] = 0
        if graph[at] == CONV_1B:
            _fill_with_flips(graph, at, state, s + 4, s + n)
        s += n
        at += u32(graph, at + 4)


def _fill_with_flips(graph, at, state, p, end):
    cin = u16(graph, at + 8)
    flip, row = at + _HEADER + (2 * cin + 3 & ~3), (cin + 31 >> 5) * 4
    for slot in range(p, end, row):
        for i in range(row):
            state[slot + i] = graph[flip + i]


def graph_step(graph, state, value, first, last):
    """Run operations first <= i < last on one frame: `value` holds the first one's input, then the last one's result."""
    if len(graph) < 4 or not 0 <= first <= last <= u32(graph, 0):
        raise ValueError(f"no operations {first} to {last} in this graph")
    at, s = 4, 0
    for i in range(last):
        n = _checked_state_bytes(graph, at, i)
        if s + n > len(state):
            raise ValueError("state buffer is too small")
        if i >= first:
            if 4 * max(u16(graph, at + 8), u16(graph, at + 10)) > len(value):
                raise ValueError("value buffer is too small")
            _STEP[graph[at]](graph, at, state, s, value)
        s += n
        at += u32(graph, at + 4)


def _advance(state, s, slots):
    """The ring slot to write now; moves the position to the one after it."""
    now = u32(state, s)
    if now >= slots:
        raise ValueError("state is damaged: reset it")
    _set32(state, s, now + 1 if now + 1 < slots else 0)
    return now


def _conv_i4(graph, at, state, s, value):
    cin, cout, taps, dilation = u16(graph, at + 8), u16(graph, at + 10), u16(graph, at + 12), u16(graph, at + 14)
    shift_a, shift_b, span, ring = graph[at + 16], graph[at + 17], _span(graph, at), s + 4
    mult = at + _HEADER
    bias = mult + (2 * cout + 3 & ~3)
    now = _advance(state, s, span)
    for c in range(cin):
        state[ring + now * cin + c] = value[c] ^ 128  # x + 128
    for o in range(cout):
        acc, slot, w = i32(graph, bias + 4 * o), now, bias + 4 * cout + (o >> 3) * taps * cin * 4 + 2 * (o & 7)
        for _ in range(taps):
            for x in range(ring + slot * cin, ring + slot * cin + cin, 4):
                low, high = graph[w], graph[w + 1]
                acc += ((low & 15) - 8) * state[x] + ((low >> 4) - 8) * state[x + 1]
                acc += ((high & 15) - 8) * state[x + 2] + ((high >> 4) - 8) * state[x + 3]
                w += 16
            slot -= dilation
            if slot < 0:
                slot += span
        acc >>= shift_a
        acc = -32768 if acc < -32768 else 32767 if acc > 32767 else acc
        _set16(value, 2 * o, (acc * i16(graph, mult + 2 * o)) >> shift_b)


def _binarize(graph, threshold, cin, value, state, p):
    """Pack the bits x >= threshold, or their opposites where `flip` says so, from state[p] on."""
    flip = threshold + (2 * cin + 3 & ~3)
    for k in range((cin + 31 >> 5) * 4):
        bits = 0
        for c in range(8 * k, min(8 * k + 8, cin)):
            if i16(value, 2 * c) >= i16(graph, threshold + 2 * c):
                bits |= 1 << (c & 7)
        state[p + k] = bits ^ graph[flip + k]


def _conv_1b(graph, at, state, s, value):
    cin, cout = u16(graph, at + 8), u16(graph, at + 10)
    shortcut, shift, words = graph[at + 2], graph[at + 16], (cin + 31 >> 5) * 4
    threshold = at + _HEADER
    mult = threshold + (2 * cin + 3 & ~3) + words
    slope = mult + (2 * cout + 3 & ~3)
    bias = slope + (2 * cout + 3 & ~3)
    now = _advance(state, s, _span(graph, at))
    _binarize(graph, threshold, cin, value, state, s + 4 + now * words)
    count, m = _add_up(graph, at, bias + 4 * cout, state, s + 4, now)
    row, bits = len(count) >> 4, 0
    while m >> bits:
        bits += 1
    for o in range(cout):
        n, byte = 0, (o >> 5) * 4 + (o & 3)
        for i in range(bits):
            n |= (count[i * row + byte] >> (o >> 2 & 7) & 1) << i
        a = ((4 * n - 2 * m) * i16(graph, mult + 2 * o) + i32(graph, bias + 4 * o)) >> shift
        a = -32768 if a < -32768 else 32767 if a > 32767 else a
        if a < 0:
            a = (a * i16(graph, slope + 2 * o)) >> 8
        _set16(value, 2 * o, a + i16(value, 2 * o) if shortcut else a)


def _add_up(graph, at, w, state, ring, slot):
    """Add the rows of weights of all set bits: (counters, number of set bits).

    Bit-sliced: byte i * row + j holds bit i of the counters of eight outputs, which advance together.
    """
    cin, taps, dilation, span = u16(graph, at + 8), u16(graph, at + 12), u16(graph, at + 14), _span(graph, at)
    row, words, m = (u16(graph, at + 10) + 31 >> 5) * 4, (cin + 31 >> 5) * 4, 0
    count = bytearray(16 * row)  # 13 bits are needed
    for _ in range(taps):
        for c in range(cin):
            if state[ring + slot * words + (c >> 3)] >> (c & 7) & 1:
                m += 1
                for j in range(row):
                    carry = graph[w + j]
                    while carry:
                        sum = count[j]
                        count[j] = sum ^ carry
                        carry &= sum
                        j += row
            w += row
        slot -= dilation
        if slot < 0:
            slot += span
    return count, m


def _dense_i8(graph, at, state, s, value):
    cin, cout, shift_a, shift_b = u16(graph, at + 8), u16(graph, at + 10), graph[at + 16], graph[at + 17]
    mult = at + _HEADER
    bias = mult + (2 * cin + 3 & ~3)
    out_bias = bias + 4 * cin
    w, h = out_bias + 4 * cout, 2 * max(cin, cout)  # hidden values lie behind the inputs and the outputs
    for c in range(cin):
        v = (i16(value, 2 * c) * i16(graph, mult + 2 * c) + i32(graph, bias + 4 * c)) >> shift_a
        value[h + c] = 0 if v < 0 else 127 if v > 127 else v
    for o in range(cout):
        acc = i32(graph, out_bias + 4 * o)
        for x in range(h, h + cin):
            acc += ((graph[w] ^ 128) - 128) * value[x]
            w += 1
        _set16(value, 2 * o, acc >> shift_b)


def _sum_window(graph, at, state, s, value):
    channels, taps = u16(graph, at + 8), u16(graph, at + 12)
    total = s + 4
    x = total + 4 * channels + 2 * channels * (_advance(state, s, taps) + 1)
    for c in range(channels - 1, -1, -1):  # backwards: a result takes the room of two inputs
        x -= 2
        v = i16(value, 2 * c)
        y = i32(state, total + 4 * c) + v - i16(state, x)
        _set16(state, x, v)
        _set32(state, total + 4 * c, y)
        _set32(value, 4 * c, y)


_STEP = (None, _conv_i4, _conv_1b, _dense_i8, _sum_window)


# Front end

_sine = None  # made at the first use: 2^14 sin(pi i / 256)
_re = _im = None


def _tables():
    global _sine, _re, _im
    if _sine is None:
        _sine = array("h", [0] * 512)
        for i in range(129):
            z = i << 8
            q = (z * z) >> 15
            acc = 25738 - (((10589 - (((1309 - ((74 * q) >> 15)) * q) >> 15)) * q) >> 15)
            s = (acc * z) >> 15
            _sine[i] = _sine[256 - i] = s
            _sine[256 + i] = _sine[512 - i & 511] = -s
        _re, _im = array("i", [0] * 256), array("i", [0] * 256)


def frontend_state_size(params):
    """Bytes of state: the last 513 samples. Checks the front-end section."""
    if len(params) < 16 or u16(params, 0) != 1:
        raise ValueError("front end: not an integer log-mel, identity 1")
    hop, bands = u16(params, 2), u16(params, 8)
    if not 32 <= hop <= 512 or hop & 1:
        raise ValueError(f"front end: a hop of {hop} samples, allowed are even numbers from 32 to 512")
    if not 4 <= bands <= 64 or bands & 3 or len(params) != 12 + 2 * (bands + 2):
        raise ValueError(f"front end: {bands} bands, allowed are multiples of 4 from 4 to 64")
    before = 0
    for i in range(12, len(params), 2):
        if u16(params, i) < before + 16:
            raise ValueError("front end: band edges do not rise in steps of at least 16")
        before = u16(params, i)
    if before > 4080 or not u32(params, 4):
        raise ValueError("front end: the last band edge is beyond 4080, or the sample rate is 0")
    return 1028


def frontend_reset(params, state):
    """Put `state` before the first sample."""
    if len(state) < frontend_state_size(params):
        raise ValueError("state buffer is too small")
    for i in range(1028):
        state[i] = 0


def frontend_step(params, state, samples, out):
    """One frame: the features of the last 513 samples, `hop` of them new."""
    hop, bands = u16(params, 2), u16(params, 8)
    if len(params) != 12 + 2 * (bands + 2) or hop > 512:
        raise ValueError("front end: parameters not valid")
    if len(state) < 1028 or len(out) < bands:
        raise ValueError("state or output buffer is too small")
    _tables()
    _take(state, samples, hop)
    exponent = _window(state)
    if exponent is None:
        for j in range(bands):
            out[j] = 128
        return
    _stage(64, 4, 14, 16)
    _stage(8, 8, 0, 16)
    _stage(1, 8, 0, 14)
    _bands(params, bands, 256 * exponent, out)


def _take(state, samples, hop):
    """Move the new samples in at the end of the last 513."""
    keep = 1026 - 2 * hop
    for i in range(keep):
        state[i] = state[i + 2 * hop]
    if len(samples) == hop:
        for i in range(hop):
            v = samples[i]
            state[keep + 2 * i] = v & 255
            state[keep + 2 * i + 1] = v >> 8 & 255
    elif len(samples) == 2 * hop:
        for i in range(2 * hop):
            state[keep + i] = samples[i]
    else:
        raise ValueError(f"a hop is {hop} samples of 16 bits")


def _window(state):
    """Steps 1 to 3: the windowed samples as 256 points; the exponent, or None where all is silent."""
    bits, before = 0, i16(state, 0)
    for n in range(512):
        x = i16(state, 2 * n + 2)
        y = 32768 * x - 31744 * before
        before = x
        bits |= y if y >= 0 else ~y
        if n & 1:
            _im[n >> 1] = y
        else:
            _re[n >> 1] = y
    if bits == 0:
        return None
    b = 0
    while bits >> b >> 12:
        b += 1
    for n in range(512):
        part = _im if n & 1 else _re
        part[n >> 1] = (part[n >> 1] >> b) * (16384 - _sine[n + 128 & 511])
    return 2 * b - 24


def _stage(h, radix, before, after):
    """A stage of step 4, in place: butterflies over points h apart, turned and shifted."""
    re, im, half = _re, _im, radix // 2
    for start in range(0, 256, radix * h):
        for i in range(h):
            at, turn = start + i, 512 // (radix * h) * i
            x = [(re[at + p * h], im[at + p * h]) for p in range(radix)]
            y = _four(*x) if radix == 4 else _eight(x)
            for d in range(1 - half, half + 1):
                a, b = y[d % radix]
                a, b, t = a >> before, b >> before, d * turn & 511
                c, n = _sine[t + 128 & 511], _sine[t]
                re[at] = (a * c + b * n) >> after
                im[at] = (b * c - a * n) >> after
                at += h


def _four(a, b, c, d):
    """DFT of four points."""
    e, f, g, h = _plus(a, c), _minus(a, c), _plus(b, d), _minus(b, d)
    h = h[1], -h[0]
    return _plus(e, g), _plus(f, h), _minus(e, g), _minus(f, h)


def _eight(x):
    """DFT of eight points; those of even index come with 4 added where FORMAT.md says."""
    x0, x2, x4, x6 = _four(*[_plus(x[p], x[p + 4]) for p in range(4)])
    a, b, c, d = [_minus(x[p], x[p + 4]) for p in range(4)]
    f, g, c = _minus(b, d), _plus(b, d), (c[1], -c[0])
    g = g[1], -g[0]
    p, q = _root(_plus(f, g)), _root(_minus(g, f))
    e, h = _plus(a, c), _minus(a, c)
    return (x0[0] + 4, x0[1] + 4), _plus(e, p), x2, _plus(h, q), x4, _minus(e, p), x6, _minus(h, q)


def _plus(a, b):
    return a[0] + b[0], a[1] + b[1]


def _minus(a, b):
    return a[0] - b[0], a[1] - b[1]


def _root(a):
    """Times the root of 1/2."""
    return (a[0] * 11585) >> 14, (a[1] * 11585) >> 14


def _power(k):
    """Step 5 for one bin, 1 to 255."""
    m = k if k <= 128 else 256 - k
    p, q = _place(m), _place(256 - m)
    er, ei, xr, xi = (_re[p] + _re[q]) >> 2, (_im[p] - _im[q]) >> 2, _im[p] + _im[q], _re[q] - _re[p]
    c, n = _sine[m + 128 & 511], _sine[m]
    wr, wi = (xr * c + xi * n) >> 16, (xi * c - xr * n) >> 16
    re, im = (er + wr, ei + wi) if k <= 128 else (er - wr, ei - wi)
    return re * re + im * im


def _place(k):
    """Where the transform leaves bin k."""
    k += 109
    return (k & 3) << 6 | (k >> 2 & 7) << 3 | (k >> 5 & 7)


def _bands(params, bands, exponent, out):
    """Steps 6 and 7: each band is complete when the bins have passed its upper edge."""
    low, energy, upper = u16(params, 12), 0, 0  # of the segment's band below, and of the band that begins in it
    k = (low + 15) >> 4
    for j in range(bands + 1):
        high = u16(params, 14 + 2 * j)
        energy, upper = upper, 0
        while 16 * k < high:
            power = _power(k)
            g = (power >> 4) * (((16 * k - low) * 16) // (high - low))
            energy += power - g
            upper += g
            k += 1
        if j:
            out[j - 1] = _logarithm(energy | 1, exponent, i16(params, 10)) & 255
        low = high


def _logarithm(energy, exponent, offset):
    n, rest = -1, energy
    while rest:
        rest >>= 1
        n += 1
    f = (energy >> (n - 8) if n >= 8 else energy << (8 - n)) & 255
    log = 256 * n + f + ((f * (256 - f) * 22) >> 14) + exponent
    log = (log + offset) >> 5
    return -128 if log < -128 else 127 if log > 127 else log
