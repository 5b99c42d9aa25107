//! A convolution as a product of matrices: places × inputs · inputs × outputs. The inputs of a place
//! are not gathered: a line's are one behind the other where they are.

use std::ops::Range;

use super::tiles::{DEPTH, MOST, SIDE, SUMS, TILE, Tiles};
use super::{CacheLine, half};

/// Places that are made at a time: as many as there are tiles for.
const PLACES: usize = MOST * SIDE;

/// Weights in tiles.
#[derive(Debug)]
pub(super) struct Matrix {
    /// For each tile of inputs the window's line, and the number in it.
    steps: Vec<(usize, usize)>,
    /// Two tiles of outputs, or the last one.
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    tiles: usize,
    weights: Vec<CacheLine>,
}

/// The sums of some places.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Sums([f32; MOST * SUMS]);

impl Sums {
    pub(super) const ZERO: Self = Sums([0.0; MOST * SUMS]);
}

/// Sums of one tile.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// [`SIDE`] outputs of a place, one place behind the other.
    pub sums: *const f32,
    /// The first place of the line, and how many are wanted.
    pub place: usize,
    pub places: usize,
    /// The first output.
    pub output: usize,
}

/// Takes what is made. No closure: those are compiled apart from their function's instructions.
pub(super) trait TileSink {
    /// # Safety
    /// The processor has the instructions; the tile is one of the line's.
    unsafe fn take(&self, tile: Tile);
}

impl Matrix {
    /// Of `weight(output, input, line, column)`, for lines and columns of the window.
    pub(super) fn new(
        outputs: usize,
        inputs: usize,
        lines: Range<usize>,
        columns: Range<usize>,
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let numbers = columns.len() * inputs;
        let first = columns.start;
        let steps: Vec<_> = lines
            .flat_map(|line| (0..numbers).step_by(DEPTH).map(move |n| (line, first * inputs + n)))
            .collect();
        let end = columns.end * inputs;
        let tile = |output: usize, (line, from): (usize, usize), to: &mut Vec<u16>| {
            for pair in (from..from + DEPTH).step_by(2) {
                for o in output..output + SIDE {
                    to.extend([pair, pair + 1].map(|n| match o < outputs && n < end {
                        true => half(weight(o, n % inputs, line, n / inputs)),
                        false => 0,
                    }));
                }
            }
        };
        let tiles = outputs.div_ceil(SIDE);
        let group = |first: usize| {
            let count = (tiles - first).min(2);
            let mut weights = Vec::with_capacity(steps.len() * count * TILE);
            for step in &steps {
                (first..first + count).for_each(|n| tile(n * SIDE, *step, &mut weights));
            }
            Group { tiles: count, weights: CacheLine::all(&weights) }
        };
        let groups = (0..tiles).step_by(2).map(group).collect();
        Matrix { steps, groups }
    }

    /// Where steps' inputs begin, bytes, in lines of so many numbers.
    pub(super) fn offsets(&self, length: usize) -> Vec<u32> {
        // Lossless: what a task reads fits a cache.
        self.steps.iter().map(|(line, number)| 2 * (line * length + number) as u32).collect()
    }

    /// Makes a line of places, and gives it to `take` tile by tile. `inputs`: those of the first
    /// place, `stride`: numbers from one place to the next.
    ///
    /// # Safety
    /// `offsets` are [those](Self::offsets) of lines like these, in which there are inputs for whole
    /// tiles of places.
    #[inline(always)]
    pub(super) unsafe fn line(
        &self,
        tiles: &Tiles,
        offsets: &[u32],
        (inputs, stride): (*const u16, usize),
        places: usize,
        sums: &mut [Sums; 2],
        take: &impl TileSink,
    ) {
        let [mut sums, mut others] = sums.each_mut().map(|sums| sums.0.as_mut_ptr());
        // Few enough places for their inputs to stay in the first-level cache while groups pass by.
        let block = match self.groups.last() {
            Some(group) if group.tiles == 1 => PLACES,
            _ => PLACES / 2,
        };
        // What is made is taken while the next product is on its way: the processor does both at once.
        let mut made = Product { sums, rows: 0, tiles: 1, place: 0, end: 0, output: 0 };
        for from in (0..places).step_by(block) {
            let end = places.min(from + block);
            for (n, group) in self.groups.iter().enumerate() {
                let weights = group.weights.as_ptr().cast();
                let most = MOST / group.tiles;
                for place in (from..end).step_by(most * SIDE) {
                    let rows = (end - place).div_ceil(SIDE).min(most);
                    let inputs = inputs.add(place * stride);
                    tiles.product((rows, group.tiles), offsets, inputs, 2 * stride, weights, sums);
                    made.each(take);
                    let output = 2 * n * SIDE;
                    made = Product { sums, rows, tiles: group.tiles, place, end, output };
                    std::mem::swap(&mut sums, &mut others);
                }
            }
        }
        made.each(take);
    }
}

/// What a product made: `rows` × `tiles` tiles, from a place and an output on.
struct Product {
    sums: *const f32,
    rows: usize,
    tiles: usize,
    place: usize,
    /// Behind the last place that is wanted.
    end: usize,
    output: usize,
}

impl Product {
    #[inline(always)]
    unsafe fn each(&self, take: &impl TileSink) {
        for tile in 0..self.rows * self.tiles {
            let place = self.place + tile / self.tiles * SIDE;
            take.take(Tile {
                sums: self.sums.add(tile * SUMS),
                place,
                places: SIDE.min(self.end - place),
                output: self.output + tile % self.tiles * SIDE,
            });
        }
    }
}
