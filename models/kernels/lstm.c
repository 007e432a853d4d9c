/* An LSTM over all its steps, all cells of a stack in one call, and its gradient: see models/kernels/compiled_lstm.py.
 *
 * Cell by cell, so that what one step writes is still in the cache when the next one reads it. Products are the library's,
 * or, without `gemm`, of operands rounded to bfloat16 (bfloat16.c); what is between them is `elementwise.c`, called for one
 * cell. Inside, steps come first: (steps, rows, ...). */
#include "bfloat16.h"
#include "sgemm.h"
#include <string.h>

void lstm_step(float *restrict gates, const float *restrict before, float *restrict c, float *restrict squashed,
               float *restrict h, int64_t rows, int64_t n);
void lstm_step_gradient(const float *restrict gates, const float *restrict before, const float *restrict squashed,
                        const float *restrict of_h, float *restrict of_c, float *restrict of_gates, int64_t rows,
                        int64_t n);

void lstm_tangent(const float *restrict gates, const float *restrict before, const float *restrict squashed,
                  const float *restrict moved, const float *restrict c_before, float *restrict of_c, float *restrict of_h,
                  int64_t rows, int64_t n);
void lstm_tangent_gradient(const float *restrict gates, const float *restrict before, const float *restrict squashed,
                           const float *restrict moved, const float *restrict c_before, const float *restrict c_moved,
                           const float *restrict of_h, const float *restrict of_h_moved, float *restrict of_c,
                           float *restrict of_c_moved, float *restrict of_gates, float *restrict of_moved, int64_t rows,
                           int64_t n);

/* out (b, a, n) <- x (a, b, n) */
static void swapped(const float *x, float *out, int64_t a, int64_t b, int64_t n) {
    for (int64_t i = 0; i < a; i++)
        for (int64_t j = 0; j < b; j++, x += n) memcpy(out + (j * a + i) * n, x, n * sizeof *x);
}

/* U (n, 4 n) of one cell. In bfloat16: as tiles, with room for an operand of so many rows */
typedef struct {
    Gemm *gemm;
    const float *weight;
    bf16 *tiles, *operand;
} Recurrent;

static Recurrent prepared(Gemm *gemm, const float *weight, bf16 *scratch, int64_t n, int64_t transposed) {
    Recurrent u = {gemm, weight, NULL, NULL};
    if (gemm) return u;
    u.tiles = scratch, u.operand = scratch + UP(n) * UP(4 * n);
    bfloat16_tiles(weight, u.tiles, transposed ? 4 * n : n, transposed ? n : 4 * n, transposed);
    return u;
}

/* gates (rows, 4 n) += h U */
static void add_along(const Recurrent *u, const float *h, float *gates, int64_t rows, int64_t n) {
    if (u->gemm) {
        product(u->gemm, h, 0, u->weight, 0, gates, rows, n, 4 * n, 1.0f);
        return;
    }
    bfloat16_rows(h, u->operand, NULL, 1, rows, n, 0);
    bfloat16_add(u->operand, u->tiles, gates, rows, n, 4 * n, 1);
}

/* of_h (rows, n) <- g U^T + keep x of_h, of a U that was prepared transposed */
static void back(const Recurrent *u, const float *g, float *of_h, int64_t rows, int64_t n, int64_t keep) {
    if (u->gemm) {
        product(u->gemm, g, 0, u->weight, 1, of_h, rows, 4 * n, n, (float)keep);
        return;
    }
    bfloat16_rows(g, u->operand, NULL, 1, rows, 4 * n, 0);
    bfloat16_add(u->operand, u->tiles, of_h, rows, 4 * n, n, keep);
}

/* of_u (n, 4 n) <- h^T g, over `rows` rows. In bfloat16: `scratch` has room for both, rounded, and what bfloat16.c needs */
static void of_weight(Gemm *gemm, const float *h, const float *g, float *of_u, bf16 *scratch, int64_t rows, int64_t n) {
    if (gemm) {
        product(gemm, h, 1, g, 0, of_u, n, rows, 4 * n, 0.0f);
        return;
    }
    bf16 *left = scratch, *right = left + UP(rows) * UP(n);
    bfloat16_rows(h, left, NULL, 1, rows, n, 0);
    bfloat16_rows(g, right, NULL, 1, rows, 4 * n, 0);
    bfloat16_of_weight(left, right, of_u, right + UP(rows) * UP(4 * n), 1, rows, n, 4 * n, 0);
}

/* Fill out (cells, rows, steps, n), h after each step, and what the gradient needs, (cells, steps, rows, ...): the gates'
 * values, h, c and tanh c. inputs (cells, rows, steps, 4 n); recurrent (n, 4 n) of each cell, `stride` numbers apart;
 * h, c before the first step, (cells, rows, n) each, or none: 0. `scratch`, in bfloat16 alone: UP(n) x UP(4 n) numbers,
 * and UP(rows) x UP(n) */
void lstm(Gemm *gemm, const float *inputs, const float *recurrent, const float *h, const float *c, float *gates,
          float *states, float *memory, float *squashed, float *out, bf16 *scratch, int64_t cells, int64_t rows,
          int64_t steps, int64_t n, int64_t stride) {
    const int64_t step = rows * n, all = steps * step;
    for (int64_t i = 0; i < cells; i++, recurrent += stride) {
        const float *last_h = h ? h + i * step : NULL, *last_c = c ? c + i * step : NULL;
        const Recurrent u = prepared(gemm, recurrent, scratch, n, 0);
        swapped(inputs + 4 * i * all, gates, rows, steps, 4 * n);
        for (int64_t t = 0; t < steps; t++, gates += 4 * step, states += step, memory += step, squashed += step) {
            if (last_h) add_along(&u, last_h, gates, rows, n);
            lstm_step(gates, last_c, memory, squashed, states, rows, n);
            last_h = states, last_c = memory;
        }
        swapped(states - all, out + i * all, steps, rows, n);
    }
}

/* The gradients of inputs and, where asked for, of `recurrent`, of h and of c, from that of `out`. `work`: 10 times as
 * many numbers as a cell has in `out`, and rows x n more. `scratch`, in bfloat16 alone: the largest of what `lstm` needs with
 * UP(rows) x UP(4 n) in place of UP(rows) x UP(n), and of rows' = rows x steps UP(rows') x (UP(n) + 2 UP(4 n) + 32) */
void lstm_gradient(Gemm *gemm, const float *grad, const float *recurrent, const float *h, const float *c,
                   const float *gates, const float *states, const float *memory, const float *squashed, float *of_inputs,
                   float *of_recurrent, float *of_h, float *of_c, float *work, bf16 *scratch, int64_t cells, int64_t rows,
                   int64_t steps, int64_t n, int64_t stride, int64_t of_stride) {
    const int64_t step = rows * n, all = steps * step, seen_steps = h ? steps : steps - 1;
    float *of_states = work, *of_gates = of_states + all, *seen = of_gates + 4 * all, *theirs = seen + all;
    float *of_memory = theirs + 4 * all;
    for (int64_t i = 0; i < cells; i++, recurrent += stride, gates += 4 * all, states += all,
                 memory += all, squashed += all, grad += all, of_inputs += 4 * all) {
        const Recurrent u = prepared(gemm, recurrent, scratch, n, 1);
        swapped(grad, of_states, rows, steps, n);
        memset(of_memory, 0, step * sizeof *of_memory);
        for (int64_t t = steps - 1; t >= 0; t--) {
            const float *before = t ? memory + (t - 1) * step : c ? c + i * step : NULL;
            lstm_step_gradient(gates + 4 * t * step, before, squashed + t * step, of_states + t * step, of_memory,
                               of_gates + 4 * t * step, rows, n);
            if (t) back(&u, of_gates + 4 * t * step, of_states + (t - 1) * step, rows, n, 1);
        }
        if (of_h) back(&u, of_gates, of_h + i * step, rows, n, 0);
        if (of_c) memcpy(of_c + i * step, of_memory, step * sizeof *of_c);
        swapped(of_gates, of_inputs, steps, rows, 4 * n);
        if (!of_recurrent) continue;
        for (int64_t r = 0; r < rows; r++) { /* in the order of `inputs`, that of the rows of a product over all of them */
            float *to = seen + r * seen_steps * n;
            if (h) memcpy(to, h + i * step + r * n, n * sizeof *to), to += n;
            for (int64_t t = 0; t < steps - 1; t++, to += n) memcpy(to, states + t * step + r * n, n * sizeof *to);
            if (!h) memcpy(theirs + 4 * r * seen_steps * n, of_inputs + 4 * (r * steps + 1) * n, 4 * seen_steps * n * sizeof *to);
        }
        of_weight(gemm, seen, h ? of_inputs : theirs, of_recurrent + i * of_stride, scratch, rows * seen_steps, n);
    }
}

/* The gradient of `lstm_gradient`, for gradients that are differentiated again. With L = sum of grad x out, its outputs are
 * the gradient of L; their product with given directions is how L moves along them, and that is gone back through:
 * one sweep over the steps for the movement of every state, one backwards. Directions (none: 0) of inputs, of `recurrent`,
 * of h and of c; fills the gradients of grad, of inputs and, where asked for, of `recurrent`, of h and of c. `work`: 15 times
 * as many numbers as a cell has in `out`, and 4 x rows x n more */
void lstm_second_gradient(Gemm *gemm, const float *grad, const float *recurrent, const float *h, const float *c,
                          const float *gates, const float *states, const float *memory, const float *squashed,
                          const float *along_inputs, const float *along_recurrent, const float *along_h,
                          const float *along_c, float *of_grad, float *of_inputs, float *of_recurrent, float *of_h,
                          float *of_c, float *work, int64_t cells, int64_t rows, int64_t steps, int64_t n, int64_t stride,
                          int64_t along_stride, int64_t of_stride) {
    const int64_t step = rows * n, all = steps * step;
    float *moved = work, *c_moved = moved + 4 * all, *h_moved = c_moved + all, *of_gates = h_moved + all;
    float *of_moved = of_gates + 4 * all, *of_h_moved = of_moved + 4 * all, *of_state = of_h_moved + all;
    float *of_memory = of_state + step, *of_memory_moved = of_memory + step;
    for (int64_t i = 0; i < cells; i++) {
        const float *first_h = h ? h + i * step : NULL, *first_c = c ? c + i * step : NULL;
        const float *h_along = h && along_h ? along_h + i * step : NULL, *c_along = c && along_c ? along_c + i * step : NULL;
        const float *along = along_recurrent ? along_recurrent + i * along_stride : NULL;
        if (along_inputs)
            swapped(along_inputs + 4 * i * all, moved, rows, steps, 4 * n);
        else
            memset(moved, 0, 4 * all * sizeof *moved);
        for (int64_t t = 0; t < steps; t++) {
            const float *last_h = t ? states + (t - 1) * step : first_h, *last_c = t ? memory + (t - 1) * step : first_c;
            const float *last_moved = t ? h_moved + (t - 1) * step : h_along;
            const float *last_c_moved = t ? c_moved + (t - 1) * step : c_along;
            if (last_moved) product(gemm, last_moved, 0, recurrent, 0, moved + 4 * t * step, rows, n, 4 * n, 1.0f);
            if (along && last_h) product(gemm, last_h, 0, along, 0, moved + 4 * t * step, rows, n, 4 * n, 1.0f);
            lstm_tangent(gates + 4 * t * step, last_c, squashed + t * step, moved + 4 * t * step, last_c_moved,
                         c_moved + t * step, h_moved + t * step, rows, n);
        }
        swapped(h_moved, of_grad + i * all, steps, rows, n);
        swapped(grad + i * all, of_h_moved, rows, steps, n);
        memset(of_state, 0, 3 * step * sizeof *of_state);
        for (int64_t t = steps - 1; t >= 0; t--) {
            const float *last_c = t ? memory + (t - 1) * step : first_c, *own = of_gates + 4 * t * step;
            const float *last_c_moved = t ? c_moved + (t - 1) * step : c_along, *own_moved = of_moved + 4 * t * step;
            lstm_tangent_gradient(gates + 4 * t * step, last_c, squashed + t * step, moved + 4 * t * step, last_c_moved,
                                  c_moved + t * step, of_state, of_h_moved + t * step, of_memory, of_memory_moved,
                                  of_gates + 4 * t * step, of_moved + 4 * t * step, rows, n);
            product(gemm, own, 0, recurrent, 1, of_state, rows, 4 * n, n, 0.0f);
            if (along) product(gemm, own_moved, 0, along, 1, of_state, rows, 4 * n, n, 1.0f);
            if (t) product(gemm, own_moved, 0, recurrent, 1, of_h_moved + (t - 1) * step, rows, 4 * n, n, 1.0f);
        }
        swapped(of_gates, of_inputs + 4 * i * all, steps, rows, 4 * n);
        if (of_h) memcpy(of_h + i * step, of_state, step * sizeof *of_h);
        if (of_c) memcpy(of_c + i * step, of_memory, step * sizeof *of_c);
        if (of_recurrent) {
            float *to = of_recurrent + i * of_stride;
            product(gemm, states, 1, of_gates + 4 * step, 0, to, n, (steps - 1) * rows, 4 * n, 0.0f);
            product(gemm, h_moved, 1, of_moved + 4 * step, 0, to, n, (steps - 1) * rows, 4 * n, 1.0f);
            if (first_h) product(gemm, first_h, 1, of_gates, 0, to, n, rows, 4 * n, 1.0f);
            if (h_along) product(gemm, h_along, 1, of_moved, 0, to, n, rows, 4 * n, 1.0f);
        }
        recurrent += stride, gates += 4 * all, states += all, memory += all, squashed += all;
    }
}
