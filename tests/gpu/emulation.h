/* CUDA on a processor, for tests: enough of it to run gpu.cu, slowly, thread by thread.

   Blocks run one after the other. The threads of a block take turns at its barriers and where the
   lanes of a warp exchange values: each waits there until all others have come as far. A thread that
   waits for others that never come is an error. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <deque>
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
const uint64_t BARRIER = 1ull << 32;

#if defined(__x86_64__)
/* A place in the code, and the stack it has there; on top lie the registers that calls must keep.
   swapcontext asks the kernel each time, and to set a jump and to make it take ten times as long. */
struct place {
    void *stack;
};

extern "C" __attribute__((visibility("hidden"))) void emulation_go(place *from, place *to);
asm(R"(
    .text
    .hidden emulation_go
    .globl emulation_go
    .type emulation_go, @function
emulation_go:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov (%rsi), %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size emulation_go, . - emulation_go
)");

/* Leaves the one place, and goes on at the other, until that is left for this one. */
static void go(place &from, place &to) { emulation_go(&from, &to); }

static void begin_with(place &at, std::vector<char> &stack, void (*function)()) {
    const uintptr_t end = (uintptr_t)(stack.data() + stack.size()) / 16 * 16;
    void **top = (void **)end - 8; /* six registers, where to return to, and as if it were called */
    std::fill(top, top + 8, (void *)0);
    top[6] = (void *)function;
    at.stack = top;
}
#else
typedef ucontext_t place;

static void go(place &from, place &to) { swapcontext(&from, &to); }

static void begin_with(place &at, std::vector<char> &stack, void (*function)()) {
    getcontext(&at);
    at.uc_stack.ss_sp = stack.data();
    at.uc_stack.ss_size = stack.size();
    at.uc_link = 0;
    makecontext(&at, function, 0);
}
#endif

struct fiber {
    place at;
    std::vector<char> stack; /* made once, for the blocks of all kernels */
    dim3 thread;
    int index = 0;
    bool ended = false;
    uint64_t progress = 0; /* exchanges of its warp, and from BARRIER on barriers of its block, that
                              it has passed or waits for */
};

struct warp {
    uint64_t progress;               /* of the thread that is least far */
    uint64_t values[2][WARP_SIZE]; /* of two exchanges in turn */
};

static std::deque<fiber> fibers; /* those that have started cannot be moved */
static std::vector<warp> warps;
static fiber *current;
static int n_fibers; /* of this block */
static dim3 block_index, block_size, grid_size;
static place scheduler;
static void (*kernel)(void *);
static void *arguments;

static void fail(const char *problem) {
    fprintf(stderr, "emulation: %s\n", problem);
    abort();
}

static void wait() { go(current->at, scheduler); }

/* Lets a thread go on until it waits. */
static void resume(fiber &f) {
    current = &f;
    go(scheduler, f.at);
}

static void start() {
    for (;;) {
        kernel(arguments);
        current->ended = true;
        wait();
    }
}

/* How far the threads of the block have come at least: whole barriers. */
static uint64_t find_least_progress() {
    uint64_t of_all = ~0ull;
    for (warp &w : warps) w.progress = ~0ull;
    for (int i = 0; i < n_fibers; i++) {
        const fiber &f = fibers[i];
        if (f.ended) continue;
        uint64_t &of_warp = warps[i / WARP_SIZE].progress;
        of_warp = std::min(of_warp, f.progress);
        of_all = std::min(of_all, f.progress);
    }
    return of_all / BARRIER;
}

static void run_block(int n_threads) {
    n_fibers = n_threads;
    if (fibers.size() < (size_t)n_threads) fibers.resize(n_threads);
    warps.resize((n_threads + WARP_SIZE - 1) / WARP_SIZE);
    for (int i = 0; i < n_threads; i++) {
        fiber &f = fibers[i];
        f.ended = false, f.progress = 0, f.index = i;
        f.thread.x = i % block_size.x;
        f.thread.y = i / block_size.x % block_size.y;
        f.thread.z = i / block_size.x / block_size.y;
        if (f.stack.size()) continue;
        f.stack.resize(STACK_BYTES + i % 61 * 192); /* else all would share a few lines of cache */
        begin_with(f.at, f.stack, start);
    }
    for (int left = n_threads; left;) {
        bool any = false;
        const uint64_t n_barriers = find_least_progress();
        for (int i = 0; i < n_threads; i++) {
            fiber &f = fibers[i];
            if (f.ended || f.progress / BARRIER > n_barriers) continue;
            if (f.progress > warps[i / WARP_SIZE].progress) continue;
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
    uint64_t *values = warps[current->index / WARP_SIZE].values[current->progress % 2];
    values[lane] = 0;
    memcpy(values + lane, &value, sizeof value);
    current->progress++;
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
    return index < (size_t)n_fibers && !fibers[index].ended;
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
    emulation::current->progress += emulation::BARRIER;
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
