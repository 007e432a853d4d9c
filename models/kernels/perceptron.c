/* A perceptron of tanh, all cells of a stack in one call, and its gradient: see models/kernels/compiled_perceptron.py.
 *
 * Cell by cell, so that what one operation writes is still in the cache when the next one reads it. Products are the
 * library's (`gemm`, Fortran's SGEMM); everything else is `elementwise.c`, called for one cell. */
#include "map.h"
#include "sgemm.h"
#include <string.h>

void bias_tanh(float *restrict h, const float *restrict bias, int64_t cells, int64_t rows, int64_t n, int64_t stride);
void add_bias(float *restrict h, const float *restrict bias, int64_t cells, int64_t rows, int64_t n, int64_t stride);
void mean_samples(const float *restrict h, float *restrict out, int64_t cells, int64_t samples, int64_t n);
void mean_samples_gradient(float *restrict grad, const float *restrict of_mean, int64_t cells, int64_t samples,
                           int64_t n);
void tanh_gradient(float *restrict grad, const float *restrict h, float *restrict of_bias, int64_t cells, int64_t rows,
                   int64_t n, int64_t stride);
void sum_rows(const float *restrict grad, float *restrict of_bias, int64_t cells, int64_t rows, int64_t n,
              int64_t stride);

/* What a map puts out, from number i on */
static float *numbers(const Map *m, int64_t i) { return (float *)m->out + i; }

/* Fill `out` of every map: hidden layers, then heads, the last of which sees `mean`, the average over samples, if given.
 * x (cells, rows, inputs), mean (cells, rows / samples, inputs of the last head) */
void perceptron(Gemm *gemm, const Map *maps, const float *x, float *mean, int64_t cells, int64_t rows, int64_t samples,
                int64_t hidden, int64_t heads) {
    for (int64_t c = 0; c < cells; c++) {
        const float *seen = x + c * rows * maps[0].inputs;
        for (int64_t l = 0; l < hidden + heads; l++) {
            const Map *m = maps + l;
            int64_t n = rows;
            if (mean && l == hidden + heads - 1) {
                n = rows / samples;
                mean_samples(seen, mean + c * n * m->inputs, 1, samples, n * m->inputs);
                seen = mean + c * n * m->inputs;
            }
            float *out = numbers(m, c * n * m->outputs);
            product(gemm, seen, 0, m->weight + c * m->weight_stride, 0, out, n, m->inputs, m->outputs, 0.0f);
            (l < hidden ? bias_tanh : add_bias)(out, m->bias + c * m->bias_stride, 1, n, m->outputs, 0);
            if (l < hidden) seen = out;
        }
    }
}

/* Gradients of parameters, and of x where asked for, from those of the heads, which stand in their `out`; or, where there
 * are none, from that of the last hidden layer, `of_last`. `work`: twice `largest` numbers, as many as the largest of
 * (rows, inputs) of the maps that are gone back through, or (rows, outputs) of the last hidden one */
void perceptron_gradient(Gemm *gemm, const Map *maps, const float *x, const float *mean, const float *of_last,
                         float *of_x, float *work, int64_t cells, int64_t rows, int64_t samples, int64_t hidden, int64_t heads, int64_t largest) {
    for (int64_t c = 0; c < cells; c++) {
        const float *first = x + c * rows * maps[0].inputs;
        const float *last = hidden ? numbers(maps + hidden - 1, c * rows * maps[hidden - 1].outputs) : first;
        float *grad = work, *other = work + largest;
        int64_t units = heads ? maps[hidden].inputs : maps[hidden - 1].outputs;
        if (!heads) memcpy(grad, of_last + c * rows * units, rows * units * sizeof *grad);
        if (mean && heads == 1) memset(grad, 0, rows * units * sizeof *grad);
        for (int64_t l = hidden; l < hidden + heads; l++) {
            const Map *m = maps + l;
            int averaged = mean && l == hidden + heads - 1;
            int64_t n = averaged ? rows / samples : rows;
            const float *seen = averaged ? mean + c * n * units : last, *of_out = numbers(m, c * n * m->outputs);
            const float *weight = m->weight + c * m->weight_stride;
            sum_rows(of_out, m->of_bias + c * m->of_bias_stride, 1, n, m->outputs, 0);
            if (m->of_weight)
                product(gemm, seen, 1, of_out, 0, m->of_weight + c * m->of_weight_stride, units, n, m->outputs, 0.0f);
            if (averaged) {
                product(gemm, of_out, 0, weight, 1, other, n, m->outputs, units, 0.0f);
                mean_samples_gradient(grad, other, 1, samples, n * units);
            } else
                product(gemm, of_out, 0, weight, 1, grad, n, m->outputs, units, l > hidden ? 1.0f : 0.0f);
        }
        for (int64_t l = hidden - 1; l >= 0; l--) {
            const Map *m = maps + l;
            const float *seen = l ? numbers(maps + l - 1, c * rows * m->inputs) : first;
            tanh_gradient(grad, numbers(m, c * rows * m->outputs), m->of_bias + c * m->of_bias_stride, 1, rows, m->outputs,
                          0);
            if (m->of_weight)
                product(gemm, seen, 1, grad, 0, m->of_weight + c * m->of_weight_stride, m->inputs, rows, m->outputs, 0.0f);
            if (l) {
                product(gemm, grad, 0, m->weight + c * m->weight_stride, 1, other, rows, m->outputs, m->inputs, 0.0f);
                float *kept = grad;
                grad = other, other = kept;
            } else if (of_x)
                product(gemm, grad, 0, m->weight + c * m->weight_stride, 1, of_x + c * rows * m->inputs, rows,
                        m->outputs, m->inputs, 0.0f);
        }
        if (!hidden && of_x) memcpy(of_x + c * rows * units, grad, rows * units * sizeof *grad);
    }
}
