/* Products of float32 by the library that torch itself takes: see models/kernels/sgemm.py. */
#ifndef SWEEPER_SGEMM_H
#define SWEEPER_SGEMM_H
#include <stdint.h>

typedef void Gemm(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                  const int *, const float *, const int *, const float *, float *, const int *);

/* out (i, k) <- a b + beta out, row by row; a (i, j), or (j, i) where `ta`; b (j, k), or (k, j) where `tb` */
static inline void product(Gemm *gemm, const float *a, int ta, const float *b, int tb, float *out, int64_t i, int64_t j,
                           int64_t k, float beta) {
    const int rows = (int)i, inner = (int)j, columns = (int)k, lda = ta ? rows : inner, ldb = tb ? inner : columns;
    const float one = 1.0f;
    gemm(tb ? "T" : "N", ta ? "T" : "N", &columns, &rows, &inner, &one, b, &ldb, a, &lda, &beta, out, &columns);
}

#endif
