//! Rearranged weights, for convolutions that a GPU computes in another form with the same result.

/// A kernel, its shape, and how many inputs it is for.
pub(super) type Kernel = (Vec<f32>, [i64; 4]);

const RGB: usize = 3;

/// The first convolution (outputs × 3 × size × size, odd, stride 1 or 2) for a picture in which 2×2
/// pixels are the channels of one: four times R, G and B and `block` - 12 of zeros. At stride 1 there are
/// four times the outputs: those of the upper left pixel of each 2×2, the upper right and so on.
///
/// Three channels would leave most of a tensor core's product empty, and 32 outputs half of it.
pub(super) fn stem(
    weight: &[f32],
    outputs: usize,
    size: usize,
    stride: usize,
    block: usize,
) -> Kernel {
    let (phases, reach) = if stride == 1 { (4, size) } else { (1, size - 1) };
    let side = reach / 2 + 1;
    let mut made = vec![0.0; phases * outputs * block * side * side];
    for phase in 0..phases {
        let (down, across) = (phase / 2, phase % 2);
        each(outputs, RGB, size, |o, c, y, x, from| {
            let (line, column) = (down + y, across + x);
            let input = (line % 2 * 2 + column % 2) * RGB + c;
            let output = phase * outputs + o;
            let at = ((output * block + input) * side + line / 2) * side + column / 2;
            made[at] = weight[from];
        });
    }
    (made, shape(phases * outputs, block, side))
}

/// A convolution of 3×3 of a picture with each pixel repeated 2×2, as four of 2×2 of the picture as it
/// is, one for each of these pixels: four ninths of the multiplications. Each sees a border of one pixel
/// around; the pixels below and to the right are theirs from the second line and column on.
pub(super) fn phases(weight: &[f32], outputs: usize, inputs: usize) -> [Kernel; 4] {
    [0, 1, 2, 3].map(|phase| {
        // Which of the pixels of the small picture a tap reads.
        let meets = |later: usize, tap: usize| (tap + 1 + later) / 2 - later;
        let mut made = vec![0.0; outputs * inputs * 4];
        each(outputs, inputs, 3, |o, i, y, x, from| {
            let (line, column) = (meets(phase / 2, y), meets(phase % 2, x));
            made[((o * inputs + i) * 2 + line) * 2 + column] += weight[from];
        });
        (made, shape(outputs, inputs, 2))
    })
}

/// The last convolution (3 × inputs × size × size) for `tile` × `tile` pixels at a time: outputs are the
/// line, R, G or B, and the column of a pixel; its stride is `tile`. Three outputs would leave most of a
/// tensor core's product empty.
pub(super) fn last(weight: &[f32], inputs: usize, size: usize, tile: usize) -> Kernel {
    let side = size + tile - 1;
    let mut made = vec![0.0; RGB * tile * tile * inputs * side * side];
    for (down, across) in (0..tile).flat_map(|down| (0..tile).map(move |across| (down, across))) {
        each(RGB, inputs, size, |c, i, y, x, from| {
            let output = (down * RGB + c) * tile + across;
            made[((output * inputs + i) * side + down + y) * side + across + x] = weight[from];
        });
    }
    (made, shape(RGB * tile * tile, inputs, side))
}

/// Calls `each` with output, input, line, column, and the place of the number.
fn each(
    outputs: usize,
    inputs: usize,
    size: usize,
    mut each: impl FnMut(usize, usize, usize, usize, usize),
) {
    for n in 0..outputs * inputs * size * size {
        let (x, y, channel) = (n % size, n / size % size, n / (size * size));
        each(channel / inputs, channel % inputs, y, x, n);
    }
}

fn shape(outputs: usize, inputs: usize, side: usize) -> [i64; 4] {
    // Lossless: widths and sides are small.
    [outputs as i64, inputs as i64, side as i64, side as i64]
}
