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

/* What turns the scores of a block of rows into prices of unions: see onepass_partners. */
typedef struct {
    float squares[ROWS], weights[ROWS]; /* of the rows */
    int32_t self[ROWS];                 /* which centers the rows are */
    const float *others;                /* weights of all centers, filled up */
} NAME(prices);
#define PRICES NAME(prices)

/* Looks at WIDTH centers, the first of them `first`, for ROWS rows. The score of a center is
   |c|^2 - 2 x.c, all relative to the origin: the squares come first, then -2 c, feature by
   feature. 2 * ROWS sums stay in registers. */
TARGET static inline __attribute__((always_inline)) void NAME(look)(
    const float *rows, int64_t n_features, const float *centers, int32_t first, int want_second,
    const PRICES *prices, BEST *best) {
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
            FLOATS here = score[r][h];
            if (prices) {
                const FLOATS other = *(const FLOATS *)(prices->others + first + h * LANES);
                const FLOATS apart = here + prices->squares[r];
                here = (FLOATS)SELECT(apart <= 0, (FLOATS){0}, apart); /* NaN is never less */
                here *= prices->weights[r] * (other / (prices->weights[r] + other));
                here = (FLOATS)SELECT(index == prices->self[r], (FLOATS){0} + INFINITY, here);
            }
            const FLOATS least = best->least[r];
            const INTS less = here < least; /* not at a tie: the lower index stays */
            if (want_second) {
                const FLOATS loser = (FLOATS)SELECT(less, least, here);
                best->second[r] = (FLOATS)SELECT(loser < best->second[r], loser, best->second[r]);
            }
            best->least[r] = (FLOATS)SELECT(less, here, least);
            best->center[r] = SELECT(less, index, best->center[r]);
        }
}

/* Lanes are added up, or compared, by fours as far as possible: one by one, each would wait for the
   one before. */
TARGET static inline __attribute__((always_inline)) float NAME(sum_of_squares)(
    const float *a, const float *b, int64_t n) {
    int64_t j = 0;
    float4 four = {0};
    if (n >= LANES) {
        FLOATS sums = {0};
        for (; j + LANES <= n; j += LANES) {
            FLOATS gap = *(const FLOATS *)(a + j);
            if (b) gap -= *(const FLOATS *)(b + j);
            sums += gap * gap;
        }
        for (int q = 0; q < LANES / 4; q++) four += ((const float4 *)&sums)[q];
    }
    for (; j + 4 <= n; j += 4) {
        float4 gap = *(const float4 *)(a + j);
        if (b) gap -= *(const float4 *)(b + j);
        four += gap * gap;
    }
    float sum = (four[0] + four[1]) + (four[2] + four[3]);
    for (; j < n; j++) {
        const float gap = a[j] - (b ? b[j] : 0);
        sum += gap * gap;
    }
    return sum;
}

TARGET static inline __attribute__((always_inline)) float NAME(least_lane)(FLOATS values) {
    float4 four = *(const float4 *)&values;
    for (int q = 1; q < LANES / 4; q++) {
        const float4 next = ((const float4 *)&values)[q];
        const int4 less = next < four;
        four = (float4)((less & (int4)next) | (~less & (int4)four));
    }
    const float left = four[0] < four[1] ? four[0] : four[1];
    const float right = four[2] < four[3] ? four[2] : four[3];
    return left < right ? left : right;
}

TARGET static inline __attribute__((always_inline)) int32_t NAME(lowest_lane)(INTS values) {
    int4 four = *(const int4 *)&values;
    for (int q = 1; q < LANES / 4; q++) {
        const int4 next = ((const int4 *)&values)[q];
        const int4 less = next < four;
        four = (less & next) | (~less & four);
    }
    const int32_t left = four[0] < four[1] ? four[0] : four[1];
    const int32_t right = four[2] < four[3] ? four[2] : four[3];
    return left < right ? left : right;
}

/* The least score of all lanes, and of equal ones the lowest center. Without branches: which lane
   wins cannot be foreseen. */
TARGET static inline __attribute__((always_inline)) int32_t NAME(settle)(
    const BEST *best, int row, float *ahead) {
    const FLOATS scores = best->least[row];
    const INTS centers = best->center[row];
    const float least = NAME(least_lane)(scores);
    const INTS equal = scores == (FLOATS){0} + least;
    const int32_t center = NAME(lowest_lane)((equal & centers) | (~equal & INT32_MAX));
    if (ahead)
        *ahead = NAME(least_lane)((FLOATS)SELECT(centers == center, best->second[row], scores)) -
                 least;
    return center;
}

TARGET static inline __attribute__((always_inline)) void NAME(forget_best)(BEST *best) {
    for (int r = 0; r < ROWS; r++) {
        best->least[r] = best->second[r] = (FLOATS){0} + INFINITY;
        best->center[r] = (INTS){0};
    }
}

TARGET static inline __attribute__((always_inline)) void NAME(search_with)(
    const problem *p, const result *out, const float *packed, const float *origins, float *near,
    BEST *best, int64_t tile, int want_second) {
    const int64_t d = p->n_features, n_groups = (p->n_centers + WIDTH - 1) / WIDTH;
    for (int64_t start = 0; start < p->n_rows; start += tile) {
        const int64_t n = p->n_rows - start < tile ? p->n_rows - start : tile;
        const int64_t n_blocks = (n + ROWS - 1) / ROWS;
        const float *rows = p->rows + start * d;
        for (int64_t at = 0; at < n * d; at += ROWS * d) {
            const int64_t left = n * d - at, many = left < ROWS * d ? left : ROWS * d;
            for (int64_t j = 0; j < many; j++)
                near[at + j] = rows[at + j] - origins[j];
        }
        memset(near + n * d, 0, (n_blocks * ROWS - n) * d * sizeof *near);
        for (int64_t b = 0; b < n_blocks; b++) NAME(forget_best)(best + b);
        for (int64_t g = 0; g < n_groups; g++)
            for (int64_t b = 0; b < n_blocks; b++)
                NAME(look)(near + b * ROWS * d, d, packed + g * (d + 1) * WIDTH,
                           (int32_t)(g * WIDTH), want_second, 0, best + b);
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
        const int64_t most = n_blocks < 64 ? n_blocks : 64, all = (p->n_rows + ROWS - 1) / ROWS;
        tile = ROWS * (most < 1 || all < 1 ? 1 : all < most ? all : most);
    }
    float *own = p->packed ? 0 : malloc(n_packed * sizeof *own);
    const float *packed = p->packed ? p->packed : own;
    float *origins = malloc(ROWS * d * sizeof *origins); /* one for each row of a block */
    float *near = malloc(tile * d * sizeof *near);
    BEST *best = aligned_alloc(64, (tile / ROWS * sizeof *best + 63) / 64 * 64);
    const int enough = packed && origins && near && best;
    if (enough) {
        if (own) pack(p, WIDTH, own);
        for (int r = 0; r < ROWS; r++) memcpy(origins + r * d, p->origin, d * sizeof *origins);
        if (out->ahead)
            NAME(search_with)(p, out, packed, origins, near, best, tile, 1);
        else
            NAME(search_with)(p, out, packed, origins, near, best, tile, 0);
    }
    free(own), free(origins), free(near), free(best);
    return enough ? 0 : -1;
}

TARGET static void NAME(measure)(const problem *p, const int32_t *chosen, float *sq_distances) {
    const int64_t d = p->n_features;
    for (int64_t i = 0; i < p->n_rows; i++)
        sq_distances[i] = NAME(sum_of_squares)(p->rows + i * d, p->centers + chosen[i] * d, d);
}

/* Blocks of rows meet all groups of centers in tiles that stay in the cache, as in a search. */
TARGET static int NAME(partners)(const problem *p, const float *weights, const int32_t *some,
                                 int32_t *partner) {
    const int64_t d = p->n_features, n_groups = (p->n_centers + WIDTH - 1) / WIDTH;
    const int64_t n_blocks = (p->n_rows + ROWS - 1) / ROWS;
    float *packed = malloc(n_groups * (d + 1) * WIDTH * sizeof *packed);
    float *near = calloc(n_blocks * ROWS * d, sizeof *near);
    float *others = malloc(n_groups * WIDTH * sizeof *others);
    PRICES *prices = malloc(n_blocks * sizeof *prices);
    BEST *best = aligned_alloc(64, (n_blocks * sizeof *best + 63) / 64 * 64);
    const int enough = packed && near && others && prices && best;
    if (enough) {
        pack(p, WIDTH, packed);
        for (int64_t c = 0; c < n_groups * WIDTH; c++)
            others[c] = c < p->n_centers ? weights[c] : 1.0f;
        for (int64_t i = 0; i < n_blocks * ROWS; i++) {
            const int64_t b = i / ROWS, r = i % ROWS, own = i < p->n_rows ? some[i] : 0;
            for (int64_t j = 0; j < d; j++)
                near[i * d + j] = p->centers[own * d + j] - p->origin[j];
            prices[b].squares[r] = NAME(sum_of_squares)(near + i * d, 0, d);
            prices[b].weights[r] = weights[own];
            prices[b].self[r] = (int32_t)own;
            prices[b].others = others;
        }
        for (int64_t b = 0; b < n_blocks; b++) NAME(forget_best)(best + b);
        for (int64_t g = 0; g < n_groups; g++)
            for (int64_t b = 0; b < n_blocks; b++)
                NAME(look)(near + b * ROWS * d, d, packed + g * (d + 1) * WIDTH,
                           (int32_t)(g * WIDTH), 0, prices + b, best + b);
        for (int64_t i = 0; i < p->n_rows; i++)
            partner[i] = NAME(settle)(best + i / ROWS, i % ROWS, 0);
    }
    free(packed), free(near), free(others), free(prices), free(best);
    return enough ? 0 : -1;
}

/* Searches some rows by differences, which tell centers apart wherever the origin is. Two thirds
   as fast, the centers of a vector being packed as in a search, but one vector at a time: this may
   be asked for beside many others. */
TARGET static int NAME(search_exactly)(const problem *p, const int64_t *which, int64_t n_which,
                                       int32_t *chosen, float *sq_distances) {
    const int64_t d = p->n_features;
    float *packed = malloc(LANES * d * sizeof *packed);
    if (!packed) return -1;
    for (int64_t start = 0; start < n_which; start += EXACT_ROWS, which += EXACT_ROWS) {
        const int64_t n = n_which - start < EXACT_ROWS ? n_which - start : EXACT_ROWS;
        FLOATS least[EXACT_ROWS];
        INTS center[EXACT_ROWS], index;
        for (int64_t i = 0; i < n; i++) least[i] = (FLOATS){0} + INFINITY, center[i] = (INTS){0};
        for (int lane = 0; lane < LANES; lane++) index[lane] = lane;
        for (int64_t first = 0; first < p->n_centers; first += LANES, index += LANES) {
            for (int lane = 0; lane < LANES; lane++)
                for (int64_t j = 0; j < d; j++)
                    packed[j * LANES + lane] =
                        first + lane < p->n_centers ? p->centers[(first + lane) * d + j] : INFINITY;
            for (int64_t i = 0; i < n; i++) {
                const float *row = p->rows + which[i] * d;
                FLOATS here = {0};
                for (int64_t j = 0; j < d; j++) {
                    const FLOATS gap = *(const FLOATS *)(packed + j * LANES) - row[j];
                    here += gap * gap;
                }
                const INTS less = here < least[i];
                least[i] = (FLOATS)SELECT(less, here, least[i]);
                center[i] = SELECT(less, index, center[i]);
            }
        }
        for (int64_t i = 0; i < n; i++) {
            const float lowest = NAME(least_lane)(least[i]);
            const INTS equal = least[i] == (FLOATS){0} + lowest;
            chosen[which[i]] = NAME(lowest_lane)((equal & center[i]) | (~equal & INT32_MAX));
            sq_distances[which[i]] = lowest;
        }
    }
    free(packed);
    return 0;
}

/* Returns how many rows are to be searched anew; see onepass_loosen. */
TARGET static int64_t NAME(loosen)(const problem *p, const bounds *b, const shifts *s,
                                   int64_t *crossed, float *sq_distances) {
    const int64_t d = p->n_features;
    int64_t n_crossed = 0;
    for (int64_t i = 0; i < p->n_rows; i++) {
        const int32_t own = b->labels[i];
        const float near = b->lower[i] - s->others[own], halfway = s->halfway[own];
        float upper = b->upper[i] + s->own[own];
        for (int exact = 0;; exact = 1) {
            /* By the triangle inequality, centers far from the own are far from the row. */
            const float far = s->far[own] - upper, lower = near < far ? near : far;
            const float safe = (lower > halfway ? lower : halfway) * s->share;
            b->upper[i] = upper;
            b->lower[i] = lower;
            if (upper <= safe) break;
            if (exact) {
                crossed[n_crossed++] = i;
                break;
            }
            sq_distances[n_crossed] =
                NAME(sum_of_squares)(p->rows + i * d, p->centers + own * d, d);
            upper = sqrtf(sq_distances[n_crossed]);
        }
    }
    return n_crossed;
}

#undef WIDTH
#undef FLOATS
#undef INTS
#undef SELECT
#undef BEST
#undef PRICES
