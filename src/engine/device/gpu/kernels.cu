// What lies between the network's convolutions on a GPU, each in one pass over the memory.
//
// Compiled at run time by NVRTC, without any header. NUMBER says what lies between layers: 0 single precision,
// 1 half precision, 2 bfloat16; sums and statistics are in single precision always. Layers lie in memory picture
// by picture, pixel by pixel, the channels of a pixel side by side, in packs of 16 bytes.
//
// A kernel has one parameter, a struct whose twin in Rust (tasks.rs) has the same fields in the same order.

#if NUMBER == 0
typedef float Number;
#else
typedef unsigned short Number;
#endif
#define WIDE (16 / (int)sizeof(Number))
#define THREADS 256

struct alignas(16) Pack {
    Number at[WIDE];
};

#ifndef HOST
__device__ inline float wide(Number x) {
#if NUMBER == 0
    return x;
#elif NUMBER == 1
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
#else
    return __uint_as_float((unsigned)x << 16);
#endif
}

__device__ inline Number narrow(float x) {
#if NUMBER == 0
    return x;
#else
    Number y;
#if NUMBER == 1
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
#else
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
#endif
    return y;
#endif
}
#endif

// The pixel of a line of `length` that a pixel before or behind it shows, mirrored to and fro.
__device__ inline int mirrored(int i, int length) {
    if (i >= 0 && i < length) return i;
    const int swing = length > 1 ? 2 * (length - 1) : 1;
    i %= swing;
    if (i < 0) i += swing;
    i = i < swing - i ? i : swing - i;
    return i < length ? i : length - 1;
}

// The same with the outermost pixel repeated.
__device__ inline int repeated(int i, int length) {
    return i < 0 ? 0 : i < length ? i : length - 1;
}

// What lies beyond the border.
#define ZERO 0
#define MIRROR 1
#define REPEAT 2

__device__ inline int beyond(int i, int length, int border) {
    return border == REPEAT ? repeated(i, length) : mirrored(i, length);
}

// ---- The picture, made ready for the first convolution: 2x2 pixels are the channels of one. ----

// Channels of such a pixel: 4 x 3, and 4 of zeros.
#define BLOCK 16

struct Stem {
    const float *planes;  // batch x 3 x height x width
    Number *to;           // batch x (whole_height / 2 + pad) x (whole_width / 2 + pad) x BLOCK
    int height, width;
    int whole_height, whole_width;  // as which the picture counts, mirrored to the right and to the bottom
    int pad;                        // pixels before and behind
    int border;
    float middle;  // subtracted
};

// A thread makes a place. Grid: places across / THREADS, lines of places, pictures.
extern "C" __global__ void stem(const Stem task) {
    const int across = task.whole_width / 2 + task.pad;
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= across) return;
    const size_t pixels = (size_t)task.height * task.width;
    const float *picture = task.planes + blockIdx.z * 3 * pixels;
    const size_t lines = task.whole_height / 2 + task.pad;
    Pack *to = (Pack *)(task.to + ((blockIdx.z * lines + y) * across + x) * BLOCK);
    float values[BLOCK];
    for (int n = 12; n < BLOCK; ++n) values[n] = 0;
    for (int n = 0; n < 4; ++n) {
        const int line = 2 * y + n / 2 - task.pad, column = 2 * x + n % 2 - task.pad;
        const bool inside =
            line >= 0 && line < task.whole_height && column >= 0 && column < task.whole_width;
        const int row = mirrored(mirrored(line, task.whole_height), task.height);
        const int place = mirrored(mirrored(column, task.whole_width), task.width);
        const bool there = inside || task.border != ZERO;
        for (int c = 0; c < 3; ++c) {
            const float value = there ? picture[c * pixels + (size_t)row * task.width + place] : 0;
            values[3 * n + c] = value - task.middle;
        }
    }
    for (int k = 0; k < BLOCK / WIDE; ++k) {
        Pack pack;
        for (int n = 0; n < WIDE; ++n) pack.at[n] = narrow(values[k * WIDE + n]);
        to[k] = pack;
    }
}

// ---- What a convolution made. ----

// A layer of twice the height and width is made of four phases: those of its pixels whose line and column are
// even and even, even and odd, odd and even, odd and odd.
struct Made {
    const Number *from[4];
    long long picture, line;  // numbers from one to the next, in each phase
    int pixel;
    int phases;         // 1 or 4
    int height, width;  // of a phase
    int channels;
};

// Indices known beforehand: the compiler would copy the parameter to index it.
__device__ inline const Number *phase_of(const Made &made, int n) {
    return n == 0 ? made.from[0] : n == 1 ? made.from[1] : n == 2 ? made.from[2] : made.from[3];
}

// ---- Mean and variance of each channel of each picture (Ulyanov et al. 2016, eq. 4). ----

struct Moments {
    Made made;
    float *parts;  // batch x chunks x 3 x channels: mean, sum of squared differences from it, pixels
    int chunks;
    int segment;  // pixels of a line that go together
};

struct Sums {
    float mean, squares, count;
};

// Both together (Chan, Golub and LeVeque 1979).
__device__ inline Sums joined(Sums a, Sums b) {
    const float count = a.count + b.count;
    if (count == 0) return a;
    const float share = b.count / count, apart = b.mean - a.mean;
    return {a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share, count};
}

// Block: packs of a pixel, pixels beside each other; of THREADS threads. Grid: chunks, pictures.
extern "C" __global__ void moments(const Moments task) {
    const Made &made = task.made;
    const int pack = threadIdx.x, lane = threadIdx.y, lanes = blockDim.y;
    // About the first value that a thread sees, lest a large mean swallow what differs from it.
    float about[WIDE], sums[WIDE], squares[WIDE];
    float count = 0;
    for (int n = 0; n < WIDE; ++n) about[n] = sums[n] = squares[n] = 0;
    const int segments = (made.width + task.segment - 1) / task.segment;
    const int items = made.phases * made.height * segments;
    for (int item = blockIdx.x; item < items; item += task.chunks) {
        const int first = item % segments * task.segment, line = item / segments;
        const int phase = line / made.height, y = line % made.height;
        const int end = first + task.segment < made.width ? first + task.segment : made.width;
        const Number *from = phase_of(made, phase) + blockIdx.y * made.picture + y * made.line;
        for (int x = first + lane; x < end; x += lanes) {
            const Pack seen = *(const Pack *)(from + (size_t)x * made.pixel + pack * WIDE);
            if (count == 0)
                for (int n = 0; n < WIDE; ++n) about[n] = wide(seen.at[n]);
            for (int n = 0; n < WIDE; ++n) {
                const float value = wide(seen.at[n]) - about[n];
                sums[n] += value;
                squares[n] += value * value;
            }
            count += 1;
        }
    }
    __shared__ Sums all[THREADS * WIDE];
    for (int n = 0; n < WIDE; ++n) {
        const float mean = count > 0 ? sums[n] / count : 0;
        all[(lane * blockDim.x + pack) * WIDE + n] = {about[n] + mean, squares[n] - sums[n] * mean, count};
    }
    __syncthreads();
    const int channels = made.channels, threads = blockDim.x * lanes;
    float *part = task.parts + ((size_t)blockIdx.y * task.chunks + blockIdx.x) * 3 * channels;
    for (int c = lane * blockDim.x + pack; c < channels; c += threads) {
        Sums sum = all[c];
        for (int n = 1; n < lanes; ++n) sum = joined(sum, all[n * channels + c]);
        part[c] = sum.mean;
        part[channels + c] = sum.squares;
        part[2 * channels + c] = sum.count;
    }
}

struct Affine {
    const float *parts;           // as above
    const float *weight, *bias;   // channels
    float *scale, *shift;         // batch x channels: what `apply` multiplies with and adds
    int chunks, channels;
    float epsilon;
};

#define CHANNELS 32
#define LANES 8

// Block: CHANNELS channels, LANES shares of the chunks. Grid: channels / CHANNELS, pictures.
extern "C" __global__ void affine(const Affine task) {
    const int c = blockIdx.x * CHANNELS + threadIdx.x, channels = task.channels;
    Sums sum = {0, 0, 0};
    if (c < channels) {
        const float *parts = task.parts + (size_t)blockIdx.y * task.chunks * 3 * channels + c;
        for (int n = threadIdx.y; n < task.chunks; n += LANES) {
            const float *part = parts + (size_t)n * 3 * channels;
            sum = joined(sum, {part[0], part[channels], part[2 * channels]});
        }
    }
    __shared__ Sums all[LANES][CHANNELS];
    all[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || c >= channels) return;
    for (int n = 1; n < LANES; ++n) sum = joined(sum, all[n][threadIdx.x]);
    const float scale = task.weight[c] / sqrtf(sum.squares / sum.count + task.epsilon);
    task.scale[(size_t)blockIdx.y * channels + c] = scale;
    task.shift[(size_t)blockIdx.y * channels + c] = task.bias[c] - sum.mean * scale;
}

// ---- Norm, ReLU or the residual block's sum, enlargement and padding: what the next convolution reads. ----

struct Apply {
    Made made;
    const float *scale, *shift;  // channels, of each picture
    const Number *skip;          // what is added in place of a ReLU, with a border of one pixel; or none
    Number *to;                  // batch x height x width x channels
    int height, width;
    int pad;      // pixels before, of the enlarged picture
    int border;
    int enlarge;  // 2: each pixel counts for 2x2
    int norms;    // 1: scale and shift are each picture's own
};

// Block: packs of a pixel, pixels beside each other. Grid: pixels across, lines, pictures.
extern "C" __global__ void apply(const Apply task) {
    const Made &made = task.made;
    const int pack = threadIdx.x, x = blockIdx.x * blockDim.y + threadIdx.y, y = blockIdx.y;
    if (x >= task.width) return;
    const int c = pack * WIDE, scale = made.phases == 4 ? 2 : 1;
    const int height = made.height * scale, width = made.width * scale;
    const int tall = height * task.enlarge, broad = width * task.enlarge;
    const int line = y - task.pad, column = x - task.pad;
    Pack out;
    if (task.border == ZERO && (line < 0 || line >= tall || column < 0 || column >= broad)) {
        for (int n = 0; n < WIDE; ++n) out.at[n] = narrow(0);
    } else {
        const int row = beyond(line, tall, task.border) / task.enlarge;
        const int place = beyond(column, broad, task.border) / task.enlarge;
        const int phase = scale == 2 ? row % 2 * 2 + place % 2 : 0;
        const Pack seen = *(const Pack *)(phase_of(made, phase) + blockIdx.z * made.picture +
                                          row / scale * made.line + (size_t)(place / scale) * made.pixel + c);
        const size_t first = (task.norms ? (size_t)blockIdx.z * made.channels : 0) + c;
        float values[WIDE];
        for (int n = 0; n < WIDE; ++n)
            values[n] = wide(seen.at[n]) * task.scale[first + n] + task.shift[first + n];
        if (task.skip) {
            const size_t at = ((size_t)blockIdx.z * (height + 2) + row + 1) * (width + 2) + place + 1;
            const Pack kept = *(const Pack *)(task.skip + at * made.channels + c);
            for (int n = 0; n < WIDE; ++n) values[n] += wide(kept.at[n]);
        } else {
            for (int n = 0; n < WIDE; ++n) values[n] = values[n] < 0 ? 0 : values[n];
        }
        for (int n = 0; n < WIDE; ++n) out.at[n] = narrow(values[n]);
    }
    const size_t at = ((size_t)blockIdx.z * task.height + y) * task.width + x;
    *(Pack *)(task.to + at * made.channels + c) = out;
}

// ---- What the last convolution made, a place for TILE x TILE pixels, as planes. ----

#define TILE 4
#define ACROSS 64

struct Finish {
    const Number *from;  // batch x lines x columns x (TILE x 3 x TILE): line, R G B, column of a pixel
    float *planes;       // batch x 3 x height x width
    int lines, columns;  // of places
    int height, width;   // no more than TILE times those
    float bias[3];
};

// Block: ACROSS x TILE pixels. Grid: pixels across / ACROSS, lines / TILE, pictures.
extern "C" __global__ void finish(const Finish task) {
    const int x = blockIdx.x * ACROSS + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    if (x >= task.width || y >= task.height) return;
    const size_t place = ((size_t)blockIdx.z * task.lines + y / TILE) * task.columns + x / TILE;
    const Number *from = task.from + place * (3 * TILE * TILE) + y % TILE * 3 * TILE + x % TILE;
    float *to = task.planes + ((size_t)blockIdx.z * 3 * task.height + y) * task.width + x;
    for (int c = 0; c < 3; ++c)
        to[(size_t)c * task.height * task.width] = wide(from[c * TILE]) + task.bias[c];
}

// ---- Frames of Y'CbCr 4:2:0 and R, G, B, as samples.rs has it for a CPU. ----

__device__ inline float clamped(float x) {
    // What is no number becomes 0.
    x = x > 0 ? x : 0;
    return x < 255 ? x : 255;
}

struct Colors {
    unsigned char *samples;  // batch x (luma, Cb, Cr)
    float *planes;           // batch x 3 x height x width
    int height, width;
    float rows[9], constants[3];
};

// What Cb and Cr add to R, G or B at a column and line of theirs, three quarters of it from the nearer line.
__device__ inline float share(const Colors &task, const unsigned char *cb, const unsigned char *cr,
                              int near, int far, int column, int c) {
    const int columns = (task.width + 1) / 2;
    column = column < columns ? column : columns - 1;
    const size_t a = (size_t)near * columns + column, b = (size_t)far * columns + column;
    return task.rows[3 * c + 1] * (0.75f * cb[a] + 0.25f * cb[b]) +
           task.rows[3 * c + 2] * (0.75f * cr[a] + 0.25f * cr[b]) + task.constants[c];
}

// A thread makes a pixel. Grid: pixels across / THREADS, lines, pictures.
extern "C" __global__ void read_frame(const Colors task) {
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= task.width) return;
    const int rows = (task.height + 1) / 2, columns = (task.width + 1) / 2;
    const size_t pixels = (size_t)task.height * task.width, part = (size_t)rows * columns;
    const unsigned char *luma = task.samples + blockIdx.z * (pixels + 2 * part);
    const unsigned char *cb = luma + pixels, *cr = cb + part;
    const int near = y / 2, far = repeated(near + (y % 2 ? 1 : -1), rows);
    float *to = task.planes + blockIdx.z * 3 * pixels + (size_t)y * task.width + x;
    for (int c = 0; c < 3; ++c) {
        float chroma = share(task, cb, cr, near, far, x / 2, c);
        if (x % 2) chroma = 0.5f * (chroma + share(task, cb, cr, near, far, x / 2 + 1, c));
        to[c * pixels] = clamped(task.rows[3 * c] * luma[(size_t)y * task.width + x] + chroma);
    }
}

__device__ inline unsigned char code(const Colors &task, int row, float r, float g, float b) {
    const float *m = task.rows + 3 * row;
    return (unsigned char)rintf(clamped(m[0] * r + m[1] * g + m[2] * b + task.constants[row]));
}

// A thread makes 2 x 2 pixels and their chroma. Grid: pairs across / THREADS, pairs of lines, pictures.
extern "C" __global__ void write_frame(const Colors task) {
    const int rows = (task.height + 1) / 2, columns = (task.width + 1) / 2;
    const int column = blockIdx.x * THREADS + threadIdx.x, row = blockIdx.y;
    if (column >= columns) return;
    const size_t pixels = (size_t)task.height * task.width, part = (size_t)rows * columns;
    unsigned char *luma = task.samples + blockIdx.z * (pixels + 2 * part);
    const float *planes = task.planes + blockIdx.z * 3 * pixels;
    float reduced[3] = {0, 0, 0};
    for (int across = -1; across < 2; ++across) {
        for (int down = 0; down < 2; ++down) {
            const int x = 2 * column + across, y = 2 * row + down;
            const size_t at =
                (size_t)repeated(y, task.height) * task.width + repeated(x, task.width);
            float rgb[3];
            for (int c = 0; c < 3; ++c) {
                rgb[c] = clamped(planes[c * pixels + at]);
                reduced[c] += (across == 0 ? 0.25f : 0.125f) * rgb[c];
            }
            if (across >= 0 && x < task.width && y < task.height)
                luma[at] = code(task, 0, rgb[0], rgb[1], rgb[2]);
        }
    }
    unsigned char *cb = luma + pixels + (size_t)row * columns + column;
    cb[0] = code(task, 1, reduced[0], reduced[1], reduced[2]);
    cb[part] = code(task, 2, reduced[0], reduced[1], reduced[2]);
}
