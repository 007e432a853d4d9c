/* A perceptron in bfloat16, all cells of a stack in one call, and its gradient: see models/kernels/bfloat16.py.
 *
 * Cell by cell, so that what one operation writes is still in the cache when the next one reads it. Every operation is one
 * of bfloat16.c, called for one cell. Hidden maps put out values of bfloat16, heads numbers of float32. */
#include "bfloat16.h"
#include "map.h"
#include <stddef.h>

/* Fill `out` of every map: hidden layers, then heads, the last of which sees `mean`, the average over samples, if given.
 * x (cells, rows, inputs), kept in bfloat16 as `seen`; mean (cells, rows / samples, inputs of the last head);
 * `scratch`: see bfloat16.c, for the largest of the maps */
void bfloat16_perceptron(const Map *maps, const float *x, bf16 *seen, bf16 *mean, bf16 *scratch, int64_t cells,
                         int64_t rows, int64_t samples, int64_t hidden, int64_t heads, int64_t kind) {
    for (int64_t c = 0; c < cells; c++) {
        bf16 *values = seen + c * UP(rows) * UP(maps[0].inputs);
        bfloat16_rows(x + c * rows * maps[0].inputs, values, NULL, 1, rows, maps[0].inputs, 0);
        for (int64_t l = 0; l < hidden + heads; l++) {
            const Map *m = maps + l;
            const float *weight = m->weight + c * m->weight_stride, *bias = m->bias + c * m->bias_stride;
            if (l < hidden) {
                bf16 *out = (bf16 *)m->out + c * UP(rows) * UP(m->outputs);
                bfloat16_affine(values, weight, bias, out, scratch, 1, rows, m->inputs, m->outputs, 0, 0, kind);
                values = out;
                continue;
            }
            int64_t n = rows;
            if (mean && l == hidden + heads - 1) {
                n = rows / samples;
                bfloat16_mean(values, mean + c * UP(n) * UP(m->inputs), 1, samples, n, m->inputs);
                values = mean + c * UP(n) * UP(m->inputs);
            }
            float *out = (float *)m->out + c * n * m->outputs;
            bfloat16_affine(values, weight, bias, out, scratch, 1, n, m->inputs, m->outputs, 0, 0, NONE);
        }
    }
}

/* Gradients of parameters, and of x where asked for, from those of the heads, which stand in their `out`; or, where there
 * are none, from that of the last hidden layer, `of_last`. What several heads give the last hidden layer is a sum in
 * float32, to which the first one's is added last. `work`: three times `largest` numbers, as many as the largest matrix
 * that is gone back through; `sums`: float32, twice as many as the last hidden layer has in a cell */
void bfloat16_perceptron_gradient(const Map *maps, const bf16 *seen, const bf16 *mean, const float *of_last, float *of_x,
                                  bf16 *work, float *sums, bf16 *scratch, int64_t cells, int64_t rows, int64_t samples,
                                  int64_t hidden, int64_t heads, int64_t kind, int64_t largest) {
    const int64_t units = heads ? maps[hidden].inputs : maps[hidden - 1].outputs;
    bf16 *const of_head = work + 2 * largest;
    for (int64_t c = 0; c < cells; c++) {
        const bf16 *first = seen + c * UP(rows) * UP(maps[0].inputs);
        const bf16 *last = hidden ? (bf16 *)maps[hidden - 1].out + c * UP(rows) * UP(units) : first;
        const bf16 *grad = NULL;
        const float *plus = of_last ? of_last + c * rows * units : NULL, *weight = NULL;
        int64_t plus_rows = rows, k = units;
        float share = 1.0f;
        for (int64_t l = hidden + heads - 1; l >= hidden; l--) {
            const Map *m = maps + l;
            int averaged = mean && l == hidden + heads - 1;
            int64_t n = averaged ? rows / samples : rows;
            bf16 *of_out = l == hidden ? work : of_head;
            bfloat16_rows((float *)m->out + c * n * m->outputs, of_out, m->of_bias + c * m->of_bias_stride, 1, n, m->outputs,
                          0);
            if (m->of_weight)
                bfloat16_of_weight(averaged ? mean + c * UP(n) * UP(units) : last, of_out,
                                   m->of_weight + c * m->of_weight_stride, scratch, 1, n, units, m->outputs, 0);
            weight = m->weight + c * m->weight_stride;
            if (l == hidden && !averaged) {
                grad = of_out, k = m->outputs;
                break;
            }
            float *out = averaged ? sums + rows * units : sums;
            bfloat16_back(of_out, weight, plus, NULL, out, NULL, scratch, 1, n, m->outputs, units, 0, 0, plus_rows, share,
                          NONE);
            plus = out, plus_rows = n, share = averaged ? 1.0f / (float)samples : 1.0f;
        }
        bf16 *next = work + largest;
        for (int64_t l = hidden - 1; l >= 0; l--) {
            const Map *m = maps + l;
            const bf16 *values = (bf16 *)m->out + c * UP(rows) * UP(m->outputs);
            bfloat16_back(grad, weight, plus, values, next, m->of_bias + c * m->of_bias_stride, scratch, 1, rows, k,
                          m->outputs, 0, 0, plus_rows, share, kind);
            if (m->of_weight)
                bfloat16_of_weight(l ? (bf16 *)maps[l - 1].out + c * UP(rows) * UP(m->inputs) : first, next,
                                   m->of_weight + c * m->of_weight_stride, scratch, 1, rows, m->inputs, m->outputs, 0);
            weight = m->weight + c * m->weight_stride;
            grad = next, k = m->outputs, plus = NULL, plus_rows = 1, share = 1.0f;
            next = next == work ? work + largest : work;
        }
        if (of_x)
            bfloat16_back(grad, weight, plus, NULL, of_x + c * rows * maps[0].inputs, NULL, scratch, 1, rows, k,
                          maps[0].inputs, 0, 0, plus_rows, share, NONE);
    }
}
