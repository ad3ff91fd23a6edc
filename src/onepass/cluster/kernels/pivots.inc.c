/* A search that passes most centers over, for one width of vectors: native.c includes this once for
   each, after search.inc.c and starts.inc.c.

   Some centers are pivots. A row is searched among these first, and then among all centers that are
   less than twice as far from its pivot as the row is: by the triangle inequality the others are
   farther from the row than the pivot. What is found is what a search among all finds. */

#define WIDTH (2 * LANES)
#define SAFE 1e-4f /* share of a square that covers what is rounded off */
#define FLOATS NAME(floats)
#define INTS NAME(ints)

/* Centers near a pivot, packed as for a search, in the order in which they came. */
typedef struct {
    float *packed;
    int32_t *centers;
    int64_t n;
    float limit; /* squared distance from the pivot up to which all are here */
} NAME(vicinity);
#define VICINITY NAME(vicinity)

/* What all pivots share. */
typedef struct {
    const problem *all;
    float *squares, *factors; /* |c|^2 and -2 c, relative to the origin */
    float *apart;             /* squared distances, a line of `stride` centers for each pivot */
    int64_t stride;
} NAME(surroundings);
#define SURROUNDINGS NAME(surroundings)

/* Adds the centers within a limit that are not here yet. */
TARGET static void NAME(extend)(VICINITY *v, const SURROUNDINGS *s, const float *apart, float limit) {
    const int64_t d = s->all->n_features;
    for (int64_t at = 0; at < s->stride; at += LANES) {
        const FLOATS here = *(const FLOATS *)(apart + at);
        const INTS wanted = (here <= limit) & (here > v->limit);
        int any = 0;
        for (int q = 0; q < LANES / 4; q++) {
            const int4 four = ((const int4 *)&wanted)[q];
            any |= four[0] | four[1] | four[2] | four[3];
        }
        for (int lane = 0; any && lane < LANES; lane++) {
            if (!wanted[lane]) continue;
            const int64_t c = at + lane;
            float *group = v->packed + v->n / WIDTH * WIDTH * (d + 1);
            if (v->n % WIDTH == 0)
                for (int64_t j = 0; j < (d + 1) * WIDTH; j++) group[j] = j < WIDTH ? INFINITY : 0;
            float *to = group + v->n % WIDTH;
            *to = s->squares[c];
            for (int64_t j = 0; j < d; j++) to[(j + 1) * WIDTH] = s->factors[c * d + j];
            v->centers[v->n++] = (int32_t)c;
        }
    }
    v->limit = limit;
}

/* A block of at most ROWS rows of one pivot, and what is known of them so far. */
typedef struct {
    float *near; /* relative to the origin */
    float squares[ROWS];
    const int32_t *which;
    int64_t n;
    NAME(best) best;
} NAME(block);
#define BLOCK NAME(block)

TARGET static void NAME(begin_block)(BLOCK *b, const problem *p, const int32_t *which, int64_t n) {
    const int64_t d = p->n_features;
    b->which = which, b->n = n;
    for (int64_t r = 0; r < ROWS; r++) {
        const float *row = p->rows + which[r < n ? r : 0] * d;
        for (int64_t j = 0; j < d; j++) b->near[r * d + j] = row[j] - p->origin[j];
        b->squares[r] = NAME(sum_of_squares)(b->near + r * d, 0, d);
    }
    NAME(forget_best)(&b->best);
}

/* Looks at the centers that have come to a vicinity since there were `from`. */
TARGET static void NAME(look_around)(BLOCK *b, const VICINITY *v, int64_t from, int64_t d) {
    for (int64_t first = from / WIDTH * WIDTH; first < v->n; first += WIDTH)
        NAME(look)(b->near, d, v->packed + first * (d + 1), (int32_t)first, 0, 0, &b->best);
}

/* Returns the squared distance from the pivot within which the closest centers of all rows are. */
TARGET static float NAME(reach)(const BLOCK *b, const result *out) {
    float reach = 0;
    for (int64_t r = 0; r < b->n; r++) {
        const float to_pivot = out->sq_distances[b->which[r]];
        const float least = NAME(least_lane)(b->best.least[r]) + b->squares[r];
        const float to_center = (least > 0 ? least : 0) + SAFE * b->squares[r];
        const float both = sqrtf(to_pivot) + sqrtf(to_center < to_pivot ? to_center : to_pivot);
        if (both > reach) reach = both;
    }
    return (1 + SAFE) * reach * reach;
}

TARGET static void NAME(end_block)(const BLOCK *b, const VICINITY *v, const SURROUNDINGS *s,
                                   const result *out) {
    const int64_t d = s->all->n_features;
    for (int64_t r = 0; r < b->n; r++) {
        const int64_t i = b->which[r], c = v->centers[NAME(settle)(&b->best, (int)r, 0)];
        out->chosen[i] = (int32_t)c;
        out->sq_distances[i] =
            NAME(sum_of_squares)(s->all->rows + i * d, s->all->centers + c * d, d);
        out->squares[i] = b->squares[r] + s->squares[c];
    }
}

/* Puts rows in order of a small key, those with equal ones as they were. */
static void NAME(order_by)(const int32_t *keys, int64_t n_keys, const int32_t *from, int64_t n,
                           int32_t *starts, int32_t *to) {
    memset(starts, 0, (n_keys + 1) * sizeof *starts);
    for (int64_t i = 0; i < n; i++) starts[keys[i] + 1]++;
    for (int64_t key = 0; key < n_keys; key++) starts[key + 1] += starts[key];
    for (int64_t i = 0; i < n; i++) {
        const int32_t row = from ? from[i] : (int32_t)i;
        to[starts[keys[row]]++] = row;
    }
    for (int64_t key = n_keys; key > 0; key--) starts[key] = starts[key - 1];
    starts[0] = 0;
}

/* Searches rows among all centers. */
TARGET static int NAME(search_rest)(const problem *p, const int32_t *which, int64_t n,
                                    const result *out) {
    const int64_t d = p->n_features;
    float *rows = malloc((n * d + 3 * n) * sizeof *rows);
    int32_t *chosen = malloc(n * sizeof *chosen);
    int failed = !rows || !chosen;
    if (!failed) {
        const problem rest = {rows, p->centers, p->origin, n, p->n_centers, d, 0};
        float *values = rows + n * d;
        const result found = {chosen, values, values + n, out->ahead ? values + 2 * n : 0};
        for (int64_t i = 0; i < n; i++)
            memcpy(rows + i * d, p->rows + which[i] * d, d * sizeof *rows);
        failed = NAME(search)(&rest, &found);
        for (int64_t i = 0; !failed && i < n; i++) {
            out->chosen[which[i]] = chosen[i];
            out->sq_distances[which[i]] = found.sq_distances[i];
            out->squares[which[i]] = found.squares[i];
            if (out->ahead) out->ahead[which[i]] = found.ahead[i];
        }
    }
    free(rows), free(chosen);
    return failed ? -1 : 0;
}

/* Searches rows among all centers near their pivot: first among those no farther from it than the
   rows, then as far as the closest of these may not be the closest of all. Returns at how many it
   looked, or 0 where they are too many. */
TARGET static int64_t NAME(search_block)(BLOCK *b, VICINITY *v, const SURROUNDINGS *s,
                                         const float *apart, const result *out) {
    const int64_t d = s->all->n_features, most = s->all->n_centers / 2;
    float farthest = 0;
    for (int64_t r = 0; r < b->n; r++) {
        const float to_pivot = out->sq_distances[b->which[r]];
        if (to_pivot > farthest) farthest = to_pivot;
    }
    if (farthest > v->limit) NAME(extend)(v, s, apart, farthest);
    if (v->n > most) return 0;
    NAME(look_around)(b, v, 0, d);
    if (v->limit < (4 + SAFE) * farthest) {
        const int64_t n_before = v->n;
        const float reach = NAME(reach)(b, out);
        if (reach > v->limit) {
            NAME(extend)(v, s, apart, reach);
            if (v->n > most) return 0;
            NAME(look_around)(b, v, n_before, d);
        }
    }
    NAME(end_block)(b, v, s, out);
    return b->n * ((v->n + WIDTH - 1) / WIDTH * WIDTH);
}

#define KEYS 512 /* of distances: exponents of float, and the first bit behind */

/* Searches the rows in `order`, by pivots and then by distance; returns how many are left over to be
   searched among all centers, which then come first in `order`. */
TARGET static int64_t NAME(search_vicinities)(const SURROUNDINGS *s, int64_t n_pivots,
                                              const int32_t *starts, int32_t *order,
                                              VICINITY *v, BLOCK *b, const result *out,
                                              int64_t *n_looked) {
    int64_t n_left = 0;
    for (int64_t pivot = 0; pivot < n_pivots; pivot++) {
        v->n = 0, v->limit = -1;
        for (int64_t at = starts[pivot]; at < starts[pivot + 1]; at += ROWS) {
            const int64_t left = starts[pivot + 1] - at;
            NAME(begin_block)(b, s->all, order + at, left < ROWS ? left : ROWS);
            const int64_t n = NAME(search_block)(b, v, s, s->apart + pivot * s->stride, out);
            *n_looked += n;
            if (n) continue;
            memmove(order + n_left, order + at, left * sizeof *order);
            n_left += left;
            break;
        }
    }
    return n_left;
}

/* Fills in what all pivots share; `crowd` has all centers, and `points` the pivots. */
TARGET static void NAME(survey)(const CROWD *crowd, const float *points, int64_t n_pivots,
                                const SURROUNDINGS *s) {
    const problem *p = s->all;
    const int64_t d = p->n_features, k = p->n_centers;
    for (int64_t c = 0; c < k; c++) {
        s->squares[c] = 0;
        for (int64_t j = 0; j < d; j++) {
            const float gap = p->centers[c * d + j] - p->origin[j];
            s->squares[c] += gap * gap;
            s->factors[c * d + j] = -2 * gap;
        }
    }
    for (int64_t g = 0; g < n_pivots; g += CENTERS_AT_ONCE) {
        const int64_t left = n_pivots - g, n = left < CENTERS_AT_ONCE ? left : CENTERS_AT_ONCE;
        const float *some[CENTERS_AT_ONCE] = {0};
        for (int64_t i = 0; i < n; i++) some[i] = points + (g + i) * d;
        NAME(measure_points)(crowd, some, n, s->apart + g * s->stride, s->stride);
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = k; c < s->stride; c++) s->apart[(g + i) * s->stride + c] = INFINITY;
    }
}

/* Orders rows by pivot and then by distance; `starts` says where those of each pivot begin. */
static void NAME(order_rows)(const result *out, int64_t n, int64_t n_pivots, int32_t *keys,
                             int32_t *starts, int32_t *order) {
    memcpy(keys, out->sq_distances, n * sizeof *keys); /* without a sign, they are in order */
    for (int64_t i = 0; i < n; i++) keys[i] >>= 22;
    NAME(order_by)(keys, KEYS, 0, n, starts, order + n);
    NAME(order_by)(out->chosen, n_pivots, order + n, n, starts, order);
}

TARGET static int64_t NAME(search_by_pivots)(const problem *p, const int64_t *pivots,
                                             int64_t n_pivots, const result *out) {
    const int64_t d = p->n_features, n = p->n_rows, k = p->n_centers;
    const weighted centers = {p->centers, 0, k, d};
    const table nothing = {0};
    CROWD crowd;
    if (!n) return 0;
    if (NAME(gather)(&crowd, &centers, &nothing, 0)) return -1;
    const int64_t stride = crowd.n_filled, n_keys = n_pivots > KEYS ? n_pivots : KEYS;
    const int64_t n_near = ROWS * d, n_points = n_pivots * d, n_packed = stride * (d + 1);
    float *room = malloc((n_near + n_points + n_packed + k * d + k + n_pivots * stride) *
                         sizeof *room);
    int32_t *numbers = malloc((3 * n + n_keys + 1 + stride) * sizeof *numbers);
    int64_t n_looked = -1;
    if (room && numbers) {
        float *points = room + n_near;
        BLOCK b = {.near = room};
        int32_t *keys = numbers, *order = keys + n, *starts = order + 2 * n;
        VICINITY v = {points + n_points, starts + n_keys + 1, 0, -1};
        float *factors = v.packed + n_packed, *squares = factors + k * d;
        const SURROUNDINGS s = {p, squares, factors, squares + k, stride};
        for (int64_t g = 0; g < n_pivots; g++)
            memcpy(points + g * d, p->centers + pivots[g] * d, d * sizeof *points);
        NAME(survey)(&crowd, points, n_pivots, &s);
        const problem first = {p->rows, points, p->origin, n, n_pivots, d, 0};
        if (!NAME(search)(&first, out)) {
            n_looked = n * n_pivots;
            NAME(order_rows)(out, n, n_pivots, keys, starts, order);
            const int64_t n_left = NAME(search_vicinities)(&s, n_pivots, starts, order, &v, &b,
                                                           out, &n_looked);
            n_looked += n_left * k;
            if (n_left && NAME(search_rest)(p, order, n_left, out)) n_looked = -1;
        }
    }
    free(room), free(numbers);
    NAME(release)(&crowd);
    return n_looked;
}

#undef WIDTH
#undef FLOATS
#undef INTS
#undef VICINITY
#undef SURROUNDINGS
#undef KEYS
#undef SAFE
#undef BLOCK
