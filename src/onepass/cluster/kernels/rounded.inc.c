/* A search that looks at all centers in eight bits first: native.c includes this once, for
   processors that add up four products of bytes in one step.

   Rows and centers are rounded, each to 127 steps of its own on either side of the origin. What
   that takes away, the residual, is at hand, and with it, by the inequality of Cauchy and Schwarz,
   how far a score can be off: |x.c - x'.c'| <= |x - x'| |c| + |x'| |c - c'|. Centers whose scores
   might be the least, one or a few for most rows, are then measured by differences. What is found
   is the closest center, whatever is lost by rounding: rows for which too many centers remain are
   searched in float32. */

#include <immintrin.h>

#define LANES 16
#define WIDTH (2 * LANES)
#define ROUNDED \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vnni,fma")))

/* Of a group of WIDTH centers, what follows their bytes: |c|^2, -2 steps, 2 |c|, and twice the
   norms of the residuals. */
#define FACTS (4 * WIDTH)

#define PROBED_ROWS (16 * ROWS) /* before it is asked whether to go on */

/* A vector, rounded. */
typedef struct {
    float step, square, norm, residual; /* |v|^2; the norms of what is rounded and what is left */
    int32_t sum;                        /* of its bytes */
} rounding;

/* Bytes of a group: features by fours, as they are added up. */
static int64_t group_bytes(int64_t n_features) {
    return (n_features + 3) / 4 * 4 * WIDTH + FACTS * (int64_t)sizeof(float);
}

static int64_t rounded_bytes(int64_t n_centers, int64_t n_features) {
    return (n_centers + WIDTH - 1) / WIDTH * group_bytes(n_features);
}

ROUNDED static inline __m512 part(const float *values, const float *origin, int64_t left) {
    const __mmask16 there = left < LANES ? (__mmask16)((1 << left) - 1) : 0xffff;
    return _mm512_sub_ps(_mm512_maskz_loadu_ps(there, values),
                         _mm512_maskz_loadu_ps(there, origin));
}

/* Rounds a vector; fours of bytes are written `stride` bytes apart. */
ROUNDED static rounding round_vector(const float *values, const float *origin, int64_t d,
                                     int64_t stride, uint32_t flip, uint8_t *to) {
    __m512 most = _mm512_setzero_ps(), square = most, residual = most, norm = most;
    for (int64_t j = 0; j < d; j += LANES) {
        const __m512 near = part(values + j, origin + j, d - j);
        most = _mm512_max_ps(most, _mm512_abs_ps(near));
        square = _mm512_fmadd_ps(near, near, square);
    }
    const float peak = _mm512_reduce_max_ps(most);
    const float step = peak / 127, inverse = peak > 1e-30f ? 127 / peak : 0; /* 1/0 is no step */
    __m512i sum = _mm512_setzero_si512();
    for (int64_t j = 0; j < d; j += LANES) {
        const __m512 near = part(values + j, origin + j, d - j);
        const __m512i bytes = _mm512_cvtps_epi32(_mm512_mul_ps(near, _mm512_set1_ps(inverse)));
        const __m512 rounded = _mm512_cvtepi32_ps(bytes);
        const __m512 lost = _mm512_fnmadd_ps(_mm512_set1_ps(step), rounded, near);
        residual = _mm512_fmadd_ps(lost, lost, residual);
        norm = _mm512_fmadd_ps(rounded, rounded, norm);
        sum = _mm512_add_epi32(sum, bytes);
        uint32_t fours[4];
        _mm_storeu_si128((__m128i *)fours, _mm512_cvtepi32_epi8(bytes));
        for (int q = 0; q < 4 && j + 4 * q < d; q++, to += stride) {
            fours[q] ^= flip;
            memcpy(to, fours + q, sizeof *fours);
        }
    }
    return (rounding){step, _mm512_reduce_add_ps(square),
                      step * sqrtf(_mm512_reduce_add_ps(norm)),
                      sqrtf(_mm512_reduce_add_ps(residual)), _mm512_reduce_add_epi32(sum)};
}

/* Rounds centers, group by group; the last is filled up by centers that are never closest. Their
   bytes have no sign: 128 stands for 0. */
ROUNDED static void round_centers(const problem *p, uint8_t *rounded) {
    const int64_t d = p->n_features, n_bytes = group_bytes(d);
    for (int64_t first = 0; first < p->n_centers; first += WIDTH, rounded += n_bytes) {
        float *facts = (float *)(rounded + n_bytes) - FACTS;
        memset(rounded, 128, n_bytes);
        for (int lane = 0; lane < WIDTH; lane++, facts++) {
            const int there = first + lane < p->n_centers;
            rounding r = {.square = INFINITY};
            if (there)
                r = round_vector(p->centers + (first + lane) * d, p->origin, d, 4 * WIDTH,
                                 0x80808080, rounded + 4 * lane);
            facts[0] = r.square;
            facts[WIDTH] = -2 * r.step;
            facts[2 * WIDTH] = there ? 2 * sqrtf(r.square) : 0;
            facts[3 * WIDTH] = 2 * r.residual;
        }
    }
}

/* A block of rows, rounded, and lane by lane the least of what scores are at most. */
typedef struct {
    rounding of[ROWS];
    __m512 most[ROWS];
    int8_t *bytes; /* ROWS rows of fours */
    float *least;  /* a line for each row: the scores that centers have at least */
} rounded_block;

/* Looks at WIDTH centers for ROWS rows: 2 * ROWS sums stay in registers. */
ROUNDED static inline __attribute__((always_inline)) void look_rounded(
    rounded_block *b, int64_t n_fours, const uint8_t *centers, int64_t first, int64_t n_filled,
    float doubt) {
    __m512i sums[ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
        sums[r][0] = sums[r][1] = _mm512_set1_epi32(-128 * b->of[r].sum);
    for (int64_t j = 0; j < n_fours; j++, centers += 4 * WIDTH) {
        const __m512i left = _mm512_loadu_si512(centers);
        const __m512i right = _mm512_loadu_si512(centers + 4 * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++) {
            int32_t four;
            memcpy(&four, b->bytes + 4 * (r * n_fours + j), sizeof four);
            const __m512i row = _mm512_set1_epi32(four);
            sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], left, row);
            sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], right, row);
        }
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const float *facts = (const float *)centers + h * LANES;
        const __m512 square = _mm512_loadu_ps(facts);
        const __m512 step = _mm512_loadu_ps(facts + WIDTH);
        const __m512 norm = _mm512_loadu_ps(facts + 2 * WIDTH);
        const __m512 residual = _mm512_loadu_ps(facts + 3 * WIDTH);
        const __m512 blur = _mm512_mul_ps(square, _mm512_set1_ps(doubt));
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++) {
            const __m512 steps = _mm512_mul_ps(step, _mm512_set1_ps(b->of[r].step));
            const __m512 score = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][h]), steps, square);
            const __m512 of_row = _mm512_fmadd_ps(norm, _mm512_set1_ps(b->of[r].residual), blur);
            const __m512 off = _mm512_fmadd_ps(residual, _mm512_set1_ps(b->of[r].norm), of_row);
            b->most[r] = _mm512_min_ps(b->most[r], _mm512_add_ps(score, off));
            _mm512_storeu_ps(b->least + r * n_filled + first + h * LANES,
                             _mm512_sub_ps(score, off));
        }
    }
}

/* What the least score of a row is at most; or the second least, which is no larger than the least
   of all lanes but one. */
ROUNDED static float least_of(__m512 most, int want_second) {
    const float least = _mm512_reduce_min_ps(most);
    if (!want_second) return least;
    const uint32_t equal = _mm512_cmp_ps_mask(most, _mm512_set1_ps(least), _CMP_EQ_OQ);
    const __mmask16 one = equal & -equal;
    return _mm512_reduce_min_ps(_mm512_mask_mov_ps(most, one, _mm512_set1_ps(INFINITY)));
}

/* Measures the centers of a row that may be the closest, or the second, unless they are too many;
   returns whether that tells which they are. */
ROUNDED static int measure_few(const problem *p, const rounded_block *b, int r, int64_t row,
                               int64_t n_filled, float doubt, const result *out) {
    const int64_t d = p->n_features;
    const float blur = 2 * doubt * b->of[r].square;
    const __m512 limit = _mm512_set1_ps(least_of(b->most[r], out->ahead != 0) + blur);
    const float *least = b->least + r * n_filled;
    float closest = INFINITY, second = INFINITY;
    int32_t chosen = -1;
    int64_t n_few = 0;
    for (int64_t at = 0; at < n_filled; at += LANES)
        n_few += __builtin_popcount(
            _mm512_cmp_ps_mask(_mm512_loadu_ps(least + at), limit, _CMP_LE_OQ));
    if (n_few > p->n_centers / 16 + 4) return 0; /* as long as a quarter of all in float32 */
    for (int64_t at = 0; at < n_filled; at += LANES) {
        uint32_t may_be = _mm512_cmp_ps_mask(_mm512_loadu_ps(least + at), limit, _CMP_LE_OQ);
        for (; may_be; may_be &= may_be - 1) {
            const int64_t center = at + __builtin_ctz(may_be);
            const float sq_distance =
                sum_of_squares_16(p->rows + row * d, p->centers + center * d, d);
            if (sq_distance < closest)
                second = closest, closest = sq_distance, chosen = (int32_t)center;
            else if (sq_distance < second)
                second = sq_distance;
        }
    }
    if (out->ahead) out->ahead[row] = second * (1 - doubt) - closest; /* at least */
    out->chosen[row] = chosen;
    out->sq_distances[row] = closest;
    return chosen >= 0;
}

/* Whether so many rows left for float32, of so many, are too many for this to pay. */
static int are_too_many(int64_t n_left, int64_t n, int64_t n_features) {
    const double saved = 0.75 - 11.0 / n_features; /* of the time in float32, measured */
    return 1.2 * n_left > saved * n;
}

/* Finds the center closest to each row, but for those where too many may be: these are counted,
   and come first in `left`. May give up when they are many. Returns how many rows it has looked
   at, or -1 when there is not enough memory. */
ROUNDED static int64_t search_most(const problem *p, const uint8_t *rounded, int may_give_up,
                                   float doubt, const result *out, int32_t *left,
                                   int64_t *n_left) {
    const int64_t d = p->n_features, n_fours = (d + 3) / 4, n_bytes = group_bytes(d);
    const int64_t n_groups = (p->n_centers + WIDTH - 1) / WIDTH, n_filled = n_groups * WIDTH;
    rounded_block b = {.bytes = calloc(ROWS * n_fours, 4),
                       .least = malloc(ROWS * n_filled * sizeof(float))};
    const int enough = b.bytes && b.least;
    int64_t start = 0;
    *n_left = 0;
    for (; enough && start < p->n_rows; start += ROWS) {
        const int n = (int)(p->n_rows - start < ROWS ? p->n_rows - start : ROWS);
        if (may_give_up && start % PROBED_ROWS == 0 && are_too_many(*n_left, start, d)) break;
        for (int r = 0; r < ROWS; r++) {
            if (r < n) /* else what was there before */
                b.of[r] = round_vector(p->rows + (start + r) * d, p->origin, d, 4, 0,
                                       (uint8_t *)b.bytes + 4 * r * n_fours);
            else if (!start)
                b.of[r] = (rounding){0};
            b.most[r] = _mm512_set1_ps(INFINITY);
        }
        for (int64_t g = 0; g < n_groups; g++)
            look_rounded(&b, n_fours, rounded + g * n_bytes, g * WIDTH, n_filled, doubt);
        for (int r = 0; r < n; r++) {
            const int64_t row = start + r;
            out->squares[row] = 0; /* nothing is in doubt */
            if (!measure_few(p, &b, r, row, n_filled, doubt, out))
                left[(*n_left)++] = (int32_t)row;
        }
    }
    free(b.bytes), free(b.least);
    return !enough ? -1 : start < p->n_rows ? start : p->n_rows;
}

/* Finds the center closest to each row; those that are left in float32. */
ROUNDED static int search_rounded(const problem *p, const uint8_t *rounded, float doubt,
                                  int lanes, const result *out) {
    uint8_t *own = rounded ? 0 : malloc(rounded_bytes(p->n_centers, p->n_features));
    int32_t *left = malloc((p->n_rows + 1) * sizeof *left);
    int64_t n_left = 0, n = -1;
    if (left && (rounded || own)) {
        if (own) round_centers(p, own);
        n = search_most(p, own ? own : rounded, own != 0, doubt, out, left, &n_left);
    }
    int failed = n < 0;
    if (!failed && n_left) failed = WITH_LANES(search_rest, p, left, n_left, out);
    if (!failed && n < p->n_rows) {
        problem rest = *p;
        const result found = {out->chosen + n, out->sq_distances + n, out->squares + n,
                              out->ahead ? out->ahead + n : 0};
        rest.rows += n * p->n_features, rest.n_rows -= n;
        failed = WITH_LANES(search, &rest, &found);
    }
    free(own), free(left);
    return failed ? -1 : 0;
}

#undef LANES
#undef WIDTH
#undef ROUNDED
#undef FACTS
#undef PROBED_ROWS
