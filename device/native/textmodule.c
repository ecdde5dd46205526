// MicroPython glue: the text core's functions over buffers, nothing else. Errors are ValueErrors with the core's texts.
#include "glue.h"
#include "text.h"

static int32_t raise_on(int32_t rc) {
    if (rc < 0) {
        mp_raise_ValueError(sw_text_error(rc));
    }
    return rc;
}

// text_check(text, graph) -> bytes of the value buffer
static mp_obj_t text_check(mp_obj_t text_in, mp_obj_t graph_in) {
    mp_buffer_info_t text;
    mp_get_buffer_raise(text_in, &text, MP_BUFFER_READ);
    mp_buffer_info_t graph;
    mp_get_buffer_raise(graph_in, &graph, MP_BUFFER_READ);
    uint32_t value_size;
    int32_t entries = raise_on(sw_text_check(text.buf, text.len));
    if (raise_on(sw_bag_check(graph.buf, graph.len, &value_size)) != entries) {
        raise_on(SW_TEXT_ENTRIES);
    }
    return mp_obj_new_int(value_size);
}
static MP_DEFINE_CONST_FUN_OBJ_2(text_check_obj, text_check);

static uint32_t read_rows(mp_obj_t text_in, mp_obj_t utf8_in, mp_obj_t value_in) {
    mp_buffer_info_t text;
    mp_get_buffer_raise(text_in, &text, MP_BUFFER_READ);
    mp_buffer_info_t utf8;
    mp_get_buffer_raise(utf8_in, &utf8, MP_BUFFER_READ);
    mp_buffer_info_t value;
    mp_get_buffer_raise(value_in, &value, MP_BUFFER_WRITE);
    uint32_t begin = count_now();
    int32_t rc = sw_text_rows(text.buf, text.len, utf8.buf, utf8.len, value.buf, value.len);
    uint32_t end = count_now();
    raise_on(rc);
    return end - begin;
}

static uint32_t step_graph(const mp_obj_t *args) {
    mp_buffer_info_t graph;
    mp_get_buffer_raise(args[0], &graph, MP_BUFFER_READ);
    mp_buffer_info_t value;
    mp_get_buffer_raise(args[1], &value, MP_BUFFER_WRITE);
    uint32_t first = mp_obj_get_int(args[2]), last = mp_obj_get_int(args[3]);
    uint32_t begin = count_now();
    int32_t rc = sw_bag_step(graph.buf, graph.len, value.buf, value.len, first, last);
    uint32_t end = count_now();
    raise_on(rc);
    return end - begin;
}

// text_rows(text, utf8, value)
static mp_obj_t text_rows(mp_obj_t text_in, mp_obj_t utf8_in, mp_obj_t value_in) {
    read_rows(text_in, utf8_in, value_in);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(text_rows_obj, text_rows);

// text_step(graph, value, first, last)
static mp_obj_t text_step(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    step_graph(args);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(text_step_obj, 4, 4, text_step);

// For benchmarks: the same, giving what count_now() counts inside them.
#ifdef SW_COUNT
static mp_obj_t rows_count(mp_obj_t text_in, mp_obj_t utf8_in, mp_obj_t value_in) {
    return mp_obj_new_int(read_rows(text_in, utf8_in, value_in));
}
static MP_DEFINE_CONST_FUN_OBJ_3(rows_count_obj, rows_count);

static mp_obj_t step_count(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    return mp_obj_new_int(step_graph(args));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(step_count_obj, 4, 4, step_count);
#endif

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_text_check, MP_OBJ_FROM_PTR(&text_check_obj));
    mp_store_global(MP_QSTR_text_rows, MP_OBJ_FROM_PTR(&text_rows_obj));
    mp_store_global(MP_QSTR_text_step, MP_OBJ_FROM_PTR(&text_step_obj));
    #ifdef SW_COUNT
    mp_store_global(MP_QSTR_rows_count, MP_OBJ_FROM_PTR(&rows_count_obj));
    mp_store_global(MP_QSTR_step_count, MP_OBJ_FROM_PTR(&step_count_obj));
    #endif
    MP_DYNRUNTIME_INIT_EXIT
}
