//! The loss network in our own kernels, with tensors as input and output.

#[cfg(target_arch = "x86_64")]
pub(super) use kernels::{Passes, VggKernels};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use none::{Passes, VggKernels};

#[cfg(target_arch = "x86_64")]
mod kernels {
    use tch::{TchError, Tensor};

    use crate::engine::architecture::Padding;
    use crate::engine::device::tensor::{self, UniqueTensor};
    use crate::engine::kernels::Level;
    use crate::engine::kernels::executor::PaintError;
    use crate::engine::kernels::features::{FeatureNetwork, LayerWeights, Pass};
    use crate::engine::threads;

    /// VGG16 in kernels; layers by their number.
    #[derive(Debug)]
    pub(in crate::train) struct VggKernels(FeatureNetwork);

    /// What the backward pass needs, for each picture of a batch.
    #[derive(Debug)]
    pub(in crate::train) struct Passes {
        each: Vec<Pass>,
        /// Batch × 3 × height × width.
        shape: [i64; 4],
    }

    impl VggKernels {
        /// From convolutions in single precision: weight, bias, and whether a max pooling precedes. None if
        /// the processor lacks the instructions that the kernels need.
        pub(in crate::train) fn new(
            convolutions: &[(Tensor, Tensor, bool)],
            padding: Padding,
        ) -> Result<Option<Self>, TchError> {
            let Some(level) = Level::available().into_iter().next() else { return Ok(None) };
            let values = |t: &Tensor| tensor::copied::<f32>(&t.f_contiguous()?);
            let mut all = Vec::with_capacity(convolutions.len());
            for (weight, bias, pools) in convolutions {
                all.push((values(weight)?, values(bias)?, *pools));
            }
            let layers = all.iter();
            let layers =
                layers.map(|(weight, bias, pools)| LayerWeights { weight, bias, pools: *pools });
            let layers: Vec<_> = layers.collect();
            Ok(FeatureNetwork::new(&layers, padding, level).map(VggKernels))
        }

        /// Whether a picture of this size is large enough for a layer.
        pub(in crate::train) fn reaches(&self, layer: usize, height: i64, width: i64) -> bool {
            let size = (usize::try_from(height).unwrap_or(0), usize::try_from(width).unwrap_or(0));
            let (height, width) = self.0.sides(layer, size);
            height > 0 && width > 0
        }

        /// Features of `x` (batch × 3 × height × width, single precision, the mean subtracted) at
        /// layers, as batch × height × width × channels; the Gram matrices of layers, batch × channels ×
        /// channels, as sums over the pixels; and what [`backward`](Self::backward) takes if it is to be
        /// `kept`.
        pub(in crate::train) fn forward(
            &self,
            x: &Tensor,
            wanted: &[usize],
            grams: &[usize],
            kept: bool,
        ) -> Result<(Vec<Tensor>, Vec<Tensor>, Passes), TchError> {
            let (batch, colors, height, width) = x.size4()?;
            // Lossless: lengths of a tensor.
            let size = (height as usize, width as usize);
            let mut features = Vec::with_capacity(wanted.len());
            for &layer in wanted {
                let (height, width) = self.0.sides(layer, size);
                let shape = [batch, height as i64, width as i64, self.0.channels(layer) as i64];
                features.push(UniqueTensor::<f32>::new(&shape)?);
            }
            let mut matrices = Vec::with_capacity(grams.len());
            for &layer in grams {
                let channels = self.0.channels(layer) as i64;
                matrices.push(UniqueTensor::<f32>::new(&[batch, channels, channels])?);
            }
            let x = x.f_contiguous()?;
            let mut picture = vec![0.0; 3 * size.0 * size.1];
            let mut passes = Passes { each: Vec::new(), shape: [batch, colors, height, width] };
            for n in 0..batch as usize {
                tensor::copy(&x, n * picture.len(), &mut picture)?;
                let part = |tensor: &mut UniqueTensor<f32>| {
                    let all = tensor.numbers();
                    let one = all.len() / batch as usize;
                    n * one..(n + 1) * one
                };
                let features = features.iter_mut().zip(wanted);
                let mut to: Vec<_> = features
                    .map(|(features, &layer)| {
                        let part = part(features);
                        (layer, &mut features.numbers()[part])
                    })
                    .collect();
                let matrices = matrices.iter_mut().zip(grams);
                let mut of_grams: Vec<_> = matrices
                    .map(|(matrix, &layer)| {
                        let part = part(matrix);
                        (layer, &mut matrix.numbers()[part])
                    })
                    .collect();
                let count = threads::count();
                let pass = self.0.forward(&picture, size, &mut to, &mut of_grams, kept, count);
                let pass = pass.map_err(|error| failed(&error))?;
                match kept {
                    true => passes.each.push(pass),
                    false => self.0.recycle(pass),
                }
            }
            let tensors = |all: Vec<UniqueTensor<f32>>| {
                all.into_iter().map(UniqueTensor::into_tensor).collect::<Vec<_>>()
            };
            Ok((tensors(features), tensors(matrices), passes))
        }

        /// The gradient for `x` of gradients for features at layers, each as
        /// [`forward`](Self::forward) gave the features, and for Gram matrices at layers, each added to
        /// itself transposed.
        pub(in crate::train) fn backward(
            &self,
            passes: Passes,
            gradients: &[(usize, Tensor)],
            grams: &[(usize, Tensor)],
        ) -> Result<Tensor, TchError> {
            let Passes { each, shape } = passes;
            let mut result = UniqueTensor::<f32>::new(&shape)?;
            let mut given = Vec::with_capacity(gradients.len() + grams.len());
            for (layer, gradient) in gradients.iter().chain(grams) {
                given.push((*layer, gradient.f_contiguous()?));
            }
            let picture = (shape[1] * shape[2] * shape[3]) as usize;
            let mut numbers: Vec<Vec<f32>> = vec![Vec::new(); given.len()];
            for (n, mut pass) in each.into_iter().enumerate() {
                for ((_, gradient), numbers) in given.iter().zip(&mut numbers) {
                    let one = gradient.numel() / shape[0] as usize;
                    numbers.resize(one, 0.0);
                    tensor::copy(gradient, n * one, numbers)?;
                }
                let layers = given.iter().zip(&numbers);
                let layers: Vec<_> = layers.map(|((n, _), g)| (*n, g.as_slice())).collect();
                let (layers, of_grams) = layers.split_at(gradients.len());
                let out = &mut result.numbers()[n * picture..][..picture];
                let done = self.0.backward(&mut pass, layers, of_grams, out, threads::count());
                self.0.recycle(pass);
                done.map_err(|error| failed(&error))?;
            }
            Ok(result.into_tensor())
        }
    }

    fn failed(error: &PaintError) -> TchError {
        TchError::Torch(error.to_string())
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod none {
    use tch::{TchError, Tensor};

    use crate::engine::architecture::Padding;

    /// There are no kernels for this processor.
    #[derive(Debug)]
    pub(in crate::train) enum VggKernels {}

    #[derive(Debug)]
    pub(in crate::train) enum Passes {}

    impl VggKernels {
        pub(in crate::train) fn new(
            _: &[(Tensor, Tensor, bool)],
            _: Padding,
        ) -> Result<Option<Self>, TchError> {
            Ok(None)
        }

        pub(in crate::train) fn reaches(&self, _: usize, _: i64, _: i64) -> bool {
            match *self {}
        }

        pub(in crate::train) fn forward(
            &self,
            _: &Tensor,
            _: &[usize],
            _: &[usize],
            _: bool,
        ) -> Result<(Vec<Tensor>, Vec<Tensor>, Passes), TchError> {
            match *self {}
        }

        pub(in crate::train) fn backward(
            &self,
            _: Passes,
            _: &[(usize, Tensor)],
            _: &[(usize, Tensor)],
        ) -> Result<Tensor, TchError> {
            match *self {}
        }
    }
}
