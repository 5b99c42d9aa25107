//! bfloat16, in the tiles of a [`Unit`].

use super::convolution::Convolution;
use super::input_rows::MIDDLE;
use super::last::Last;
use super::tiles::Unit;
use super::{CacheLine, Shared, half, wide};
use crate::engine::architecture::{Change, Layer};
use crate::engine::kernels::executor::Arithmetic;
use crate::engine::kernels::norm::Statistics;
use crate::engine::kernels::source::{ConvInput, SourceRows};
use crate::engine::kernels::weights::LayerWeights;

impl Arithmetic for Unit {
    type Number = u16;
    type Scratch = CacheLine;
    const NOTHING: CacheLine = CacheLine::ZERO;
    type Convolution = Convolution;
    type Last = Last;

    fn convolution(self, parts: &LayerWeights<'_>, layer: &Layer) -> Option<Convolution> {
        let (stride, upsample) = match layer.change {
            Change::Same => (1, false),
            Change::Halve => (2, false),
            Change::Nearest => (1, true),
            Change::Transposed => return None,
        };
        let (weight, outputs, inputs) = parts.weight(&layer.conv)?;
        Convolution::new(&weight, outputs, inputs, stride, upsample, parts.border(), self)
    }

    fn last(self, parts: &LayerWeights<'_>, layer: &Layer) -> Option<Last> {
        let upsample = match layer.change {
            Change::Same => false,
            Change::Nearest => true,
            Change::Halve | Change::Transposed => return None,
        };
        let (weight, _, inputs) = parts.weight(&layer.conv)?;
        let bias = parts.bias(&layer.conv)?;
        Last::new(&weight, &bias, inputs, upsample, parts.border(), self)
    }

    fn scratch(convolution: &Convolution, input: (usize, usize)) -> usize {
        convolution.scratch(input)
    }

    fn last_scratch(last: &Last, input: (usize, usize)) -> usize {
        last.scratch(input)
    }

    fn convolve(
        convolution: &Convolution,
        input: &ConvInput<'_, u16>,
        out: &mut [u16],
        statistics: &mut Statistics,
        scratch: &[Shared<CacheLine>],
    ) {
        convolution.run(input, out, statistics, scratch);
    }

    fn finish(
        last: &Last,
        source: SourceRows<'_, u16>,
        out: &mut [f32],
        size: (usize, usize),
        scratch: &[Shared<CacheLine>],
    ) {
        last.run(&ConvInput::Layer(source), out, size, scratch);
    }

    /// The picture is read as numbers about 0.
    fn offset(weights: &[f32]) -> f32 {
        MIDDLE * weights.iter().map(|weight| wide(half(*weight))).sum::<f32>()
    }
}
