/* What a training step does beside its matrix products, each part in one pass over memory: see elementwise.py.
 *
 * Arrays are (cells, rows, n), contiguous; biases and their gradients may lie `stride` numbers apart from cell to cell.
 * A result depends on its operands alone and never on their place in memory: sums run in a fixed order, and products and
 * sums are fused where FMA says so and nowhere else (compile with -ffp-contract=off, and without -ffast-math). */
#include "functions.h"
#include <stddef.h>

#define LANES 16

/* h <- tanh(h + bias) */
void bias_tanh(float *restrict h, const float *restrict bias, int64_t cells, int64_t rows, int64_t n, int64_t stride) {
    for (int64_t c = 0; c < cells; c++, bias += stride)
        for (int64_t r = 0; r < rows; r++, h += n)
            for (int64_t j = 0; j < n; j++) h[j] = tanh_of(h[j] + bias[j]);
}

/* h <- h + bias */
void add_bias(float *restrict h, const float *restrict bias, int64_t cells, int64_t rows, int64_t n, int64_t stride) {
    for (int64_t c = 0; c < cells; c++, bias += stride)
        for (int64_t r = 0; r < rows; r++, h += n)
            for (int64_t j = 0; j < n; j++) h[j] += bias[j];
}

/* out (cells, n) <- the mean of h (cells, samples, n) */
void mean_samples(const float *restrict h, float *restrict out, int64_t cells, int64_t samples, int64_t n) {
    float share = 1.0f / (float)samples;
    for (int64_t c = 0; c < cells; c++, out += n) {
        memset(out, 0, n * sizeof *out);
        for (int64_t s = 0; s < samples; s++, h += n)
            for (int64_t j = 0; j < n; j++) out[j] = FMA(h[j], share, out[j]);
    }
}

/* grad (cells, samples, n) <- grad + of_mean (cells, n) / samples: the gradient of what `mean_samples` saw */
void mean_samples_gradient(float *restrict grad, const float *restrict of_mean, int64_t cells, int64_t samples,
                           int64_t n) {
    float share = 1.0f / (float)samples;
    for (int64_t c = 0; c < cells; c++, of_mean += n)
        for (int64_t s = 0; s < samples; s++, grad += n)
            for (int64_t j = 0; j < n; j++) grad[j] = FMA(of_mean[j], share, grad[j]);
}

/* grad <- grad (1 - h^2), of_bias <- its sum over rows */
void tanh_gradient(float *restrict grad, const float *restrict h, float *restrict of_bias, int64_t cells, int64_t rows,
                   int64_t n, int64_t stride) {
    for (int64_t c = 0; c < cells; c++, of_bias += stride) {
        memset(of_bias, 0, n * sizeof *of_bias);
        for (int64_t r = 0; r < rows; r++, grad += n, h += n)
            for (int64_t j = 0; j < n; j++) {
                grad[j] *= FMA(-h[j], h[j], 1.0f);
                of_bias[j] += grad[j];
            }
    }
}

/* of_bias <- the sum of grad over rows */
void sum_rows(const float *restrict grad, float *restrict of_bias, int64_t cells, int64_t rows, int64_t n,
              int64_t stride) {
    for (int64_t c = 0; c < cells; c++, of_bias += stride) {
        memset(of_bias, 0, n * sizeof *of_bias);
        for (int64_t r = 0; r < rows; r++, grad += n)
            for (int64_t j = 0; j < n; j++) of_bias[j] += grad[j];
    }
}

/* out (cells, n) <- mean over samples of softplus(raw + shift), plus floor; slope (cells, samples, n) <- d out / d raw */
void mean_softplus(const float *restrict raw, float *restrict out, float *restrict slope, int64_t cells,
                   int64_t samples, int64_t n, float shift, float floor) {
    float share = 1.0f / (float)samples;
    for (int64_t c = 0; c < cells; c++, out += n) {
        memset(out, 0, n * sizeof *out);
        for (int64_t s = 0; s < samples; s++, raw += n, slope += n)
            for (int64_t j = 0; j < n; j++) {
                float each;
                out[j] += softplus(raw[j] + shift, &each);
                slope[j] = each * share;
            }
        for (int64_t j = 0; j < n; j++) out[j] = FMA(out[j], share, floor);
    }
}

/* The sum of x l - softplus(l) over n numbers; if `kept`, slope <- x - sigmoid(l) */
static inline __attribute__((always_inline)) float bernoulli_row(const float *restrict l, const float *restrict x,
                                                                 float *restrict slope, int64_t n, const int kept) {
    float sums[LANES] = {0}, total = 0.0f, p;
    int64_t whole = n - n % LANES;
    for (int64_t j = 0; j < whole; j += LANES)
        for (int64_t k = 0; k < LANES; k++) {
            sums[k] += FMA(x[j + k], l[j + k], -softplus(l[j + k], &p));
            if (kept) slope[j + k] = x[j + k] - p;
        }
    for (int64_t j = whole; j < n; j++) {
        sums[j - whole] += FMA(x[j], l[j], -softplus(l[j], &p));
        if (kept) slope[j] = x[j] - p;
    }
    for (int64_t k = 0; k < LANES; k++) total += sums[k];
    return total;
}

/* out (cells, rows) <- sum of x l - softplus(l), slope, if given, <- x - sigmoid(l); row r of l sees row r % batch of its
 * cell's x */
void bernoulli(const float *restrict l, const float *restrict x, float *restrict out, float *restrict slope,
               int64_t cells, int64_t rows, int64_t batch, int64_t n, int64_t stride) {
    for (int64_t c = 0; c < cells; c++, x += stride)
        for (int64_t r = 0; r < rows; r++, l += n) {
            const float *on = x + (r % batch) * n;
            if (slope) {
                *out++ = bernoulli_row(l, on, slope, n, 1);
                slope += n;
            } else
                *out++ = bernoulli_row(l, on, NULL, n, 0);
        }
}

/* A step of an LSTM. The gates i, f, o, g of each row, before their functions -> after them; c, tanh c and h after the
 * step, from c before it (none: 0) */
void lstm_step(float *restrict gates, const float *restrict before, float *restrict c, float *restrict squashed,
               float *restrict h, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++, gates += 4 * n, c += n, squashed += n, h += n) {
        float *restrict i = gates, *restrict f = gates + n, *restrict o = gates + 2 * n, *restrict g = gates + 3 * n;
        for (int64_t j = 0; j < 3 * n; j++) gates[j] = sigmoid(gates[j]);
        for (int64_t j = 0; j < n; j++) g[j] = tanh_of(g[j]);
        if (before) {
            for (int64_t j = 0; j < n; j++) c[j] = FMA(f[j], before[j], i[j] * g[j]);
            before += n;
        } else
            for (int64_t j = 0; j < n; j++) c[j] = i[j] * g[j];
        for (int64_t j = 0; j < n; j++) {
            squashed[j] = tanh_of(c[j]);
            h[j] = o[j] * squashed[j];
        }
    }
}

/* Its gradient: of h and of c after the step -> of the gates before their functions, and, over that of c, of c before */
void lstm_step_gradient(const float *restrict gates, const float *restrict before, const float *restrict squashed,
                        const float *restrict of_h, float *restrict of_c, float *restrict of_gates, int64_t rows,
                        int64_t n) {
    for (int64_t r = 0; r < rows; r++, gates += 4 * n, squashed += n, of_h += n, of_c += n, of_gates += 4 * n) {
        const float *restrict i = gates, *restrict f = gates + n, *restrict o = gates + 2 * n,
                    *restrict g = gates + 3 * n;
        for (int64_t j = 0; j < n; j++) {
            float slope = FMA(-squashed[j], squashed[j], 1.0f);
            float of = FMA(o[j] * slope, of_h[j], of_c[j]);
            of_gates[j] = of * g[j] * (i[j] * (1.0f - i[j]));
            of_gates[n + j] = before ? of * before[j] * (f[j] * (1.0f - f[j])) : 0.0f;
            of_gates[2 * n + j] = of_h[j] * squashed[j] * (o[j] * (1.0f - o[j]));
            of_gates[3 * n + j] = of * i[j] * FMA(-g[j], g[j], 1.0f);
            of_c[j] = of * f[j];
        }
        if (before) before += n;
    }
}

/* How the step moves where what its gates are given moves by `moved`, (rows, 4 n), and c before by `c_before` (none: 0):
 * fill the same of c and of h after it */
void lstm_tangent(const float *restrict gates, const float *restrict before, const float *restrict squashed,
                  const float *restrict moved, const float *restrict c_before, float *restrict of_c, float *restrict of_h,
                  int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++, gates += 4 * n, moved += 4 * n, squashed += n, of_c += n, of_h += n) {
        const float *restrict i = gates, *restrict f = gates + n, *restrict o = gates + 2 * n,
                    *restrict g = gates + 3 * n;
        for (int64_t j = 0; j < n; j++) {
            float c = i[j] * (1.0f - i[j]) * moved[j] * g[j] + i[j] * FMA(-g[j], g[j], 1.0f) * moved[3 * n + j];
            if (before) c += f[j] * (1.0f - f[j]) * moved[n + j] * before[j];
            if (c_before) c += f[j] * c_before[j];
            float of_squashed = FMA(-squashed[j], squashed[j], 1.0f) * c;
            of_c[j] = c;
            of_h[j] = o[j] * (1.0f - o[j]) * moved[2 * n + j] * squashed[j] + o[j] * of_squashed;
        }
        if (before) before += n;
        if (c_before) c_before += n;
    }
}

/* The gradient of `lstm_tangent`: from those of h and of its movement -> of what the gates are given and of its movement,
 * and, over those of c and of its movement, of the ones before the step */
void lstm_tangent_gradient(const float *restrict gates, const float *restrict before, const float *restrict squashed,
                           const float *restrict moved, const float *restrict c_before, const float *restrict c_moved,
                           const float *restrict of_h, const float *restrict of_h_moved, float *restrict of_c,
                           float *restrict of_c_moved, float *restrict of_gates, float *restrict of_moved, int64_t rows,
                           int64_t n) {
    for (int64_t r = 0; r < rows; r++) {
        const float *restrict i = gates, *restrict f = gates + n, *restrict o = gates + 2 * n,
                    *restrict g = gates + 3 * n;
        for (int64_t j = 0; j < n; j++) {
            float di = i[j] * (1.0f - i[j]), df = f[j] * (1.0f - f[j]), d_o = o[j] * (1.0f - o[j]);
            float dg = FMA(-g[j], g[j], 1.0f), s = squashed[j], ds = FMA(-s, s, 1.0f);
            float last = before ? before[j] : 0.0f, last_moved = c_before ? c_before[j] : 0.0f;
            float i_moved = di * moved[j], f_moved = df * moved[n + j], o_moved = d_o * moved[2 * n + j];
            float g_moved = dg * moved[3 * n + j], s_moved = ds * c_moved[j], of_s_moved = of_h_moved[j] * o[j];
            float of_s = of_h_moved[j] * o_moved + of_h[j] * o[j] - 2.0f * s * c_moved[j] * of_s_moved;
            float own_moved = of_c_moved[j] + of_s_moved * ds, own = of_c[j] + of_s * ds;
            float of_i = own_moved * g_moved + own * g[j], of_i_moved = own_moved * g[j];
            float of_f = own_moved * last_moved + own * last, of_f_moved = own_moved * last;
            float of_o = of_h_moved[j] * s_moved + of_h[j] * s, of_o_moved = of_h_moved[j] * s;
            float of_g = own_moved * i_moved + own * i[j], of_g_moved = own_moved * i[j];
            of_gates[j] = (of_i + of_i_moved * (1.0f - 2.0f * i[j]) * moved[j]) * di;
            of_gates[n + j] = (of_f + of_f_moved * (1.0f - 2.0f * f[j]) * moved[n + j]) * df;
            of_gates[2 * n + j] = (of_o + of_o_moved * (1.0f - 2.0f * o[j]) * moved[2 * n + j]) * d_o;
            of_gates[3 * n + j] = (of_g - of_g_moved * 2.0f * g[j] * moved[3 * n + j]) * dg;
            of_moved[j] = of_i_moved * di;
            of_moved[n + j] = of_f_moved * df;
            of_moved[2 * n + j] = of_o_moved * d_o;
            of_moved[3 * n + j] = of_g_moved * dg;
            of_c[j] = own_moved * f_moved + own * f[j];
            of_c_moved[j] = own_moved * f[j];
        }
        gates += 4 * n, moved += 4 * n, of_gates += 4 * n, of_moved += 4 * n;
        squashed += n, c_moved += n, of_h += n, of_h_moved += n, of_c += n, of_c_moved += n;
        if (before) before += n;
        if (c_before) c_before += n;
    }
}
