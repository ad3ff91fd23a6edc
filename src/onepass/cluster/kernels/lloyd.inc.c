/* Lloyd's iterations on few rows, for one width of vectors: native.c includes this once for each,
   after search.inc.c. Every row is searched in every iteration; for many rows, bounds pay. */

/* Searches the rows that the scores cannot be trusted for once more, by differences. */
TARGET static int NAME(search_doubtful)(const problem *p, const result *found, double doubt,
                                        int64_t *doubtful) {
    int64_t n_doubtful = 0;
    for (int64_t i = 0; i < p->n_rows; i++) {
        const float least = found->sq_distances[i];
        if (least > 0 && least < doubt * found->squares[i]) doubtful[n_doubtful++] = i;
    }
    return n_doubtful ? NAME(search_exactly)(p, doubtful, n_doubtful, found->chosen,
                                             found->sq_distances)
                      : 0;
}

/* Puts the row that contributes most to the inertia, and no other row again, in the place of an
   empty center. */
static void NAME(fill)(const weighted *data, float *sq_distances, float *center) {
    int64_t farthest = 0;
    for (int64_t i = 1; i < data->n_rows; i++)
        if (sq_distances[i] * data->weights[i] >
            sq_distances[farthest] * data->weights[farthest])
            farthest = i;
    memcpy(center, data->rows + farthest * data->n_features, data->n_features * sizeof *center);
    sq_distances[farthest] = -1;
}

TARGET static int NAME(lloyd)(const weighted *data, const iterating *how) {
    const int64_t d = data->n_features, n = data->n_rows, k = how->n_clusters;
    const problem p = {data->rows, how->centers, how->origin, n, k, d, 0};
    const result found = {malloc(n * sizeof(int32_t)), malloc(n * sizeof(float)),
                          malloc(n * sizeof(float)), 0};
    int64_t *doubtful = malloc(n * sizeof *doubtful);
    double *sums = malloc(k * d * sizeof *sums), *weights = malloc(k * sizeof *weights);
    int enough = found.chosen && found.sq_distances && found.squares && sums && weights &&
                 doubtful;
    double before = 0;
    for (int64_t left = how->max_iter; enough; left--) {
        if (NAME(search)(&p, &found) ||
            NAME(search_doubtful)(&p, &found, how->doubt, doubtful)) {
            enough = 0;
            break;
        }
        double inertia = 0;
        for (int64_t i = 0; i < n; i++) inertia += data->weights[i] * found.sq_distances[i];
        *how->inertia = inertia;
        const int first = left == how->max_iter;
        if (left <= 0 || (!first && before - inertia <= how->tol * before)) break;
        before = inertia;
        memset(sums, 0, k * d * sizeof *sums);
        memset(weights, 0, k * sizeof *weights);
        onepass_accumulate(data, found.chosen, sums, weights);
        for (int64_t c = 0; c < k; c++)
            if (weights[c] > 0)
                for (int64_t j = 0; j < d; j++)
                    how->centers[c * d + j] = (float)(sums[c * d + j] / weights[c]);
            else
                NAME(fill)(data, found.sq_distances, how->centers + c * d);
    }
    free(found.chosen), free(found.sq_distances), free(found.squares), free(sums), free(weights);
    free(doubtful);
    return enough ? 0 : -1;
}
