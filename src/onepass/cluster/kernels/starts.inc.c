/* Choosing centers among rows for one width of vectors: native.c includes this once for each, after
   search.inc.c. The rows are few, such as the centers of a summary, and looked at many times: they
   are packed once, WIDTH of them together, feature by feature. Distances are computed from the
   differences. Sums over rows are in double. */

#define WIDTH (2 * LANES)

typedef double NAME(doubles) __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
#define FLOATS NAME(floats)
#define INTS NAME(ints)
#define DOUBLES NAME(doubles)
#define SELECT(mask, a, b) (((mask) & (INTS)(a)) | (~(mask) & (INTS)(b)))
#define MIN(a, b) ((FLOATS)SELECT((a) < (b), a, b))
#define AT(type, array, i) (*(type *)((array) + (i)))

/* Rows ready to be looked at; rows of weight 0 fill the last group up. */
typedef struct {
    const weighted *data;
    int64_t n_filled; /* rows, with those that fill up */
    float *packed;    /* groups of WIDTH rows, feature by feature */
    double *weights;
    float *table;       /* squared distances to a few points, n_filled for each */
    double *cumulative; /* to draw by */
} NAME(crowd);
#define CROWD NAME(crowd)

static void NAME(release)(CROWD *crowd) {
    free(crowd->packed), free(crowd->weights), free(crowd->table), free(crowd->cumulative);
}

/* Returns 0, or -1 when there is not enough memory. */
static int NAME(gather)(CROWD *crowd, const weighted *data, int64_t n_points) {
    const int64_t d = data->n_features, n = data->n_rows;
    const int64_t n_filled = (n + WIDTH - 1) / WIDTH * WIDTH;
    *crowd = (CROWD){
        .data = data,
        .n_filled = n_filled,
        .packed = calloc(n_filled * d, sizeof(float)),
        .weights = calloc(n_filled, sizeof(double)),
        .table = malloc(n_points * n_filled * sizeof(float)),
        .cumulative = malloc(n * sizeof(double)),
    };
    if (!crowd->packed || !crowd->weights || !crowd->table || !crowd->cumulative) {
        NAME(release)(crowd);
        return -1;
    }
    for (int64_t i = 0; i < n; i++) {
        float *group = crowd->packed + i / WIDTH * WIDTH * d;
        for (int64_t j = 0; j < d; j++) group[j * WIDTH + i % WIDTH] = data->rows[i * d + j];
        crowd->weights[i] = data->weights[i];
    }
    return 0;
}

/* Squared distances of all rows to `n` points, at most 4: 2 n sums stay in registers. */
TARGET static inline __attribute__((always_inline)) void NAME(measure_some)(
    const CROWD *crowd, const float *const *points, const int n, float *table) {
    const int64_t d = crowd->data->n_features;
    const float *values = crowd->packed;
    for (int64_t at = 0; at < crowd->n_filled; at += WIDTH) {
        FLOATS sums[4][2] = {0};
        for (int64_t j = 0; j < d; j++, values += WIDTH) {
            const FLOATS left = AT(const FLOATS, values, 0);
            const FLOATS right = AT(const FLOATS, values, LANES);
            for (int p = 0; p < n; p++) {
                const FLOATS gaps[2] = {left - points[p][j], right - points[p][j]};
                sums[p][0] += gaps[0] * gaps[0];
                sums[p][1] += gaps[1] * gaps[1];
            }
        }
        for (int p = 0; p < n; p++)
            for (int h = 0; h < 2; h++)
                AT(FLOATS, table, p * crowd->n_filled + at + h * LANES) = sums[p][h];
    }
}

/* Fills the table with the squared distances of all rows to some points. */
TARGET static void NAME(measure_points)(const CROWD *crowd, const float *const *points, int64_t n) {
    float *table = crowd->table;
    for (; n > 3; n -= 4, points += 4, table += 4 * crowd->n_filled)
        NAME(measure_some)(crowd, points, 4, table);
    switch (n) {
        case 3: NAME(measure_some)(crowd, points, 3, table); break;
        case 2: NAME(measure_some)(crowd, points, 2, table); break;
        case 1: NAME(measure_some)(crowd, points, 1, table);
    }
}

/* The inertia: the weighted sum of the smaller of two squared distances of each row. */
TARGET static double NAME(sum_of_least)(const CROWD *crowd, const float *a, const float *b) {
    DOUBLES sums = {0};
    for (int64_t at = 0; at < crowd->n_filled; at += LANES) {
        const FLOATS left = AT(const FLOATS, a, at), right = AT(const FLOATS, b, at);
        sums += __builtin_convertvector(MIN(left, right), DOUBLES) *
                AT(const DOUBLES, crowd->weights, at);
    }
    double sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
    return sum;
}

/* Draws rows in proportion to their shares, which are weights, or weights times `factors`. Returns
   0 when all shares are 0. */
static int NAME(draw)(const CROWD *crowd, const float *factors, const double *uniforms, int64_t n,
                      int64_t *drawn) {
    const int64_t n_rows = crowd->data->n_rows;
    double *cumulative = crowd->cumulative, sum = 0;
    for (int64_t i = 0; i < n_rows; i++)
        cumulative[i] = sum += crowd->weights[i] * (factors ? factors[i] : 1);
    if (!(sum > 0)) return 0;
    for (int64_t c = 0; c < n; c++) {
        const double wanted = uniforms[c] * sum;
        int64_t low = 0, high = n_rows - 1; /* the first above what is wanted, or the last row */
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (cumulative[middle] > wanted)
                high = middle;
            else
                low = middle + 1;
        }
        drawn[c] = low;
    }
    return 1;
}

TARGET static int64_t NAME(plus_plus)(const weighted *data, int64_t n_clusters,
                                      int64_t n_candidates, const double *uniforms,
                                      int64_t *chosen) {
    const int64_t d = data->n_features;
    CROWD crowd;
    int64_t candidates[MAX_CANDIDATES], n_chosen = 0;
    const float *points[MAX_CANDIDATES];
    if (NAME(gather)(&crowd, data, n_candidates)) return -1;
    float *least = malloc(crowd.n_filled * sizeof *least);
    while (least && n_chosen < n_clusters) {
        const int64_t n = n_chosen ? n_candidates : 1;
        if (!NAME(draw)(&crowd, n_chosen ? least : 0, uniforms, n, candidates)) break;
        uniforms += n;
        for (int64_t c = 0; c < n; c++) points[c] = data->rows + candidates[c] * d;
        NAME(measure_points)(&crowd, points, n);
        int64_t best = 0;
        double least_inertia = INFINITY;
        for (int64_t c = 0; n_chosen && c < n; c++) {
            const double inertia =
                NAME(sum_of_least)(&crowd, crowd.table + c * crowd.n_filled, least);
            if (inertia < least_inertia) best = c, least_inertia = inertia;
        }
        const float *nearer = crowd.table + best * crowd.n_filled;
        for (int64_t i = 0; i < crowd.n_filled; i++)
            if (!n_chosen || nearer[i] < least[i]) least[i] = nearer[i];
        chosen[n_chosen++] = candidates[best];
    }
    if (!least) n_chosen = -1;
    free(least);
    NAME(release)(&crowd);
    return n_chosen;
}

/* The two closest centers of each row. */
typedef struct {
    int32_t *closest, *second;
    float *sq_closest, *sq_second;
} NAME(two);
#define TWO NAME(two)

/* A row has one more center to choose from. */
static inline void NAME(offer)(const TWO *two, int64_t row, int32_t center, float sq_distance) {
    if (sq_distance < two->sq_closest[row]) {
        two->second[row] = two->closest[row];
        two->sq_second[row] = two->sq_closest[row];
        two->closest[row] = center;
        two->sq_closest[row] = sq_distance;
    } else if (sq_distance < two->sq_second[row]) {
        two->second[row] = center;
        two->sq_second[row] = sq_distance;
    }
}

static inline void NAME(forget)(const TWO *two, int64_t row) {
    two->closest[row] = two->second[row] = -1;
    two->sq_closest[row] = two->sq_second[row] = INFINITY;
}

TARGET static void NAME(find_two)(const CROWD *crowd, const float *centers, int64_t n_clusters,
                                  const TWO *two) {
    const int64_t d = crowd->data->n_features;
    for (int64_t i = 0; i < crowd->n_filled; i++) NAME(forget)(two, i);
    for (int64_t c = 0; c < n_clusters; c++) {
        const float *point = centers + c * d;
        NAME(measure_some)(crowd, &point, 1, crowd->table);
        const INTS center = (INTS){0} + (int32_t)c;
        for (int64_t at = 0; at < crowd->n_filled; at += LANES) {
            const FLOATS here = AT(FLOATS, crowd->table, at);
            const FLOATS least = AT(FLOATS, two->sq_closest, at);
            const FLOATS second = AT(FLOATS, two->sq_second, at);
            const INTS less = here < least, index = AT(INTS, two->closest, at);
            const FLOATS loser = (FLOATS)SELECT(less, least, here);
            const INTS less_than_second = loser < second;
            AT(INTS, two->second, at) = SELECT(
                less_than_second, SELECT(less, index, center), AT(INTS, two->second, at));
            AT(FLOATS, two->sq_second, at) = (FLOATS)SELECT(less_than_second, loser, second);
            AT(INTS, two->closest, at) = SELECT(less, center, index);
            AT(FLOATS, two->sq_closest, at) = (FLOATS)SELECT(less, here, least);
        }
    }
}

/* A center has moved to where a row is, at `sq_distances` of all rows. */
TARGET static void NAME(follow_swap)(const CROWD *crowd, const float *centers, int64_t n_clusters,
                                     int32_t center, const float *sq_distances, const TWO *two) {
    const int64_t d = crowd->data->n_features;
    for (int64_t i = 0; i < crowd->data->n_rows; i++) {
        if (two->closest[i] != center && two->second[i] != center) {
            NAME(offer)(two, i, center, sq_distances[i]);
            continue;
        }
        NAME(forget)(two, i);
        const float *row = crowd->data->rows + i * d;
        for (int64_t c = 0; c < n_clusters; c++)
            NAME(offer)(two, i, (int32_t)c, NAME(sum_of_squares)(row, centers + c * d, d));
    }
}

/* Returns how many different ones of some indices there are, and puts them first, in order. */
static int64_t NAME(distinct)(int64_t *indices, int64_t n) {
    int64_t n_kept = 0;
    for (int64_t c = 0; c < n; c++) {
        const int64_t index = indices[c];
        int64_t at = n_kept;
        while (at && indices[at - 1] > index) at--;
        if (at && indices[at - 1] == index) continue;
        memmove(indices + at + 1, indices + at, (n_kept++ - at) * sizeof *indices);
        indices[at] = index;
    }
    return n_kept;
}

TARGET static int NAME(swap)(const weighted *data, const swapping *s) {
    const int64_t d = data->n_features;
    CROWD crowd;
    int64_t candidates[MAX_CANDIDATES];
    const float *points[MAX_CANDIDATES];
    if (NAME(gather)(&crowd, data, s->n_candidates)) return -1;
    const size_t bytes = crowd.n_filled * sizeof(float);
    const TWO two = {malloc(bytes), malloc(bytes), malloc(bytes), malloc(bytes)};
    double *missed = malloc(s->n_clusters * sizeof *missed);
    const int enough = two.closest && two.second && two.sq_closest && two.sq_second && missed;
    if (enough) NAME(find_two)(&crowd, s->centers, s->n_clusters, &two);
    const double *uniforms = s->uniforms;
    for (int64_t i = 0; enough && i < s->n_steps; i++, uniforms += s->n_candidates) {
        if (!NAME(draw)(&crowd, two.sq_closest, uniforms, s->n_candidates, candidates)) break;
        const int64_t n = NAME(distinct)(candidates, s->n_candidates);
        for (int64_t c = 0; c < n; c++) points[c] = data->rows + candidates[c] * d;
        NAME(measure_points)(&crowd, points, n);
        int64_t best = 0, best_center = 0;
        double least_inertia = INFINITY;
        for (int64_t c = 0; c < n; c++) {
            const float *table = crowd.table + c * crowd.n_filled;
            memset(missed, 0, s->n_clusters * sizeof *missed);
            for (int64_t row = 0; row < data->n_rows; row++) { /* if its center were gone */
                const float to_row = table[row], closest = two.sq_closest[row];
                const float next = two.sq_second[row];
                const float with = to_row < closest ? to_row : closest;
                const float without = to_row < next ? to_row : next;
                if (two.closest[row] >= 0) /* else its distances are not finite */
                    missed[two.closest[row]] += data->weights[row] * ((double)without - with);
            }
            int64_t center = 0;
            for (int64_t other = 1; other < s->n_clusters; other++)
                if (missed[other] < missed[center]) center = other;
            const double inertia =
                NAME(sum_of_least)(&crowd, table, two.sq_closest) + missed[center];
            if (inertia < least_inertia)
                best = c, best_center = center, least_inertia = inertia;
        }
        const double inertia = NAME(sum_of_least)(&crowd, two.sq_closest, two.sq_closest);
        if (!(least_inertia < inertia * (1 - s->least_gain))) continue;
        memcpy(s->centers + best_center * d, points[best], d * sizeof(float));
        NAME(follow_swap)(&crowd, s->centers, s->n_clusters, (int32_t)best_center,
                          crowd.table + best * crowd.n_filled, &two);
    }
    free(two.closest), free(two.second), free(two.sq_closest), free(two.sq_second), free(missed);
    NAME(release)(&crowd);
    return enough ? 0 : -1;
}

#undef WIDTH
#undef FLOATS
#undef INTS
#undef DOUBLES
#undef SELECT
#undef MIN
#undef AT
#undef CROWD
#undef TWO
