/* Search and accumulation in C, for any processor; native.py calls it and says what it expects.

   One search costs 2 * n_rows * n_centers * n_features operations. It is written for vectors of
   any width, and compiled for those of the processors there are: which are used is asked of the
   processor when it runs. Nothing here depends on Python. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES (256 * 1024) /* of a cache of level 2, what a search takes for itself */

typedef struct {
    const float *rows, *centers, *origin; /* n_rows and n_centers rows; one row */
    int64_t n_rows, n_centers, n_features;
} problem;

/* A value for each row; `ahead` may be absent. */
typedef struct {
    int32_t *chosen;
    float *sq_distances, *squares, *ahead;
} result;

/* Centers by groups of `width`: |c|^2 of each, then -2 c, feature by feature; relative to the
   origin. The last group is filled up by centers that are never closest. */
static void pack(const problem *p, int width, float *packed) {
    const int64_t d = p->n_features;
    for (int64_t first = 0; first < p->n_centers; first += width, packed += (d + 1) * width)
        for (int lane = 0; lane < width; lane++) {
            const int there = first + lane < p->n_centers;
            float square = 0;
            for (int64_t j = 0; j < d; j++) {
                const float near =
                    there ? p->centers[(first + lane) * d + j] - p->origin[j] : 0.0f;
                square += near * near;
                packed[(j + 1) * width + lane] = -2 * near;
            }
            packed[lane] = there ? square : INFINITY;
        }
}

#define ROWS 6 /* 12 sums, of 16 registers */

#define LANES 4
#define NAME(f) f##_4
#define TARGET
#include "search.inc.c"
#undef LANES
#undef NAME
#undef TARGET

#if defined(__x86_64__)
#define LANES 8
#define NAME(f) f##_8
#define TARGET __attribute__((target("avx2,fma")))
#include "search.inc.c"
#undef LANES
#undef NAME
#undef TARGET

#define LANES 16
#define NAME(f) f##_16
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma")))
#include "search.inc.c"
#undef LANES
#undef NAME
#undef TARGET
#endif

/* Returns the widest vectors, in floats, that this processor has. */
int onepass_widest(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 16;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 8;
#endif
    return 4;
}

/* Returns the width that is fastest here: processors of AMD, up to Zen 4 at least, do half as many
   operations on vectors of 16 in a cycle. */
int onepass_fastest(void) {
    const int widest = onepass_widest();
#if defined(__x86_64__)
    if (widest == 16 && !__builtin_cpu_is("intel")) return 8;
#endif
    return widest;
}

/* Finds the center closest to each row. Returns 0, or -1 when there is not enough memory. */
int onepass_search(const problem *p, const result *out, int lanes) {
    switch (lanes) {
#if defined(__x86_64__)
        case 16: return search_16(p, out);
        case 8: return search_8(p, out);
#endif
        default: return search_4(p, out);
    }
}

/* Measures the squared distance of each row to the center chosen for it. */
void onepass_measure(const problem *p, const int32_t *chosen, float *sq_distances, int lanes) {
    switch (lanes) {
#if defined(__x86_64__)
        case 16: measure_16(p, chosen, sq_distances); break;
        case 8: measure_8(p, chosen, sq_distances); break;
#endif
        default: measure_4(p, chosen, sq_distances);
    }
}

/* Adds weighted rows to the sums of their clusters. */
void onepass_accumulate(const float *rows, const int32_t *labels, const double *weights,
                        int64_t n_rows, int64_t n_features, double *sums, double *cluster_weights) {
    for (int64_t i = 0; i < n_rows; i++, rows += n_features) {
        const double weight = weights ? weights[i] : 1;
        double *sum = sums + labels[i] * n_features;
        for (int64_t j = 0; j < n_features; j++) sum[j] += weight * rows[j];
        cluster_weights[labels[i]] += weight;
    }
}
