/* Matrix products of bfloat16 numbers, and how their operands lie in memory: see bfloat16.c. */
#ifndef SWEEPER_BFLOAT16_H
#define SWEEPER_BFLOAT16_H
#include <stdint.h>
#include <string.h>

#define BLOCK 32
#define UP(n) (((n) + BLOCK - 1) / BLOCK * BLOCK)

typedef uint16_t bf16; /* the upper half of a float32, to which it is rounded to even */

static inline float wide(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float found;
    memcpy(&found, &bits, sizeof found);
    return found;
}

static inline bf16 narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bf16)(x == x ? bits : 0x7fc0);
}

enum { NONE = -1, IDENTITY, TANH, RELU, LEAKY_RELU, ELU };

void bfloat16_rows(const float *x, bf16 *out, float *sums, int64_t cells, int64_t rows, int64_t n, int64_t stride);
void bfloat16_mean(const bf16 *h, bf16 *out, int64_t cells, int64_t samples, int64_t batch, int64_t n);
void bfloat16_affine(const bf16 *x, const float *w, const float *bias, void *out, bf16 *scratch, int64_t cells,
                     int64_t rows, int64_t k, int64_t n, int64_t stride, int64_t bias_stride, int64_t kind);
void bfloat16_of_weight(const bf16 *x, const bf16 *g, float *of_w, bf16 *scratch, int64_t cells, int64_t rows, int64_t k,
                        int64_t n, int64_t stride);
void bfloat16_back(const bf16 *g, const float *w, const float *plus, const bf16 *h, void *out, float *of_bias,
                   bf16 *scratch, int64_t cells, int64_t rows, int64_t k, int64_t n, int64_t stride, int64_t bias_stride,
                   int64_t plus_rows, float share, int64_t kind);
void bfloat16_tiles(const float *w, bf16 *tiles, int64_t k, int64_t n, int64_t transposed);
void bfloat16_add(const bf16 *x, const bf16 *tiles, float *out, int64_t rows, int64_t k, int64_t n, int64_t keep);

#endif
