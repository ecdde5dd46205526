// libFuzzer target over all of signwave.h and, in fuzztext.c, text.h; device/fuzz.py builds and runs it under sanitizers.
// Whatever the bytes: calls end, touch nothing outside their buffers and give a known code. What a check accepts
// runs in buffers of exactly the sizes that it gave, and alike in whatever ranges of operations.
#include "fuzz.h"

#define MAX_WEIGHTS (1u << 16)      // of an operation that is made from its shape; they take less than MAX_RECORD bytes
#define MAX_RECORD (300u << 10)
#define FRAMES (3)

enum { GRAPH, SHAPES, FRONT_END, TEXT, BAG, KINDS };

typedef struct {
    uint8_t opcode, shortcut;
    uint16_t cin, cout, taps, dilation; // cin counts in the first operation alone
    uint8_t shift_a, shift_b;
} operation_t;

// Not instrumented: it would take more time than all that is tested.
__attribute__((no_sanitize("address", "undefined", "coverage")))
void take(source_t *from, void *to, size_t n) {
    uint8_t *p = to;
    size_t given = n < from->left ? n : from->left;
    memcpy(p, from->data, given);
    from->data += given;
    from->left -= given;
    for (p += given, n -= given; n; n -= given, p += given) {
        from->noise ^= from->noise << 13;
        from->noise ^= from->noise >> 17;
        from->noise ^= from->noise << 5;
        given = n < 4 ? n : 4;
        uint32_t word = from->extreme ? -(from->noise >> 31) : from->noise;
        for (size_t i = 0; i < given; i++) {
            p[i] = word >> 8 * i;
        }
    }
}

buffer_t new_buffer(uint32_t len, uint32_t skew) {
    uint8_t *whole = malloc(len + skew);
    MUST(whole || len + skew == 0);
    return (buffer_t) {whole + skew, whole, len};
}

buffer_t filled_buffer(uint32_t len, uint32_t skew, source_t *from) {
    buffer_t b = new_buffer(len, skew);
    take(from, b.p, len);
    return b;
}

// A state of arbitrary bytes; small words may be positions in rings.
static void spoil(buffer_t *state, uint32_t small, source_t *from) {
    take(from, state->p, state->len);
    for (uint32_t i = 0; small && i < state->len; i++) {
        state->p[i] = i & 3 ? 0 : state->p[i];
    }
}

static int32_t known(int32_t rc) {
    MUST(rc <= SW_OK && rc >= SW_ERR_OUT);
    MUST(sw_error(rc)[0]);
    return rc;
}

static int32_t step(const buffer_t *graph, const buffer_t *state, const buffer_t *value, uint32_t first, uint32_t last) {
    return known(sw_graph_step(graph->p, graph->len, state->p, state->len, value->p, value->len, first, last));
}

static void step_unchecked(const buffer_t *graph, const input_t *in, source_t *from) {
    buffer_t state = new_buffer(in->state_len, in->skew >> 2 & 3);
    buffer_t value = filled_buffer(in->value_len, in->skew >> 4 & 3, from);
    spoil(&state, in->seed & 1, from);
    step(graph, &state, &value, in->first, in->last);
    known(sw_graph_reset(graph->p, graph->len, state.p, state.len));
    step(graph, &state, &value, in->first, in->last);
    free(state.whole);
    free(value.whole);
}

// A graph that the check has accepted: all at once in `state`, one operation after the other in `state2`.
static void step_checked(const buffer_t *graph, uint32_t state_size, uint32_t value_size, uint32_t small, source_t *from) {
    uint32_t n = *(const uint32_t *)graph->p;
    buffer_t state = filled_buffer(state_size, 0, from), state2 = filled_buffer(state_size, 0, from);
    buffer_t value = new_buffer(value_size, 0), value2 = new_buffer(value_size, 0);
    MUST(state_size <= 65536 && state_size % 4 == 0 && value_size && value_size <= 2048);
    MUST(sw_graph_reset(graph->p, graph->len, state.p, state.len) == SW_OK);
    MUST(sw_graph_reset(graph->p, graph->len, state2.p, state2.len) == SW_OK);
    for (int32_t t = 0; t < FRAMES; t++) {
        take(from, value.p, value.len);
        memcpy(value2.p, value.p, value.len);
        MUST(step(graph, &state, &value, 0, n) == SW_OK);
        for (uint32_t i = 0; i < n; i++) {
            MUST(step(graph, &state2, &value2, i, i + 1) == SW_OK);
        }
        MUST(!memcmp(value.p, value2.p, value.len) && !memcmp(state.p, state2.p, state.len));
    }
    spoil(&state, small, from);
    int32_t rc = step(graph, &state, &value, 0, n);
    MUST(rc == SW_OK || rc == SW_ERR_STATE);
    value.len--;
    MUST(step(graph, &state2, &value, 0, n) == SW_ERR_VALUE);
    if (state2.len) {
        state2.len--;
        MUST(sw_graph_reset(graph->p, graph->len, state2.p, state2.len) == SW_ERR_STATE);
        MUST(step(graph, &state2, &value2, 0, n) == SW_ERR_STATE);
    }
    free(state.whole);
    free(state2.whole);
    free(value.whole);
    free(value2.whole);
}

static void fuzz_graph(const uint8_t *section, uint32_t len, const input_t *in, source_t *from) {
    source_t copy = {section, len, 1, 0};
    buffer_t graph = filled_buffer(len, in->skew & 3, &copy);
    uint32_t state_size, value_size;
    step_unchecked(&graph, in, from);
    if (known(sw_graph_check(graph.p, len, &state_size, &value_size)) == SW_OK) {
        step_checked(&graph, state_size, value_size, in->seed & 1, from);
    }
    free(graph.whole);
}

// Arrays of a record as FORMAT.md has them, in any size, padded.

static uint8_t *put_i16(uint8_t *p, uint32_t n, source_t *from) {
    take(from, p, 2 * n);
    return p + ((2 * n + 3) & ~3u);
}

static uint8_t *put_bias(uint8_t *p, uint32_t n, source_t *from) {
    int32_t *bias = (int32_t *)p;
    take(from, p, 4 * n);
    for (uint32_t i = 0; i < n; i++) {
        bias[i] >>= 1;
    }
    return p + 4 * n;
}

// Rows of n bits: of inputs in their order, or of weights, where output 4 i + k is bit 8 k + i of its word.
static uint8_t *put_bits(uint8_t *p, uint32_t rows, uint32_t n, uint32_t weights, source_t *from) {
    uint32_t words = (n + 31) / 32, mask = 0;
    for (uint32_t i = 0; n && i <= (n - 1) % 32; i++) {
        mask |= 1u << (weights ? 8 * (i % 4) + i / 4 : i);
    }
    for (; words && rows; rows--, p += 4 * words) {
        take(from, p, 4 * words);
        ((uint32_t *)p)[words - 1] &= mask;
    }
    return p;
}

// Rows of n bits in words of 16, the last array of a record.
static uint8_t *put_rows(uint8_t *p, uint32_t rows, uint32_t n, source_t *from) {
    uint32_t words = (n + 15) / 16, size = 2 * words * rows;
    take(from, p, size);
    for (uint32_t i = words; n % 16 && i <= words * rows; i += words) {
        ((uint16_t *)p)[i - 1] &= (1u << n % 16) - 1;
    }
    return p + ((size + 3) & ~3u);
}

static uint8_t *put_i4(uint8_t *p, uint32_t cout, uint32_t inputs, source_t *from) {
    for (uint32_t o = 0; o < cout; o += 8) {
        for (uint32_t i = 0; i < inputs; i += 4, p += 16) {
            take(from, p, cout - o < 8 ? 2 * (cout - o) : 16);
        }
    }
    return p;
}

// The record's arrays behind it; its end. The memory is zero.
static uint8_t *put_arrays(record_t *r, source_t *from) {
    uint8_t *p = (uint8_t *)(r + 1);
    uint32_t cin = r->cin, cout = r->cout;
    if (r->opcode == 1) {
        p = put_i16(p, cout, from);
        p = put_bias(p, cout, from);
        p = put_i4(p, cout, r->taps * cin, from);
    } else if (r->opcode == 2) {
        p = put_i16(p, cin, from);
        p = put_bits(p, 1, cin, 0, from);
        p = put_i16(p, cout, from);
        p = put_i16(p, cout, from);
        p = put_bias(p, cout, from);
        p = put_bits(p, r->taps * cin, cout, 1, from);
    } else if (r->opcode == 3) {
        p = put_i16(p, cin, from);
        p = put_bias(p, cin, from);
        p = put_bias(p, cout, from);
        take(from, p, cin * cout);
        p += (cin * cout + 3) & ~3u;
    } else if (r->opcode == 5) {
        take(from, p, cin / 4);
        p = put_rows(p + (cin + 15) / 16 * 4, cin, cout, from);
    } else if (r->opcode == 7) {
        p = put_bias(put_i16(p, cin, from), cin, from);
        p = put_i4(put_bias(p, cout, from), cout, cin, from);
    }
    return p;
}

// A record of that shape, within the limits or just beyond them; its end.
static uint8_t *put_record(uint8_t *p, const operation_t *op, uint32_t cin, source_t *from) {
    record_t *r = (record_t *)p;
    *r = (record_t) {op->opcode % 8, op->shortcut & 1, 0, cin ? cin : op->cin % 514, op->cout % 514, op->taps % 258,
        op->dilation % 66, op->shift_a % 26, op->shift_b % 26, 0};
    while (r->opcode != 4 && (uint32_t)r->taps * r->cin * r->cout > MAX_WEIGHTS) {
        r->taps--;
    }
    p = put_arrays(r, from);
    r->length = p - (uint8_t *)r;
    return p;
}

// A graph of the shapes in the input; what they do not say comes from `from`.
static void fuzz_shapes(const uint8_t *shapes, uint32_t len, const input_t *in, source_t *from) {
    static uint32_t room[2 * MAX_RECORD / 4]; // zero between calls
    uint8_t *begin = (uint8_t *)room, *p = begin + 4;
    operation_t op;
    for (uint32_t cout = 0; len >= sizeof(op) && room[0] < 65 && p < begin + MAX_RECORD; len -= sizeof(op)) {
        record_t *r = (record_t *)p;
        memcpy(&op, shapes, sizeof(op));
        shapes += sizeof(op);
        p = put_record(p, &op, cout, from);
        cout = r->cout;
        room[0]++;
    }
    (((record_t *)(begin + 4))->opcode == 5 ? fuzz_bag : fuzz_graph)(begin, p - begin, in, from);
    memset(room, 0, p - begin);
}

static int32_t hear(const buffer_t *params, const buffer_t *state, const buffer_t *samples, uint32_t n, const buffer_t *out) {
    return known(sw_frontend_step(params->p, params->len, state->p, state->len, (const int16_t *)samples->p, n,
        (int8_t *)out->p, out->len));
}

// Gives whether the parameters are sound enough to say how large a state is.
static int32_t hear_unchecked(const buffer_t *params, const input_t *in, source_t *from) {
    uint32_t n = in->value_len & 1023;
    buffer_t state = new_buffer(in->state_len, in->skew >> 2 & 3), out = new_buffer(in->last, 0);
    buffer_t samples = filled_buffer(2 * n, in->skew >> 4 & 3, from);
    spoil(&state, in->seed & 1, from);
    int32_t rc = hear(params, &state, &samples, n, &out);
    known(sw_frontend_reset(params->p, params->len, state.p, state.len));
    hear(params, &state, &samples, n, &out);
    free(state.whole);
    free(out.whole);
    free(samples.whole);
    return rc != SW_ERR_FRONTEND && rc != SW_ERR_ALIGNMENT;
}

// Buffers that fit sound parameters, whether those are `valid` or not.
static void hear_fitting(const buffer_t *params, int32_t valid, uint32_t small, source_t *from) {
    const uint16_t *p = (const uint16_t *)params->p;
    uint32_t n = p[1];
    buffer_t state = new_buffer(sw_frontend_state_size(params->p), 0);
    buffer_t samples = filled_buffer(2 * n, 0, from), out = new_buffer(p[4], 0);
    spoil(&state, small, from);
    int32_t rc = hear(params, &state, &samples, n, &out);
    MUST(!valid || rc == SW_OK);
    rc = known(sw_frontend_reset(params->p, params->len, state.p, state.len));
    MUST(valid == (rc == SW_OK));
    for (int32_t t = 0; valid && t < FRAMES; t++) {
        take(from, samples.p, samples.len);
        MUST(hear(params, &state, &samples, n, &out) == SW_OK);
    }
    if (valid) {
        out.len--;
        MUST(hear(params, &state, &samples, n, &out) == SW_ERR_OUT);
        state.len--;
        MUST(hear(params, &state, &samples, n, &out) == SW_ERR_STATE);
    }
    free(state.whole);
    free(samples.whole);
    free(out.whole);
}

static void fuzz_front_end(const uint8_t *section, uint32_t len, const input_t *in, source_t *from) {
    source_t copy = {section, len, 1, 0};
    buffer_t params = filled_buffer(len, in->skew & 3, &copy);
    int32_t sound = hear_unchecked(&params, in, from), valid = known(sw_frontend_check(params.p, len)) == SW_OK;
    MUST(sound || !valid);
    if (sound) {
        hear_fitting(&params, valid, in->seed & 1, from);
    }
    free(params.whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input_t in;
    if (size < sizeof(in)) {
        return 0;
    }
    memcpy(&in, data, sizeof(in));
    data += sizeof(in);
    size -= sizeof(in);
    uint32_t len = in.section < size ? in.section : size;
    source_t from = {data + len, size - len, in.seed | 1, in.seed & 2};
    MUST(sw_error((int32_t)in.seed)[0] && sw_text_error((int32_t)in.seed)[0]);
    if (in.kind % KINDS == GRAPH) {
        fuzz_graph(data, len, &in, &from);
    } else if (in.kind % KINDS == SHAPES) {
        fuzz_shapes(data, len, &in, &from);
    } else if (in.kind % KINDS == FRONT_END) {
        fuzz_front_end(data, len, &in, &from);
    } else {
        (in.kind % KINDS == TEXT ? fuzz_text : fuzz_bag)(data, len, &in, &from);
    }
    return 0;
}
