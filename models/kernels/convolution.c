/* The gradient of a convolution's weights and biases from operands in bfloat16, of few maps: see
 * models/kernels/convolution.py. Operands are widened some images at a time, sums are float32: those of some images by
 * themselves, then over all in their order. A cell's bits depend on its own numbers alone. */
#include "bfloat16.h"
#include <stddef.h>
#include <string.h>
#ifdef __FMA__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define MOST 25 /* sums at a time, which processors with registers of 16 numbers hold in them */
#define EIGHT 8
#define UP8(n) (((n) + EIGHT - 1) / EIGHT * EIGHT)

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));

/* a + x b */
INLINE v8 plus8(v8 a, float x, v8 b) {
#ifdef __FMA__
    return (v8)_mm256_fmadd_ps(_mm256_set1_ps(x), (__m256)b, (__m256)a);
#else
    return a + x * b;
#endif
}

#ifdef __AVX512F__
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
INLINE v16 plus16(v16 a, float x, v16 b) {
    return (v16)_mm512_fmadd_ps(_mm512_set1_ps(x), (__m512)b, (__m512)a);
}
#endif

typedef struct {
    const float *x; /* (images, height, width, inputs) with zeros around */
    const float *g; /* (images, rows, columns, outputs), outputs a multiple of 8 */
    int64_t images, image; /* and numbers of x from one image to the next */
    int64_t rows, columns, outputs, row, column; /* of g; numbers of x from one row or column of g to the next */
    int64_t line, next; /* numbers of x that a kernel's row sees, and from one of its rows to the next */
} Images;

/* sums (high, line, outputs) += x g, over all places, for `most` numbers of x that follow one another in each of `high` rows
 * of the kernel, and as many outputs as are in a vector */
#define SOME_OF(vector, plus)                                                                                              \
    INLINE void some_of_##vector(const Images *of, const float *x, const float *g, float *sums, const int high,             \
                                 const int most) {                                                                         \
        vector each[MOST] = {{0}};                                                                                         \
        for (int64_t n = 0; n < of->images; n++, x += of->image)                                                           \
            for (int64_t r = 0; r < of->rows; r++)                                                                         \
                for (int64_t c = 0; c < of->columns; c++, g += of->outputs) {                                              \
                    const float *from = x + r * of->row + c * of->column;                                                  \
                    const vector here = *(const vector *)g;                                                                \
                    _Pragma("GCC unroll 5") for (int k = 0; k < high; k++)                                                 \
                        _Pragma("GCC unroll 24") for (int m = 0; m < most; m++)                                            \
                            each[k * most + m] = plus(each[k * most + m], from[k * of->next + m], here);                   \
                }                                                                                                          \
        for (int k = 0; k < high; k++)                                                                                     \
            for (int m = 0; m < most; m++) *(vector *)(sums + (k * of->line + m) * of->outputs) += each[k * most + m];     \
    }                                                                                                                      \
    /* the same for `high` rows of the kernel, whole, from the first */                                                    \
    static void rows_##vector(const Images *of, const float *x, const float *g, float *sums, int64_t high) {                \
        const int64_t line = of->line;                                                                                     \
        int64_t k = 0;                                                                                                     \
        for (; line == 5 && k + 5 <= high; k += 5)                                                                         \
            some_of_##vector(of, x + k * of->next, g, sums + k * line * of->outputs, 5, 5);                                \
        for (; line == 12 && k + 2 <= high; k += 2)                                                                        \
            some_of_##vector(of, x + k * of->next, g, sums + k * line * of->outputs, 2, 12);                               \
        for (; k < high; k++) {                                                                                            \
            const float *from = x + k * of->next;                                                                          \
            float *to = sums + k * line * of->outputs;                                                                     \
            int64_t m = 0;                                                                                                 \
            for (; m + 24 <= line; m += 24) some_of_##vector(of, from + m, g, to + m * of->outputs, 1, 24);                \
            for (; m + 12 <= line; m += 12) some_of_##vector(of, from + m, g, to + m * of->outputs, 1, 12);                \
            for (; m + 4 <= line; m += 4) some_of_##vector(of, from + m, g, to + m * of->outputs, 1, 4);                   \
            for (; m < line; m++) some_of_##vector(of, from + m, g, to + m * of->outputs, 1, 1);                           \
        }                                                                                                                  \
    }

SOME_OF(v8, plus8)
#ifdef __AVX512F__
SOME_OF(v16, plus16)
#endif

/* sums (high, line, outputs) += x g for all of a kernel and all outputs */
static void outer(const Images *of, float *sums, int64_t high) {
    int64_t o = 0;
#ifdef __AVX512F__
    for (; o + 16 <= of->outputs; o += 16) rows_v16(of, of->x, of->g + o, sums + o, high);
#endif
    for (; o < of->outputs; o += EIGHT) rows_v8(of, of->x, of->g + o, sums + o, high);
}

/* The same, of so few outputs that 8 numbers of x are a vector instead */
static void inner(const Images *of, float *sums, int64_t high, int64_t outputs) {
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t k = 0; k < high; k++)
            for (int64_t m = 0; m < of->line; m += EIGHT) {
                const float *g = of->g + o, *x = of->x + k * of->next + m;
                v8 each = {0};
                for (int64_t n = 0; n < of->images; n++, x += of->image)
                    for (int64_t r = 0; r < of->rows; r++)
                        for (int64_t c = 0; c < of->columns; c++, g += of->outputs)
                            each = plus8(each, *g, *(const v8 *)(x + r * of->row + c * of->column));
                for (int64_t i = 0; i < EIGHT && m + i < of->line; i++)
                    sums[(k * of->line + m + i) * of->outputs + o] += each[i];
            }
}

INLINE void widen_all(const bf16 *x, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = wide(x[i]);
}

/* out (n) <- x, fast for the usual numbers of maps */
INLINE void widen(const bf16 *x, float *out, int64_t n) {
    if (n == EIGHT) widen_all(x, out, EIGHT);
    else if (n == 2 * EIGHT) widen_all(x, out, 2 * EIGHT);
    else widen_all(x, out, n);
}

/* of_w (cells, outputs, inputs, high, wide) and of_bias (cells, outputs) <- the gradients, given x (images, height, width,
 * groups, inputs) and that of what comes out, g (images, rows, columns, groups, outputs); the first groups are the cells.
 * shape: cells, groups, images, inputs, outputs, height, width, rows, columns, high, wide, stride, zeros above and below x,
 * left and right of it, images at a time. scratch: images at a time ((height + 2 above) (width + 2 left) inputs + rows
 * columns up) + 8 + cells high wide inputs up numbers, up the outputs, rounded up to a multiple of 8 */
void convolution_of_weight(const bf16 *x, const bf16 *g, float *of_w, float *of_bias, float *scratch,
                           const int64_t *shape) {
    const int64_t cells = shape[0], groups = shape[1], images = shape[2], inputs = shape[3], outputs = shape[4];
    const int64_t height = shape[5], width = shape[6], rows = shape[7], columns = shape[8], high = shape[9];
    const int64_t wide = shape[10], stride = shape[11], above = shape[12], left = shape[13], some = shape[14];
    const int64_t across = width + 2 * left, up = UP8(outputs), line = wide * inputs, places = rows * columns;
    const int64_t padded = (height + 2 * above) * across * inputs, step = stride * inputs;
    float *given = scratch, *of_out = given + some * padded + EIGHT, *sums = of_out + some * places * up;
    Images of = {given, of_out, some, padded, rows, columns, up, across * step, step, line, across * inputs};
    memset(scratch, 0, (sums - scratch + cells * high * line * up) * sizeof *scratch);
    memset(of_bias, 0, cells * outputs * sizeof *of_bias);
    for (int64_t first = 0; first < images; first += some) {
        of.images = images - first < some ? images - first : some;
        for (int64_t cell = 0; cell < cells; cell++) { /* inside, as neighbours' numbers lie in one line of the cache */
            float *own = sums + cell * high * line * up;
            for (int64_t n = 0; n < of.images; n++)
                for (int64_t r = 0; r < height; r++)
                    for (int64_t c = 0; c < width; c++)
                        widen(x + ((((first + n) * height + r) * width + c) * groups + cell) * inputs,
                              given + n * padded + ((r + above) * across + c + left) * inputs, inputs);
            for (int64_t place = 0; place < of.images * places; place++)
                widen(g + ((first * places + place) * groups + cell) * outputs, of_out + place * up, outputs);
            for (int64_t o = 0; o < up; o += EIGHT) {
                v8 sum = {0};
                for (int64_t place = 0; place < of.images * places; place++)
                    sum += *(const v8 *)(of_out + place * up + o);
                for (int64_t i = 0; i < EIGHT && o + i < outputs; i++) of_bias[cell * outputs + o + i] += sum[i];
            }
            if (outputs < EIGHT) inner(&of, own, high, outputs);
            else outer(&of, own, high);
        }
    }
    for (int64_t cell = 0; cell < cells; cell++, sums += high * line * up)
        for (int64_t o = 0; o < outputs; o++)
            for (int64_t i = 0; i < inputs; i++)
                for (int64_t k = 0; k < high * wide; k++) *of_w++ = sums[(k * inputs + i) * up + o];
}
