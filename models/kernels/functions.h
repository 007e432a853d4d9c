/* Functions of one number, for the passes of this folder: each the same few operations wherever it is used. */
#ifndef SWEEPER_FUNCTIONS_H
#define SWEEPER_FUNCTIONS_H
#include <stdint.h>
#include <string.h>

#ifdef __FMA__
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

/* e^x for x <= 0, to 2 units in the last place; 0 below e^-87 (Cephes, expf) */
static inline float exp_of_negative(float given) {
    float x = given < -87.0f ? -87.0f : given;
    float n = __builtin_rintf(x * 1.44269504f);
    float r = FMA(n, 2.12194440e-4f, FMA(n, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = FMA(p, r, 1.3981999507e-3f);
    p = FMA(p, r, 8.3334519073e-3f);
    p = FMA(p, r, 4.1665795894e-2f);
    p = FMA(p, r, 1.6666665459e-1f);
    p = FMA(p, r, 5.0000001201e-1f);
    p = FMA(p * r, r, r) + 1.0f;
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return given < -87.0f ? 0.0f : p * power;
}

/* log(1 + e) for 0 <= e <= 1, as 2 artanh(e / (2 + e)) */
static inline float log_one_plus(float e) {
    float s = e / (2.0f + e), z = s * s;
    float p = 0.1053f;
    p = FMA(p, z, 0.11076f);
    p = FMA(p, z, 0.142857143f);
    p = FMA(p, z, 0.2f);
    p = FMA(p, z, 0.333333333f);
    return 2.0f * FMA(s * z, p, s);
}

/* log(1 + e^x), and its derivative, the sigmoid */
static inline float softplus(float x, float *slope) {
    float e = exp_of_negative(-__builtin_fabsf(x));
    *slope = (x < 0.0f ? e : 1.0f) / (1.0f + e);
    return (x < 0.0f ? 0.0f : x) + log_one_plus(e);
}

/* tanh to 3e-7: x P(x^2) / Q(x^2), the rational approximation of the Eigen library */
static inline float tanh_of(float x) {
    x = x > 7.90531110763549805f ? 7.90531110763549805f : x;
    x = x < -7.90531110763549805f ? -7.90531110763549805f : x;
    float z = x * x;
    float p = -2.76076847742355e-16f;
    p = FMA(p, z, 2.00018790482477e-13f);
    p = FMA(p, z, -8.60467152213735e-11f);
    p = FMA(p, z, 5.12229709037114e-08f);
    p = FMA(p, z, 1.48572235717979e-05f);
    p = FMA(p, z, 6.37261928875436e-04f);
    p = FMA(p, z, 4.89352455891786e-03f);
    float q = 1.19825839466702e-06f;
    q = FMA(q, z, 1.18534705686654e-04f);
    q = FMA(q, z, 2.26843463243900e-03f);
    q = FMA(q, z, 4.89352518554385e-03f);
    return x * p / q;
}

/* sigma(x) = 1/2 + 1/2 tanh(x / 2) */
static inline float sigmoid(float x) { return FMA(0.5f, tanh_of(0.5f * x), 0.5f); }

#endif
