// The part of the fuzz target over text.h: what fuzz.c claims of sound, here of typed text.
#include "fuzz.h"

#define VALUE (4 + 2 * MAX_HITS)

static int32_t known(int32_t rc) {
    MUST(rc <= SW_OK && rc >= SW_TEXT_PIECES);
    MUST(sw_text_error(rc)[0]);
    return rc;
}

static int32_t rows_of(const buffer_t *text, const buffer_t *utf8, const buffer_t *value) {
    return known(sw_text_rows(text->p, text->len, utf8->p, utf8->len, value->p, value->len));
}

static int32_t keys_of(const buffer_t *text, const buffer_t *utf8, uint32_t room) {
    buffer_t keys = new_buffer(4 * room, 0);
    int32_t n = sw_text_keys(text->p, text->len, utf8->p, utf8->len, (uint32_t *)keys.p, room);
    MUST(n >= SW_TEXT_PIECES && n < 1 << 22);
    for (int32_t i = 0; i < n && i < (int32_t)room; i++) {
        MUST(((uint32_t *)keys.p)[i] < 1u << 24);
    }
    free(keys.whole);
    return n;
}

// A section that the check has accepted.
static void read_checked(const buffer_t *text, const buffer_t *utf8, uint32_t entries) {
    buffer_t value = new_buffer(VALUE, 0);
    MUST(entries <= MAX_ENTRIES && rows_of(text, utf8, &value) == SW_OK);
    uint32_t found = *(uint32_t *)value.p;
    MUST(found <= MAX_HITS && (int32_t)found <= keys_of(text, utf8, 7));
    for (uint32_t i = 0; i < found; i++) {
        MUST(((uint16_t *)value.p)[2 + i] < entries);
    }
    value.len--;
    MUST(rows_of(text, utf8, &value) == SW_TEXT_VALUE);
    free(value.whole);
}

void fuzz_text(const uint8_t *section, uint32_t len, const input_t *in, source_t *from) {
    source_t copy = {section, len, 1, 0};
    buffer_t text = filled_buffer(len, in->skew & 3, &copy);
    buffer_t utf8 = filled_buffer(from->left + (in->state_len & 63), in->skew >> 2 & 3, from);
    buffer_t value = new_buffer(in->value_len & 2047, in->skew >> 4 & 3);
    rows_of(&text, &utf8, &value);
    keys_of(&text, &utf8, in->state_len & 255);
    int32_t entries = sw_text_check(text.p, len);
    MUST(entries);
    if (entries > 0) {
        read_checked(&text, &utf8, entries);
    } else {
        known(entries);
    }
    free(text.whole);
    free(utf8.whole);
    free(value.whole);
}

static int32_t step(const buffer_t *graph, const buffer_t *value, uint32_t first, uint32_t last) {
    return known(sw_bag_step(graph->p, graph->len, value->p, value->len, first, last));
}

// A graph that the check has accepted: all at once, and one operation after the other.
static void step_checked(const buffer_t *graph, uint32_t entries, uint32_t value_size, source_t *from) {
    uint32_t n = *(const uint32_t *)graph->p;
    buffer_t value = filled_buffer(value_size, 0, from), value2 = new_buffer(value_size, 0);
    MUST(value_size >= VALUE && value_size <= 2048 && entries <= MAX_ENTRIES);
    *(uint32_t *)value.p %= MAX_HITS + 1;
    for (uint32_t i = 0; i < MAX_HITS; i++) {
        ((uint16_t *)value.p)[2 + i] %= entries;
    }
    memcpy(value2.p, value.p, value_size);
    MUST(step(graph, &value, 0, n) == SW_OK);
    for (uint32_t i = 0; i < n; i++) {
        MUST(step(graph, &value2, i, i + 1) == SW_OK);
    }
    MUST(!memcmp(value.p, value2.p, value_size));
    value.len--;
    MUST(step(graph, &value, 0, n) == SW_TEXT_VALUE);
    free(value.whole);
    free(value2.whole);
}

void fuzz_bag(const uint8_t *section, uint32_t len, const input_t *in, source_t *from) {
    source_t copy = {section, len, 1, 0};
    buffer_t graph = filled_buffer(len, in->skew & 3, &copy), value = filled_buffer(in->value_len, in->skew >> 4 & 3, from);
    uint32_t value_size;
    if ((in->seed & 1) && value.len >= 4) {
        value.p[1] &= 1; // as few rows as there may be
        value.p[2] = value.p[3] = 0;
    }
    step(&graph, &value, in->first, in->last);
    int32_t entries = sw_bag_check(graph.p, len, &value_size);
    MUST(entries);
    if (entries > 0) {
        step_checked(&graph, entries, value_size, from);
    } else {
        known(entries);
    }
    free(graph.whole);
    free(value.whole);
}
