/* CUDA on a processor, for tests: enough of it to run gpu.cu, slowly, thread by thread.

   Blocks run one after the other. The threads of a block take turns at its barriers and where the
   lanes of a warp exchange values: each waits there until all others have come as far. A thread that
   waits for others that never come is an error. */

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static
#define __constant__ static

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace emulation {

const int WARP_SIZE = 32, STACK_BYTES = 128 * 1024;

struct fiber {
    ucontext_t context; /* where it starts; from then on, where it goes on: to switch contexts asks
                           the kernel each time */
    jmp_buf place;
    bool started = false;
    std::vector<char> stack;
    dim3 thread;
    int index = 0;
    bool ended = false;
    long n_barriers = 0, n_exchanges = 0; /* passed or waited for */
};

struct warp {
    uint64_t values[2][WARP_SIZE]; /* of two exchanges in turn */
};

static std::vector<fiber> fibers;
static std::vector<warp> warps;
static fiber *current;
static dim3 block_index, block_size, grid_size;
static jmp_buf scheduler;
static void (*kernel)(void *);
static void *arguments;

static void fail(const char *problem) {
    fprintf(stderr, "emulation: %s\n", problem);
    abort();
}

static void wait() {
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

/* Lets a thread go on until it waits. */
static __attribute__((noinline)) void resume(fiber &f) {
    current = &f;
    if (_setjmp(scheduler)) return;
    if (f.started) _longjmp(f.place, 1);
    f.started = true;
    setcontext(&f.context);
}

static void start() {
    kernel(arguments);
    current->ended = true;
    wait();
}

/* How far a thread has come: barriers of its block, and exchanges of its warp. */
typedef std::pair<long, long> progress;

static progress progress_of(const fiber &f) { return {f.n_barriers, f.n_exchanges}; }

/* How far the threads of each warp have come at least. */
static std::vector<progress> least_progress() {
    const long forever = 1L << 60;
    std::vector<progress> least(warps.size(), {forever, forever});
    for (const fiber &f : fibers)
        if (!f.ended) least[f.index / WARP_SIZE] = std::min(least[f.index / WARP_SIZE], progress_of(f));
    return least;
}

static void run_block(int n_threads) {
    fibers.resize(n_threads);
    warps.resize((n_threads + WARP_SIZE - 1) / WARP_SIZE);
    for (int i = 0; i < n_threads; i++) {
        fiber &f = fibers[i];
        f.stack.resize(STACK_BYTES);
        f.ended = f.started = false, f.n_barriers = f.n_exchanges = 0, f.index = i;
        f.thread.x = i % block_size.x;
        f.thread.y = i / block_size.x % block_size.y;
        f.thread.z = i / block_size.x / block_size.y;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        f.context.uc_link = 0;
        makecontext(&f.context, start, 0);
    }
    for (int left = n_threads; left;) {
        bool any = false;
        const std::vector<progress> least = least_progress();
        const long n_barriers = std::min_element(least.begin(), least.end())->first;
        for (fiber &f : fibers) {
            if (f.ended || f.n_barriers > n_barriers) continue;
            if (progress_of(f) > least[f.index / WARP_SIZE]) continue;
            any = true;
            resume(f);
            left -= f.ended;
        }
        if (!any) fail("threads wait for others that never come");
    }
}

/* Gives a value to the other lanes of the warp; returns those of all. */
template <class T> static const uint64_t *exchange(T value) {
    static_assert(sizeof(T) <= 8, "a value of a register");
    const int lane = current->index % WARP_SIZE;
    uint64_t *values = warps[current->index / WARP_SIZE].values[current->n_exchanges % 2];
    values[lane] = 0;
    memcpy(values + lane, &value, sizeof value);
    current->n_exchanges++;
    wait();
    return values;
}

template <class T> static T lane_of(const uint64_t *values, int lane) {
    T value;
    memcpy(&value, values + lane, sizeof value);
    return value;
}

static bool is_there(int lane) {
    const size_t index = current->index / WARP_SIZE * WARP_SIZE + lane;
    return index < fibers.size() && !fibers[index].ended;
}

template <class... A, size_t... I>
static void call(void (*f)(A...), void **given, std::index_sequence<I...>) {
    f(*static_cast<std::remove_reference_t<A> *>(given[I])...);
}

template <class... A> static void launch(void (*f)(A...), const unsigned *sizes, void **given) {
    struct bound {
        void (*f)(A...);
        void **given;
    } both = {f, given};
    grid_size.x = sizes[0], grid_size.y = sizes[1], grid_size.z = sizes[2];
    block_size.x = sizes[3], block_size.y = sizes[4], block_size.z = sizes[5];
    arguments = &both;
    kernel = [](void *p) {
        bound *b = static_cast<bound *>(p);
        call(b->f, b->given, std::index_sequence_for<A...>());
    };
    for (block_index.z = 0; block_index.z < grid_size.z; block_index.z++)
        for (block_index.y = 0; block_index.y < grid_size.y; block_index.y++)
            for (block_index.x = 0; block_index.x < grid_size.x; block_index.x++)
                run_block(block_size.x * block_size.y * block_size.z);
}

}  // namespace emulation

#define threadIdx (emulation::current->thread)
#define blockIdx emulation::block_index
#define blockDim emulation::block_size
#define gridDim emulation::grid_size

static inline void __syncthreads() {
    emulation::current->n_barriers++;
    emulation::wait();
}

static inline void __syncwarp(unsigned = ~0u) { emulation::exchange(0); }

template <class T> static inline T __shfl_xor_sync(unsigned, T value, int mask) {
    const uint64_t *values = emulation::exchange(value);
    return emulation::lane_of<T>(values, emulation::current->index % 32 ^ mask);
}

template <class T> static inline T __shfl_up_sync(unsigned, T value, unsigned apart) {
    const uint64_t *values = emulation::exchange(value);
    const int lane = emulation::current->index % 32;
    return emulation::lane_of<T>(values, lane >= (int)apart ? lane - apart : lane);
}

template <class T> static inline T __shfl_sync(unsigned, T value, int lane) {
    return emulation::lane_of<T>(emulation::exchange(value), lane);
}

static inline unsigned __ballot_sync(unsigned, bool yes) {
    const uint64_t *values = emulation::exchange((uint64_t)yes);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++)
        if (emulation::is_there(lane)) votes |= (unsigned)values[lane] << lane;
    return votes;
}

template <class T> static inline unsigned __match_any_sync(unsigned, T value) {
    const uint64_t *values = emulation::exchange(value);
    unsigned same = 0;
    for (int lane = 0; lane < 32; lane++)
        if (emulation::is_there(lane) && emulation::lane_of<T>(values, lane) == value)
            same |= 1u << lane;
    return same;
}

static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
static inline int __ffs(int bits) { return __builtin_ffs(bits); }

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T> static inline T atomicAdd(T *to, T value) {
    const T before = *to;
    *to = before + value;
    return before;
}

template <class T> static inline T atomicMin(T *to, T value) {
    const T before = *to;
    if (value < before) *to = value;
    return before;
}

template <class T> static inline T atomicMax(T *to, T value) {
    const T before = *to;
    if (value > before) *to = value;
    return before;
}
