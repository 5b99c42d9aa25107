//! Forward and backward pass of a network in training, in single precision.
//!
//! The forward pass is that of an executor, but keeps the outputs of all convolutions. The backward pass goes
//! through the layers from the last to the first. For each one, [`gather`] collects the gradient with respect
//! to the layer's output from the input gradient of the following layer, and applies the derivative of the
//! ReLU; [`through_norm`] computes from it the gradient with respect to the convolution's output; from that
//! follow the gradients with respect to the convolution's weights and to its input. Convolutions followed by a
//! norm have no bias here: the norm subtracts it again.

use rayon::prelude::*;

use super::direct::Direct;
use super::executor::{PaintError, room};
use super::features::FoldedInputs;
use super::last::Last;
use super::norm::Statistics;
use super::simd::Simd;
use super::source::{BorderMode, ConvInput, Planes, SourceRows, places};
use super::weights::ScaleShift;
use super::winograd::Winograd;
use super::{Level, Shared, at_level};
use crate::engine::architecture::{self, Architecture, Change, Epilogue};
use crate::engine::architecture::{NetworkKind, Normalization, Padding};
use crate::engine::threads;

/// R, G, B.
const COLORS: usize = 3;
/// Height and width of pictures must be multiples of this, so that every stride halves an even number.
pub const WHOLE: usize = 4;

/// The weights of a convolution.
#[derive(Clone, Debug)]
pub struct ConvolutionWeights {
    /// Outputs × inputs × size × size.
    pub weight: Vec<f32>,
    /// One for each output.
    pub bias: Vec<f32>,
}

/// Weight and bias of a norm, one of each per channel.
pub type NormWeights = (Vec<f32>, Vec<f32>);

/// The gradient with respect to a layer's parameters.
#[derive(Clone, Debug)]
pub struct LayerGradient {
    /// Size × size × inputs × outputs; for the last layer size × size × outputs × inputs.
    pub weight: Vec<f32>,
    /// For the last layer only; otherwise empty.
    pub bias: Vec<f32>,
    /// Weight and bias of the norm.
    pub norm: NormWeights,
}

/// A network with the weights of one training step.
#[derive(Debug)]
pub struct TrainingNetwork {
    layers: Vec<Layer>,
    last: LastLayer,
    border: BorderMode,
    level: Level,
}

#[derive(Debug)]
struct Layer {
    convolution: Convolution,
    /// Computes the gradient with respect to the layer's input. None for the first layer, whose input is the
    /// picture.
    back: Option<Winograd>,
    change: Change,
    inputs: usize,
    outputs: usize,
    begins_block: bool,
    ends_block: bool,
}

#[derive(Debug)]
enum Convolution {
    Direct(Direct),
    Winograd(Winograd),
}

#[derive(Debug)]
struct LastLayer {
    convolution: Last,
    /// Computes the gradient with respect to the layer's input.
    back: Direct,
    /// Whether the input is upsampled before the convolution.
    doubles: bool,
    inputs: usize,
    size: usize,
}

/// What the forward pass keeps for the backward pass.
#[derive(Debug, Default)]
pub struct Pass {
    size: (usize, usize),
    picture: Vec<f32>,
    /// Output of each convolution but the last.
    made: Vec<Vec<f32>>,
    /// Input of each residual block.
    kept: Vec<Vec<f32>>,
    /// Height, width and channels of the first one's.
    middle: (usize, usize, usize),
    /// Scale and shift of each norm with its weight and bias, per channel.
    affine: Vec<ScaleShift>,
    /// Scale and shift of each norm without its weight and bias, per channel.
    normal: Vec<ScaleShift>,
    statistics: Statistics,
    buffers: Buffers,
}

/// Buffers of the backward pass.
#[derive(Debug, Default)]
struct Buffers {
    /// Gradient with respect to the output of a layer's norm.
    given: Vec<f32>,
    /// Gradient with respect to the output of a layer's convolution.
    own: Vec<f32>,
    /// Gradient with respect to the padded input of a convolution.
    beyond: Vec<f32>,
    /// Gradient with respect to what is added at the end of a residual block.
    skip: Vec<f32>,
    /// Sums over each row, per channel.
    sums: Vec<f32>,
    /// The padded gradient with respect to the picture that the last layer writes.
    planes: Vec<f32>,
    /// For the gradients of weights.
    work: Vec<f32>,
    /// One per thread.
    scratch: Vec<Vec<f32>>,
}

impl Pass {
    /// Input of the first residual block after a forward pass, height × width × channels; none if the network
    /// has no blocks.
    pub fn middle(&self) -> Option<&[f32]> {
        let count = self.middle.0 * self.middle.1 * self.middle.2;
        self.kept.first().map(|kept| &kept[..count])
    }

    /// Height, width and channels of it.
    pub fn middle_shape(&self) -> (usize, usize, usize) {
        self.middle
    }
}

impl TrainingNetwork {
    /// Whether the kernels of this level can train such a network.
    pub fn supports(architecture: &Architecture, level: Level) -> bool {
        let plan = architecture::layers(architecture);
        let Some((last, layers)) = plan.split_last() else { return false };
        let mut rectified = true;
        let layers = layers.iter().enumerate().all(|(n, layer)| {
            // Kernels with a stride expect a ReLU before them.
            let reads = layer.change != Change::Halve || rectified;
            rectified = layer.after == Epilogue::Relu;
            let whole = (layer.channels.1 as usize).is_multiple_of(level.lanes());
            let known = match (n, layer.change) {
                (0, Change::Same | Change::Halve) => true,
                (0, _) => false,
                (_, Change::Same | Change::Nearest | Change::Halve) => layer.size == 3,
                (_, Change::Transposed) => false,
            };
            whole && known && reads
        });
        let last = matches!(last.change, Change::Same | Change::Nearest) && rectified;
        let own = architecture.kind != NetworkKind::Texture;
        own && layers && last && architecture.norm == Normalization::Instance
    }

    /// From the weights of each of the [layers](architecture::layers); prepared on `count` threads.
    ///
    /// # Errors
    /// When the system gives no threads: why.
    ///
    /// # Panics
    /// When it is not [supported](Self::supports), or weights are not of their layer's size.
    pub fn new(
        architecture: &Architecture,
        weights: &[ConvolutionWeights],
        level: Level,
        count: usize,
    ) -> Result<Self, PaintError> {
        assert!(Self::supports(architecture, level));
        let plan = architecture::layers(architecture);
        assert!(weights.len() == plan.len());
        let border = match architecture.padding {
            // Circular is of texture networks, which have no kernels.
            Padding::Reflect | Padding::Circular => BorderMode::Reflect,
            Padding::Zero => BorderMode::Zero,
        };
        let pool = threads::pool(count).map_err(|error| PaintError::Threads(error.to_string()))?;
        let (n, last) = (plan.len() - 1, &plan[plan.len() - 1]);
        let layers = pool.install(|| {
            let layers = plan[..n].par_iter().zip(weights).enumerate();
            layers
                .map(|(n, (layer, weights))| Layer::new(n, layer, weights, border, level))
                .collect()
        });
        let last = LastLayer::new(last, &weights[n], border, level);
        Ok(TrainingNetwork { layers, last, border, level })
    }

    /// Gradients that are 0, to accumulate in.
    pub fn gradients(&self) -> Vec<LayerGradient> {
        let layers = self.layers.iter().map(|layer| {
            let size = match &layer.convolution {
                Convolution::Direct(convolution) => convolution.size(),
                Convolution::Winograd(_) => 3,
            };
            let weight = vec![0.0; size * size * layer.inputs * layer.outputs];
            let norm = (vec![0.0; layer.outputs], vec![0.0; layer.outputs]);
            LayerGradient { weight, bias: Vec::new(), norm }
        });
        let LastLayer { inputs, size, .. } = self.last;
        layers
            .chain(std::iter::once(LayerGradient {
                weight: vec![0.0; size * size * COLORS * inputs],
                bias: vec![0.0; COLORS],
                norm: NormWeights::default(),
            }))
            .collect()
    }

    /// Paints a picture: three planes of height × width. `norms`: one for each layer but the last. The output of
    /// the last convolution is written to `out`, which has the picture's size. The contents of `pass` are
    /// replaced; its buffers are used again.
    ///
    /// # Errors
    /// When memory is short, or the system gives no threads: why.
    ///
    /// # Panics
    /// When a side is no multiple of [`WHOLE`], or something is not of its size.
    pub fn forward(
        &self,
        picture: &[f32],
        (height, width): (usize, usize),
        norms: &[NormWeights],
        out: &mut [f32],
        pass: &mut Pass,
        count: usize,
    ) -> Result<(), PaintError> {
        assert!(picture.len() == COLORS * height * width && out.len() == picture.len());
        assert!(height.is_multiple_of(WHOLE) && width.is_multiple_of(WHOLE) && height * width > 0);
        assert!(norms.len() == self.layers.len());
        let pool = threads::pool(count).map_err(|error| PaintError::Threads(error.to_string()))?;
        self.set_up(pass, (height, width), count)?;
        pass.picture.clear();
        pass.picture.extend_from_slice(picture);
        let scratch: Vec<_> = pass.buffers.scratch.iter_mut().map(|one| Shared::of(one)).collect();
        pool.install(|| {
            for (n, layer) in self.layers.iter().enumerate() {
                let (before, behind) = pass.made.split_at_mut(n);
                let made = &mut behind[0];
                // If a residual block begins here, its input is kept.
                let keep = layer.begins_block.then(|| self.blocks_before(n));
                let (kept, keeps) = pass.kept.split_at_mut(self.blocks_before(n));
                let keep = keep.map(|_| Shared::of(&mut keeps[0]));
                let read = Read { made: before, kept, affine: &pass.affine };
                let input = self.input(n, &pass.picture, pass.size, &read, keep);
                match (&layer.convolution, &input) {
                    (Convolution::Winograd(convolution), ConvInput::Layer(source)) => {
                        convolution.run(source, made, Some(&mut pass.statistics), &scratch);
                    }
                    (Convolution::Direct(convolution), input) => {
                        convolution.run(input, made, &mut pass.statistics, &scratch);
                    }
                    // The first layer is direct.
                    (Convolution::Winograd(_), ConvInput::Planes(_)) => {}
                }
                let (weight, bias) = &norms[n];
                pass.statistics.affine(weight, bias, &mut pass.affine[n]);
                let (factor, shift) = &mut pass.normal[n];
                (*factor, *shift) = pass
                    .statistics
                    .moments(layer.outputs)
                    .map(|(mean, deviation)| ((1.0 / deviation) as f32, (-mean / deviation) as f32))
                    .unzip();
            }
            let n = self.layers.len();
            let read = Read { made: &pass.made, kept: &pass.kept, affine: &pass.affine };
            if let ConvInput::Layer(source) = self.input(n, &[], pass.size, &read, None) {
                self.last.convolution.run(&source, out, (height, width), &scratch);
            }
        });
        Ok(())
    }

    /// Adds the gradients with respect to all parameters to `to`. `gradient`: with respect to the output of
    /// [`forward`](Self::forward). `middle`: with respect to [`Pass::middle`], if a loss depends on it. `norms`:
    /// the same as for `forward`.
    ///
    /// # Errors
    /// When memory is short, or the system gives no threads: why.
    ///
    /// # Panics
    /// When something is not of its size.
    pub fn backward(
        &self,
        pass: &mut Pass,
        norms: &[NormWeights],
        gradient: &[f32],
        middle: Option<&[f32]>,
        to: &mut [LayerGradient],
        count: usize,
    ) -> Result<(), PaintError> {
        assert!(gradient.len() == pass.picture.len() && to.len() == self.layers.len() + 1);
        let pool = threads::pool(count).map_err(|error| PaintError::Threads(error.to_string()))?;
        let Pass { size, picture, made, kept, affine, normal, statistics, buffers, .. } = pass;
        let read = Read { made, kept, affine };
        pool.install(|| {
            let n = self.layers.len();
            let mut behind =
                self.last_backward(*size, gradient, &read, statistics, buffers, &mut to[n])?;
            for (n, layer) in self.layers.iter().enumerate().rev() {
                let sides = self.sides(n + 1, *size);
                let next = self.layers.get(n + 1).is_some_and(|layer| layer.begins_block);
                if let Some(middle) = middle.filter(|_| next && self.blocks_before(n + 1) == 0) {
                    // It is added where the block's other end has left its gradient.
                    assert!(middle.len() == sides.0 * sides.1 * layer.outputs);
                    buffers.skip.iter_mut().zip(middle).for_each(|(to, value)| *to += value);
                }
                let z = read.made[n].as_slice();
                let (scale, shift) = &read.affine[n];
                let gathered = Gathered {
                    behind,
                    sides,
                    channels: layer.outputs,
                    z,
                    scale,
                    shift,
                    normal: (&normal[n].0, &normal[n].1),
                    relu: !layer.ends_block,
                    // What the block behind begins with is also what it adds at its end.
                    skips: next,
                    keeps: layer.ends_block,
                };
                let (of_bias, of_weight) = gather(&gathered, self.level, buffers)?;
                let (weight, _) = &norms[n];
                let Buffers { given, own, .. } = buffers;
                through_norm(
                    &NormBack {
                        sides,
                        channels: layer.outputs,
                        z,
                        normal: (&normal[n].0, &normal[n].1),
                        weight,
                        of_weight: &of_weight,
                        of_bias: &of_bias,
                        given,
                        phases: layer.change == Change::Nearest,
                    },
                    self.level,
                    own,
                )?;
                for (to, values) in [(&mut to[n].norm.0, &of_weight), (&mut to[n].norm.1, &of_bias)]
                {
                    to.iter_mut().zip(values).for_each(|(to, value)| *to += *value as f32);
                }
                let input = self.input(n, picture, *size, &read, None);
                let (weight, work) = (&mut to[n].weight, &mut buffers.work);
                let scratch: Vec<_> =
                    buffers.scratch.iter_mut().map(|one| Shared::of(one)).collect();
                match (&layer.convolution, &input) {
                    (Convolution::Winograd(convolution), ConvInput::Layer(source)) => {
                        convolution.weight_gradient(source, &buffers.own, work, weight)?;
                    }
                    (Convolution::Direct(convolution), input) => {
                        convolution.weight_gradient(input, &buffers.own, work, weight, &scratch)?;
                    }
                    (Convolution::Winograd(_), ConvInput::Planes(_)) => {}
                }
                let Some(back) = &layer.back else { break };
                behind = self.input_gradient(n, back, *size, buffers)?;
            }
            Ok(())
        })
    }

    /// Computes the gradient with respect to a convolution's padded input, [`Buffers::beyond`], from that with
    /// respect to its output, [`Buffers::own`].
    fn input_gradient(
        &self,
        n: usize,
        back: &Winograd,
        size: (usize, usize),
        buffers: &mut Buffers,
    ) -> Result<Behind, PaintError> {
        let layer = &self.layers[n];
        let before = self.sides(n, size);
        // The gradient has the size of the convolution's output: half the input's with a stride of 2. After
        // upsampling it has the input's size, with the four phases of each 2×2 pixels as channels.
        let (height, width) = match layer.change {
            Change::Halve => (before.0 / 2, before.1 / 2),
            _ => before,
        };
        let channels = match layer.change {
            Change::Nearest => 4 * layer.outputs,
            _ => layer.outputs,
        };
        let Buffers { own, beyond, scratch, .. } = buffers;
        room(beyond, back.size(height, width), 0.0)?;
        scratch.iter_mut().try_for_each(|one| room(one, back.scratch(), 0.0))?;
        let scratch: Vec<_> = scratch.iter_mut().map(|one| Shared::of(one)).collect();
        // Not used, since the source is linear.
        let affine = vec![0.0; channels];
        let source = SourceRows {
            numbers: own,
            height,
            width,
            channels,
            scale: &affine,
            shift: &affine,
            skip: None,
            linear: true,
            keep: None,
        };
        back.run(&source, beyond, None, &scratch);
        let margin = self.border != BorderMode::Zero;
        let border = match (self.border, layer.change) {
            // Mirrored beyond the border of the upsampled picture is repeated beyond the small one's.
            (BorderMode::Reflect, Change::Nearest) => BorderMode::Replicate,
            (border, _) => border,
        };
        let shown = |length: usize| match (margin, layer.change) {
            (false, _) => places(BorderMode::Zero, 0, length, length),
            (true, Change::Halve) => {
                // A row of the margin becomes two rows, the outer one of which no output depends on.
                let mut shown = places(border, 2, length + 4, length);
                shown[0] = None;
                shown[length + 2..].fill(None);
                shown
            }
            (true, _) => places(border, 1, length + 2, length),
        };
        let beyond = match (margin, layer.change) {
            (false, _) => before.1,
            (true, Change::Halve) => before.1 + 4,
            (true, _) => before.1 + 2,
        };
        Ok(Behind {
            width: beyond,
            rows: FoldedInputs::shown(shown(before.0), before.0),
            columns: FoldedInputs::shown(shown(before.1), before.1),
        })
    }

    /// The backward pass of the last layer.
    fn last_backward(
        &self,
        (height, width): (usize, usize),
        gradient: &[f32],
        read: &Read<'_>,
        statistics: &mut Statistics,
        buffers: &mut Buffers,
        to: &mut LayerGradient,
    ) -> Result<Behind, PaintError> {
        let LastLayer { convolution, back, doubles, inputs, size } = &self.last;
        for (to, plane) in to.bias.iter_mut().zip(gradient.chunks_exact(height * width)) {
            *to += plane.iter().map(|value| f64::from(*value)).sum::<f64>() as f32;
        }
        // The padding has a gradient, too, which is added to the pixels it repeats.
        let margin = if self.border == BorderMode::Zero { 0 } else { size / 2 };
        let (high, wide) = (height + 2 * margin, width + 2 * margin);
        let Buffers { planes, beyond, scratch, work, .. } = buffers;
        let threads = back.scratch(wide).max(convolution.gradient_scratch(width));
        scratch.iter_mut().try_for_each(|one| room(one, threads, 0.0))?;
        room(planes, COLORS * high * wide, 0.0)?;
        room(beyond, high * wide * inputs, 0.0)?;
        let scratch: Vec<_> = scratch.iter_mut().map(|one| Shared::of(one)).collect();
        if let ConvInput::Layer(source) =
            self.input(self.layers.len(), &[], (height, width), read, None)
        {
            convolution.weight_gradient(&source, gradient, work, &mut to.weight, &scratch)?;
        }
        let planes = &mut planes[..COLORS * high * wide];
        planes.fill(0.0);
        for (n, line) in gradient.chunks_exact(width).enumerate() {
            let at = (n / height * high + n % height + margin) * wide + margin;
            planes[at..at + width].copy_from_slice(line);
        }
        let planes = Planes { numbers: planes, height: high, width: wide, padded: (high, wide) };
        back.run(&ConvInput::Planes(planes), beyond, statistics, &scratch);
        let shown = |length: usize| {
            let mut shown = places(self.border, margin, length + 2 * margin, length);
            if *doubles {
                shown.iter_mut().flatten().for_each(|place| *place /= 2);
            }
            let read = if *doubles { length / 2 } else { length };
            FoldedInputs::shown(shown, read)
        };
        Ok(Behind { width: wide, rows: shown(height), columns: shown(width) })
    }

    /// The input of a layer; `n` is the number of layers for the last one.
    fn input<'a>(
        &self,
        n: usize,
        picture: &'a [f32],
        size: (usize, usize),
        read: &Read<'a>,
        keep: Option<Shared>,
    ) -> ConvInput<'a> {
        let (height, width) = self.sides(n, size);
        if n == 0 {
            return ConvInput::Planes(Planes { numbers: picture, height, width, padded: size });
        }
        let before = &self.layers[n - 1];
        let (scale, shift) = &read.affine[n - 1];
        // The input of the residual block that ends before this layer.
        let skip = before.ends_block.then(|| read.kept[self.blocks_before(n) - 1].as_slice());
        ConvInput::Layer(SourceRows {
            numbers: &read.made[n - 1],
            height,
            width,
            channels: before.outputs,
            scale,
            shift,
            skip,
            linear: false,
            keep,
        })
    }

    /// How many residual blocks begin before a layer.
    fn blocks_before(&self, n: usize) -> usize {
        self.layers[..n].iter().filter(|layer| layer.begins_block).count()
    }

    /// Height and width of a layer's input.
    fn sides(&self, n: usize, size: (usize, usize)) -> (usize, usize) {
        self.layers[..n].iter().fold(size, |(height, width), layer| match layer.change {
            Change::Halve => (height / 2, width / 2),
            Change::Nearest | Change::Transposed => (2 * height, 2 * width),
            Change::Same => (height, width),
        })
    }

    fn set_up(
        &self,
        pass: &mut Pass,
        size: (usize, usize),
        threads: usize,
    ) -> Result<(), PaintError> {
        pass.size = size;
        pass.made.resize_with(self.layers.len(), Vec::new);
        pass.affine.resize_with(self.layers.len(), ScaleShift::default);
        pass.normal.resize_with(self.layers.len(), ScaleShift::default);
        pass.kept.resize_with(self.blocks_before(self.layers.len()), Vec::new);
        let mut count = self.last.convolution.scratch();
        for (n, layer) in self.layers.iter().enumerate() {
            let (before, (height, width)) = (self.sides(n, size), self.sides(n + 1, size));
            room(&mut pass.made[n], height * width * layer.outputs, 0.0)?;
            if layer.begins_block {
                if self.blocks_before(n) == 0 {
                    pass.middle = (before.0, before.1, layer.inputs);
                }
                let kept = &mut pass.kept[self.blocks_before(n)];
                room(kept, before.0 * before.1 * layer.inputs, 0.0)?;
            }
            count = count.max(match &layer.convolution {
                Convolution::Direct(convolution) => convolution.scratch(before.1),
                Convolution::Winograd(convolution) => convolution.scratch(),
            });
        }
        let scratch = &mut pass.buffers.scratch;
        scratch.resize_with(threads, Vec::new);
        scratch.iter_mut().try_for_each(|one| room(one, count, 0.0))
    }
}

/// What the inputs of layers are computed from.
struct Read<'a> {
    made: &'a [Vec<f32>],
    kept: &'a [Vec<f32>],
    affine: &'a [ScaleShift],
}

impl Layer {
    fn new(
        n: usize,
        layer: &architecture::Layer,
        weights: &ConvolutionWeights,
        border: BorderMode,
        level: Level,
    ) -> Self {
        // Lossless: widths are not negative.
        let (inputs, outputs) = (layer.channels.0 as usize, layer.channels.1 as usize);
        let weight = &weights.weight;
        assert!(weight.len() == outputs * inputs * (layer.size * layer.size) as usize);
        let doubles = layer.change == Change::Nearest;
        let convolution = match (n, layer.change) {
            (1.., Change::Same | Change::Nearest) => {
                let fast = Winograd::new(weight, outputs, inputs, border, doubles, level);
                Convolution::Winograd(fast)
            }
            (_, change) => {
                let stride = if change == Change::Halve { 2 } else { 1 };
                let direct = Direct::new(weight, outputs, inputs, stride, border, level);
                Convolution::Direct(direct)
            }
        };
        let back = (n > 0).then(|| {
            let back = match layer.change {
                Change::Halve => Winograd::back_from_half(weight, outputs, inputs, level),
                _ => Winograd::back(weight, outputs, inputs, doubles, level),
            };
            match border {
                BorderMode::Zero => back,
                // The gradient of the padding is needed, too.
                _ => back.with_margin(),
            }
        });
        Layer {
            convolution,
            back,
            change: layer.change,
            inputs,
            outputs,
            begins_block: layer.begins_block,
            ends_block: layer.after == Epilogue::Add,
        }
    }
}

impl LastLayer {
    fn new(
        layer: &architecture::Layer,
        ConvolutionWeights { weight, bias }: &ConvolutionWeights,
        border: BorderMode,
        level: Level,
    ) -> Self {
        let (inputs, size) = (layer.channels.0 as usize, layer.size as usize);
        assert!(weight.len() == COLORS * inputs * size * size && bias.len() == COLORS);
        let doubles = layer.change == Change::Nearest;
        let taps = size * size;
        let mut turned = vec![0.0; weight.len()];
        for (n, weight) in weight.chunks_exact(taps).enumerate() {
            let (color, input) = (n / inputs, n % inputs);
            let to = &mut turned[(input * COLORS + color) * taps..][..taps];
            to.copy_from_slice(weight);
            to.reverse();
        }
        LastLayer {
            convolution: Last::new(weight, bias, inputs, doubles, border, level),
            back: Direct::new(&turned, inputs, COLORS, 1, BorderMode::Zero, level),
            doubles,
            inputs,
            size,
        }
    }
}

/// How the gradient with respect to the following layer's padded input lies in [`Buffers::beyond`].
struct Behind {
    /// Width with the padding.
    width: usize,
    /// The rows and columns that show each row and column of the layer's output.
    rows: FoldedInputs,
    columns: FoldedInputs,
}

/// A layer whose output gradient [`gather`] computes.
struct Gathered<'a> {
    behind: Behind,
    sides: (usize, usize),
    channels: usize,
    /// Output of its convolution.
    z: &'a [f32],
    /// Of its norm, with and without weight and bias.
    scale: &'a [f32],
    shift: &'a [f32],
    normal: (&'a [f32], &'a [f32]),
    /// Whether a ReLU follows the norm.
    relu: bool,
    /// Whether [`Buffers::skip`] is added to the gradient.
    skips: bool,
    /// Whether the gradient is then stored in [`Buffers::skip`].
    keeps: bool,
}

/// One row of the output.
struct GatherTask<'a> {
    all: &'a Gathered<'a>,
    beyond: &'a [f32],
    y: usize,
    skip: Shared,
    given: Shared,
    sums: Shared,
}

/// Computes the gradient with respect to the output of a layer's norm, [`Buffers::given`]: that of the following
/// layer's input, set to 0 where the ReLU's input is not positive. Returns, for each channel, its sum and the
/// sum of its products with the normalized values: the gradients with respect to the norm's bias and weight.
fn gather(
    gathered: &Gathered<'_>,
    level: Level,
    buffers: &mut Buffers,
) -> Result<(Vec<f64>, Vec<f64>), PaintError> {
    let ((height, width), channels) = (gathered.sides, gathered.channels);
    let count = height * width * channels;
    let Buffers { given, beyond, skip, sums, .. } = buffers;
    room(given, count, 0.0)?;
    room(skip, if gathered.skips || gathered.keeps { count } else { 0 }, 0.0)?;
    room(sums, 2 * height * channels, 0.0)?;
    assert!(
        gathered.z.len() >= count && gathered.normal.0.len().min(gathered.scale.len()) >= channels
    );
    let (given, skip, sums_of) = (Shared::of(given), Shared::of(skip), Shared::of(sums));
    (0..height).into_par_iter().for_each(|y| {
        let task = GatherTask { all: gathered, beyond, y, skip, given, sums: sums_of };
        // SAFETY: the processor has the level's instructions; buffers are as large as the sides and
        // channels say; each task writes to a row of its own.
        unsafe { at_level!(level, gather_row, &task, GatherTask<'_>) }
    });
    let mut totals = (vec![0.0; channels], vec![0.0; channels]);
    for row in sums[..2 * height * channels].chunks_exact(2 * channels) {
        let (first, second) = row.split_at(channels);
        totals.0.iter_mut().zip(first).for_each(|(to, value)| *to += f64::from(*value));
        totals.1.iter_mut().zip(second).for_each(|(to, value)| *to += f64::from(*value));
    }
    Ok(totals)
}

#[inline(always)]
unsafe fn gather_row<S: Simd, const ROWS: usize>(task: &GatherTask<'_>) {
    let Gathered { behind, sides, channels, relu, skips, keeps, .. } = task.all;
    let (width, channels) = (sides.1, *channels);
    let first = task.y * width * channels;
    for c in (0..channels).step_by(S::LANES) {
        let load = |of: &[f32]| S::load(of.as_ptr().add(c));
        let (scale, shift) = (load(task.all.scale), load(task.all.shift));
        let (factor, offset) = (load(task.all.normal.0), load(task.all.normal.1));
        let (mut sum, mut product) = (S::zero(), S::zero());
        for x in 0..width {
            let mut gradient = S::zero();
            for &row in behind.rows.to(task.y) {
                for &column in behind.columns.to(x) {
                    let at = (row * behind.width + column) * channels + c;
                    gradient = gradient.add(S::load(task.beyond.as_ptr().add(at)));
                }
            }
            let at = first + x * channels + c;
            if *skips {
                gradient = gradient.add(S::load(task.skip.at(at)));
            }
            if *keeps {
                gradient.store(task.skip.at(at));
            }
            let z = S::load(task.all.z.as_ptr().add(at));
            if *relu {
                gradient = gradient.where_positive(z.mul_add(scale, shift));
            }
            gradient.store(task.given.at(at));
            sum = sum.add(gradient);
            product = gradient.mul_add(z.mul_add(factor, offset), product);
        }
        sum.store(task.sums.at(2 * task.y * channels + c));
        product.store(task.sums.at((2 * task.y + 1) * channels + c));
    }
}

/// A norm in the backward pass.
struct NormBack<'a> {
    sides: (usize, usize),
    channels: usize,
    /// Input of the norm.
    z: &'a [f32],
    /// Its scale and shift without weight and bias.
    normal: (&'a [f32], &'a [f32]),
    weight: &'a [f32],
    /// Gradients with respect to its weight, bias and output.
    of_weight: &'a [f64],
    of_bias: &'a [f64],
    given: &'a [f32],
    /// Whether the four phases of each 2×2 pixels are written as channels of one pixel.
    phases: bool,
}

/// One row: `given · a + z · b + c`.
struct NormTask<'a> {
    all: &'a NormBack<'a>,
    factors: &'a [Vec<f32>; 3],
    y: usize,
    to: Shared,
}

/// Computes the gradient with respect to a convolution's output from that with respect to the output of the
/// instance norm that follows it.
fn through_norm(norm: &NormBack<'_>, level: Level, to: &mut Vec<f32>) -> Result<(), PaintError> {
    let ((height, width), channels) = (norm.sides, norm.channels);
    let count = height * width * channels;
    room(to, count, 0.0)?;
    assert!(norm.z.len() >= count && norm.given.len() >= count);
    // With the normalized values ẑ = z · factor + shift, over N pixels:
    // weight · factor · (given − Σ given / N − ẑ · Σ (given · ẑ) / N).
    let pixels = (height * width) as f64;
    let mut factors = [const { Vec::new() }; 3];
    for c in 0..channels {
        let (factor, shift) = (f64::from(norm.normal.0[c]), f64::from(norm.normal.1[c]));
        let all = f64::from(norm.weight[c]) * factor;
        let tilt = norm.of_weight[c] / pixels;
        factors[0].push(all as f32);
        factors[1].push((-all * tilt * factor) as f32);
        factors[2].push((-all * (norm.of_bias[c] / pixels + tilt * shift)) as f32);
    }
    let to = Shared::of(to);
    (0..height).into_par_iter().for_each(|y| {
        let task = NormTask { all: norm, factors: &factors, y, to };
        // SAFETY: as in `gather`.
        unsafe { at_level!(level, norm_row, &task, NormTask<'_>) }
    });
    Ok(())
}

#[inline(always)]
unsafe fn norm_row<S: Simd, const ROWS: usize>(task: &NormTask<'_>) {
    let NormBack { sides, channels, z, given, phases, .. } = *task.all;
    let width = sides.1;
    let first = task.y * width * channels;
    for c in (0..channels).step_by(S::LANES) {
        let [a, b, shift] = [0, 1, 2].map(|n: usize| S::load(task.factors[n].as_ptr().add(c)));
        for x in 0..width {
            let at = first + x * channels + c;
            let z = S::load(z.as_ptr().add(at));
            let value = S::load(given.as_ptr().add(at)).mul_add(a, z.mul_add(b, shift));
            let to = if phases {
                let pixel = task.y / 2 * (width / 2) + x / 2;
                (4 * pixel + task.y % 2 * 2 + x % 2) * channels + c
            } else {
                at
            };
            value.store(task.to.at(to));
        }
    }
}
