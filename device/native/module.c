// MicroPython glue: the core's functions over buffers, nothing else. Errors are ValueErrors with the core's texts.
#include "glue.h"
#include "signwave.h"
#include "yardsticks.h"

static void raise_on(int32_t rc) {
    if (rc < 0) {
        mp_raise_ValueError(sw_error(rc));
    }
}

// graph_check(graph) -> (state_size, value_size)
static mp_obj_t graph_check(mp_obj_t graph_in) {
    mp_buffer_info_t graph;
    mp_get_buffer_raise(graph_in, &graph, MP_BUFFER_READ);
    uint32_t state_size, value_size;
    raise_on(sw_graph_check(graph.buf, graph.len, &state_size, &value_size));
    mp_obj_t sizes[2] = {mp_obj_new_int(state_size), mp_obj_new_int(value_size)};
    return mp_obj_new_tuple(2, sizes);
}
static MP_DEFINE_CONST_FUN_OBJ_1(graph_check_obj, graph_check);

// graph_reset(graph, state)
static mp_obj_t graph_reset(mp_obj_t graph_in, mp_obj_t state_in) {
    mp_buffer_info_t graph;
    mp_get_buffer_raise(graph_in, &graph, MP_BUFFER_READ);
    mp_buffer_info_t state;
    mp_get_buffer_raise(state_in, &state, MP_BUFFER_WRITE);
    raise_on(sw_graph_reset(graph.buf, graph.len, state.buf, state.len));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(graph_reset_obj, graph_reset);

static uint32_t step_graph(const mp_obj_t *args) {
    mp_buffer_info_t graph;
    mp_get_buffer_raise(args[0], &graph, MP_BUFFER_READ);
    mp_buffer_info_t state;
    mp_get_buffer_raise(args[1], &state, MP_BUFFER_WRITE);
    mp_buffer_info_t value;
    mp_get_buffer_raise(args[2], &value, MP_BUFFER_WRITE);
    uint32_t first = mp_obj_get_int(args[3]), last = mp_obj_get_int(args[4]);
    uint32_t begin = count_now();
    int32_t rc = sw_graph_step(graph.buf, graph.len, state.buf, state.len, value.buf, value.len, first, last);
    uint32_t end = count_now();
    raise_on(rc);
    return end - begin;
}

static uint32_t step_frontend(const mp_obj_t *args) {
    mp_buffer_info_t params;
    mp_get_buffer_raise(args[0], &params, MP_BUFFER_READ);
    mp_buffer_info_t state;
    mp_get_buffer_raise(args[1], &state, MP_BUFFER_WRITE);
    mp_buffer_info_t samples;
    mp_get_buffer_raise(args[2], &samples, MP_BUFFER_READ);
    mp_buffer_info_t out;
    mp_get_buffer_raise(args[3], &out, MP_BUFFER_WRITE);
    if (samples.len & 1) {
        raise_on(SW_ERR_SAMPLES);
    }
    uint32_t begin = count_now();
    int32_t rc = sw_frontend_step(params.buf, params.len, state.buf, state.len,
        samples.buf, samples.len / 2, out.buf, out.len);
    uint32_t end = count_now();
    raise_on(rc);
    return end - begin;
}

// graph_step(graph, state, value, first, last)
static mp_obj_t graph_step(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    step_graph(args);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(graph_step_obj, 5, 5, graph_step);

// frontend_state_size(params) -> int
static mp_obj_t frontend_state_size(mp_obj_t params_in) {
    mp_buffer_info_t params;
    mp_get_buffer_raise(params_in, &params, MP_BUFFER_READ);
    raise_on(sw_frontend_check(params.buf, params.len));
    return mp_obj_new_int(sw_frontend_state_size(params.buf));
}
static MP_DEFINE_CONST_FUN_OBJ_1(frontend_state_size_obj, frontend_state_size);

// frontend_reset(params, state)
static mp_obj_t frontend_reset(mp_obj_t params_in, mp_obj_t state_in) {
    mp_buffer_info_t params;
    mp_get_buffer_raise(params_in, &params, MP_BUFFER_READ);
    mp_buffer_info_t state;
    mp_get_buffer_raise(state_in, &state, MP_BUFFER_WRITE);
    raise_on(sw_frontend_reset(params.buf, params.len, state.buf, state.len));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(frontend_reset_obj, frontend_reset);

// frontend_step(params, state, samples, out)
static mp_obj_t frontend_step(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    step_frontend(args);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(frontend_step_obj, 4, 4, frontend_step);

// For benchmarks: the same steps, giving what count_now() counts inside them.
#ifdef SW_COUNT
static mp_obj_t graph_count(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    return mp_obj_new_int(step_graph(args));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(graph_count_obj, 5, 5, graph_count);

static mp_obj_t frontend_count(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    return mp_obj_new_int(step_frontend(args));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(frontend_count_obj, 4, 4, frontend_count);

// yardstick_count(is_int8, inputs, outputs, weights, x, y): a layer of yardsticks.c over buffers of the caller's.
static mp_obj_t yardstick_count(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    uint32_t is_int8 = mp_obj_get_int(args[0]), inputs = mp_obj_get_int(args[1]), outputs = mp_obj_get_int(args[2]);
    mp_buffer_info_t w;
    mp_get_buffer_raise(args[3], &w, MP_BUFFER_READ);
    mp_buffer_info_t x;
    mp_get_buffer_raise(args[4], &x, MP_BUFFER_READ);
    mp_buffer_info_t y;
    mp_get_buffer_raise(args[5], &y, MP_BUFFER_WRITE);
    uint32_t row = is_int8 ? inputs : (inputs + 31) / 32 * 4;
    if (x.len < row || w.len < row * outputs || y.len < 4 * outputs) {
        raise_on(SW_ERR_LENGTH);
    }
    uint32_t begin = count_now();
    if (is_int8) {
        sw_int8_layer(w.buf, x.buf, inputs, outputs, y.buf);
    } else {
        sw_naive_layer(w.buf, x.buf, inputs, outputs, y.buf);
    }
    return mp_obj_new_int(count_now() - begin);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(yardstick_count_obj, 6, 6, yardstick_count);
#endif

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_graph_check, MP_OBJ_FROM_PTR(&graph_check_obj));
    mp_store_global(MP_QSTR_graph_reset, MP_OBJ_FROM_PTR(&graph_reset_obj));
    mp_store_global(MP_QSTR_graph_step, MP_OBJ_FROM_PTR(&graph_step_obj));
    mp_store_global(MP_QSTR_frontend_state_size, MP_OBJ_FROM_PTR(&frontend_state_size_obj));
    mp_store_global(MP_QSTR_frontend_reset, MP_OBJ_FROM_PTR(&frontend_reset_obj));
    mp_store_global(MP_QSTR_frontend_step, MP_OBJ_FROM_PTR(&frontend_step_obj));
    #ifdef SW_COUNT
    mp_store_global(MP_QSTR_graph_count, MP_OBJ_FROM_PTR(&graph_count_obj));
    mp_store_global(MP_QSTR_frontend_count, MP_OBJ_FROM_PTR(&frontend_count_obj));
    mp_store_global(MP_QSTR_yardstick_count, MP_OBJ_FROM_PTR(&yardstick_count_obj));
    #endif
    MP_DYNRUNTIME_INIT_EXIT
}
