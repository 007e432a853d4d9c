/* Matrix products of bfloat16 numbers with sums in float32, by AMX tiles, each with what a perceptron does to the result
 * before it is written: see models/kernels/bfloat16.py.
 *
 * Matrices of bfloat16 are (cells, R, N) with rows and columns rounded up to multiples of 32, the rest zeros; those of
 * float32 are (cells, R, N) as they are, and weights lie `stride` numbers apart from cell to cell. `scratch` is memory for
 * the tiles of one cell's operands. A cell's numbers are made by the same operations whatever other cells there are.
 *
 * A tile is 16 rows of 64 bytes. A product adds to a tile of 16 x 16 sums what 16 rows of 32 numbers (of the left
 * operand) and 32 rows of 16 numbers (of the right one, two rows interleaved) contribute. A block is 2 x 2 tiles of sums. */
#include "functions.h"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512F__) && defined(__AVX512BW__) && \
    defined(__AVX512BF16__) && defined(__linux__)
#include "bfloat16.h"
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TILE 512 /* numbers of a tile of bfloat16 */

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} Tiles;

/* Whether the system lets this process use the tiles: asked for once, granted to all its threads (Linux, since 5.16) */
int64_t bfloat16_products(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

/* Have all eight tiles whole, and give back what they were: another library may have set them up for itself */
static void begin(Tiles *before) {
    Tiles own = {.palette = 1};
    for (int i = 0; i < 8; i++) own.rows[i] = 16, own.row_bytes[i] = 64;
    _tile_storeconfig(before);
    _tile_loadconfig(&own);
}

static void end(const Tiles *before) {
    if (before->palette)
        _tile_loadconfig(before);
    else
        _tile_release();
}

/* 16 numbers, each rounded to even, in the lower half of 32 bits */
static inline __m512i rounded(__m512 x) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)); }

static inline __m512 widened(const bf16 *x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x)), 16));
}

static inline __mmask16 first(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }

/* A 16 x 16 matrix of 32 bits each, transposed */
static void transpose(__m512i *r) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int k = 0; k < 2; k++) {
            r[i + 2 * k] = _mm512_unpacklo_epi64(t[i + k], t[i + 2 + k]);
            r[i + 2 * k + 1] = _mm512_unpackhi_epi64(t[i + k], t[i + 2 + k]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int k = 0; k < 4; k++) {
            t[i + k] = _mm512_shuffle_i32x4(r[i + k], r[i + 4 + k], 0x88);
            t[i + 4 + k] = _mm512_shuffle_i32x4(r[i + k], r[i + 4 + k], 0xdd);
        }
    for (int k = 0; k < 8; k++) {
        r[k] = _mm512_shuffle_i32x4(t[k], t[8 + k], 0x88);
        r[8 + k] = _mm512_shuffle_i32x4(t[k], t[8 + k], 0xdd);
    }
}

/* Tiles of a right operand W (k, n) of float32: of each 16 columns all tiles of 32 rows one after the other */
static void right_of_weight(const float *w, bf16 *tiles, int64_t k, int64_t n) {
    for (int64_t i = 0; i < UP(k); i += BLOCK)
        for (int64_t j = 0; j < UP(n); j += 16) {
            bf16 *tile = tiles + j * UP(k) + i * 16;
            for (int64_t l = i; l < i + BLOCK; l += 2, tile += 32) {
                __m512 even = _mm512_maskz_loadu_ps(l < k ? first(n - j) : 0, w + l * n + j);
                __m512 odd = _mm512_maskz_loadu_ps(l + 1 < k ? first(n - j) : 0, w + (l + 1) * n + j);
                _mm512_storeu_si512(tile, _mm512_or_si512(rounded(even), _mm512_slli_epi32(rounded(odd), 16)));
            }
        }
}

/* The same of W transposed: W is (n, k) */
static void right_of_transposed(const float *w, bf16 *tiles, int64_t k, int64_t n) {
    for (int64_t j = 0; j < UP(n); j += 16)
        for (int64_t i = 0; i < UP(k); i += BLOCK, tiles += TILE) {
            __m512i row[16];
            for (int64_t l = 0; l < 16; l++) {
                const float *from = w + (j + l) * k + i;
                int there = j + l < n;
                __m512 low = _mm512_maskz_loadu_ps(there ? first(k - i) : 0, from);
                __m512 high = _mm512_maskz_loadu_ps(there ? first(k - i - 16) : 0, from + 16);
                row[l] = (__m512i)_mm512_cvtne2ps_pbh(high, low);
            }
            transpose(row);
            for (int64_t l = 0; l < 16; l++) _mm512_storeu_si512(tiles + 32 * l, row[l]);
        }
}

/* 16 columns of two rows of bfloat16, interleaved */
static inline __m512i pairs(const bf16 *x, int64_t width) {
    __m512i even = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x));
    __m512i odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(x + width)));
    return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
}

/* The same of a right operand of bfloat16, (k, n), both multiples of 32, of which so many columns are `used` */
static void right_of_rows(const bf16 *x, bf16 *tiles, int64_t k, int64_t n, int64_t used) {
    for (int64_t j = 0; j < used; j += 16)
        for (int64_t i = 0; i < k; i += 2, tiles += 32) _mm512_storeu_si512(tiles, pairs(x + i * n + j, n));
}

/* Tiles of a left operand, 32 columns of x (k, n) transposed: those of the first 16 rows, then of the others, unless no
 * more than 16 are `used` */
static void left_of_columns(const bf16 *x, bf16 *tiles, int64_t k, int64_t n, int64_t used) {
    for (int64_t half = 0; half < (used > 16 ? 2 : 1); half++, x += 16)
        for (int64_t i = 0; i < k; i += BLOCK, tiles += TILE) {
            __m512i row[16];
            for (int64_t l = 0; l < 16; l++) row[l] = pairs(x + (i + 2 * l) * n, n);
            transpose(row);
            for (int64_t l = 0; l < 16; l++) _mm512_storeu_si512(tiles + 32 * l, row[l]);
        }
}

/* `block` where it is known whether there are lower rows and second columns */
static inline __attribute__((always_inline)) void add_up(const bf16 *left, const bf16 *lower, int64_t width, int64_t next,
                                                         const bf16 *right, int64_t steps, float *sums, int tall,
                                                         int wide) {
    const bf16 *second = right + steps * TILE;
    _tile_zero(0);
    if (wide) _tile_zero(1);
    if (tall) _tile_zero(2);
    if (tall && wide) _tile_zero(3);
    for (int64_t i = 0; i < steps; i++, left += next, lower += next, right += TILE, second += TILE) {
        _tile_loadd(4, left, width * 2);
        _tile_loadd(6, right, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (tall) {
            _tile_loadd(5, lower, width * 2);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (wide) {
            _tile_loadd(7, second, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall && wide) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, BLOCK * 4);
    if (wide) _tile_stored(1, sums + 16, BLOCK * 4);
    if (tall) _tile_stored(2, sums + 16 * BLOCK, BLOCK * 4);
    if (tall && wide) _tile_stored(3, sums + 16 * BLOCK + 16, BLOCK * 4);
}

/* sums (32, 32) <- the product of two rows of left tiles and two columns of right ones, `steps` tiles long; a left tile's
 * rows are `width` numbers apart, and the next tile is `next` numbers on. Of `columns` <= 16 or `rows` <= 16 the others,
 * which are zeros, are left out, and so are their sums */
static inline void block(const bf16 *left, const bf16 *lower, int64_t width, int64_t next, const bf16 *right,
                         int64_t steps, float *sums, int64_t rows, int64_t columns) {
    if (columns > 16 && rows > 16)
        add_up(left, lower, width, next, right, steps, sums, 1, 1);
    else if (columns > 16)
        add_up(left, lower, width, next, right, steps, sums, 0, 1);
    else if (rows > 16)
        add_up(left, lower, width, next, right, steps, sums, 1, 0);
    else
        add_up(left, lower, width, next, right, steps, sums, 0, 0);
}

/* tanh to 6e-5 of itself: `tanh_of` with an approximate quotient, of which the rounding leaves 8 bits */
static inline __m512 tanh_nearly(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-7.90531110763549805f), x); /* NaN stays: it is the second operand */
    x = _mm512_min_ps(_mm512_set1_ps(7.90531110763549805f), x);
    __m512 z = _mm512_mul_ps(x, x);
    __m512 p = _mm512_set1_ps(-2.76076847742355e-16f);
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.00018790482477e-13f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-8.60467152213735e-11f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(5.12229709037114e-08f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.48572235717979e-05f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(6.37261928875436e-04f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(4.89352455891786e-03f));
    __m512 q = _mm512_set1_ps(1.19825839466702e-06f);
    q = _mm512_fmadd_ps(q, z, _mm512_set1_ps(1.18534705686654e-04f));
    q = _mm512_fmadd_ps(q, z, _mm512_set1_ps(2.26843463243900e-03f));
    q = _mm512_fmadd_ps(q, z, _mm512_set1_ps(4.89352518554385e-03f));
    return _mm512_mul_ps(_mm512_mul_ps(x, p), _mm512_rcp14_ps(q));
}

static inline __m512 activated(__m512 x, int kind) {
    const __m512 zero = _mm512_setzero_ps();
    __mmask16 negative = _mm512_cmp_ps_mask(x, zero, _CMP_LT_OQ);
    if (kind == TANH) return tanh_nearly(x);
    if (kind == RELU) return _mm512_mask_mov_ps(x, negative, zero);
    if (kind == LEAKY_RELU) return _mm512_mask_mul_ps(x, negative, x, _mm512_set1_ps(0.01f));
    if (kind == ELU) {
        float each[16];
        _mm512_storeu_ps(each, x);
        for (int i = 0; i < 16; i++) each[i] = each[i] < 0.0f ? exp_of_negative(each[i]) - 1.0f : each[i];
        return _mm512_loadu_ps(each);
    }
    return x;
}

/* The slope of an activation where its value is y */
static inline __m512 slope(__m512 y, int kind) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __mmask16 negative = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_LT_OQ);
    if (kind == TANH) return _mm512_fnmadd_ps(y, y, one);
    if (kind == RELU) return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GT_OQ), one);
    if (kind == LEAKY_RELU) return _mm512_mask_mov_ps(one, negative, _mm512_set1_ps(0.01f));
    if (kind == ELU) return _mm512_mask_add_ps(one, negative, y, one);
    return one;
}

static inline void store(bf16 *out, __m512 low, __m512 high) {
    _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* out <- x (R, n), rounded; sums (cells, n) <- the sums of x over rows, where asked for */
void bfloat16_rows(const float *x, bf16 *out, float *sums, int64_t cells, int64_t rows, int64_t n, int64_t stride) {
    for (int64_t c = 0; c < cells; c++) {
        if (sums) memset(sums, 0, n * sizeof *sums);
        for (int64_t r = 0; r < UP(rows); r++)
            for (int64_t j = 0; j < UP(n); j += BLOCK, out += BLOCK) {
                __mmask16 one = r < rows ? first(n - j) : 0, two = r < rows ? first(n - j - 16) : 0;
                __m512 low = _mm512_maskz_loadu_ps(one, x + j), high = _mm512_maskz_loadu_ps(two, x + j + 16);
                store(out, low, high);
                if (sums) {
                    float *to = sums + j;
                    _mm512_mask_storeu_ps(to, one, _mm512_add_ps(_mm512_maskz_loadu_ps(one, to), low));
                    _mm512_mask_storeu_ps(to + 16, two, _mm512_add_ps(_mm512_maskz_loadu_ps(two, to + 16), high));
                }
                if (j + BLOCK >= n && r < rows) x += n;
            }
        if (sums) sums += stride;
    }
}

/* out (batch, n) <- the mean of h (samples x batch, n) over samples */
void bfloat16_mean(const bf16 *h, bf16 *out, int64_t cells, int64_t samples, int64_t batch, int64_t n) {
    int64_t width = UP(n);
    __m512 share = _mm512_set1_ps(1.0f / (float)samples);
    for (int64_t c = 0; c < cells; c++, h += UP(samples * batch) * width, out += UP(batch) * width) {
        for (int64_t i = 0; i < batch * width; i += BLOCK) {
            __m512 low = _mm512_setzero_ps(), high = low;
            for (int64_t s = 0; s < samples; s++) {
                low = _mm512_fmadd_ps(widened(h + s * batch * width + i), share, low);
                high = _mm512_fmadd_ps(widened(h + s * batch * width + i + 16), share, high);
            }
            store(out + i, low, high);
        }
        memset(out + batch * width, 0, (UP(batch) - batch) * width * sizeof *out);
    }
}

static inline __attribute__((always_inline)) void affine(const bf16 *x, const bf16 *tiles, const float *bias, void *out,
                                                         int64_t rows, int64_t k, int64_t n, int kind) {
    float sums[BLOCK * BLOCK] __attribute__((aligned(64)));
    int64_t steps = UP(k) / BLOCK, width = UP(k);
    for (int64_t j = 0; j < n; j += BLOCK, tiles += 2 * steps * TILE) {
        __mmask16 one = first(n - j), two = first(n - j - 16);
        __m512 low_bias = _mm512_maskz_loadu_ps(bias ? one : 0, bias + j);
        __m512 high_bias = _mm512_maskz_loadu_ps(bias ? two : 0, bias + j + 16);
        for (int64_t i = 0; i < rows; i += BLOCK) {
            block(x + i * width, x + (i + 16) * width, width, BLOCK, tiles, steps, sums, BLOCK, n - j);
            int64_t last = kind == NONE && rows - i < BLOCK ? rows - i : BLOCK;
            for (int64_t r = 0; r < last; r++) {
                __m512 low = _mm512_add_ps(_mm512_load_ps(sums + r * BLOCK), low_bias);
                __m512 high = _mm512_add_ps(_mm512_maskz_load_ps(two, sums + r * BLOCK + 16), high_bias);
                if (kind == NONE) {
                    float *to = (float *)out + (i + r) * n + j;
                    _mm512_mask_storeu_ps(to, one, low);
                    _mm512_mask_storeu_ps(to + 16, two, high);
                } else
                    store((bf16 *)out + (i + r) * UP(n) + j, activated(low, kind), activated(high, kind));
            }
        }
    }
}

/* out <- act(x W + b) of bfloat16, or x W + b of float32 where there is no activation; no bias: 0 */
void bfloat16_affine(const bf16 *x, const float *w, const float *bias, void *out, bf16 *scratch, int64_t cells,
                     int64_t rows, int64_t k, int64_t n, int64_t stride, int64_t bias_stride, int64_t kind) {
    Tiles before;
    begin(&before);
    for (int64_t c = 0; c < cells; c++, x += UP(rows) * UP(k), w += stride) {
        right_of_weight(w, scratch, k, n);
        switch (kind) {
            case TANH: affine(x, scratch, bias, out, rows, k, n, TANH); break;
            case RELU: affine(x, scratch, bias, out, rows, k, n, RELU); break;
            case LEAKY_RELU: affine(x, scratch, bias, out, rows, k, n, LEAKY_RELU); break;
            case ELU: affine(x, scratch, bias, out, rows, k, n, ELU); break;
            case IDENTITY: affine(x, scratch, bias, out, rows, k, n, IDENTITY); break;
            default: affine(x, scratch, bias, out, rows, k, n, NONE);
        }
        out = kind == NONE ? (void *)((float *)out + rows * n) : (void *)((bf16 *)out + UP(rows) * UP(n));
        if (bias) bias += bias_stride;
    }
    end(&before);
}

/* of_w (k, n) <- x^T g: x (rows, k), g (rows, n) */
void bfloat16_of_weight(const bf16 *x, const bf16 *g, float *of_w, bf16 *scratch, int64_t cells, int64_t rows, int64_t k,
                        int64_t n, int64_t stride) {
    float sums[BLOCK * BLOCK] __attribute__((aligned(64)));
    int64_t steps = UP(rows) / BLOCK;
    bf16 *left = scratch + UP(rows) * UP(n);
    Tiles before;
    begin(&before);
    for (int64_t c = 0; c < cells; c++, x += UP(rows) * UP(k), g += UP(rows) * UP(n), of_w += stride) {
        right_of_rows(g, scratch, UP(rows), UP(n), n);
        for (int64_t i = 0; i < k; i += BLOCK) {
            left_of_columns(x + i, left, UP(rows), UP(k), k - i);
            for (int64_t j = 0; j < n; j += BLOCK) {
                block(left, left + steps * TILE, BLOCK, TILE, scratch + j * UP(rows), steps, sums, k - i, n - j);
                for (int64_t r = 0; r < BLOCK && i + r < k; r++) {
                    float *to = of_w + (i + r) * n + j;
                    _mm512_mask_storeu_ps(to, first(n - j), _mm512_load_ps(sums + r * BLOCK));
                    _mm512_mask_storeu_ps(to + 16, first(n - j - 16), _mm512_load_ps(sums + r * BLOCK + 16));
                }
            }
        }
    }
    end(&before);
}

static inline __attribute__((always_inline)) void back(const bf16 *g, const bf16 *tiles, const float *plus, const bf16 *h,
                                                       void *out, float *of_bias, int64_t rows, int64_t k, int64_t n,
                                                       int64_t plus_rows, float share, int kind) {
    float sums[BLOCK * BLOCK] __attribute__((aligned(64))) = {0};
    int64_t steps = UP(k) / BLOCK, width = UP(k), up = UP(n);
    const __m512 zero = _mm512_setzero_ps(), scale = _mm512_set1_ps(share);
    for (int64_t j = 0; j < n; j += BLOCK, tiles += 2 * steps * TILE) {
        __mmask16 one = first(n - j), two = first(n - j - 16);
        __m512 low_sum = zero, high_sum = zero;
        for (int64_t i = 0; i < rows; i += BLOCK) {
            if (g) block(g + i * width, g + (i + 16) * width, width, BLOCK, tiles, steps, sums, BLOCK, n - j);
            for (int64_t r = 0; r < BLOCK; r++) {
                int there = i + r < rows;
                __m512 low = _mm512_load_ps(sums + r * BLOCK), high = _mm512_maskz_load_ps(two, sums + r * BLOCK + 16);
                if (plus && there) {
                    const float *more = plus + (i + r) % plus_rows * n + j;
                    low = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(one, more), scale, low);
                    high = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(two, more + 16), scale, high);
                }
                if (kind == NONE) {
                    float *to = (float *)out + (i + r) * n + j;
                    _mm512_mask_storeu_ps(to, there ? one : 0, low);
                    _mm512_mask_storeu_ps(to + 16, there ? two : 0, high);
                    continue;
                }
                const bf16 *y = h + (i + r) * up + j;
                low = there ? _mm512_mul_ps(low, slope(widened(y), kind)) : zero;
                high = there ? _mm512_mul_ps(high, slope(widened(y + 16), kind)) : zero;
                low_sum = _mm512_add_ps(low_sum, low);
                high_sum = _mm512_add_ps(high_sum, high);
                store((bf16 *)out + (i + r) * up + j, low, high);
            }
        }
        if (kind == NONE) continue;
        _mm512_mask_storeu_ps(of_bias + j, one, low_sum);
        _mm512_mask_storeu_ps(of_bias + j + 16, two, high_sum);
    }
}

/* out (rows, n) <- g W^T + share x plus, of float32; or, where h (rows, n) are values of an activation, that times its
 * slope, of bfloat16, with the sums over rows in of_bias. g (rows, k) or none: 0; W (n, k); plus (plus_rows, n) or none,
 * whose row r % plus_rows row r sees */
void bfloat16_back(const bf16 *g, const float *w, const float *plus, const bf16 *h, void *out, float *of_bias,
                   bf16 *scratch, int64_t cells, int64_t rows, int64_t k, int64_t n, int64_t stride, int64_t bias_stride,
                   int64_t plus_rows, float share, int64_t kind) {
    Tiles before;
    begin(&before);
    for (int64_t c = 0; c < cells; c++, w += stride) {
        if (g) right_of_transposed(w, scratch, k, n);
#define BACK(of) back(g, scratch, plus, h, out, of_bias, rows, k, n, plus_rows, share, of)
        switch (kind) {
            case TANH: BACK(TANH); break;
            case RELU: BACK(RELU); break;
            case LEAKY_RELU: BACK(LEAKY_RELU); break;
            case ELU: BACK(ELU); break;
            case IDENTITY: BACK(IDENTITY); break;
            default: BACK(NONE);
        }
#undef BACK
        if (g) g += UP(rows) * UP(k);
        if (plus) plus += plus_rows * n;
        if (h) h += UP(rows) * UP(n), of_bias += bias_stride;
        out = kind == NONE ? (void *)((float *)out + rows * n) : (void *)((bf16 *)out + UP(rows) * UP(n));
    }
    end(&before);
}

/* W (k, n), or (n, k) where it is transposed, as the right operand of `bfloat16_add`: `tiles` has room for UP(k) x UP(n) */
void bfloat16_tiles(const float *w, bf16 *tiles, int64_t k, int64_t n, int64_t transposed) {
    if (transposed)
        right_of_transposed(w, tiles, k, n);
    else
        right_of_weight(w, tiles, k, n);
}

/* out (rows, n), float32 <- x W + keep x out: x (rows, k) of bfloat16, W (k, n) as tiles */
void bfloat16_add(const bf16 *x, const bf16 *tiles, float *out, int64_t rows, int64_t k, int64_t n, int64_t keep) {
    float sums[BLOCK * BLOCK] __attribute__((aligned(64)));
    int64_t steps = UP(k) / BLOCK, width = UP(k);
    Tiles before;
    begin(&before);
    for (int64_t j = 0; j < n; j += BLOCK, tiles += 2 * steps * TILE) {
        __mmask16 one = first(n - j), two = first(n - j - 16);
        for (int64_t i = 0; i < rows; i += BLOCK) {
            block(x + i * width, x + (i + 16) * width, width, BLOCK, tiles, steps, sums, rows - i, n - j);
            for (int64_t r = 0; r < BLOCK && i + r < rows; r++) {
                float *to = out + (i + r) * n + j;
                __m512 low = _mm512_load_ps(sums + r * BLOCK), high = _mm512_load_ps(sums + r * BLOCK + 16);
                if (keep) {
                    low = _mm512_add_ps(_mm512_maskz_loadu_ps(one, to), low);
                    high = _mm512_add_ps(_mm512_maskz_loadu_ps(two, to + 16), high);
                }
                _mm512_mask_storeu_ps(to, one, low);
                _mm512_mask_storeu_ps(to + 16, two, high);
            }
        }
    }
    end(&before);
}
#else
int64_t bfloat16_products(void) { return 0; }
void bfloat16_rows(void) {}
void bfloat16_mean(void) {}
void bfloat16_affine(void) {}
void bfloat16_of_weight(void) {}
void bfloat16_back(void) {}
void bfloat16_tiles(void) {}
void bfloat16_add(void) {}
#endif
