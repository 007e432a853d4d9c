/* An affine map of all cells of a stack, as models/kernels/maps.py hands it over. */
#ifndef SWEEPER_MAP_H
#define SWEEPER_MAP_H
#include <stdint.h>

/* Its parameters with their gradients, which lie `…_stride` numbers apart from cell to cell, and what it puts out, or the
 * gradient of that where it is a head. No of_weight: it is not trained */
typedef struct {
    const float *weight, *bias;
    float *of_weight, *of_bias;
    void *out;
    int64_t weight_stride, bias_stride, of_weight_stride, of_bias_stride, inputs, outputs;
} Map;

#endif
