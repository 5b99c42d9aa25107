// The kernels on a CPU, for tests: the threads of a block run one after another; where they wait for each other,
// each has a stack of its own.
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

#define HOST
#define __device__
#define __global__
// Blocks run one after another, so there is one of each.
#define __shared__ static

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim;

struct Thread {
    Index index;
    bool waits;
    ucontext_t here;
    std::vector<char> stack;
};
static std::vector<Thread> threads;
static Thread *running;
static ucontext_t outside;

static void __syncthreads() {
    running->waits = true;
    swapcontext(&running->here, &outside);
    threadIdx = running->index;
}

#if NUMBER == 0
static float wide(float x) { return x; }
static float narrow(float x) { return x; }
#elif NUMBER == 1
static float wide(unsigned short x) {
    _Float16 y;
    memcpy(&y, &x, 2);
    return y;
}
static unsigned short narrow(float x) {
    const _Float16 y = x;
    unsigned short bits;
    memcpy(&bits, &y, 2);
    return bits;
}
#else
static float wide(unsigned short x) {
    const unsigned bits = (unsigned)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
static unsigned short narrow(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    if (x != x) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
#endif

#include KERNELS

template <class Task>
static void (*kernel)(Task);
template <class Task>
static const Task *given;
template <class Task>
static void begin() {
    kernel<Task>(*given<Task>);
}

template <class Task>
static void block() {
    const size_t count = blockDim.x * blockDim.y;
    if (threads.size() < count) threads.resize(count);
    for (size_t n = 0; n < count; ++n) {
        Thread &thread = threads[n];
        thread.index = {(unsigned)n % blockDim.x, (unsigned)n / blockDim.x, 0};
        thread.stack.resize(1 << 16);
        getcontext(&thread.here);
        thread.here.uc_stack.ss_sp = thread.stack.data();
        thread.here.uc_stack.ss_size = thread.stack.size();
        thread.here.uc_link = &outside;
        makecontext(&thread.here, begin<Task>, 0);
        thread.waits = true;
    }
    // To the next place where all wait, or to the end.
    for (bool more = true; more;) {
        more = false;
        for (size_t n = 0; n < count; ++n) {
            running = &threads[n];
            if (!running->waits) continue;
            running->waits = false;
            threadIdx = running->index;
            swapcontext(&outside, &running->here);
            more |= running->waits;
        }
    }
}

template <class Task>
static void run(void (*name)(Task), const void *task, Index grid, Index size, bool waits) {
    blockDim = size;
    kernel<Task> = name;
    given<Task> = (const Task *)task;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                if (waits) {
                    block<Task>();
                    continue;
                }
                for (unsigned n = 0; n < size.x * size.y; ++n) {
                    threadIdx = {n % size.x, n / size.x, 0};
                    begin<Task>();
                }
            }
}

#define RUN(name, waits) \
    extern "C" void run_##name(const void *task, Index grid, Index size) { run(name, task, grid, size, waits); }
RUN(stem, false)
RUN(moments, true)
RUN(affine, true)
RUN(apply, false)
RUN(finish, false)
RUN(read_frame, false)
RUN(write_frame, false)
