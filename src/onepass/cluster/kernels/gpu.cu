/* Search, openings, moves and sums on a GPU, of any make that CUDA compiles for; gpu.py calls it.

   Products are left to cuBLAS; all else is here, in few kernels, which are compiled once. Sums do
   not depend on the order in which threads happen to run: rows are put in order of their labels and
   added piece by piece, so that a batch gives the same bits every time. Nothing here checks what it
   is given: labels are in range, matrices contiguous, and indices of values 64 bits wide. */

typedef long long i64;
typedef unsigned long long u64;

#define WARP 32
#define ALL 0xffffffffu
#define INFINITE __uint_as_float(0x7f800000u)
#define PIECE 128 /* rows that are added one behind the other */

/* What one batch tells the host. */
struct report {
    i64 first_other, first_bad;  /* the first record of another layout; the first row not finite */
    i64 n_opened, flooded;       /* rows that open centers; whether more could */
    i64 n_sampled;               /* rows for the sample */
    double cost;                 /* weighted squared distances of all rows */
    unsigned peak;               /* bits of the largest absolute value */
};

__device__ static inline float warp_sum(float value) {
    for (int step = WARP / 2; step; step /= 2) value += __shfl_xor_sync(ALL, value, step);
    return value;
}

__device__ static inline double warp_sum(double value) {
    for (int step = WARP / 2; step; step /= 2) value += __shfl_xor_sync(ALL, value, step);
    return value;
}

/* The squared distance of two rows, by all lanes of a warp. */
__device__ static inline float apart(const float *a, const float *b, i64 d, int lane) {
    float sum = 0;
    for (i64 j = lane; j < d; j += WARP) {
        const float gap = a[j] - b[j];
        sum += gap * gap;
    }
    return warp_sum(sum);
}

/* A number in (0, 1] for each row of a stream and each purpose: the same wherever batches begin. */
__device__ static inline double coin(u64 seed, u64 row) {
    u64 bits = seed + 0x9E3779B97F4A7C15ull * (row + 1);
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ull;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBull;
    bits ^= bits >> 31;
    return ((double)(bits >> 11) + 1.0) * (1.0 / 9007199254740992.0);
}

/* Takes rows out of records of `stride` words each: what stands before and behind the values must
   be as in `pattern`, where `mask` says so; the values begin `shift` bits into word `first`. Rows
   are told relative to an origin; they are those from `at` on of a batch. A warp for each record. */
extern "C" __global__ void unpack(const unsigned *records, i64 n, i64 stride,
                                  const unsigned *pattern, const unsigned *mask, i64 first,
                                  int shift, i64 d, const float *origin, float *rows, i64 at,
                                  report *told) {
    const i64 row = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (row >= n) return;
    const unsigned *record = records + row * stride;
    const i64 last = first + (shift ? d : d - 1); /* the last word that has bits of a value */
    unsigned differs = 0, peak = 0;
    for (i64 w = lane; w < stride; w += WARP) {
        if (w > first && w < last) continue;
        differs |= (record[w] ^ pattern[w]) & mask[w];
    }
    for (i64 j = lane; j < d; j += WARP) {
        unsigned bits = record[first + j];
        if (shift) bits = (bits >> shift) | (record[first + j + 1] << (32 - shift));
        const unsigned size = bits & 0x7fffffffu;
        peak = size > peak ? size : peak;
        rows[(at + row) * d + j] = __uint_as_float(bits) - origin[j];
    }
    for (int step = WARP / 2; step; step /= 2) {
        const unsigned other = __shfl_xor_sync(ALL, peak, step);
        peak = other > peak ? other : peak;
        differs |= __shfl_xor_sync(ALL, differs, step);
    }
    if (lane) return;
    if (differs) {
        atomicMin(&told->first_other, at + row);
    } else if (peak >= 0x7f800000u) {
        atomicMin(&told->first_bad, at + row);
    } else {
        atomicMax(&told->peak, peak);
    }
}

/* Lays out centers for products: -2 c, and |c|^2, which is infinite where there is no center.
   A warp for each. */
extern "C" __global__ void lay_out(const float *centers, i64 n, i64 room, i64 d, float *factors,
                                   float *squares) {
    const i64 center = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (center >= room) return;
    float square = 0;
    for (i64 j = lane; j < d; j += WARP) {
        const float value = center < n ? centers[center * d + j] : 0.0f;
        factors[center * d + j] = -2 * value;
        square += value * value;
    }
    square = warp_sum(square);
    if (!lane) squares[center] = center < n ? square : INFINITE;
}

/* Finds the closest center of each row from its products, a line of `room` values of -2 x.c each.
   Of the two with the least scores the closer one is chosen, by differences: products may be made
   in fewer bits. `others` is how far all but the closest are at least, squared, if products were
   exact, and `norms` has |x|^2; both may be absent. A warp for each row. */
extern "C" __global__ void settle(const float *products, i64 n, i64 room, const float *squares,
                                  const float *rows, const float *centers, i64 d, int *labels,
                                  float *sq_distances, float *others, float *norms) {
    const i64 row = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (row >= n) return;
    const float *product = products + row * room;
    float least = INFINITE, second = INFINITE;
    i64 best = -1, next = -1;
    for (i64 c = lane; c < room; c += WARP) {
        const float score = product[c] + squares[c];
        if (score < least) {
            second = least, next = best;
            least = score, best = c;
        } else if (score < second) {
            second = score, next = c;
        }
    }
    for (int step = WARP / 2; step; step /= 2) {
        const float least_there = __shfl_xor_sync(ALL, least, step);
        const float second_there = __shfl_xor_sync(ALL, second, step);
        const i64 best_there = __shfl_xor_sync(ALL, best, step);
        const i64 next_there = __shfl_xor_sync(ALL, next, step);
        const bool loses = least_there < least || (least_there == least && best_there >= 0 &&
                                                   (best < 0 || best_there < best));
        /* The loser of the two least, and the second of the winner: the less of these. */
        const float rival = loses ? least : least_there, mine = loses ? second_there : second;
        const i64 rival_of = loses ? best : best_there, mine_of = loses ? next_there : next;
        least = loses ? least_there : least, best = loses ? best_there : best;
        const bool rival_first = rival < mine || (rival == mine && rival_of >= 0 &&
                                                  (mine_of < 0 || rival_of < mine_of));
        second = rival_first ? rival : mine, next = rival_first ? rival_of : mine_of;
    }
    if (best < 0) best = 0; /* of what is no row: nothing is made of it */
    const float *x = rows + row * d;
    float sq_distance = apart(x, centers + best * d, d, lane);
    float far = INFINITE;
    if (next >= 0) {
        const float other = apart(x, centers + next * d, d, lane);
        far = other > sq_distance ? other : sq_distance;
        if (other < sq_distance || (other == sq_distance && next < best))
            best = next, sq_distance = other;
    }
    if (norms) {
        float norm = 0;
        for (i64 j = lane; j < d; j += WARP) norm += x[j] * x[j];
        norm = warp_sum(norm);
        if (!lane) norms[row] = norm;
    }
    if (lane) return;
    labels[row] = (int)best;
    sq_distances[row] = sq_distance;
    if (others) others[row] = far;
}

/* Lets rows change to centers that have just been opened, the first of which has the label `first`,
   where these are closer. A warp for each row. */
extern "C" __global__ void adopt(const float *products, i64 n, i64 room, const float *squares,
                                 const float *rows, const float *fresh, i64 d, int first,
                                 int *labels, float *sq_distances) {
    const i64 row = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (row >= n) return;
    const float *product = products + row * room;
    float least = INFINITE;
    i64 best = 0;
    for (i64 c = lane; c < room; c += WARP) {
        const float score = product[c] + squares[c];
        if (score < least) least = score, best = c;
    }
    for (int step = WARP / 2; step; step /= 2) {
        const float least_there = __shfl_xor_sync(ALL, least, step);
        const i64 best_there = __shfl_xor_sync(ALL, best, step);
        if (least_there < least || (least_there == least && best_there < best))
            least = least_there, best = best_there;
    }
    const float sq_distance = apart(rows + row * d, fresh + best * d, d, lane);
    if (lane || !(sq_distance < sq_distances[row])) return;
    labels[row] = first + (int)best;
    sq_distances[row] = sq_distance;
}

/* Makes centers of the rows that open: each is at home there. A warp for each. */
extern "C" __global__ void settle_down(const float *rows, i64 d, const int *opened, i64 n_opened,
                                       float *centers, int first, int *labels,
                                       float *sq_distances) {
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (i >= n_opened) return;
    const i64 row = opened[i];
    for (i64 j = lane; j < d; j += WARP) centers[(first + i) * d + j] = rows[row * d + j];
    if (lane) return;
    labels[row] = first + (int)i;
    sq_distances[row] = 0;
}

/* How much the threads before each of a block have together, and before all of them `so_far`, which
   grows by what all have. To be called by all threads. */
__device__ static inline i64 scan(i64 own, i64 *so_far, i64 *sums) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    i64 up_to = own;
    for (int step = 1; step < WARP; step *= 2) {
        const i64 lower = __shfl_up_sync(ALL, up_to, step);
        if (lane >= step) up_to += lower;
    }
    if (lane == WARP - 1) sums[warp] = up_to;
    __syncthreads();
    i64 before = *so_far + up_to - own;
    for (int w = 0; w < n_warps; w++) {
        if (w < warp) before += sums[w];
        *so_far += sums[w];
    }
    __syncthreads();
    return before;
}

/* What of a block's threads, in their order, say yes: where each of these comes, from `so_far` on,
   which grows by how many there are. To be called by all threads. */
__device__ static inline i64 place_of(bool yes, i64 *so_far, int *counts) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    const unsigned votes = __ballot_sync(ALL, yes);
    if (!lane) counts[warp] = __popc(votes);
    __syncthreads();
    i64 place = *so_far + __popc(votes & ((1u << lane) - 1));
    i64 all = 0;
    for (int w = 0; w < n_warps; w++) {
        if (w < warp) place += counts[w];
        all += counts[w];
    }
    *so_far += all;
    __syncthreads();
    return place;
}

/* Rounding, not distance: below this share of the squared norm. */
#define NOISE 1e-9f

/* What a row can pay, as bits that are in the order of such numbers. */
__device__ static inline unsigned worth_of(double cost, double coin) {
    return __float_as_uint((float)fmin(cost / coin, 3e38));
}

/* Asks each row whether its distance pays for opening it: a bit for each. A thread for each. */
extern "C" __global__ void vote_far(i64 n, const double *weights, const float *sq_distances,
                                    const float *norms, u64 seed, i64 before,
                                    const double *service, double capacity, unsigned *votes) {
    const i64 row = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    bool pays = false;
    if (row < n) {
        const double cost = sq_distances[row] * (weights ? weights[row] : 1.0);
        pays = cost > coin(seed, before + row) * (*service / capacity) &&
               sq_distances[row] > NOISE * norms[row];
    }
    const unsigned said = __ballot_sync(ALL, pays);
    if (threadIdx.x % WARP == 0 && row < n) votes[row / WARP] = said;
}

/* Writes down the rows that have said yes, in their order; returns how many. By all threads of the
   only block. */
__device__ static inline i64 write_down(const unsigned *votes, i64 n, int *rows, i64 *sums) {
    i64 n_rows = 0;
    const i64 n_words = (n + WARP - 1) / WARP;
    for (i64 start = 0; start < n_words; start += blockDim.x) {
        const i64 word = start + threadIdx.x;
        unsigned said = word < n_words ? votes[word] : 0;
        i64 place = scan(__popc(said), &n_rows, sums);
        for (; said; said &= said - 1) rows[place++] = (int)(word * WARP + __ffs(said) - 1);
    }
    __syncthreads();
    return n_rows;
}

/* Opens far rows, one after the other, where what is left of their distance pays for it: the price
   is the service cost by the `capacity`. If more want to than there is room for, those that can pay
   the most are asked. None is where not all rows are rows. Coins are those of rows `before`,
   `before` + 1, ... of the stream. By one block. */
extern "C" __global__ void __launch_bounds__(1024) open_far(
    const float *rows, i64 n, i64 d, const double *weights, const float *sq_distances, u64 seed,
    i64 before, const double *service, double capacity, i64 room, const unsigned *votes, int *asked,
    double *left, int *opened, report *told) {
    double price = *service / capacity;
    const double unit = price > 0 ? price : 1; /* of what rows are worth, to hold it in float32 */
    __shared__ int counts[WARP];
    __shared__ i64 sums[WARP];
    __shared__ int histogram[256];
    __shared__ unsigned prefix, wanted;
    if (told->first_other < n || told->first_bad < n) {
        if (!threadIdx.x) told->n_opened = told->flooded = 0; /* not all are rows: none is taken */
        return;
    }
    i64 n_asked = write_down(votes, n, asked, sums);
    const bool flooded = n_asked > room;
    if (flooded) {
        /* The least worth of those that are asked, byte by byte from the highest. */
        if (!threadIdx.x) prefix = 0, wanted = (unsigned)room;
        for (int shift = 24; shift >= 0; shift -= 8) {
            for (int bin = threadIdx.x; bin < 256; bin += blockDim.x) histogram[bin] = 0;
            __syncthreads();
            for (i64 i = threadIdx.x; i < n_asked; i += blockDim.x) {
                const i64 row = asked[i];
                const double cost = sq_distances[row] * (weights ? weights[row] : 1.0);
                const unsigned worth = worth_of(cost / unit, coin(seed, before + row));
                if (shift == 24 || worth >> (shift + 8) == prefix)
                    atomicAdd(&histogram[worth >> shift & 255], 1);
            }
            __syncthreads();
            if (!threadIdx.x) {
                int bin = 255;
                for (; bin > 0 && (unsigned)histogram[bin] < wanted; bin--) wanted -= histogram[bin];
                prefix = prefix << 8 | (unsigned)bin;
            }
            __syncthreads();
        }
        price = __uint_as_float(prefix) * unit;
        i64 n_left = 0;
        for (i64 start = 0; start < n_asked; start += blockDim.x) {
            const i64 i = start + threadIdx.x;
            const i64 row = i < n_asked ? asked[i] : 0;
            const double cost = sq_distances[row] * (weights ? weights[row] : 1.0);
            const bool pays =
                i < n_asked && worth_of(cost / unit, coin(seed, before + row)) >= prefix;
            const i64 place = place_of(pays, &n_left, counts);
            if (pays) asked[place] = (int)row; /* never behind where it is read */
            __syncthreads();
        }
        n_asked = n_left < room ? n_left : room;
    }
    for (i64 i = threadIdx.x; i < n_asked; i += blockDim.x) left[i] = sq_distances[asked[i]];
    __syncthreads();
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    i64 n_opened = 0;
    for (i64 i = 0; i < n_asked; i++) {
        const i64 row = asked[i];
        const double weight = weights ? weights[row] : 1.0;
        const double here = left[i];
        if (!(here > 0) || here * weight < coin(seed, before + row) * price) continue;
        if (!threadIdx.x) opened[n_opened] = (int)row;
        n_opened++;
        for (i64 other = i + 1 + warp; other < n_asked; other += n_warps) {
            const double gap = apart(rows + (i64)asked[other] * d, rows + row * d, d, lane);
            if (!lane && gap < left[other]) left[other] = gap;
        }
        __syncthreads();
    }
    if (!threadIdx.x) told->n_opened = n_opened, told->flooded = flooded && n_opened > 0;
}

/* A share of the rows, those from `begin` up to `end`, which one warp goes through in order. */
struct share {
    i64 index, begin, end;
};

__device__ static inline share own_share(i64 n, i64 n_shares) {
    const i64 index = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const i64 length = ((n + n_shares - 1) / n_shares + WARP - 1) / WARP * WARP;
    const i64 begin = index < n_shares ? index * length : n, end = begin + length;
    return {index, begin, end < n ? end : n};
}

/* Counts the labels of each share of the rows: a line of n_labels for each, which its warp alone
   writes to, and which is zero before. */
extern "C" __global__ void count_labels(const int *labels, i64 n, i64 n_labels, i64 n_shares,
                                        int *counts) {
    const share part = own_share(n, n_shares);
    const int lane = threadIdx.x % WARP;
    int *own = counts + part.index * n_labels;
    for (i64 start = part.begin; start < part.end; start += WARP) {
        const i64 row = start + lane;
        const int label = row < part.end ? labels[row] : -1;
        const unsigned same = __match_any_sync(ALL, label);
        if (label >= 0 && lane == __ffs(same) - 1) own[label] += __popc(same);
        __syncwarp();
    }
}

/* Turns counts into places: where the rows of each label begin, and within it those of each share.
   `starts` has one more than there are labels. By one block. */
extern "C" __global__ void __launch_bounds__(1024) place_labels(i64 n_labels, i64 n_shares, int *counts, int *starts) {
    __shared__ i64 sums[WARP];
    i64 before = 0;
    for (i64 first = 0; first < n_labels; first += blockDim.x) {
        const i64 label = first + threadIdx.x;
        i64 here = 0;
        for (i64 share = 0; label < n_labels && share < n_shares; share++) {
            const int count = counts[share * n_labels + label];
            counts[share * n_labels + label] = (int)here;
            here += count;
        }
        const i64 start = scan(here, &before, sums);
        if (label < n_labels) starts[label] = (int)start;
    }
    if (!threadIdx.x) starts[n_labels] = (int)before;
}

/* Puts rows in order of their labels, those of one label as they came. */
extern "C" __global__ void order_rows(const int *labels, i64 n, i64 n_labels, i64 n_shares,
                                      int *counts, const int *starts, int *order) {
    const share part = own_share(n, n_shares);
    const int lane = threadIdx.x % WARP;
    int *own = counts + part.index * n_labels;
    for (i64 start = part.begin; start < part.end; start += WARP) {
        const i64 row = start + lane;
        const int label = row < part.end ? labels[row] : -1;
        const unsigned same = __match_any_sync(ALL, label);
        if (label >= 0)
            order[starts[label] + own[label] + __popc(same & ((1u << lane) - 1))] = (int)row;
        __syncwarp();
        if (label >= 0 && lane == __ffs(same) - 1) own[label] += __popc(same);
        __syncwarp();
    }
}

/* Adds rows in their order, a piece of PIECE at a time. Values stand in lines of d + 2: the sums of
   features, weights, and costs. What a label has within one piece alone goes to `whole`; what goes
   on from the piece before, or on to the next, to the `heads` and `tails` of pieces. Blocks: pieces
   by parts of a line, a thread for each value. */
extern "C" __global__ void add_pieces(const float *rows, i64 n, i64 d, const double *weights,
                                      const float *sq_distances, const int *labels,
                                      const int *order, const int *starts, double *whole,
                                      double *heads, double *tails) {
    const i64 piece = blockIdx.x, width = d + 2;
    const i64 j = (i64)blockIdx.y * blockDim.x + threadIdx.x;
    const i64 begin = piece * PIECE, end = begin + PIECE < n ? begin + PIECE : n;
    if (j >= width) return;
    double sum = 0;
    i64 from = begin;
    for (i64 i = begin; i < end; i++) {
        const i64 row = order[i];
        const double weight = weights ? weights[row] : 1.0;
        sum += weight * (j < d ? rows[row * d + j] : j == d ? 1.0f : sq_distances[row]);
        const int label = labels[row];
        if (i + 1 < end && i + 1 < starts[label + 1]) continue;
        const bool is_whole = starts[label] >= begin && starts[label + 1] <= end;
        if (is_whole)
            whole[label * width + j] = sum;
        else if (from == begin)
            heads[piece * width + j] = sum;
        else
            tails[piece * width + j] = sum;
        sum = 0;
        from = i + 1;
    }
}

/* What rows of a label add up to: value j of its line. */
__device__ static inline double added(i64 label, i64 j, i64 width, const int *starts,
                                      const double *whole, const double *heads,
                                      const double *tails) {
    const i64 begin = starts[label], end = starts[label + 1];
    if (begin == end) return 0;
    const i64 first = begin / PIECE, last = (end - 1) / PIECE;
    if (first == last) return whole[label * width + j];
    double sum = begin % PIECE ? tails[first * width + j] : heads[first * width + j];
    for (i64 piece = first + 1; piece <= last; piece++) sum += heads[piece * width + j];
    return sum;
}

/* The sum of a value of each thread of a block, to all of them. */
__device__ static inline double block_sum(double value, double *shared) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    value = warp_sum(value);
    __syncthreads();
    if (!lane) shared[warp] = value;
    __syncthreads();
    double sum = 0;
    for (int w = 0; w < n_warps; w++) sum += shared[w];
    return sum;
}

/* Adds to the sums of each label those of its rows: features, then weights, then costs. A block for
   each label. */
extern "C" __global__ void sum_labels(i64 d, const int *starts, const double *whole,
                                      const double *heads, const double *tails, double *sums) {
    const i64 label = blockIdx.x, width = d + 2;
    for (i64 j = threadIdx.x; j < width; j += blockDim.x)
        sums[label * width + j] += added(label, j, width, starts, whole, heads, tails);
}

/* Moves centers to the means of all they hold, with the rows that have been added; `costs` is what
   those rows cost. What is held weighs `share` of what it did. A block for each center. */
extern "C" __global__ void move_centers(i64 d, double share, const int *starts, const double *whole,
                                        const double *heads, const double *tails, float *centers,
                                        double *sums, double *weights, double *scatter,
                                        double *costs) {
    __shared__ double shared[WARP];
    const i64 c = blockIdx.x, width = d + 2;
    const double more = added(c, d, width, starts, whole, heads, tails);
    const double cost = added(c, d + 1, width, starts, whole, heads, tails);
    double held = weights[c] * share;
    if (share < 1 && held < 1e-150) held = 1e-150;
    const double fades = weights[c] > 0 ? held / weights[c] : 0, weight = held + more;
    double before = 0, after = 0;
    for (i64 j = threadIdx.x; j < d; j += blockDim.x) {
        double sum = sums[c * d + j] * fades;
        const double center = centers[c * d + j];
        if (held > 0) {
            const double gap = sum / held - center;
            before += gap * gap;
        }
        sum += added(c, j, width, starts, whole, heads, tails);
        const double gap = sum / weight - center;
        after += gap * gap;
        sums[c * d + j] = sum;
        if (more > 0) centers[c * d + j] = (float)(sum / weight);
    }
    before = block_sum(before, shared);
    after = block_sum(after, shared);
    if (threadIdx.x) return;
    weights[c] = weight;
    costs[c] = cost;
    if (more > 0) {
        /* About the former center the rows scatter by their cost; about the new mean, by less. */
        const double about = scatter[c] * share + held * before + cost - weight * after;
        scatter[c] = about > 0 ? about : 0;
    } else {
        scatter[c] *= share;
    }
}

/* The squared distance of two rows in float64, by all lanes of a warp. */
__device__ static inline double apart_in_double(const float *a, const float *b, i64 d, int lane) {
    double sum = 0;
    for (i64 j = lane; j < d; j += WARP) {
        const double gap = (double)a[j] - b[j];
        sum += gap * gap;
    }
    return warp_sum(sum);
}

/* Finds for some rows the one of the centers that it costs least to unite each with, but for itself
   at `own`: the squared distance times w / (share + w), for weights that are told as shares of the
   largest. Products are those of the rows with -2 times the centers. Of the two that seem cheapest
   the cheaper one is chosen, by differences; -1, infinitely far, where there is none. A warp for
   each. */
extern "C" __global__ void find_partners(const float *products, i64 n, i64 room,
                                         const float *squares, const float *centers,
                                         i64 n_centers, i64 d, const float *shares,
                                         const float *rows, const float *row_shares,
                                         const int *itself, int *partners, double *sq_distances) {
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (i >= n) return;
    const float *product = products + i * room, *x = rows + i * d;
    const i64 own = itself[i];
    const float share = row_shares[i];
    float square = 0;
    for (i64 j = lane; j < d; j += WARP) square += x[j] * x[j];
    square = warp_sum(square);
    float least[2] = {INFINITE, INFINITE};
    i64 best[2] = {-1, -1};
    for (i64 c = lane; c < n_centers; c += WARP) {
        if (c == own) continue;
        const float apart = fmaxf(product[c] + square + squares[c], 0.0f);
        const float price = apart * (shares[c] / (share + shares[c]));
        if (price < least[0]) {
            least[1] = least[0], best[1] = best[0];
            least[0] = price, best[0] = c;
        } else if (price < least[1]) {
            least[1] = price, best[1] = c;
        }
    }
    /* The least of all lanes, and then the least of what is left. */
    i64 found[2];
    for (int rank = 0; rank < 2; rank++) {
        float price = least[0];
        i64 partner = best[0];
        for (int step = WARP / 2; step; step /= 2) {
            const float price_there = __shfl_xor_sync(ALL, price, step);
            const i64 partner_there = __shfl_xor_sync(ALL, partner, step);
            if (partner_there >= 0 && (partner < 0 || price_there < price ||
                                       (price_there == price && partner_there < partner)))
                price = price_there, partner = partner_there;
        }
        found[rank] = partner;
        if (partner == best[0]) least[0] = least[1], best[0] = best[1], best[1] = -1;
    }
    double apart = INFINITE;
    if (found[0] >= 0) apart = apart_in_double(x, centers + found[0] * d, d, lane);
    if (found[1] >= 0) {
        const double other = apart_in_double(x, centers + found[1] * d, d, lane);
        const double weighted = apart * (shares[found[0]] / (double)(share + shares[found[0]]));
        const double rival = other * (shares[found[1]] / (double)(share + shares[found[1]]));
        if (rival < weighted || (rival == weighted && found[1] < found[0]))
            found[0] = found[1], apart = other;
    }
    if (lane) return;
    partners[i] = (int)found[0];
    sq_distances[i] = apart;
}

/* Unites centers, group by group: `members` are the centers of each, the first of which begins at
   `starts`. A block for each group. */
extern "C" __global__ void unite(i64 d, const int *starts, const int *members, const float *centers,
                                 const double *sums, const double *weights, const double *scatter,
                                 float *united, double *united_sums, double *united_weights,
                                 double *united_scatter) {
    __shared__ double shared[WARP];
    const i64 g = blockIdx.x;
    const int begin = starts[g], end = starts[g + 1];
    double weight = 0, about = 0;
    for (int i = begin; i < end; i++) {
        weight += weights[members[i]];
        about += scatter[members[i]];
    }
    double between = 0;
    for (i64 j = threadIdx.x; j < d; j += blockDim.x) {
        double sum = 0;
        for (int i = begin; i < end; i++) sum += sums[members[i] * d + j];
        for (int i = begin; i < end && begin + 1 < end; i++) {
            const double own = weights[members[i]];
            const double gap = sums[members[i] * d + j] / own - sum / weight;
            between += own * gap * gap;
        }
        united_sums[g * d + j] = sum;
        united[g * d + j] = begin + 1 < end ? (float)(sum / weight) : centers[members[begin] * d + j];
    }
    between = block_sum(between, shared);
    if (threadIdx.x) return;
    united_weights[g] = weight;
    united_scatter[g] = about + between;
}

/* Copies rows that are named. A warp for each. */
extern "C" __global__ void gather(const float *rows, i64 d, const int *which, i64 n, float *out) {
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (i >= n) return;
    for (i64 j = lane; j < d; j += WARP) out[i * d + j] = rows[(i64)which[i] * d + j];
}

/* Adds up what a batch has cost, and adds that to what is left of the service cost. By one block. */
extern "C" __global__ void __launch_bounds__(1024) add_costs(i64 n, const double *costs, double share, double *service,
                                     report *told) {
    __shared__ double shared[WARP];
    double cost = 0;
    for (i64 c = threadIdx.x; c < n; c += blockDim.x) cost += costs[c];
    cost = block_sum(cost, shared);
    if (!threadIdx.x) told->cost = cost, *service = *service * share + cost;
}

/* What a row draws: see draw_rows. */
struct draw {
    double key, log2_weight, log2_chance;
};

__device__ static inline draw draw_of(i64 row, const double *weights, const float *sq_distances,
                                      double mean_cost, u64 seed, i64 before, double log2_age) {
    const double weight = weights ? weights[row] : 1.0;
    const double share = mean_cost > 0 ? sq_distances[row] / mean_cost : 1.0;
    const double log2_chance = log2(weight * (0.5 + 0.5 * share)) + log2_age;
    return {log2(coin(seed, before + row)) - log2_chance, log2(weight) + log2_age, log2_chance};
}

/* Asks each row whether its key is below a threshold: a bit for each. A thread for each. */
extern "C" __global__ void vote_drawn(i64 n, const double *weights, const float *sq_distances,
                                      const double *service, double total, u64 seed, i64 before,
                                      double log2_age, double log2_threshold, unsigned *votes) {
    const i64 row = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    bool is_drawn = false;
    if (row < n) {
        const draw drawn =
            draw_of(row, weights, sq_distances, *service / total, seed, before, log2_age);
        is_drawn = drawn.key < log2_threshold;
    }
    const unsigned said = __ballot_sync(ALL, is_drawn);
    if (threadIdx.x % WARP == 0 && row < n) votes[row / WARP] = said;
}

/* Draws rows for the sample, those whose keys are below a threshold: where in the batch they are,
   and their keys and chances, in logarithms. Half of a chance is a row's share of the service cost
   of all, which weigh `total`. By one block. */
extern "C" __global__ void __launch_bounds__(1024) draw_rows(
    i64 n, const double *weights, const float *sq_distances, const double *service, double total,
    u64 seed, i64 before, double log2_age, const unsigned *votes, int *drawn, double *keys,
    double *log2_weights, double *log2_chances, report *told) {
    __shared__ i64 sums[WARP];
    const i64 n_drawn = write_down(votes, n, drawn, sums);
    for (i64 i = threadIdx.x; i < n_drawn; i += blockDim.x) {
        const draw one =
            draw_of(drawn[i], weights, sq_distances, *service / total, seed, before, log2_age);
        keys[i] = one.key;
        log2_weights[i] = one.log2_weight;
        log2_chances[i] = one.log2_chance;
    }
    if (!threadIdx.x) told->n_sampled = n_drawn;
}

/* Copies rows that are named, and their labels. A warp for each; `n` of them at most. */
extern "C" __global__ void take_rows(const float *rows, const int *labels, i64 d, const int *which,
                                     const report *told, i64 n, float *taken, int *taken_labels) {
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (i >= n || i >= told->n_sampled) return;
    const i64 row = which[i];
    for (i64 j = lane; j < d; j += WARP) taken[i * d + j] = rows[row * d + j];
    if (!lane) taken_labels[i] = labels[row];
}

/* Moves rows by what is told for their labels. A warp for each. */
extern "C" __global__ void shift_rows(float *rows, i64 n, i64 d, const int *labels,
                                      const float *shifts) {
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (i >= n) return;
    for (i64 j = lane; j < d; j += WARP) rows[i * d + j] += shifts[(i64)labels[i] * d + j];
}

/* Measures how far rows are from centers that are named. A warp for each. */
extern "C" __global__ void measure(const float *rows, i64 n, i64 d, const float *centers,
                                   const int *labels, float *sq_distances) {
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (i >= n) return;
    const float sq_distance = apart(rows + i * d, centers + (i64)labels[i] * d, d, lane);
    if (!lane) sq_distances[i] = sq_distance;
}

/* Copies rows into the places of others, none of which is copied itself. A warp for each. */
extern "C" __global__ void fill_holes(float *rows, i64 d, const int *holes, const int *movers, i64 n) {
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    const int lane = threadIdx.x % WARP;
    if (i >= n) return;
    for (i64 j = lane; j < d; j += WARP) rows[(i64)holes[i] * d + j] = rows[(i64)movers[i] * d + j];
}

/* Renames labels. A thread for each. */
extern "C" __global__ void relabel(int *labels, i64 n, const int *mapping) {
    const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) labels[i] = mapping[labels[i]];
}
