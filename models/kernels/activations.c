/* ELU, and the gates upon maps of convolutions, each in one pass: see models/kernels/activations.py and gated_maps.py.
 *
 * In float32 e^x - 1 and tanh are the functions of the libraries that torch itself takes (models/kernels/vectors.py), so
 * that the bits are torch's, wherever in memory a number lies. */
#include "bfloat16.h"
#include "functions.h"
#include <stddef.h>

#if defined(__AVX512F__)
#define NUMBERS 16
#elif defined(__AVX2__)
#define NUMBERS 8
#else
#define NUMBERS 4
#endif
#define PART 512 /* numbers at a time, in the fastest cache */

typedef float vector __attribute__((vector_size(4 * NUMBERS), aligned(4), may_alias));
typedef vector Function(vector);
typedef void Tanh(int, const float *, float *, int64_t); /* numbers, from, to, accuracy */

/* Numbers that a `Function` takes at a time here; 0: it cannot be called */
int64_t numbers_of_function(void) {
#if defined(__x86_64__) && defined(__AVX2__)
    return NUMBERS;
#else
    return 0;
#endif
}

/* out <- x where it is positive, else e^x - 1 */
void elu(const float *restrict x, float *restrict out, int64_t n, Function *expm1) {
    float below[PART] = {0};
    for (int64_t i = 0; i < n; i += PART, x += PART, out += PART) {
        const int64_t count = n - i < PART ? n - i : PART;
        for (int64_t j = 0; j < count; j++) below[j] = x[j] > 0.0f ? 0.0f : x[j];
        for (int64_t j = 0; j < count; j += NUMBERS) *(vector *)(below + j) = expm1(*(vector *)(below + j));
        for (int64_t j = 0; j < count; j++) out[j] = x[j] > below[j] ? x[j] : below[j]; /* e^x - 1 >= x */
    }
}

/* out <- the gradient of x, given that of y = elu(x); `out` may be `grad` */
void elu_gradient(const float *grad, const float *restrict y, float *out, int64_t n) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) out[i] = grad[i] * (y[i] > 0.0f ? 1.0f : y[i] + 1.0f);
}

/* out <- x where it is positive, else e^x - 1; near 0, where that would cancel, its series */
void elu_bfloat16(const bf16 *restrict x, bf16 *restrict out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float each = wide(x[i]), below = each > 0.0f ? 0.0f : each;
        float series = FMA(0.5f * below, below, below), whole = exp_of_negative(below) - 1.0f;
        out[i] = narrow(each > 0.0f ? each : below > -0.01f ? series : whole);
    }
}

/* out <- the gradient of x, given that of y = elu(x); `out` may be `grad` */
void elu_bfloat16_gradient(const bf16 *grad, const bf16 *restrict y, bf16 *out, int64_t n) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        float each = wide(y[i]);
        out[i] = narrow(wide(grad[i]) * (each > 0.0f ? 1.0f : each + 1.0f));
    }
}

/* y (groups, n) <- tanh(a) (1/2 + 1/2 tanh(b / 2)), of h + more (groups, 2 n), which holds a, then b; `more` may be NULL.
 * Both factors are kept in `both`, which lies as h */
void gated_maps(const float *restrict h, const float *restrict more, float *restrict both, float *restrict y,
                int64_t groups, int64_t n, Tanh *tanh, int64_t accuracy) {
    const int64_t most = PART / (2 * n) > 1 ? PART / (2 * n) : 1;
    for (int64_t first = 0; first < groups; first += most) {
        const int64_t some = groups - first < most ? groups - first : most;
        for (int64_t j = 0; j < 2 * n * some; j++) both[j] = more ? h[j] + more[j] : h[j];
        for (int64_t g = 0; g < some; g++)
            for (int64_t j = n; j < 2 * n; j++) both[2 * n * g + j] *= 0.5f;
        tanh((int)(2 * n * some), both, both, accuracy);
        h += 2 * n * some;
        more = more ? more + 2 * n * some : NULL;
        for (int64_t g = 0; g < some; g++, both += 2 * n, y += n) {
            for (int64_t j = n; j < 2 * n; j++) both[j] = both[j] * 0.5f + 0.5f;
            for (int64_t j = 0; j < n; j++) y[j] = both[j] * both[n + j];
        }
    }
}

/* of_h <- the gradient of h, given that of y and what `gated_maps` kept */
void gated_maps_gradient(const float *restrict of_y, const float *restrict both, float *restrict of_h, int64_t groups,
                         int64_t n) {
    for (int64_t g = 0; g < groups; g++, of_y += n, both += 2 * n, of_h += 2 * n)
        for (int64_t j = 0; j < n; j++) {
            const float value = both[j], gate = both[n + j], of_a = of_y[j] * gate;
            of_h[n + j] = of_a * value * (1.0f - gate);
            of_h[j] = of_a * (1.0f - value * value);
        }
}
