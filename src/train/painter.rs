//! Forward and backward pass of a network in training: in our own kernels where they support it, otherwise in
//! libtorch.

use tch::{TchError, Tensor};

use super::network::TrainNetwork;
#[cfg(target_arch = "x86_64")]
use kernels::{Kernels, Passes};
#[cfg(not(target_arch = "x86_64"))]
use none::{Kernels, Passes};

/// Buffers of finished passes, to be reused by the next ones.
#[derive(Debug, Default)]
pub(super) struct Idle(#[cfg(target_arch = "x86_64")] kernels::Idle);

/// Runs a network with the weights it has when this is created. Gradients are added to the network's parameters
/// by [`finish`](Painter::finish) at the latest.
#[derive(Debug)]
pub(super) struct Painter<'a> {
    network: &'a TrainNetwork,
    kernels: Option<Kernels<'a>>,
}

/// Painted pictures: a loss of `y` gives gradients, which [`Painter::back`] takes on.
#[derive(Debug)]
pub(super) struct Painting {
    pub(super) y: Tensor,
    /// Input of the network's first residual block, batch × channels × height × width, if it has one. It may be
    /// part of the loss, too.
    pub(super) middle: Option<Tensor>,
    own: Option<Own>,
}

/// Pictures that kernels painted.
#[derive(Debug)]
struct Own {
    /// Output of the last convolution: a leaf of the graph.
    made: Tensor,
    /// The middle with channels innermost: a leaf, too.
    middle: Option<Tensor>,
    passes: Passes,
}

impl<'a> Painter<'a> {
    /// # Errors
    /// When libtorch fails, or memory is short.
    pub(super) fn new(network: &'a TrainNetwork, idle: &'a Idle) -> Result<Self, TchError> {
        Ok(Painter { network, kernels: Kernels::new(network, idle)? })
    }

    /// In libtorch, whatever kernels there are: to compare with.
    #[cfg(test)]
    pub(super) fn in_torch(network: &'a TrainNetwork) -> Self {
        Painter { network, kernels: None }
    }

    /// Paints pictures as [`TrainNetwork::forward`].
    ///
    /// # Errors
    /// When libtorch fails, or memory is short.
    pub(super) fn paint(&self, x: &Tensor, style: usize) -> Result<Painting, TchError> {
        let Some(kernels) = self.kernels.as_ref().filter(|_| Kernels::take(x)) else {
            let (y, middle) = self.network.forward_with_middle(x, style)?;
            return Ok(Painting { y, middle, own: None });
        };
        let (made, middle, passes) = kernels.forward(&self.network.seen(x)?, style)?;
        let made = made.f_set_requires_grad(true)?;
        let leaf = middle.map(|middle| middle.f_set_requires_grad(true)).transpose()?;
        let middle = leaf.as_ref().map(|leaf| leaf.f_permute([0, 3, 1, 2])).transpose()?;
        let y = self.network.shown(&made)?;
        Ok(Painting { y, middle, own: Some(Own { made, middle: leaf, passes }) })
    }

    /// Paints pictures without gradients. Returns the painting, and the middle as [`Painting`] has it.
    ///
    /// # Errors
    /// When libtorch fails, or memory is short.
    pub(super) fn paint_only(
        &self,
        x: &Tensor,
        style: usize,
    ) -> Result<(Tensor, Option<Tensor>), TchError> {
        let Painting { y, middle, own } = tch::no_grad(|| self.paint(x, style))?;
        if let (Some(kernels), Some(own)) = (&self.kernels, own) {
            kernels.recycle(own.passes);
        }
        let middle = middle.map(|middle| middle.f_detach()).transpose()?;
        Ok((y.f_detach()?, middle))
    }

    /// Takes gradients that have been added to what was painted on towards the parameters.
    ///
    /// # Errors
    /// When libtorch fails, or memory is short.
    pub(super) fn back(&mut self, painting: Painting) -> Result<(), TchError> {
        match (&mut self.kernels, painting.own) {
            (Some(kernels), Some(own)) => {
                let middle = own.middle.map(|leaf| leaf.f_grad()).transpose()?;
                let middle = middle.filter(Tensor::defined);
                kernels.backward(own.passes, &own.made.f_grad()?, middle.as_ref())
            }
            _ => Ok(()),
        }
    }

    /// Adds all gradients to the parameters' own.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(super) fn finish(self) -> Result<(), TchError> {
        self.kernels.map_or(Ok(()), |kernels| kernels.finish(self.network))
    }
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    use tch::{Device, Kind, TchError, Tensor};

    use crate::engine::architecture::Layer;
    use crate::engine::device::cpu_has_matrices;
    use crate::engine::device::tensor::{self, UniqueTensor};
    use crate::engine::kernels::Level;
    use crate::engine::kernels::executor::PaintError;
    use crate::engine::kernels::training::{
        ConvolutionWeights, LayerGradient, NormWeights, Pass, TrainingNetwork, WHOLE,
    };
    use crate::engine::threads;
    use crate::train::network::TrainNetwork;

    pub(in crate::train) type Idle = Mutex<Vec<Pass>>;

    #[derive(Debug)]
    pub(super) struct Kernels<'a> {
        network: TrainingNetwork,
        /// Of each style, of each layer with a norm.
        norms: Vec<Vec<NormWeights>>,
        idle: &'a Idle,
        /// By style.
        gradients: BTreeMap<usize, Vec<LayerGradient>>,
    }

    /// Of each picture of a batch.
    #[derive(Debug)]
    pub(super) struct Passes {
        each: Vec<Pass>,
        style: usize,
    }

    impl<'a> Kernels<'a> {
        /// None where kernels lack something that the network needs, or would be slower.
        pub(super) fn new(
            network: &TrainNetwork,
            idle: &'a super::Idle,
        ) -> Result<Option<Self>, TchError> {
            let Some(level) = Level::available().into_iter().next() else { return Ok(None) };
            let architecture = network.architecture();
            let ours = match network.kind() {
                Kind::Float => true,
                // In single precision, and faster than libtorch in bf16, but where the CPU multiplies
                // matrices of it.
                Kind::BFloat16 => !cpu_has_matrices(),
                _ => false,
            };
            let on_cpu = network.parameters().iter().all(|p| p.device() == Device::Cpu);
            if !ours || !on_cpu || !TrainingNetwork::supports(architecture, level) {
                return Ok(None);
            }
            let values = |t: &Tensor| tensor::copied::<f32>(&t.f_detach()?.f_contiguous()?);
            let mut weights = Vec::new();
            let mut norms = vec![Vec::new(); architecture.styles.max(1)];
            for layer in network.layers() {
                let [weight, bias] = network.convolution(layer)?;
                weights.push(ConvolutionWeights { weight: values(weight)?, bias: values(bias)? });
                let Some([weight, bias]) = network.norm_of(layer)? else { continue };
                for (style, norms) in norms.iter_mut().enumerate() {
                    let of = |t: &Tensor| values(&row(t, style)?);
                    norms.push((of(weight)?, of(bias)?));
                }
            }
            let network = TrainingNetwork::new(architecture, &weights, level, threads::count());
            let network = network.map_err(|error| failed(&error))?;
            Ok(Some(Kernels { network, norms, idle: &idle.0, gradients: BTreeMap::new() }))
        }

        /// Whether kernels paint such pictures.
        pub(super) fn take(x: &Tensor) -> bool {
            let size = x.size();
            size[size.len().saturating_sub(2)..].iter().all(|side| side % WHOLE as i64 == 0)
        }

        /// Output of the last convolution for `x`, batch × 3 × height × width in single precision, and the
        /// input of the first residual block, batch × height × width × channels.
        pub(super) fn forward(
            &self,
            x: &Tensor,
            style: usize,
        ) -> Result<(Tensor, Option<Tensor>, Passes), TchError> {
            let (batch, colors, height, width) = x.size4()?;
            let x = x.f_contiguous()?;
            let mut result = UniqueTensor::<f32>::new(&[batch, colors, height, width])?;
            // Lossless: lengths of a tensor.
            let size = (height as usize, width as usize);
            let mut picture = vec![0.0; 3 * size.0 * size.1];
            let mut each = Vec::new();
            for n in 0..batch as usize {
                tensor::copy(&x, n * picture.len(), &mut picture)?;
                let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut pass = idle.unwrap_or_default();
                let out = &mut result.numbers()[n * picture.len()..][..picture.len()];
                let norms = &self.norms[style];
                let count = threads::count();
                let done = self.network.forward(&picture, size, norms, out, &mut pass, count);
                done.map_err(|error| failed(&error))?;
                each.push(pass);
            }
            let mut middles = Vec::with_capacity(each.len());
            for pass in &each {
                let Some(middle) = pass.middle() else { continue };
                let (height, width, channels) = pass.middle_shape();
                let shape = [height as i64, width as i64, channels as i64];
                middles.push(Tensor::f_from_slice(middle)?.f_reshape(shape)?);
            }
            let middle = (!middles.is_empty()).then(|| Tensor::f_stack(&middles, 0)).transpose()?;
            Ok((result.into_tensor(), middle, Passes { each, style }))
        }

        /// Takes back the buffers of passes without a backward pass.
        pub(super) fn recycle(&self, Passes { each, .. }: Passes) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(each);
        }

        /// Adds the gradients with respect to the parameters. `gradient` and `middle`: with respect to the
        /// outputs of [`forward`](Self::forward).
        pub(super) fn backward(
            &mut self,
            Passes { each, style }: Passes,
            gradient: &Tensor,
            middle: Option<&Tensor>,
        ) -> Result<(), TchError> {
            let gradient = gradient.f_contiguous()?;
            let middle = middle.map(Tensor::f_contiguous).transpose()?;
            let one = gradient.numel() / each.len().max(1);
            let mut numbers = vec![0.0; one];
            let in_middle = middle.as_ref().map_or(0, Tensor::numel) / each.len().max(1);
            let mut of_middle = vec![0.0; in_middle];
            let to = self.gradients.entry(style).or_insert_with(|| self.network.gradients());
            for (n, mut pass) in each.into_iter().enumerate() {
                tensor::copy(&gradient, n * one, &mut numbers)?;
                if let Some(middle) = &middle {
                    tensor::copy(middle, n * in_middle, &mut of_middle)?;
                }
                let middle = middle.is_some().then_some(of_middle.as_slice());
                let (norms, count) = (&self.norms[style], threads::count());
                let done = self.network.backward(&mut pass, norms, &numbers, middle, to, count);
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(pass);
                done.map_err(|error| failed(&error))?;
            }
            Ok(())
        }

        /// Adds all gradients to the parameters' own.
        pub(super) fn finish(self, network: &TrainNetwork) -> Result<(), TchError> {
            for (style, gradients) in self.gradients {
                for (layer, gradient) in network.layers().iter().zip(gradients) {
                    let [weight, bias] = network.convolution(layer)?;
                    add(weight, &weight_shaped(layer, &gradient.weight)?)?;
                    let Some([factor, shift]) = network.norm_of(layer)? else {
                        add(bias, &Tensor::f_from_slice(&gradient.bias)?)?;
                        continue;
                    };
                    // A norm takes the bias before it away.
                    add(bias, &bias.f_detach()?.f_zeros_like()?)?;
                    add(&row(factor, style)?, &Tensor::f_from_slice(&gradient.norm.0)?)?;
                    add(&row(shift, style)?, &Tensor::f_from_slice(&gradient.norm.1)?)?;
                }
            }
            Ok(())
        }
    }

    /// A style's part of a norm's parameter.
    fn row(parameter: &Tensor, style: usize) -> Result<Tensor, TchError> {
        match parameter.dim() {
            2 => parameter.f_select(0, style as i64),
            _ => Ok(parameter.shallow_clone()),
        }
    }

    /// Adds to a parameter's gradient: that of its product with a constant is the constant.
    fn add(parameter: &Tensor, gradient: &Tensor) -> Result<(), TchError> {
        parameter.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()
    }

    /// A gradient for weights, from the kernels' order.
    fn weight_shaped(layer: &Layer, gradient: &[f32]) -> Result<Tensor, TchError> {
        let (size, (inputs, outputs)) = (layer.size, layer.channels);
        let gradient = Tensor::f_from_slice(gradient)?;
        match layer.norm {
            Some(_) => gradient.f_reshape([size, size, inputs, outputs])?.f_permute([3, 2, 0, 1]),
            None => gradient.f_reshape([size, size, outputs, inputs])?.f_permute([2, 3, 0, 1]),
        }
    }

    fn failed(error: &PaintError) -> TchError {
        TchError::Torch(error.to_string())
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod none {
    use std::marker::PhantomData;

    use tch::{TchError, Tensor};

    use crate::train::network::TrainNetwork;

    /// There are none for this processor.
    #[derive(Debug)]
    pub(super) enum Never {}

    #[derive(Debug)]
    pub(super) struct Kernels<'a>(Never, PhantomData<&'a ()>);

    #[derive(Debug)]
    pub(super) struct Passes(Never);

    impl<'a> Kernels<'a> {
        pub(super) fn new(_: &TrainNetwork, _: &'a super::Idle) -> Result<Option<Self>, TchError> {
            Ok(None)
        }

        pub(super) fn take(_: &Tensor) -> bool {
            false
        }

        pub(super) fn forward(
            &self,
            _: &Tensor,
            _: usize,
        ) -> Result<(Tensor, Option<Tensor>, Passes), TchError> {
            match self.0 {}
        }

        pub(super) fn recycle(&self, passes: Passes) {
            match passes.0 {}
        }

        pub(super) fn backward(
            &mut self,
            passes: Passes,
            _: &Tensor,
            _: Option<&Tensor>,
        ) -> Result<(), TchError> {
            match passes.0 {}
        }

        pub(super) fn finish(self, _: &TrainNetwork) -> Result<(), TchError> {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::engine::architecture::{self, Architecture, OutputLayer, Padding};
    use crate::train::random::generator;

    /// Random numbers from 0 to 1, the same in every run.
    fn random(shape: &[i64], index: u64) -> Tensor {
        let mut random = generator(3, "a test of painters", index);
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|_: i64| random.f32()).collect();
        Tensor::from_slice(&numbers).reshape(shape)
    }

    /// Length of the difference over that of `b`.
    fn apart(a: &Tensor, b: &Tensor) -> f64 {
        let length = |t: &Tensor| t.to_kind(Kind::Double).square().sum(Kind::Double);
        (length(&(a - b)) / length(b)).sqrt().double_value(&[])
    }

    /// What is painted, and all parameters' gradients in a row. Biases before norms are left out: their
    /// gradients are zero but for rounding.
    fn both(
        network: &TrainNetwork,
        mut painter: Painter<'_>,
        x: &Tensor,
        style: usize,
    ) -> [Tensor; 2] {
        let painting = painter.paint(x, style).unwrap();
        let y = painting.y.detach();
        // Any loss whose gradient is another one at each place.
        let weight = (x * 7.7).sin();
        let mut loss = (&painting.y * weight).sum(Kind::Float);
        if let Some(middle) = &painting.middle {
            // As much as the picture's part.
            loss += (middle * (middle.detach() * 3.3).cos()).sum(Kind::Float) * 30;
        }
        loss.backward();
        painter.back(painting).unwrap();
        painter.finish().unwrap();
        let mut all = Vec::new();
        for layer in network.layers() {
            let [weight, bias] = network.convolution(layer).unwrap();
            all.push(weight.grad());
            match network.norm_of(layer).unwrap() {
                Some(norm) => all.extend(norm.map(Tensor::grad)),
                None => all.push(bias.grad()),
            }
        }
        let all: Vec<_> = all.iter().map(|gradient| gradient.flatten(0, -1)).collect();
        let all = Tensor::cat(&all, 0);
        for parameter in network.parameters() {
            parameter.shallow_clone().zero_grad();
        }
        [y, all]
    }

    /// Gradients differ by rounding alone, unless what a ReLU sees is so near to zero that one rounding has
    /// it positive and the other not. Of some pictures most have no such place that counts.
    #[test]
    fn kernels_give_libtorchs_pictures_and_gradients() {
        let johnson = Architecture {
            widths: vec![16, 32, 48],
            residual_blocks: 2,
            ..Architecture::default()
        };
        let kind = architecture::NetworkKind::Lite;
        let lite = Architecture {
            kind,
            widths: vec![16, 48],
            residual_blocks: 3,
            ..Architecture::default()
        };
        let zero = |architecture: &Architecture| Architecture {
            padding: Padding::Zero,
            ..architecture.clone()
        };
        for architecture in [
            johnson.clone(),
            lite.clone(),
            zero(&johnson),
            zero(&lite),
            Architecture { residual_blocks: 0, ..johnson.clone() },
            Architecture { output: OutputLayer::Tanh, luminance: true, ..johnson.clone() },
            Architecture { styles: 2, ..lite.clone() },
        ] {
            let (styles, case) = (architecture.styles, architecture.to_string());
            let style = styles.saturating_sub(1);
            let network = TrainNetwork::random(architecture, 3, Device::Cpu, Kind::Float).unwrap();
            // No norm's weight is 1 and no bias 0 for long.
            let _guard = tch::no_grad_guard();
            for (n, parameter) in network.parameters().iter().enumerate() {
                let some = random(&parameter.size(), n as u64) * 0.1;
                let _ = parameter.shallow_clone().f_add_(&some).unwrap();
            }
            drop(_guard);
            let idle = Idle::default();
            // Wider than a band of tiles, and as small as can be.
            for (height, width) in [(36, 52), (128, 140), (8, 16)] {
                // Few pixels have hardly a deviation, by which the norm divides.
                let few = height == 8;
                let (far, least, most) = if few { (1e-3, 0.05, 0.5) } else { (1e-4, 1e-3, 0.1) };
                let mut all = Vec::new();
                for n in 0..3 {
                    let x = random(&[2, 3, height, width], 100 + n) * 255;
                    let painter = Painter::new(&network, &idle).unwrap();
                    assert!(painter.kernels.is_some());
                    let [y, ours] = both(&network, painter, &x, style);
                    let [expected, theirs] = both(&network, Painter::in_torch(&network), &x, style);
                    let error = apart(&y, &expected);
                    assert!(error < far, "{case} {height}×{width}: pictures {error:e}");
                    all.push(apart(&ours, &theirs));
                }
                all.sort_by(f64::total_cmp);
                assert!(
                    all[0] < least && all[2] < most,
                    "{case} {height}×{width}: gradients {all:?}"
                );
            }
        }
    }

    #[test]
    fn gradients_are_the_same_with_any_number_of_threads() {
        let network = TrainNetwork::random(
            Architecture {
                widths: vec![16, 16, 32],
                residual_blocks: 1,
                ..Architecture::default()
            },
            3,
            Device::Cpu,
            Kind::Float,
        )
        .unwrap();
        let x = Tensor::rand([1, 3, 64, 72], (Kind::Float, Device::Cpu)) * 255;
        let idle = Idle::default();
        let before = tch::get_num_threads();
        let of = |threads| {
            tch::set_num_threads(threads);
            both(&network, Painter::new(&network, &idle).unwrap(), &x, 0)[1].copy()
        };
        let (one, three) = (of(1), of(3));
        tch::set_num_threads(before);
        assert_eq!(one, three);
    }
}
