// Text to rows of the dictionary (FORMAT.md, 2.4 and 4.2): UTF-8, folding, words, hashes of n-grams, their rows.
#include "text.h"

#define MAX_CHUNK (64)              // letters without a separator
#define SEPARATOR (0xfffffffeu)     // results of fold() that are no code points
#define NOTHING (0xffffffffu)
#define ALONE (0x80000000u)         // marks a code point that is a word

#define MARK (0x2581)               // begins the pieces of a chunk
#define UNKNOWN (0x80)              // marks a letter that is no piece

enum { WORDS = 1, WORD2 = 2, SKIP2 = 4, PIECES = 64, PIECE2 = 128, FAMILIES = 256 };
enum { DROP, SHIFT, TO, PAIRS, KIND_ALONE };

typedef struct {
    uint16_t identity, families, ranges, entries;
} header_t;

typedef struct {
    uint32_t first; // and the kind in the upper 8 bits
    uint16_t length, value;
} range_t;

// A section, and the text so far.
typedef struct {
    const header_t *head;
    const range_t *ranges;
    const uint8_t *counts;
    const uint16_t *low;
    const uint8_t *nodes, *end;     // of pieces
    uint32_t before2, before, any;  // hashes of the last two words, and whether there was one
    uint32_t piece;                 // hash of the last one
    uint16_t *rows;                 // what is found: rows, or where there are none, keys
    uint32_t *keys;
    uint32_t found, room;
    uint32_t n, chunk[MAX_CHUNK + 2];
} reader_t;

static int32_t open_section(const uint8_t *text, uint32_t len, reader_t *s) {
    const header_t *head = (const header_t *)text;
    if ((uintptr_t)text & 3) {
        return SW_TEXT_ALIGNMENT;
    } else if (len < sizeof(header_t)) {
        return SW_TEXT_LENGTH;
    } else if (head->identity != 1 || head->families - 1u >= FAMILIES - 1) {
        return SW_TEXT_FIELD;
    } else if (head->ranges > 4096 || head->entries - 1u >= MAX_ENTRIES) {
        return SW_TEXT_LIMIT;
    }
    uint32_t need = sizeof(header_t) + 8 * head->ranges + 256 + 2 * head->entries, more = len - need;
    if (len < need || (head->families & (PIECES | PIECE2) ? more - 5 > 65532 : more)) {
        return SW_TEXT_LENGTH;
    }
    s->head = head;
    s->ranges = (const range_t *)(head + 1);
    s->counts = (const uint8_t *)(s->ranges + head->ranges);
    s->low = (const uint16_t *)(s->counts + 256);
    s->nodes = text + need + 2;
    s->end = text + len;
    return SW_OK;
}

static int32_t check_ranges(const range_t *r, uint32_t n) {
    for (uint32_t before = 0x7f; n; n--, r++) {
        uint32_t kind = r->first >> 24, first = r->first & 0xffffff, last = first + r->length;
        uint32_t most = kind == SHIFT || kind == TO ? 0xffff : kind == PAIRS;
        if (first <= before || last > 0x10ffff - (kind == PAIRS) || (first <= 0xdfff && last >= 0xd800) || kind > KIND_ALONE || r->value > most) {
            return SW_TEXT_RANGES;
        }
        before = last;
    }
    return SW_OK;
}

// Nodes of the trie, depth first: depth, 128 more where a piece ends; byte; then its cost.
static int32_t check_pieces(const uint8_t *p, const uint8_t *end) {
    uint8_t path[64];
    uint32_t depth = 0, ended = 1; // levels of the path, and whether its last node ends a piece
    if (!p[-2] && !p[-1]) {
        return SW_TEXT_PIECES;
    }
    while (p < end) {
        uint32_t d = *p & 127, last = *p & 128;
        if (end - p < (last ? 3 : 2) || d > depth || d > 62 || (d < depth && (!ended || p[1] <= path[d])) || (last && !p[2])) {
            return SW_TEXT_PIECES;
        }
        path[d] = p[1];
        depth = d + 1;
        ended = last;
        p += last ? 3 : 2;
    }
    return ended ? SW_OK : SW_TEXT_PIECES;
}

int32_t sw_text_check(const uint8_t *text, uint32_t len) {
    reader_t s;
    int32_t rc = open_section(text, len, &s);
    if (!rc) {
        rc = check_ranges(s.ranges, s.head->ranges);
    }
    if (!rc && (s.head->families & (PIECES | PIECE2))) {
        rc = check_pieces(s.nodes, s.end);
    }
    if (rc) {
        return rc;
    }
    uint32_t at = 0, entries = s.head->entries;
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t end = at + s.counts[b];
        if (end > entries) {
            return SW_TEXT_DICTIONARY;
        }
        for (uint32_t i = at + 1; i < end; i++) {
            if (s.low[i - 1] >= s.low[i]) {
                return SW_TEXT_DICTIONARY;
            }
        }
        at = end;
    }
    return at == entries ? (int32_t)entries : SW_TEXT_DICTIONARY;
}

// The next code point; 0, after one byte, where there is none in UTF-8.
static uint32_t next_char(const uint8_t **at, const uint8_t *end) {
    const uint8_t *p = *at;
    uint32_t c = *p++, more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    *at = p;
    if (c < 0x80) {
        return c;
    } else if (c < 0xc2 || c > 0xf4 || (uint32_t)(end - p) < more) {
        return 0;
    }
    c &= 0x3f >> more;
    for (uint32_t i = 0; i < more; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < (more == 1 ? 0x80u : more == 2 ? 0x800u : 0x10000u) || c > 0x10ffff || c >> 11 == 0x1b) {
        return 0;
    }
    *at = p + more;
    return c;
}

static uint32_t fold_ascii(uint32_t c) {
    if ((c | 0x20) - 'a' < 26) {
        return c | 0x20;
    } else if (c - '0' < 10) {
        return '0';
    }
    return c == '\'' ? NOTHING : SEPARATOR;
}

static uint32_t fold(const reader_t *s, uint32_t c) {
    if (c < 0x80) {
        return fold_ascii(c);
    } else if (c == 0x2019 || c - 0x300 < 0x70) {
        return NOTHING;
    }
    uint32_t low = 0, high = s->head->ranges;
    while (low < high) { // to the first range that begins behind c
        uint32_t middle = (low + high) / 2;
        if ((s->ranges[middle].first & 0xffffff) <= c) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const range_t *r = s->ranges + low - 1;
    if (!low || c - (r->first & 0xffffff) > r->length) {
        return SEPARATOR;
    }
    uint32_t kind = r->first >> 24;
    if (kind == DROP) {
        return NOTHING;
    } else if (kind == SHIFT) {
        return (c & 0x1f0000) | ((c + r->value) & 0xffff);
    } else if (kind == TO) {
        return r->value;
    }
    return kind == PAIRS ? c + ((c + r->value + 1) & 1) : c | ALONE;
}

static uint32_t mix(uint32_t h, uint32_t v) {
    return (h ^ v) * 0x9e3779b1u;
}

static uint32_t hash(uint32_t family, const uint32_t *values, uint32_t n) {
    uint32_t h = mix(0x811c9dc5u, family);
    for (; n; n--) {
        h = mix(h, *values++ & ~ALONE);
    }
    return h;
}

// Notes the row of a feature where it has one, or its key.
static void emit(reader_t *s, uint32_t h) {
    uint32_t key = ((h ^ h >> 16) * 0x85ebca6bu) >> 8, at = 0;
    if (!s->rows) {
        if (s->found < s->room) {
            s->keys[s->found] = key;
        }
        s->found++;
        return;
    }
    const uint8_t *bucket = s->counts + (key >> 16);
    for (const uint8_t *p = s->counts; p < bucket; p++) {
        at += *p;
    }
    for (uint32_t end = at + *bucket; at < end && at < s->head->entries; at++) {
        if (s->low[at] == (key & 0xffff)) {
            if (s->found < s->room) {
                s->rows[s->found++] = at;
            }
            return;
        }
    }
}

static void emit2(reader_t *s, uint32_t family, uint32_t a, uint32_t b) {
    emit(s, mix(mix(mix(0x811c9dc5u, family), a), b));
}

static void emit_pairs(reader_t *s, uint32_t word) {
    if (s->head->families & WORD2) {
        emit2(s, 1, s->before, word);
    }
    if ((s->head->families & SKIP2) && s->any) {
        emit2(s, 2, s->before2, word);
    }
    s->before2 = s->before;
    s->before = word;
    s->any = 1;
}

// n code points; those before and behind are overwritten for a time, by the word's borders.
static void read_word(reader_t *s, uint32_t *word, uint32_t n) {
    uint32_t kept = word[-1], behind = word[n], h = hash(0, word, n);
    word[-1] = word[n] = 0;
    for (uint32_t end = 3; end <= n + 2; end++) {
        for (uint32_t k = 3; k <= 5; k++) {
            if ((s->head->families >> k & 1) && end >= k) {
                emit(s, hash(k, word - 1 + end - k, k));
            }
        }
    }
    word[-1] = kept;
    word[n] = behind;
    if (s->head->families & WORDS) {
        emit(s, h);
    }
    emit_pairs(s, h);
}

// The bytes of a code point in UTF-8; how many.
static uint32_t spell(uint32_t c, uint8_t *to) {
    uint32_t more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (uint32_t i = more; i; i--, c >>= 6) {
        to[i] = 0x80 | (c & 0x3f);
    }
    to[0] = more ? (0x780 >> more & 0xf0) | c : c;
    return more + 1;
}

// The node of a byte among those of a depth from p on; null where there is none.
static const uint8_t *find_node(const uint8_t *p, const uint8_t *end, uint32_t depth, uint32_t byte) {
    for (; end - p > 2; p += 2 + (*p >> 7)) {
        uint32_t d = *p & 127;
        if (d < depth) {
            break;
        } else if (d == depth && p[1] == byte) {
            return p;
        }
    }
    return 0;
}

typedef struct {
    uint32_t cost[MAX_CHUNK + 2];
    uint8_t from[MAX_CHUNK + 2], to[MAX_CHUNK + 2];
} path_t;

static void offer(path_t *t, uint32_t from, uint32_t to, uint32_t cost, uint32_t mark) {
    cost += t->cost[from];
    if (cost < t->cost[to]) {
        t->cost[to] = cost;
        t->from[to] = from | mark;
    }
}

// All pieces of the chunk's n symbols that begin at `from`.
static void offer_pieces(const reader_t *s, path_t *t, uint32_t from, uint32_t n) {
    const uint8_t *p = s->nodes;
    uint32_t depth = 0, single = 0;
    for (uint32_t to = from; p && to < n;) {
        uint8_t bytes[4];
        const uint8_t *node = 0;
        uint32_t k = spell(s->chunk[to++] & ~ALONE, bytes);
        for (uint32_t i = 0; i < k && p; i++) {
            node = find_node(p, s->end, depth++, bytes[i]);
            p = node ? node + 2 + (*node >> 7) : 0;
        }
        if (p && (*node & 128)) {
            offer(t, from, to, node[2], 0);
            single |= to == from + 1;
        }
    }
    if (!single) {
        offer(t, from, from + 1, s->nodes[-2] | s->nodes[-1] << 8, UNKNOWN);
    }
}

static void emit_piece(reader_t *s, uint32_t from, uint32_t to) {
    uint32_t h = hash(6, s->chunk + from, to - from);
    if (s->head->families & PIECES) {
        emit(s, h);
    }
    if (s->head->families & PIECE2) {
        emit2(s, 7, s->piece, h);
    }
    s->piece = h;
}

// The cheapest pieces of the chunk (Viterbi, 1967), of equals the first found.
static void read_pieces(reader_t *s) {
    path_t t;
    uint32_t n = s->n + 1;
    s->chunk[0] = MARK;
    for (uint32_t i = 0; i <= n; i++) {
        t.cost[i] = i ? 0xffffffffu : 0;
        t.to[i] = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        offer_pieces(s, &t, i, n);
    }
    for (uint32_t i = n; i; i = t.from[i] & ~UNKNOWN) {
        t.to[t.from[i] & ~UNKNOWN] = i;
    }
    for (uint32_t i = 0; i < n;) {
        uint32_t to = t.to[i];
        while (t.from[to] & UNKNOWN && to < n && t.from[t.to[to]] & UNKNOWN) { // neighbours that are unknown are one piece
            to = t.to[to];
        }
        emit_piece(s, i, to);
        i = to;
    }
}

// The words of a chunk, from chunk[1] on.
static void read_chunk(reader_t *s) {
    uint32_t *word = s->chunk + 1, *end = word + s->n;
    while (word < end) {
        uint32_t n = 1;
        while (word + n < end && !((word[n - 1] | word[n]) & ALONE)) {
            n++;
        }
        read_word(s, word, n);
        word += n;
    }
    if (s->n && (s->head->families & (PIECES | PIECE2))) {
        read_pieces(s);
    }
    s->n = 0;
}

static void read_text(reader_t *s, const uint8_t *utf8, uint32_t n) {
    const uint8_t *end = utf8 + n;
    s->before2 = s->before = s->any = s->piece = s->found = s->n = 0;
    while (utf8 < end) {
        uint32_t c = fold(s, next_char(&utf8, end));
        if (c == NOTHING) {
            continue;
        }
        if (c == SEPARATOR || s->n == MAX_CHUNK) {
            read_chunk(s);
        }
        if (c != SEPARATOR) {
            s->chunk[++s->n] = c;
        }
    }
    read_chunk(s);
    if (s->any) {
        emit_pairs(s, 0);
        if (s->head->families & PIECE2) {
            emit2(s, 7, s->piece, 0);
        }
    }
}

int32_t sw_text_rows(const uint8_t *text, uint32_t len, const uint8_t *utf8, uint32_t n, uint8_t *value, uint32_t value_len) {
    reader_t s;
    int32_t rc = open_section(text, len, &s);
    if (rc) {
        return rc;
    } else if (((uintptr_t)value & 3) || value_len < 4 + 2 * MAX_HITS) {
        return SW_TEXT_VALUE;
    }
    s.rows = (uint16_t *)(value + 4);
    s.room = MAX_HITS;
    read_text(&s, utf8, n);
    *(uint32_t *)value = s.found;
    return SW_OK;
}

int32_t sw_text_keys(const uint8_t *text, uint32_t len, const uint8_t *utf8, uint32_t n, uint32_t *keys, uint32_t room) {
    reader_t s;
    int32_t rc = open_section(text, len, &s);
    if (rc) {
        return rc;
    }
    s.rows = 0;
    s.keys = keys;
    s.room = room;
    read_text(&s, utf8, n);
    return s.found;
}
