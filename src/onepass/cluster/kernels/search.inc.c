/* The search for one width of vectors: native.c includes this once for each.

   LANES is the width in floats; NAME(f) names the functions, TARGET lets the compiler use the
   instructions of that width. */

#define WIDTH (2 * LANES) /* centers looked at together */

typedef float NAME(floats) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t NAME(ints) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define FLOATS NAME(floats)
#define INTS NAME(ints)
#define SELECT(mask, a, b) (((mask) & (INTS)(a)) | (~(mask) & (INTS)(b)))

/* What is known of a block of rows, lane by lane: which center has the least score. */
typedef struct {
    FLOATS least[ROWS], second[ROWS];
    INTS center[ROWS];
} NAME(best);
#define BEST NAME(best)

/* Looks at WIDTH centers, the first of them `first`, for ROWS rows. The score of a center is
   |c|^2 - 2 x.c, all relative to the origin: the squares come first, then -2 c, feature by
   feature. 2 * ROWS sums stay in registers. */
TARGET static inline __attribute__((always_inline)) void NAME(look)(
    const float *rows, int64_t n_features, const float *centers, int32_t first, int want_second,
    BEST *best) {
    FLOATS score[ROWS][2];
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < 2; h++) score[r][h] = *(const FLOATS *)(centers + h * LANES);
    for (int64_t j = 0; j < n_features; j++) {
        centers += WIDTH;
        const FLOATS left = *(const FLOATS *)centers;
        const FLOATS right = *(const FLOATS *)(centers + LANES);
        for (int r = 0; r < ROWS; r++) {
            const float value = rows[r * n_features + j];
            score[r][0] += left * value;
            score[r][1] += right * value;
        }
    }
    INTS index;
    for (int lane = 0; lane < LANES; lane++) index[lane] = first + lane;
    for (int h = 0; h < 2; h++, index += LANES)
        for (int r = 0; r < ROWS; r++) {
            const FLOATS here = score[r][h], least = best->least[r];
            const INTS less = here < least; /* not at a tie: the lower index stays */
            if (want_second) {
                const FLOATS loser = (FLOATS)SELECT(less, least, here);
                best->second[r] = (FLOATS)SELECT(loser < best->second[r], loser, best->second[r]);
            }
            best->least[r] = (FLOATS)SELECT(less, here, least);
            best->center[r] = SELECT(less, index, best->center[r]);
        }
}

TARGET static inline __attribute__((always_inline)) float NAME(sum_of_squares)(
    const float *a, const float *b, int64_t n) {
    float sum = 0;
    int64_t j = 0;
    if (n >= LANES) {
        FLOATS sums = {0};
        for (; j + LANES <= n; j += LANES) {
            FLOATS gap = *(const FLOATS *)(a + j);
            if (b) gap -= *(const FLOATS *)(b + j);
            sums += gap * gap;
        }
        for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
    }
    for (; j < n; j++) {
        const float gap = a[j] - (b ? b[j] : 0);
        sum += gap * gap;
    }
    return sum;
}

/* The least score of all lanes, and of equal ones the lowest center. Without branches: which lane
   wins cannot be foreseen. */
TARGET static inline __attribute__((always_inline)) int32_t NAME(settle)(
    const BEST *best, int row, float *ahead) {
    const FLOATS scores = best->least[row];
    const INTS centers = best->center[row];
    float least = scores[0];
    for (int lane = 1; lane < LANES; lane++) least = scores[lane] < least ? scores[lane] : least;
    const INTS equal = scores == (FLOATS){0} + least;
    const INTS candidates = (equal & centers) | (~equal & INT32_MAX);
    int32_t center = candidates[0];
    for (int lane = 1; lane < LANES; lane++)
        center = candidates[lane] < center ? candidates[lane] : center;
    if (ahead) {
        const FLOATS others = (FLOATS)SELECT(centers == center, best->second[row], scores);
        float second = others[0];
        for (int lane = 1; lane < LANES; lane++)
            second = others[lane] < second ? others[lane] : second;
        *ahead = second - least;
    }
    return center;
}

TARGET static inline __attribute__((always_inline)) void NAME(search_with)(
    const problem *p, const result *out, const float *packed, float *near, BEST *best, int64_t tile,
    int want_second) {
    const int64_t d = p->n_features, n_groups = (p->n_centers + WIDTH - 1) / WIDTH;
    for (int64_t start = 0; start < p->n_rows; start += tile) {
        const int64_t n = p->n_rows - start < tile ? p->n_rows - start : tile;
        const int64_t n_blocks = (n + ROWS - 1) / ROWS;
        const float *rows = p->rows + start * d;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < d; j++) near[i * d + j] = rows[i * d + j] - p->origin[j];
        memset(near + n * d, 0, (n_blocks * ROWS - n) * d * sizeof *near);
        for (int64_t b = 0; b < n_blocks; b++)
            for (int r = 0; r < ROWS; r++) {
                best[b].least[r] = best[b].second[r] = (FLOATS){0} + INFINITY;
                best[b].center[r] = (INTS){0};
            }
        for (int64_t g = 0; g < n_groups; g++)
            for (int64_t b = 0; b < n_blocks; b++)
                NAME(look)(near + b * ROWS * d, d, packed + g * (d + 1) * WIDTH,
                           (int32_t)(g * WIDTH), want_second, best + b);
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = start + i;
            float *ahead = want_second ? out->ahead + at : 0;
            const int32_t center = NAME(settle)(best + i / ROWS, i % ROWS, ahead);
            out->chosen[at] = center;
            out->sq_distances[at] =
                NAME(sum_of_squares)(rows + i * d, p->centers + center * d, d);
            out->squares[at] = NAME(sum_of_squares)(near + i * d, 0, d) +
                               packed[center / WIDTH * (d + 1) * WIDTH + center % WIDTH];
        }
    }
}

TARGET static int NAME(search)(const problem *p, const result *out) {
    const int64_t d = p->n_features, n_groups = (p->n_centers + WIDTH - 1) / WIDTH;
    const size_t n_packed = n_groups * (d + 1) * WIDTH;
    /* As long as all centers stay in the cache, the scores of a block of rows are best kept in
       registers; else each group of centers serves many blocks before it leaves the cache. */
    int64_t tile = ROWS;
    if (n_packed * sizeof(float) > CACHE_BYTES) {
        const int64_t n_blocks = CACHE_BYTES / (int64_t)(ROWS * (4 * d + sizeof(BEST) / ROWS));
        tile = ROWS * (n_blocks < 1 ? 1 : n_blocks > 64 ? 64 : n_blocks);
    }
    float *packed = malloc(n_packed * sizeof *packed);
    float *near = malloc(tile * d * sizeof *near);
    BEST *best = aligned_alloc(64, (tile / ROWS * sizeof *best + 63) / 64 * 64);
    const int enough = packed && near && best;
    if (enough) {
        pack(p, WIDTH, packed);
        if (out->ahead)
            NAME(search_with)(p, out, packed, near, best, tile, 1);
        else
            NAME(search_with)(p, out, packed, near, best, tile, 0);
    }
    free(packed), free(near), free(best);
    return enough ? 0 : -1;
}

TARGET static void NAME(measure)(const problem *p, const int32_t *chosen, float *sq_distances) {
    const int64_t d = p->n_features;
    for (int64_t i = 0; i < p->n_rows; i++)
        sq_distances[i] = NAME(sum_of_squares)(p->rows + i * d, p->centers + chosen[i] * d, d);
}

#undef WIDTH
#undef FLOATS
#undef INTS
#undef SELECT
#undef BEST
