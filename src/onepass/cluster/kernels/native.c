/* Search and accumulation in C, for any processor; native.py calls it, compiled.py says what it is
   given.

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
    const float *packed; /* the centers, as onepass_pack lays them out from this origin; or absent */
} problem;

/* A value for each row; `ahead` may be absent. */
typedef struct {
    int32_t *chosen;
    float *sq_distances, *squares, *ahead;
} result;

/* What Lloyd's iterations keep of each row. */
typedef struct {
    int32_t *labels;
    float *upper, *lower; /* of the distance to its center, and to all others */
} bounds;

/* How centers have moved, and where they are: a value for each. */
typedef struct {
    const float *own, *others; /* how far it has moved; how far any other near it has at most */
    const float *far;          /* the distance to the closest of those that are not near */
    const float *halfway;      /* half of the distance to the closest other */
    float share;               /* of a bound that can be trusted */
} shifts;

/* Rows that count more or less than once. */
typedef struct {
    const float *rows;
    const double *weights;
    int64_t n_rows, n_features;
} weighted;

/* Squared distances between all rows, a line for each, filled up to `stride` values, a multiple of
   32; no values where it is not known. */
typedef struct {
    float *values;
    int64_t stride;
} table;

/* What onepass_swap is to do: in each step it draws candidates by so many numbers from [0, 1). */
typedef struct {
    float *centers;
    int64_t n_clusters, n_steps, n_candidates;
    const double *uniforms;
    double least_gain; /* as a share of the inertia */
} swapping;

/* How Lloyd's iterations are to be made. */
typedef struct {
    float *centers; /* where to start, and where they end */
    const float *origin;
    int64_t n_clusters, max_iter;
    double tol;      /* iterations end when one lowers the inertia by no more than this share */
    double doubt;    /* share of the squares below which a squared distance is in doubt */
    double *inertia; /* of the centers in the end */
} iterating;

/* The centers of a summary and what they hold; see onepass_move. */
typedef struct {
    float *centers;
    double *sums, *weights, *scatter;
    int64_t n_centers;
} holdings;

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

/* Adds weighted rows to the sums of their clusters. */
void onepass_accumulate(const weighted *data, const int32_t *labels, double *sums,
                        double *cluster_weights) {
    const int64_t d = data->n_features;
    const float *row = data->rows;
    for (int64_t i = 0; i < data->n_rows; i++, row += d) {
        const double weight = data->weights ? data->weights[i] : 1;
        double *sum = sums + labels[i] * d;
        for (int64_t j = 0; j < d; j++) sum[j] += weight * row[j];
        cluster_weights[labels[i]] += weight;
    }
}

/* Vectors that every processor has. */
typedef float float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t int4 __attribute__((vector_size(16), aligned(4), may_alias));

#define ROWS 6            /* 12 sums, of 16 registers */
#define EXACT_ROWS 128    /* searched by differences at a time */
#define MAX_CANDIDATES 64 /* drawn at a time */
#define CENTERS_AT_ONCE 16
#define MAX_KEPT (2 * 1024 * 1024) /* squared distances between rows and centers */

#define LANES 4
#define NAME(f) f##_4
#define TARGET
#include "search.inc.c"
#include "lloyd.inc.c"
#include "starts.inc.c"
#include "pivots.inc.c"
#include "absorb.inc.c"
#undef LANES
#undef CROWD
#undef NAME
#undef TARGET

#if defined(__x86_64__)
#define LANES 8
#define NAME(f) f##_8
#define TARGET __attribute__((target("avx2,fma")))
#include "search.inc.c"
#include "lloyd.inc.c"
#include "starts.inc.c"
#include "pivots.inc.c"
#include "absorb.inc.c"
#undef LANES
#undef CROWD
#undef NAME
#undef TARGET

#define LANES 16
#define NAME(f) f##_16
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma")))
#include "search.inc.c"
#include "lloyd.inc.c"
#include "starts.inc.c"
#include "pivots.inc.c"
#include "absorb.inc.c"
#undef LANES
#undef CROWD
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

/* Whether this processor searches centers that are rounded. */
int onepass_adds_bytes(void) {
#if defined(__x86_64__)
    return onepass_widest() == 16 && __builtin_cpu_supports("avx512vnni");
#else
    return 0;
#endif
}

#if defined(__x86_64__)
#define WITH_LANES(f, ...)                  \
    (lanes == 16  ? f##_16(__VA_ARGS__)     \
     : lanes == 8 ? f##_8(__VA_ARGS__)      \
                  : f##_4(__VA_ARGS__))
#else
#define WITH_LANES(f, ...) ((void)lanes, f##_4(__VA_ARGS__))
#endif

#if defined(__x86_64__)
#include "rounded.inc.c"
#endif

/* Lays out the centers for searches of that width. */
void onepass_pack(const problem *p, float *packed, int lanes) { pack(p, 2 * lanes, packed); }

/* Finds the center closest to each row. Like all functions here that return an int, returns 0, or
   -1 when there is not enough memory. */
int onepass_search(const problem *p, const result *out, int lanes) {
    return WITH_LANES(search, p, out);
}

/* How many bytes centers take that are rounded. */
int64_t onepass_rounded_bytes(int64_t n_centers, int64_t n_features) {
#if defined(__x86_64__)
    return rounded_bytes(n_centers, n_features);
#else
    return (void)n_features, 0 * n_centers;
#endif
}

/* Rounds the centers for searches, on a processor that does them. */
void onepass_round(const problem *p, uint8_t *rounded) {
#if defined(__x86_64__)
    round_centers(p, rounded);
#else
    (void)p, (void)rounded;
#endif
}

/* Finds the center closest to each row by way of rounded centers, which may be absent. `doubt` is
   the share of the squares that covers what float32 loses; rows for which bytes are not enough are
   searched with vectors of that width. */
int onepass_search_rounded(const problem *p, const uint8_t *rounded, float doubt,
                           const result *out, int lanes) {
#if defined(__x86_64__)
    return search_rounded(p, rounded, doubt, lanes, out);
#else
    return (void)rounded, (void)doubt, onepass_search(p, out, lanes);
#endif
}

/* Finds the center closest to each row, passing over most by way of pivots, which are some of the
   centers. Returns at how many pairs of a row and a center it had to look, or -1 when there is not
   enough memory. */
int64_t onepass_search_by_pivots(const problem *p, const int64_t *pivots, int64_t n_pivots,
                                 const result *out, int lanes) {
    return WITH_LANES(search_by_pivots, p, pivots, n_pivots, out);
}

/* Finds the center closest to some of the rows by differences: slower, and right at any distance
   from the origin. */
int onepass_search_exactly(const problem *p, const int64_t *which, int64_t n_which,
                           int32_t *chosen, float *sq_distances, int lanes) {
    return WITH_LANES(search_exactly, p, which, n_which, chosen, sq_distances);
}

/* Finds for some centers the one that it costs least to unite each with: a b / (a + b) s for
   weights a and b at squared distance s. The rows are centers, those that `some` names. */
int onepass_partners(const problem *p, const float *weights, const int32_t *some, int32_t *partner,
                     int lanes) {
    return WITH_LANES(partners, p, weights, some, partner);
}

/* Measures the squared distance of each row to the center chosen for it. */
void onepass_measure(const problem *p, const int32_t *chosen, float *sq_distances, int lanes) {
    WITH_LANES(measure, p, chosen, sq_distances);
}

/* Widens the bounds of rows by how centers have moved. Where they cross, the distance to the own
   center is taken anew; returns for how many rows they cross even so, which these are, and their
   squared distances. */
int64_t onepass_loosen(const problem *p, const bounds *b, const shifts *s, int64_t *crossed,
                       float *sq_distances, int lanes) {
    return WITH_LANES(loosen, p, b, s, crossed, sq_distances);
}

/* Moves centers to the means of their rows until that gains little. */
int onepass_lloyd(const weighted *data, const iterating *how, int lanes) {
    return WITH_LANES(lloyd, data, how);
}

/* Fills a table with the squared distances between all rows. */
int onepass_between(const weighted *data, const table *apart, int lanes) {
    return WITH_LANES(between, data, apart);
}

/* Chooses rows to start from by greedy k-means++, with a first number from [0, 1) and n_candidates
   for each further center. Returns how many: fewer when every row lies on one chosen; -1 when
   there is not enough memory. */
int64_t onepass_plus_plus(const weighted *data, const table *apart, int64_t n_clusters,
                          int64_t n_candidates, const double *uniforms, int64_t *chosen,
                          int lanes) {
    return WITH_LANES(plus_plus, data, apart, n_clusters, n_candidates, uniforms, chosen);
}

/* Puts rows in the place of centers where that lowers the inertia. */
int onepass_swap(const weighted *data, const table *apart, const swapping *s, int lanes) {
    return WITH_LANES(swap, data, apart, s);
}

/* Returns the largest absolute value; infinite or NaN where any is. */
float onepass_peak(const float *values, int64_t n, int lanes) {
    return WITH_LANES(peak, values, n);
}

/* Adds rows to what centers hold, which move to the mean of that; keeps how far all they hold
   scatters about them. */
int onepass_move(const weighted *data, const int32_t *labels, const float *sq_distances,
                 const holdings *h, int lanes) {
    return WITH_LANES(move, data, labels, sq_distances, h);
}

/* Opens far rows, one after the other, where what is left of their distance pays for it. Returns
   how many, and which these are. */
int64_t onepass_open(const weighted *far, double *left, const double *coins, double price,
                     int64_t *opened, int lanes) {
    return WITH_LANES(open, far, left, coins, price, opened);
}

/* Moves rows from the sums of their former clusters to those of their new ones. */
void onepass_transfer(const weighted *data, const int64_t *moved, int64_t n_moved,
                      const int32_t *former, const int32_t *labels, double *sums) {
    const int64_t d = data->n_features;
    for (int64_t m = 0; m < n_moved; m++) {
        const int64_t i = moved[m];
        const float *row = data->rows + i * d;
        double *to = sums + labels[i] * d, *from = sums + former[m] * d;
        for (int64_t j = 0; j < d; j++) {
            const double value = data->weights[i] * row[j];
            to[j] += value;
            from[j] -= value;
        }
    }
}
