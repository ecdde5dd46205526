"""The kernels of typed text in plain MicroPython: the same functions over the same buffers as the native module.

    value = bytearray(text_check(text, graph))     # the sections of a file (export/FORMAT.md)
    text_rows(text, "lights on", value)            # u32 count, u16 row[count]: the features that the dictionary has
    text_step(graph, value, first, last)           # operations first <= i < last, in place

All raise ValueError on buffers that do not fit. Correct everywhere and slow, as kernels.py is.
"""

from .words import i16, i32, u16, u32

BAG_1B, DENSE_I4 = 5, 7
_WORDS, _WORD2, _SKIP2, _PIECES, _PIECE2, _FAMILIES = 1, 2, 4, 64, 128, 256
_MAX_CHUNK, _MAX_HITS, _ROWS = 64, 512, 4 + 2 * 512
_MARK = 0x2581  # begins the pieces of a chunk
_SEPARATOR, _NOTHING, _ALONE = -1, -2, 1 << 21  # what is no code point, and the mark of one that is a word


def _fault(condition, what):
    if condition:
        raise ValueError(what)


# Checking


def text_check(text, graph):
    """Validate both sections completely; bytes of the value buffer."""
    _check_head(text)
    _check_ranges(text)
    at, entries = 8 + 8 * u16(text, 4), u16(text, 6)
    low, n = at + 256, 0
    for b in range(at, at + 256):
        end = n + text[b]
        _fault(end > entries, "text: dictionary has more entries than it says")
        for i in range(n + 1, end):
            _fault(u16(text, low + 2 * i - 2) >= u16(text, low + 2 * i), "text: dictionary not in order")
        n = end
    _fault(n != entries, "text: dictionary has fewer entries than it says")
    if text[2] & (_PIECES | _PIECE2):
        _check_pieces(text, _nodes(text))
    rows, labels = _check_graph(graph)
    _fault(rows != entries, f"the graph has {rows} rows, the dictionary {entries} entries")
    return max(_ROWS, 4 * labels)


def _check_head(text):
    _fault(len(text) < 8, "text: section is truncated")
    _fault(u16(text, 0) != 1, "text: identity is not known here: update signwave on the board")
    _fault(not 0 < u16(text, 2) < _FAMILIES, "text: families of features are not known here: update signwave on the board")
    ranges, entries = u16(text, 4), u16(text, 6)
    _fault(ranges > 4096 or not 1 <= entries <= 16384, f"text: {ranges} ranges or {entries} entries are beyond the limits")
    more = len(text) - (8 + 8 * ranges + 256 + 2 * entries)
    wrong = not 5 <= more <= 65537 if text[2] & (_PIECES | _PIECE2) else more != 0
    _fault(wrong, "text: section truncated or too long")


def _nodes(text):
    """Where the trie of pieces begins."""
    return 8 + 8 * u16(text, 4) + 256 + 2 * u16(text, 6) + 2


def _check_pieces(text, p):
    """Nodes depth first: depth, 128 more where a piece ends; byte; then its cost."""
    wrong, path, ended = u16(text, p - 2) == 0, [], True
    while p < len(text) and not wrong:
        depth, last = text[p] & 127, text[p] & 128
        wrong = len(text) - p < (3 if last else 2) or depth > len(path) or depth > 62
        wrong = wrong or depth < len(path) and (not ended or text[p + 1] <= path[depth]) or last and not text[p + 2]
        if not wrong:
            path, ended, p = path[:depth] + [text[p + 1]], last, p + (3 if last else 2)
    _fault(wrong or not ended, "text: pieces not in order")


def _check_ranges(text):
    before = 0x7F
    for at in range(8, 8 + 8 * u16(text, 4), 8):
        kind, value, first = text[at + 3], u16(text, at + 6), u16(text, at) | text[at + 2] << 16
        last = first + u16(text, at + 4)
        most = 0xFFFF if kind in (1, 2) else 1 if kind == 3 else 0
        wrong = first <= before or (first <= 0xDFFF and last >= 0xD800) or kind > 4 or value > most
        wrong = wrong or last + (kind == 3) > 0x10FFFF  # a pair may begin with the last
        _fault(wrong, "text: ranges of code points not valid")
        before = last


def _check_graph(graph):
    """(rows of the bag, labels)."""
    at = 4
    for i in range(_count_of(graph)):
        _check_shape(graph, at, i)
        _check_arrays(graph, at)
        if i == 0:
            rows, channels = u16(graph, at + 8), u16(graph, at + 10)
        else:
            _fault(u16(graph, at + 8) != channels, "graph: dense_i4 does not read what bag_1b gives")
            labels = u16(graph, at + 10)
        at += u32(graph, at + 4)
    _fault(at != len(graph), "graph: bytes behind the last operation")
    return rows, labels


def _count_of(graph):
    _fault(len(graph) < 4, "graph: shorter than its operation count")
    _fault(u32(graph, 0) != 2, f"graph: {u32(graph, 0)} operations, of typed text there are 2")
    return 2


def _check_shape(graph, at, i):
    where = f"graph: operation {i}: "
    _fault(len(graph) - at < 20, where + "truncated")
    cin, cout = u16(graph, at + 8), u16(graph, at + 10)
    _fault(u16(graph, at) != (DENSE_I4 if i else BAG_1B), where + "not bag_1b and dense_i4")
    most, shift, wrong = (512, 24, cin & 3) if i else (16384, 0, 0)
    wrong = wrong or not 1 <= cin <= most or not 1 <= cout <= 512 or u16(graph, at + 12) != 1 or graph[at + 16] > shift
    _fault(wrong, where + "a size is beyond the limits")
    wrong = u16(graph, at + 2) or u16(graph, at + 14) != 1 or graph[at + 17] or u16(graph, at + 18)
    _fault(wrong, where + "reserved field not zero, or dilation not 1")
    need = 20
    for size in _arrays(graph, at):
        need += size + 3 & ~3
    _fault(u32(graph, at + 4) != need or need > len(graph) - at, where + "wrong length of the record")


def _arrays(graph, at):
    """Bytes of each array of a record, without padding: the order of FORMAT.md, weights last."""
    cin, cout = u16(graph, at + 8), u16(graph, at + 10)
    if graph[at] == BAG_1B:
        return cin + 3 >> 2, cin * (cout + 15 >> 4) * 2
    return 2 * cin, 4 * cin, 4 * cout, (cout + 7 >> 3) * cin * 4


def _starts(graph, at):
    """Where each array of a record begins."""
    p, out = at + 20, []
    for size in _arrays(graph, at):
        out.append(p)
        p += size + 3 & ~3
    return out


def _check_arrays(graph, at):
    cin, cout, arrays, bad = u16(graph, at + 8), u16(graph, at + 10), _starts(graph, at), 0
    for k, size in enumerate(_arrays(graph, at)):
        for i in range(arrays[k] + size, arrays[k] + (size + 3 & ~3)):
            bad |= graph[i]
    if graph[at] == BAG_1B:
        if cin & 3:
            bad |= graph[arrays[0] + (cin >> 2)] >> 2 * (cin & 3)
        if cout & 15:
            row = (cout + 15 >> 4) * 2
            for p in range(arrays[1] + row - 2, arrays[1] + cin * row, row):
                bad |= u16(graph, p) >> (cout & 15)
    else:
        for i in range(arrays[1], arrays[3], 4):
            _fault(not -(1 << 30) < i32(graph, i) < 1 << 30, "graph: bias out of range")
        if cout & 7:
            last = arrays[3] + (cout >> 3) * cin * 4
            for i in range(cin * 2):
                if i & 7 >= cout & 7:
                    bad |= u16(graph, last + 2 * i)
    _fault(bad, "graph: padding not zero")


# Text


def text_rows(text, utf8, value):
    """Put the rows of a text (str, or bytes of UTF-8) into the value buffer."""
    _check_head(text)
    _fault(len(value) < _ROWS, "value buffer is too small")
    if isinstance(utf8, str):
        utf8 = utf8.encode("utf-8", "surrogatepass")
    found, words = [0], [0, 0, False, 0]  # hits so far; hashes of the last two words, whether there was one, of the last piece

    def emit(h):
        row = _find(text, ((h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF) >> 8)
        if row is not None and found[0] < _MAX_HITS:
            at = 4 + 2 * found[0]
            value[at], value[at + 1] = row & 255, row >> 8
            found[0] += 1

    chunk, at = [], 0
    while at < len(utf8):
        c, at = _next_char(utf8, at)
        c = _fold(text, c)
        if c == _NOTHING:
            continue
        if c == _SEPARATOR or len(chunk) == _MAX_CHUNK:
            _read_chunk(text, chunk, words, emit)
            chunk = []
        if c != _SEPARATOR:
            chunk.append(c)
    _read_chunk(text, chunk, words, emit)
    if words[2]:
        _pairs(text[2], words, 0, emit)
        if text[2] & _PIECE2:
            emit(_hash(7, (words[3], 0)))
    value[0], value[1], value[2], value[3] = found[0] & 255, found[0] >> 8, 0, 0


def _next_char(utf8, at):
    """(the code point that begins there, where the next does); 0, one byte further, where none does."""
    c = utf8[at]
    at += 1
    if c < 0x80:
        return c, at
    more = 1 if c < 0xE0 else 2 if c < 0xF0 else 3
    if not 0xC2 <= c <= 0xF4 or len(utf8) - at < more:
        return 0, at
    c &= 0x3F >> more
    for i in range(at, at + more):
        if utf8[i] & 0xC0 != 0x80:
            return 0, at
        c = c << 6 | utf8[i] & 0x3F
    if c < (0, 0x80, 0x800, 0x10000)[more] or c > 0x10FFFF or c >> 11 == 0x1B:
        return 0, at
    return c, at + more


def _fold(text, c):
    """The code point that is meant, with _ALONE where it is a word; _SEPARATOR or _NOTHING."""
    if c < 0x80:
        if 0x61 <= c | 0x20 <= 0x7A:
            return c | 0x20
        return 0x30 if 0x30 <= c <= 0x39 else _NOTHING if c == 0x27 else _SEPARATOR
    if c == 0x2019 or 0x300 <= c <= 0x36F:
        return _NOTHING
    low, high = 0, u16(text, 4)
    while low < high:
        middle = low + high >> 1
        at = 8 + 8 * middle
        if u16(text, at) | text[at + 2] << 16 <= c:
            low = middle + 1
        else:
            high = middle
    at = 8 * low
    if not low or c - (u16(text, at) | text[at + 2] << 16) > u16(text, at + 4):
        return _SEPARATOR
    kind, value = text[at + 3], u16(text, at + 6)
    if kind == 0:
        return _NOTHING
    if kind == 1:
        return c & 0x1F0000 | c + value & 0xFFFF
    return value if kind == 2 else c + (c + value + 1 & 1) if kind == 3 else c | _ALONE


def _hash(family, values):
    h = (0x811C9DC5 ^ family) * 0x9E3779B1
    for v in values:
        h = (h & 0xFFFFFFFF ^ v) * 0x9E3779B1
    return h & 0xFFFFFFFF


def _find(text, key):
    """The row of a key of 24 bits, or None."""
    at = 8 + 8 * u16(text, 4)
    row, low, bucket = 0, at + 256, key >> 16
    for i in range(at, at + bucket):
        row += text[i]
    for i in range(row, min(row + text[at + bucket], u16(text, 6))):
        if u16(text, low + 2 * i) == key & 0xFFFF:
            return i
    return None


def _read_chunk(text, chunk, words, emit):
    at, families = 0, text[2]
    while at < len(chunk):
        n = 1
        while at + n < len(chunk) and not (chunk[at + n - 1] | chunk[at + n]) & _ALONE:
            n += 1
        word = [c & ~_ALONE for c in chunk[at : at + n]]
        symbols = [0] + word + [0]
        for end in range(3, n + 3):
            for k in (3, 4, 5):
                if families >> k & 1 and end >= k:
                    emit(_hash(k, symbols[end - k : end]))
        h = _hash(0, word)
        if families & _WORDS:
            emit(h)
        _pairs(families, words, h, emit)
        at += n
    if chunk and families & (_PIECES | _PIECE2):
        symbols = [_MARK] + [c & ~_ALONE for c in chunk]
        for start, end in _cut(text, symbols):
            h = _hash(6, symbols[start:end])
            if families & _PIECES:
                emit(h)
            if families & _PIECE2:
                emit(_hash(7, (words[3], h)))
            words[3] = h


def _cut(text, symbols):
    """(first, behind the last) of the cheapest pieces, of equals the first found. Unknown neighbours are one."""
    n, nodes = len(symbols), _nodes(text)
    cost, origin, known = [0] + [1 << 29] * n, [0] * (n + 1), [True] * (n + 1)
    for start in range(n):
        p, depth, single = nodes, 0, False
        for end in range(start + 1, n + 1):
            for byte in _spell(symbols[end - 1]):
                node = _node(text, p, depth, byte)
                p, depth = node + 2 + (text[node] >> 7) if node else 0, depth + 1
                if not p:
                    break
            if not p:
                break
            if text[node] & 128:
                single = single or end == start + 1
                if cost[start] + text[node + 2] < cost[end]:
                    cost[end], origin[end], known[end] = cost[start] + text[node + 2], start, True
        if not single and cost[start] + u16(text, nodes - 2) < cost[start + 1]:
            cost[start + 1], origin[start + 1], known[start + 1] = cost[start] + u16(text, nodes - 2), start, False
    out, end, after = [], n, True
    while end:
        start = origin[end]
        if known[end] or after:
            out.append((start, end))
        else:
            out[-1] = start, out[-1][1]
        end, after = start, known[end]
    out.reverse()
    return out


def _spell(c):
    """The bytes of a code point in UTF-8."""
    if c < 0x80:
        return (c,)
    if c < 0x800:
        return 0xC0 | c >> 6, 0x80 | c & 63
    if c < 0x10000:
        return 0xE0 | c >> 12, 0x80 | c >> 6 & 63, 0x80 | c & 63
    return 0xF0 | c >> 18, 0x80 | c >> 12 & 63, 0x80 | c >> 6 & 63, 0x80 | c & 63


def _node(text, p, depth, byte):
    """The node of a byte among those of a depth from p on; 0 where there is none."""
    while len(text) - p > 2:
        d = text[p] & 127
        if d < depth:
            break
        if d == depth and text[p + 1] == byte:
            return p
        p += 2 + (text[p] >> 7)
    return 0


def _pairs(families, words, word, emit):
    """The word with the one before it, and with the one before that; 0 is the border of the text."""
    if families & _WORD2:
        emit(_hash(1, (words[1], word)))
    if families & _SKIP2 and words[2]:
        emit(_hash(2, (words[0], word)))
    words[0], words[1], words[2] = words[1], word, True


# Graph


def text_step(graph, value, first, last):
    """Operations first <= i < last, in place in `value`, from a text's rows on."""
    n, at = _count_of(graph), 4
    _fault(not 0 <= first <= last <= n, "operations out of range")
    for i in range(last):
        _check_shape(graph, at, i)
        if i >= first:
            cin, cout = u16(graph, at + 8), u16(graph, at + 10)
            _fault(len(value) < (max(_ROWS, 4 * cout) if i else _ROWS), "value buffer is too small")
            (_dense_i4 if i else _bag_1b)(graph, at, cin, cout, value)
        at += u32(graph, at + 4)


def _add_row(counts, row, graph, at, gain):
    """Add the bits of a row, doubled `gain` times: byte i * row + j holds bit i of the counters of eight channels."""
    for j in range(row):
        carry, p = graph[at + j], gain * row + j
        while carry:
            sum = counts[p]
            counts[p] = sum ^ carry
            carry &= sum
            p += row


def _count(counts, row, o):
    p, n = o >> 3, 0
    for i in range(13):
        n |= (counts[p + i * row] >> (o & 7) & 1) << i
    return n


def _bag_1b(graph, at, rows, cout, value):
    gains, weights = _starts(graph, at)
    n, all, row = u32(value, 0), 0, (cout + 15 >> 4) * 2
    counts = bytearray(13 * row)
    _fault(n > _MAX_HITS, "value without rows")
    for i in range(4, 4 + 2 * n, 2):
        r = u16(value, i)
        _fault(r >= rows, "value without rows")
        gain = graph[gains + (r >> 2)] >> 2 * (r & 3) & 3
        _add_row(counts, row, graph, weights + r * row, gain)
        all += 1 << gain
    for o in range(cout):
        y = 2 * _count(counts, row, o) - all
        value[2 * o] = y & 255
        value[2 * o + 1] = y >> 8 & 255


def _dense_i4(graph, at, cin, cout, value):
    mult, bias, out_bias, weights = _starts(graph, at)
    h, total, shift = bytearray(cin), 0, graph[at + 16]
    for c in range(cin):
        v = (i16(value, 2 * c) * i16(graph, mult + 2 * c) + i32(graph, bias + 4 * c)) >> shift
        h[c] = 0 if v < 0 else 127 if v > 127 else v
        total += h[c]
    for o in range(cout):
        y, w = i32(graph, out_bias + 4 * o) - 8 * total, weights + (o >> 3) * cin * 4 + (o & 7) * 2  # fields are weight + 8
        for c in range(0, cin, 4):
            low, high = graph[w], graph[w + 1]
            y += (low & 15) * h[c] + (low >> 4) * h[c + 1] + (high & 15) * h[c + 2] + (high >> 4) * h[c + 3]
            w += 16
        for i in range(4):
            value[4 * o + i] = y >> 8 * i & 255
