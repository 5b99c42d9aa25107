//! Single precision, in the vectors of a [`Level`].

use super::direct::Direct;
use super::executor::Arithmetic;
use super::last::Last;
use super::norm::Statistics;
use super::source::{ConvInput, SourceRows};
use super::weights::LayerWeights;
use super::winograd::Winograd;
use super::{Level, Shared};
use crate::engine::architecture::{Change, Layer};

#[derive(Debug)]
pub(super) enum Convolution {
    Direct(Direct),
    Winograd(Winograd),
}

impl Arithmetic for Level {
    type Number = f32;
    type Scratch = f32;
    const NOTHING: f32 = 0.0;
    type Convolution = Convolution;
    type Last = Last;

    /// Outputs must fill vectors, what is repeated before a convolution must meet one of 3×3.
    fn convolution(self, parts: &LayerWeights<'_>, layer: &Layer) -> Option<Convolution> {
        let (weight, outputs, inputs) = parts.weight(&layer.conv)?;
        if !outputs.is_multiple_of(self.lanes()) {
            return None;
        }
        let border = parts.border();
        let fast = |doubles| Winograd::new(&weight, outputs, inputs, border, doubles, self);
        let direct = |stride| Direct::new(&weight, outputs, inputs, stride, border, self);
        Some(match (layer.change, layer.size) {
            (Change::Same, 3) => Convolution::Winograd(fast(false)),
            (Change::Nearest, 3) => Convolution::Winograd(fast(true)),
            (Change::Same, _) => Convolution::Direct(direct(1)),
            (Change::Halve, _) => Convolution::Direct(direct(2)),
            (Change::Nearest | Change::Transposed, _) => return None,
        })
    }

    fn last(self, parts: &LayerWeights<'_>, layer: &Layer) -> Option<Last> {
        let doubles = match layer.change {
            Change::Same => false,
            Change::Nearest => true,
            Change::Halve | Change::Transposed => return None,
        };
        let (weight, _, inputs) = parts.weight(&layer.conv)?;
        let bias = parts.bias(&layer.conv)?;
        Some(Last::new(&weight, &bias, inputs, doubles, parts.border(), self))
    }

    fn scratch(convolution: &Convolution, (_, width): (usize, usize)) -> usize {
        match convolution {
            Convolution::Direct(convolution) => convolution.scratch(width),
            Convolution::Winograd(convolution) => convolution.scratch(),
        }
    }

    fn last_scratch(last: &Last, _: (usize, usize)) -> usize {
        last.scratch()
    }

    fn convolve(
        convolution: &Convolution,
        input: &ConvInput<'_>,
        out: &mut [f32],
        statistics: &mut Statistics,
        scratch: &[Shared],
    ) {
        match (convolution, input) {
            (Convolution::Winograd(convolution), ConvInput::Layer(source)) => {
                convolution.run(source, out, Some(statistics), scratch);
            }
            (Convolution::Direct(convolution), input) => {
                convolution.run(input, out, statistics, scratch);
            }
            // The first layer is direct.
            (Convolution::Winograd(_), ConvInput::Planes(_)) => {}
        }
    }

    fn finish(
        last: &Last,
        source: SourceRows<'_>,
        out: &mut [f32],
        size: (usize, usize),
        scratch: &[Shared],
    ) {
        last.run(&source, out, size, scratch);
    }

    fn offset(_: &[f32]) -> f32 {
        0.0
    }
}
