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
    const table *apart; /* squared distances between all rows, or none yet */
    int64_t n_filled;   /* rows, with those that fill up */
    float *packed;      /* groups of WIDTH rows, feature by feature */
    double *weights;
    float *table;       /* squared distances to a few points, n_filled for each */
    double *cumulative; /* to draw by */
} NAME(crowd);
#define CROWD NAME(crowd)

static void NAME(release)(CROWD *crowd) {
    free(crowd->packed), free(crowd->weights), free(crowd->table), free(crowd->cumulative);
}

/* Returns 0, or -1 when there is not enough memory. */
static int NAME(gather)(CROWD *crowd, const weighted *data, const table *apart,
                        int64_t n_points) {
    const int64_t d = data->n_features, n = data->n_rows;
    const int64_t n_filled = (n + WIDTH - 1) / WIDTH * WIDTH;
    *crowd = (CROWD){
        .data = data,
        .apart = apart->values ? apart : 0,
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
        crowd->weights[i] = data->weights ? data->weights[i] : 1;
    }
    return 0;
}

/* Squared distances of rows, from a multiple of WIDTH on, to `n` points, at most 4: 2 n sums stay in
   registers. */
TARGET static inline __attribute__((always_inline)) void NAME(measure_some)(
    const CROWD *crowd, int64_t first, const float *const *points, const int n, float *table,
    int64_t stride) {
    const int64_t d = crowd->data->n_features;
    const float *values = crowd->packed + first * d;
    for (int64_t at = first; at < crowd->n_filled; at += WIDTH) {
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
                AT(FLOATS, table, p * stride + at + h * LANES) = sums[p][h];
    }
}

/* Fills a table, `stride` values for each point, with the squared distances of all rows to it. */
TARGET static void NAME(measure_points)(const CROWD *crowd, const float *const *points, int64_t n,
                                        float *table, int64_t stride) {
    for (; n > 3; n -= 4, points += 4, table += 4 * stride)
        NAME(measure_some)(crowd, 0, points, 4, table, stride);
    switch (n) {
        case 3: NAME(measure_some)(crowd, 0, points, 3, table, stride); break;
        case 2: NAME(measure_some)(crowd, 0, points, 2, table, stride); break;
        case 1: NAME(measure_some)(crowd, 0, points, 1, table, stride);
    }
}

/* Points the entries of `to` at the squared distances of all rows to some of the rows. */
TARGET static void NAME(measure_rows)(const CROWD *crowd, const int64_t *which, int64_t n,
                                      const float **to) {
    const float *points[MAX_CANDIDATES];
    for (int64_t c = 0; c < n; c++) {
        points[c] = crowd->data->rows + which[c] * crowd->data->n_features;
        to[c] = crowd->apart ? crowd->apart->values + which[c] * crowd->apart->stride
                             : crowd->table + c * crowd->n_filled;
    }
    if (!crowd->apart) NAME(measure_points)(crowd, points, n, crowd->table, crowd->n_filled);
}

/* Each pair is measured once. What fills a line of the table up is measured, too. */
TARGET static int NAME(between)(const weighted *data, const table *apart) {
    const int64_t d = data->n_features, n = data->n_rows;
    const table nothing = {0};
    CROWD crowd;
    if (NAME(gather)(&crowd, data, &nothing, 0)) return -1;
    for (int64_t i = 0; i < n; i += 4) {
        const float *points[4];
        const int64_t first = i / WIDTH * WIDTH;
        float *line = apart->values + i * apart->stride;
        for (int p = 0; p < 4; p++) points[p] = data->rows + (i + p < n ? i + p : i) * d;
        if (i + 4 <= n)
            NAME(measure_some)(&crowd, first, points, 4, line, apart->stride);
        else
            for (int64_t p = 0; i + p < n; p++)
                NAME(measure_some)(&crowd, first, points + p, 1, line + p * apart->stride,
                                   apart->stride);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i / WIDTH * WIDTH; j++)
            apart->values[i * apart->stride + j] = apart->values[j * apart->stride + i];
    NAME(release)(&crowd);
    return 0;
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

TARGET static int64_t NAME(plus_plus)(const weighted *data, const table *apart, int64_t n_clusters,
                                      int64_t n_candidates, const double *uniforms,
                                      int64_t *chosen) {
    CROWD crowd;
    int64_t candidates[MAX_CANDIDATES], n_chosen = 0;
    const float *to[MAX_CANDIDATES];
    if (NAME(gather)(&crowd, data, apart, n_candidates)) return -1;
    float *least = malloc(crowd.n_filled * sizeof *least);
    while (least && n_chosen < n_clusters) {
        const int64_t n = n_chosen ? n_candidates : 1;
        if (!NAME(draw)(&crowd, n_chosen ? least : 0, uniforms, n, candidates)) break;
        uniforms += n;
        NAME(measure_rows)(&crowd, candidates, n, to);
        int64_t best = 0;
        double least_inertia = INFINITY;
        for (int64_t c = 0; n_chosen && c < n; c++) {
            const double inertia = NAME(sum_of_least)(&crowd, to[c], least);
            if (inertia < least_inertia) best = c, least_inertia = inertia;
        }
        for (int64_t i = 0; i < crowd.n_filled; i++)
            if (!n_chosen || to[best][i] < least[i]) least[i] = to[best][i];
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

/* `from` has a line of n_filled squared distances for each center, or for one block of centers if
   it is not `kept`. */
TARGET static void NAME(find_two)(const CROWD *crowd, const float *centers, int64_t n_clusters,
                                  float *from, int kept, const TWO *two) {
    const int64_t d = crowd->data->n_features;
    for (int64_t i = 0; i < crowd->n_filled; i++) NAME(forget)(two, i);
    for (int64_t first = 0; first < n_clusters; first += CENTERS_AT_ONCE) {
        const int64_t left = n_clusters - first;
        const int64_t n = left < CENTERS_AT_ONCE ? left : CENTERS_AT_ONCE;
        const float *points[CENTERS_AT_ONCE];
        float *lines = from + (kept ? first : 0) * crowd->n_filled;
        for (int64_t c = 0; c < n; c++) points[c] = centers + (first + c) * d;
        NAME(measure_points)(crowd, points, n, lines, crowd->n_filled);
        for (int64_t at = 0; at < crowd->n_filled; at += LANES) {
            FLOATS least = AT(FLOATS, two->sq_closest, at);
            FLOATS second = AT(FLOATS, two->sq_second, at);
            INTS closest = AT(INTS, two->closest, at), next = AT(INTS, two->second, at);
            for (int64_t c = 0; c < n; c++) {
                const FLOATS here = AT(FLOATS, lines, c * crowd->n_filled + at);
                const INTS center = (INTS){0} + (int32_t)(first + c);
                const INTS less = here < least;
                const FLOATS loser = (FLOATS)SELECT(less, least, here);
                const INTS less_than_second = loser < second;
                next = SELECT(less_than_second, SELECT(less, closest, center), next);
                second = (FLOATS)SELECT(less_than_second, loser, second);
                closest = SELECT(less, center, closest);
                least = (FLOATS)SELECT(less, here, least);
            }
            AT(FLOATS, two->sq_closest, at) = least, AT(FLOATS, two->sq_second, at) = second;
            AT(INTS, two->closest, at) = closest, AT(INTS, two->second, at) = next;
        }
    }
}

/* A center has moved to where a row is, at `sq_distances` of all rows. */
TARGET static void NAME(follow_swap)(const CROWD *crowd, const float *centers, int64_t n_clusters,
                                     const float *from, int32_t center, const float *sq_distances,
                                     const TWO *two) {
    const int64_t d = crowd->data->n_features;
    for (int64_t i = 0; i < crowd->data->n_rows; i++) {
        if (two->closest[i] != center && two->second[i] != center) {
            NAME(offer)(two, i, center, sq_distances[i]);
            continue;
        }
        NAME(forget)(two, i);
        const float *row = crowd->data->rows + i * d;
        for (int64_t c = 0; c < n_clusters; c++)
            NAME(offer)(two, i, (int32_t)c,
                        from ? from[c * crowd->n_filled + i]
                             : NAME(sum_of_squares)(row, centers + c * d, d));
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

/* What is lost when a row takes the place of each center; rows have other centers to go to. */
TARGET static void NAME(miss)(const CROWD *crowd, const float *to_row, const TWO *two,
                              int64_t n_clusters, double *missed) {
    memset(missed, 0, n_clusters * sizeof *missed);
    for (int64_t row = 0; row < crowd->data->n_rows; row++) {
        const float closest = two->sq_closest[row], next = two->sq_second[row];
        const float with = to_row[row] < closest ? to_row[row] : closest;
        const float without = to_row[row] < next ? to_row[row] : next;
        if (two->closest[row] >= 0) /* else its distances are not finite */
            missed[two->closest[row]] += crowd->weights[row] * ((double)without - with);
    }
}

TARGET static int NAME(swap)(const weighted *data, const table *apart, const swapping *s) {
    const int64_t d = data->n_features;
    CROWD crowd;
    int64_t candidates[MAX_CANDIDATES];
    const float *to[MAX_CANDIDATES];
    if (NAME(gather)(&crowd, data, apart, s->n_candidates)) return -1;
    const size_t bytes = crowd.n_filled * sizeof(float);
    const TWO two = {malloc(bytes), malloc(bytes), malloc(bytes), malloc(bytes)};
    const int kept = s->n_clusters * crowd.n_filled <= MAX_KEPT;
    float *from = malloc((kept ? s->n_clusters : CENTERS_AT_ONCE) * bytes);
    double *missed = malloc(s->n_clusters * sizeof *missed);
    const int enough =
        two.closest && two.second && two.sq_closest && two.sq_second && from && missed;
    if (enough) NAME(find_two)(&crowd, s->centers, s->n_clusters, from, kept, &two);
    const double *uniforms = s->uniforms;
    for (int64_t i = 0; enough && i < s->n_steps; i++, uniforms += s->n_candidates) {
        if (!NAME(draw)(&crowd, two.sq_closest, uniforms, s->n_candidates, candidates)) break;
        const int64_t n = NAME(distinct)(candidates, s->n_candidates);
        NAME(measure_rows)(&crowd, candidates, n, to);
        int64_t best = 0, best_center = 0;
        double least_inertia = INFINITY;
        for (int64_t c = 0; c < n; c++) {
            NAME(miss)(&crowd, to[c], &two, s->n_clusters, missed);
            int64_t center = 0;
            for (int64_t other = 1; other < s->n_clusters; other++)
                if (missed[other] < missed[center]) center = other;
            const double inertia =
                NAME(sum_of_least)(&crowd, to[c], two.sq_closest) + missed[center];
            if (inertia < least_inertia)
                best = c, best_center = center, least_inertia = inertia;
        }
        const double inertia = NAME(sum_of_least)(&crowd, two.sq_closest, two.sq_closest);
        if (!(least_inertia < inertia * (1 - s->least_gain))) continue;
        memcpy(s->centers + best_center * d, data->rows + candidates[best] * d,
               d * sizeof(float));
        if (kept) memcpy(from + best_center * crowd.n_filled, to[best], bytes);
        NAME(follow_swap)(&crowd, s->centers, s->n_clusters, kept ? from : 0,
                          (int32_t)best_center, to[best], &two);
    }
    free(two.closest), free(two.second), free(two.sq_closest), free(two.sq_second);
    free(from), free(missed);
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
#undef TWO
