/* What happens to a batch before and after it is searched, for one width of vectors: native.c includes
   this once for each, after search.inc.c. */

typedef double NAME(wide) __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
#define WIDE NAME(wide)
#define FLOATS NAME(floats)

/* As whole numbers, floats without their sign are in order, those that are not finite last. */
TARGET static float NAME(peak)(const float *values, int64_t n) {
    NAME(ints) most[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int part = 0; part < 4; part++) {
            const NAME(ints) here =
                *(const NAME(ints) *)(values + i + part * LANES) & INT32_MAX;
            const NAME(ints) more = here > most[part];
            most[part] = (more & here) | (~more & most[part]);
        }
    int32_t largest = 0;
    for (int part = 0; part < 4; part++)
        for (int lane = 0; lane < LANES; lane++)
            if (most[part][lane] > largest) largest = most[part][lane];
    for (; i < n; i++) {
        int32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        if ((bits & INT32_MAX) > largest) largest = bits & INT32_MAX;
    }
    float peak;
    memcpy(&peak, &largest, sizeof peak);
    return peak;
}

/* The squared distance of a center from the mean of what it holds. */
TARGET static inline __attribute__((always_inline)) double NAME(off_mean)(
    const double *sums, double weight, const float *center, int64_t n) {
    WIDE squares = {0};
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const WIDE gap = *(const WIDE *)(sums + j) / weight -
                         __builtin_convertvector(*(const FLOATS *)(center + j), WIDE);
        squares += gap * gap;
    }
    double sum = 0;
    if (n >= LANES)
        for (int lane = 0; lane < LANES; lane++) sum += squares[lane];
    for (; j < n; j++) {
        const double gap = sums[j] / weight - center[j];
        sum += gap * gap;
    }
    return sum;
}

TARGET static int NAME(move)(const weighted *data, const int32_t *labels, const float *sq_distances,
                             const holdings *h) {
    const int64_t d = data->n_features;
    char *touched = calloc(h->n_centers, 1);
    if (!touched) return -1;
    for (int64_t i = 0; i < data->n_rows; i++) {
        const int64_t c = labels[i];
        const double weight = data->weights[i];
        const float *row = data->rows + i * d;
        double *sums = h->sums + c * d;
        if (!touched[c]) {
            touched[c] = 1;
            /* What it holds already scatters about its mean; the center is that in float. */
            if (h->weights[c] > 0)
                h->scatter[c] +=
                    h->weights[c] * NAME(off_mean)(sums, h->weights[c], h->centers + c * d, d);
        }
        for (int64_t j = 0; j < d; j++) sums[j] += weight * row[j];
        h->weights[c] += weight;
        h->scatter[c] += weight * sq_distances[i];
    }
    for (int64_t c = 0; c < h->n_centers; c++) {
        if (!touched[c]) continue;
        /* About the former center the rows scatter by their cost; about the new mean, by less. */
        float *center = h->centers + c * d;
        const double *sums = h->sums + c * d, weight = h->weights[c];
        const double scatter = h->scatter[c] - weight * NAME(off_mean)(sums, weight, center, d);
        h->scatter[c] = scatter > 0 ? scatter : 0;
        for (int64_t j = 0; j < d; j++) center[j] = (float)(sums[j] / weight);
    }
    free(touched);
    return 0;
}

TARGET static int64_t NAME(open)(const weighted *far, double *left, const double *coins,
                                 double price, int64_t *opened) {
    const int64_t d = far->n_features;
    int64_t n_opened = 0;
    for (int64_t i = 0; i < far->n_rows; i++) {
        if (!(left[i] > 0) || left[i] * far->weights[i] < coins[i] * price) continue;
        opened[n_opened++] = i;
        for (int64_t other = i + 1; other < far->n_rows; other++) {
            const double apart =
                NAME(sum_of_squares)(far->rows + other * d, far->rows + i * d, d);
            if (apart < left[other]) left[other] = apart;
        }
    }
    return n_opened;
}

#undef WIDE
#undef FLOATS
