//! The loss network: VGG16 up to relu4_3 (Simonyan and Zisserman 2014). It measures pictures and is never
//! trained.
//!
//! Two releases are known. The Caffe one, shipped: BGR 0–255 minus a mean. torchvision's: RGB 0–1,
//! minus a mean, over a deviation. Order of channels and scale are folded into the first
//! convolution as it is loaded, so both take the same input here: RGB 0–255.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

use super::features::{Passes, VggKernels};
use crate::engine::architecture::Padding;
use crate::engine::device::cpu_has_matrices;
use crate::engine::model_file::{DType, ModelError, RawTensor, read_state_dict};
use crate::engine::{channels_last, padded, shipped};

/// Convolutions in their order, by the name of the Caffe release, with torchvision's number.
const CONVOLUTIONS: [(Layer, &str, u32, [i64; 2]); 10] = [
    (Layer::Relu1_1, "conv1_1", 0, [64, 3]),
    (Layer::Relu1_2, "conv1_2", 2, [64, 64]),
    (Layer::Relu2_1, "conv2_1", 5, [128, 64]),
    (Layer::Relu2_2, "conv2_2", 7, [128, 128]),
    (Layer::Relu3_1, "conv3_1", 10, [256, 128]),
    (Layer::Relu3_2, "conv3_2", 12, [256, 256]),
    (Layer::Relu3_3, "conv3_3", 14, [256, 256]),
    (Layer::Relu4_1, "conv4_1", 17, [512, 256]),
    (Layer::Relu4_2, "conv4_2", 19, [512, 512]),
    (Layer::Relu4_3, "conv4_3", 21, [512, 512]),
];

/// A place in VGG16 where features are taken: after a convolution and its ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names of the field
pub enum Layer {
    Relu1_1,
    Relu1_2,
    Relu2_1,
    Relu2_2,
    Relu3_1,
    Relu3_2,
    Relu3_3,
    Relu4_1,
    Relu4_2,
    Relu4_3,
}

impl Layer {
    /// Every layer, from the first to the last.
    pub fn all() -> impl Iterator<Item = Self> {
        CONVOLUTIONS.iter().map(|c| c.0)
    }

    /// Channels of its features.
    pub fn channels(self) -> i64 {
        CONVOLUTIONS[self as usize].3[0]
    }

    /// Number of halvings: the sides of its features are those of the picture divided by 2 this many times,
    /// rounded down each time.
    pub fn halvings(self) -> u32 {
        CONVOLUTIONS.iter().filter(|c| c.0 <= self && pools_before(c.0)).count() as u32
    }
}

impl fmt::Display for Layer {
    /// `relu2_2`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&CONVOLUTIONS[*self as usize].1.replace("conv", "relu"))
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::all().find(|layer| layer.to_string() == text);
        found.ok_or_else(|| format!("'{text}' is not a layer: expected relu1_1 to relu4_3"))
    }
}

/// Whether a max pooling precedes the layer: for the first layer of every block but the first.
fn pools_before(layer: Layer) -> bool {
    matches!(layer, Layer::Relu2_1 | Layer::Relu3_1 | Layer::Relu4_1)
}

/// Which training the weights come from. The scale of the features differs, so losses measured with different
/// releases cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// `VGG_ILSVRC_16_layers`: what the papers used. Shipped.
    Caffe,
    /// `vgg16` of torchvision, `IMAGENET1K_V1`.
    Torchvision,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caffe => "the Caffe release",
            Self::Torchvision => "torchvision's",
        })
    }
}

/// Why a loss network cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum VggError {
    /// The file cannot be read, or is no file of tensors.
    #[error(transparent)]
    File(#[from] ModelError),
    /// It is not a VGG16.
    #[error(
        "'{file}' is not a VGG16: {reason}; expected the Caffe release as safetensors, or torchvision's state dict (vgg16-397923af.pth)"
    )]
    NotVgg {
        /// The file.
        file: String,
        /// What is missing or has the wrong shape.
        reason: String,
    },
    /// libtorch failed, as for want of memory.
    #[error("cannot load the loss network: {0}")]
    Torch(#[from] TchError),
}

/// VGG16 on a device, its weights constant.
#[derive(Debug)]
pub struct Vgg {
    convolutions: Vec<(Layer, Tensor, Tensor)>,
    /// Mean of the pictures it was trained on, RGB 0–255: 1 × 3 × 1 × 1.
    mean: Tensor,
    release: Release,
    kind: Kind,
    padding: Padding,
    /// Our own kernels, built on first use; none if the processor lacks the instructions.
    kernels: Option<OnceLock<Option<VggKernels>>>,
}

/// Features for a loss whose gradients are passed [back](Measured::gradient) to the pictures.
#[derive(Debug)]
pub struct Measured<'a> {
    /// As [`Vgg::features`] gives them; leaves of a graph.
    pub features: Vec<Tensor>,
    /// Gram matrices, batch × channels × channels: sums over the pixels; leaves, too.
    pub grams: Vec<Tensor>,
    /// The features with channels innermost, and the number of their layers.
    leaves: Vec<(usize, Tensor)>,
    /// Layers of the Gram matrices.
    gram_layers: Vec<usize>,
    kernels: &'a VggKernels,
    passes: Passes,
}

impl Measured<'_> {
    /// The gradient for the pictures, of the shape of those: of what has been added to the
    /// own gradients of features and Gram matrices.
    ///
    /// # Errors
    /// When libtorch fails, or memory is short.
    pub fn gradient(self) -> Result<Tensor, TchError> {
        let mut given = Vec::with_capacity(self.leaves.len());
        for (layer, leaf) in &self.leaves {
            let gradient = leaf.f_grad()?;
            if gradient.defined() {
                given.push((*layer, gradient));
            }
        }
        let mut of_grams = Vec::with_capacity(self.grams.len());
        for (layer, gram) in self.gram_layers.iter().zip(&self.grams) {
            let gradient = gram.f_grad()?;
            if gradient.defined() {
                of_grams.push((*layer, gradient.f_add(&gradient.f_transpose(1, 2)?)?));
            }
        }
        self.kernels.backward(self.passes, &given, &of_grams)
    }
}

impl Vgg {
    /// The shipped one.
    ///
    /// # Errors
    /// [`VggError`].
    pub fn shipped(device: Device, kind: Kind) -> Result<Self, VggError> {
        let shipped = shipped::find("vgg16").map(|s| (s.file, s.bytes));
        let (file, bytes) = shipped.unwrap_or(("vgg16.safetensors", &[]));
        Self::from_bytes(file, bytes, device, kind)
    }

    /// From a file: safetensors with the Caffe names (`conv1_1.weight`), or torchvision's state
    /// dict (`features.0.weight`), as safetensors or as PyTorch saves it.
    ///
    /// # Errors
    /// [`VggError`].
    pub fn open(path: &Path, device: Device, kind: Kind) -> Result<Self, VggError> {
        let file = path.display().to_string();
        let bytes =
            std::fs::read(path).map_err(|error| ModelError::Read { file: file.clone(), error })?;
        Self::from_bytes(&file, &bytes, device, kind)
    }

    fn from_bytes(file: &str, bytes: &[u8], device: Device, kind: Kind) -> Result<Self, VggError> {
        let tensors = match SafeTensors::deserialize(bytes) {
            Ok(tensors) => from_safetensors(&tensors),
            Err(_) => read_state_dict(file, bytes)?,
        };
        let not = |reason| VggError::NotVgg { file: file.to_owned(), reason };
        let release = if tensors.contains_key("conv1_1.weight") {
            Release::Caffe
        } else if tensors.contains_key("features.0.weight") {
            Release::Torchvision
        } else {
            return Err(not("it has no 'conv1_1.weight' and no 'features.0.weight'".to_owned()));
        };
        let get = |name: &str, shape: &[i64]| {
            let raw = tensors.get(name).ok_or_else(|| not(format!("'{name}' is missing")))?;
            if raw.shape != shape {
                let found = &raw.shape;
                return Err(not(format!("'{name}' is {found:?}, expected {shape:?}")));
            }
            if !raw.dtype.is_float() || !raw.is_finite() {
                return Err(not(format!("'{name}' has NaN or infinite values")));
            }
            Ok(Tensor::f_from_slice(&raw.to_f32())?.f_reshape(shape)?)
        };
        // In single precision, our kernels are faster than libtorch in bf16, except on a CPU with AMX.
        let ours = device == Device::Cpu && (kind == Kind::Float || !cpu_has_matrices());
        let kind = if ours { Kind::Float } else { kind };
        let mut convolutions = Vec::new();
        for (layer, caffe, number, [outputs, inputs]) in CONVOLUTIONS {
            let name = match release {
                Release::Caffe => caffe.to_owned(),
                Release::Torchvision => format!("features.{number}"),
            };
            let mut weight = get(&format!("{name}.weight"), &[outputs, inputs, 3, 3])?;
            let bias = get(&format!("{name}.bias"), &[outputs])?;
            if layer == Layer::Relu1_1 {
                weight = takes_rgb_255(&weight, release)?;
            }
            let place = |t: &Tensor| t.f_to_device(device)?.f_to_kind(kind);
            let weight = channels_last(&place(&weight)?)?;
            convolutions.push((layer, weight, place(&bias)?));
        }
        let mean = match release {
            Release::Caffe => [123.68, 116.779, 103.939],
            Release::Torchvision => [0.485, 0.456, 0.406].map(|mean: f32| mean * 255.0),
        };
        let mean = Tensor::f_from_slice(&mean)?.f_reshape([1, 3, 1, 1])?.f_to_device(device)?;
        let kernels = ours.then(OnceLock::new);
        Ok(Vgg { convolutions, mean, release, kind, padding: Padding::Zero, kernels })
    }

    /// The release of the weights in a file, or of the shipped ones.
    ///
    /// # Errors
    /// [`VggError`].
    pub fn release_of(file: Option<&Path>) -> Result<Release, VggError> {
        let open = |path| Self::open(path, Device::Cpu, Kind::Float);
        Ok(file.map(open).transpose()?.map_or(Release::Caffe, |vgg| vgg.release()))
    }

    /// Sets the padding of pictures and features; the default is zeros.
    ///
    /// It was trained with zeros, and this is how it is usually applied. But zeros form a grey frame around
    /// every picture: a network in training learns to hide that edge, and paints borders smoother and greyer
    /// than the rest (texture −17 %, brightness −4 levels in a `mosaic` trained so). Mirrored borders have no
    /// such edge.
    #[must_use]
    pub fn with_padding(self, padding: Padding) -> Self {
        let kernels = self.kernels.map(|_| OnceLock::new());
        Vgg { padding, kernels, ..self }
    }

    /// Removes the layers after this one, which are not needed and take memory.
    #[must_use]
    pub fn up_to(mut self, layer: Layer) -> Self {
        self.convolutions.retain(|(found, ..)| *found <= layer);
        self.kernels = self.kernels.map(|_| OnceLock::new());
        self
    }

    /// Computed by libtorch even where kernels of our own could: to compare with.
    #[must_use]
    pub fn in_torch(self) -> Self {
        Vgg { kernels: None, ..self }
    }

    /// The kernels, if they can compute these layers for pictures of this size.
    fn kernels(&self, x: &Tensor, wanted: &[Layer]) -> Result<Option<&VggKernels>, TchError> {
        let (Some(kernels), Some(deepest)) = (&self.kernels, wanted.iter().max()) else {
            return Ok(None);
        };
        let made = match kernels.get() {
            Some(made) => made,
            None => {
                let layer = |(layer, weight, bias): &(Layer, Tensor, Tensor)| {
                    (weight.shallow_clone(), bias.shallow_clone(), pools_before(*layer))
                };
                let layers: Vec<_> = self.convolutions.iter().map(layer).collect();
                let made = VggKernels::new(&layers, self.padding)?;
                kernels.get_or_init(|| made)
            }
        };
        let (_, _, height, width) = x.size4()?;
        let there = (*deepest as usize) < self.convolutions.len();
        Ok(made.as_ref().filter(|k| there && k.reaches(*deepest as usize, height, width)))
    }

    /// As [`features`](Self::features), for a loss whose gradient is wanted, where kernels of our own
    /// compute them: libtorch's graph then begins at the features, and at the Gram matrices of layers of
    /// `grams`. None where they do not.
    ///
    /// # Errors
    /// When libtorch fails, or memory is short.
    pub fn measured(
        &self,
        x: &Tensor,
        wanted: &[Layer],
        grams: &[Layer],
    ) -> Result<Option<Measured<'_>>, TchError> {
        let Some(kernels) = self.kernels(x, &[wanted, grams].concat())? else { return Ok(None) };
        let x = x.f_detach()?.f_sub(&self.mean)?.f_to_kind(self.kind)?;
        let (numbers, gram_layers) = (numbers(wanted), numbers(grams));
        let (leaves, grams, passes) = kernels.forward(&x, &numbers, &gram_layers, true)?;
        let leaf = |leaf: Tensor| leaf.f_set_requires_grad(true);
        let leaves = leaves.into_iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
        let grams = grams.into_iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
        let planes = |leaf: &Tensor| leaf.f_permute([0, 3, 1, 2]);
        let features = leaves.iter().map(planes).collect::<Result<_, _>>()?;
        let leaves = numbers.into_iter().zip(leaves).collect();
        Ok(Some(Measured { features, grams, leaves, gram_layers, kernels, passes }))
    }

    /// Which training it comes from.
    pub fn release(&self) -> Release {
        self.release
    }

    /// Features of pictures at the wanted layers, in the order of the network; it is run no deeper
    /// than the last of them.
    ///
    /// `x`: batch × 3 × height × width, RGB 0–255, of any floating type, at least 16 pixels high
    /// and wide for relu4_3. Each result: batch × channels × height / 2ⁿ × width / 2ⁿ, in the
    /// network's own type. Gradients flow through to `x`.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory or a picture that is too small.
    pub fn features(&self, x: &Tensor, wanted: &[Layer]) -> Result<Vec<Tensor>, TchError> {
        let mut features = Vec::with_capacity(wanted.len());
        let Some(deepest) = wanted.iter().max() else { return Ok(features) };
        let tracked = x.requires_grad();
        let kernels = if tracked { None } else { self.kernels(x, wanted)? };
        let x = x.f_sub(&self.mean)?.f_to_kind(self.kind)?;
        if let Some(kernels) = kernels {
            let numbers = numbers(wanted);
            let (features, ..) = kernels.forward(&x, &numbers, &[], false)?;
            return features.iter().map(|features| features.f_permute([0, 3, 1, 2])).collect();
        }
        let mut x = channels_last(&x)?;
        for (layer, weight, bias) in &self.convolutions {
            if pools_before(*layer) {
                x = x.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?;
            }
            let (padded, zeros) = padded(&x, self.padding, 1)?;
            // In place: a convolution's backward pass does not need its output.
            x = padded.f_conv2d(weight, Some(bias), [1, 1], [zeros; 2], [1, 1], 1)?.f_relu_()?;
            if wanted.contains(layer) {
                features.push(x.shallow_clone());
            }
            if layer == deepest {
                break;
            }
        }
        Ok(features)
    }
}

/// Layers, each once, in the network's order, by number.
fn numbers(wanted: &[Layer]) -> Vec<usize> {
    let mut numbers: Vec<_> = wanted.iter().map(|layer| *layer as usize).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The first convolution, changed from the release's channel order and scale to take RGB 0–255 minus the
/// mean.
fn takes_rgb_255(weight: &Tensor, release: Release) -> Result<Tensor, TchError> {
    match release {
        Release::Caffe => weight.f_flip([1]),
        Release::Torchvision => {
            let deviation = [0.229, 0.224, 0.225].map(|d: f32| d * 255.0);
            weight.f_div(&Tensor::f_from_slice(&deviation)?.f_reshape([1, 3, 1, 1])?)
        }
    }
}

fn from_safetensors(tensors: &SafeTensors<'_>) -> BTreeMap<String, RawTensor> {
    let known = tensors.tensors().into_iter().filter_map(|(name, view)| {
        let dtype = match view.dtype() {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            _ => return None,
        };
        let shape = view.shape().iter().map(|&n| i64::try_from(n).ok()).collect::<Option<_>>()?;
        Some((name, RawTensor { shape, dtype, data: view.data().to_vec() }))
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_the_names_of_the_field() {
        assert_eq!(Layer::Relu2_2.to_string(), "relu2_2");
        assert_eq!("relu4_3".parse(), Ok(Layer::Relu4_3));
        assert!("relu5_1".parse::<Layer>().is_err());
    }

    #[test]
    fn features_are_as_wide_and_deep_as_published_and_it_runs_no_deeper_than_asked() {
        let vgg = Vgg::shipped(Device::Cpu, Kind::Float).unwrap();
        let x = Tensor::rand([2, 3, 48, 32], (Kind::Float, Device::Cpu)) * 255;
        let features = vgg.features(&x, &[Layer::Relu4_3, Layer::Relu1_2]).unwrap();
        let sizes: Vec<_> = features.iter().map(Tensor::size).collect();
        assert_eq!(sizes, [[2, 64, 48, 32], [2, 512, 6, 4]]);
        // Too small for three halvings, large enough for one.
        let small = x.narrow(2, 0, 4).narrow(3, 0, 4);
        assert!(vgg.features(&small, &[Layer::Relu4_3]).is_err());
        assert!(vgg.features(&small, &[Layer::Relu2_2]).is_ok());
    }

    /// Length of the difference over that of `b`.
    fn apart(a: &Tensor, b: &Tensor) -> f64 {
        let length = |t: Tensor| t.to_kind(Kind::Double).square().sum(Kind::Double);
        (length(a - b) / length(b.shallow_clone())).sqrt().double_value(&[])
    }

    /// Gradients differ by rounding alone, unless an output of a convolution is so near to zero that
    /// one rounding has it positive and the other not: what is behind it then counts in one of the
    /// two. Of some pictures most have no such output.
    #[test]
    fn kernels_give_libtorchs_features_and_gradients() {
        let wanted = [Layer::Relu1_1, Layer::Relu2_2, Layer::Relu3_1, Layer::Relu4_1];
        for (padding, batch, height, width) in [
            (Padding::Reflect, 1, 64, 96),
            // Sides that pooling does not halve, and a batch.
            (Padding::Reflect, 2, 45, 83),
            (Padding::Zero, 2, 45, 83),
            // One pixel and two at the last layer.
            (Padding::Reflect, 1, 9, 17),
        ] {
            let case = format!("{padding:?} {batch} {height}x{width}");
            let shipped = || Vgg::shipped(Device::Cpu, Kind::Float).unwrap().with_padding(padding);
            let (ours, theirs) = (shipped().up_to(Layer::Relu4_1), shipped().in_torch());
            let mut all = Vec::new();
            for _ in 0..5 {
                let x = Tensor::rand([batch, 3, height, width], (Kind::Float, Device::Cpu)) * 255;
                let measured = ours.measured(&x, &wanted, &wanted).unwrap().unwrap();
                let tracked = x.copy().set_requires_grad(true);
                let expected = theirs.features(&tracked, &wanted).unwrap();
                // Any loss whose gradient is another one at each place.
                let mut losses = [0, 1].map(|_| Tensor::zeros([], (Kind::Float, Device::Cpu)));
                for (a, b) in measured.features.iter().zip(&expected) {
                    assert_eq!(a.size(), b.size(), "{case}");
                    assert!(apart(a, b) < 1e-5, "{case}: features {:e}", apart(a, b));
                    let weight = b.detach().rand_like() - 0.5;
                    losses[0] += (a * &weight).sum(Kind::Float);
                    losses[1] += (b * &weight).sum(Kind::Float);
                }
                for (a, b) in measured.grams.iter().zip(&expected) {
                    let b = b.flatten(2, 3);
                    let b = b.matmul(&b.transpose(1, 2));
                    assert!(apart(a, &b) < 1e-5, "{case}: Gram matrices {:e}", apart(a, &b));
                    // As large as the gradients that features have of their own.
                    let weight = (b.detach().rand_like() - 0.5) / b.detach().max().sqrt();
                    losses[0] += (a * &weight).sum(Kind::Float);
                    losses[1] += (&b * &weight).sum(Kind::Float);
                }
                losses.iter().for_each(Tensor::backward);
                all.push(apart(&measured.gradient().unwrap(), &tracked.grad()));
            }
            all.sort_by(f64::total_cmp);
            assert!(all[0] < 1e-4 && all[2] < 0.02, "{case}: gradients {all:?}");
        }
    }

    #[test]
    fn torchvisions_layout_gives_the_same_features_when_it_holds_the_same_network() {
        // The shipped network as torchvision would store it: other names, and a first layer that
        // takes RGB over its deviation.
        let shipped = SafeTensors::deserialize(shipped::find("vgg16").unwrap().bytes).unwrap();
        let mut stored = Vec::new();
        for (layer, name, number, _) in CONVOLUTIONS {
            for part in ["weight", "bias"] {
                let all = from_safetensors(&shipped);
                let raw = &all[&format!("{name}.{part}")];
                let mut value = Tensor::from_slice(&raw.to_f32()).reshape(raw.shape.as_slice());
                if layer == Layer::Relu1_1 && part == "weight" {
                    let deviation = Tensor::from_slice(&[0.229_f32, 0.224, 0.225]) * 255.0;
                    value = value.flip([1]) * deviation.reshape([1, 3, 1, 1]);
                }
                let values = Vec::<f32>::try_from(value.contiguous().reshape([-1])).unwrap();
                let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
                let shape: Vec<usize> = raw.shape.iter().map(|&n| n as usize).collect();
                stored.push((format!("features.{number}.{part}"), shape, bytes));
            }
        }
        let views = stored.iter().map(|(name, shape, bytes)| {
            let view = safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.as_str(), view.unwrap())
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgg16.safetensors");
        std::fs::write(&path, safetensors::serialize(views, &None).unwrap()).unwrap();
        let theirs = Vgg::open(&path, Device::Cpu, Kind::Float).unwrap();
        assert_eq!(theirs.release(), Release::Torchvision);
        let ours = Vgg::shipped(Device::Cpu, Kind::Float).unwrap();
        let x = Tensor::rand([1, 3, 32, 32], (Kind::Float, Device::Cpu)) * 255;
        let shifted = &x - &ours.mean + &theirs.mean;
        let a = ours.features(&x, &[Layer::Relu3_3]).unwrap();
        let b = theirs.features(&shifted, &[Layer::Relu3_3]).unwrap();
        let error = (&a[0] - &b[0]).abs().max().double_value(&[]);
        assert!(error < 1e-3 * a[0].abs().max().double_value(&[]), "{error}");
    }

    #[test]
    fn a_file_that_is_no_vgg_is_named_with_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgg.safetensors");
        let data = [0_u8; 4];
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![1], &data).unwrap();
        std::fs::write(&path, safetensors::serialize([("a", view)], &None).unwrap()).unwrap();
        let error = Vgg::open(&path, Device::Cpu, Kind::Float).unwrap_err().to_string();
        assert!(error.contains("vgg.safetensors' is not a VGG16: it has no 'conv1_1"), "{error}");
    }
}
