//! The style predictor in training ([`engine::predictor`](crate::engine::predictor)): one hidden layer.
//!
//! Adam moves each weight by the same amount, whatever the number of inputs: with the usual small weights, one step
//! would change the sum over 1,920 statistics by more than its size, and the norms would break the network in the
//! first steps. So the trained weights are around 1, and each layer's sum is divided by the root of its number of
//! inputs; a model's weights have that factor in them.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::network::TrainNetwork;
use super::random::generator;
use crate::engine::model_file::{DType, ModelFile, RawTensor};
use crate::engine::predictor::{CENTRE, LAYERS, SCALE, STATISTICS};

/// Least deviation of a statistic over the pictures: what hardly varies must not be blown up.
const LEAST_SCALE: f64 = 0.1;
/// How much predicted norms differ from their middle at first.
const FIRST: f32 = 0.1;

/// From statistics to norms.
#[derive(Debug)]
pub struct StylePredictor {
    /// What is subtracted from statistics, and what they are then divided by.
    centre: Tensor,
    scale: Tensor,
    /// In the order of [`LAYERS`].
    parameters: Vec<Tensor>,
}

impl StylePredictor {
    /// Random weights around `norms`, the values of one style ([`TrainNetwork::norm_row`]). `statistics`: those of
    /// pictures, one in each row.
    ///
    /// # Errors
    /// When memory is short.
    pub fn random(
        statistics: &Tensor,
        norms: &Tensor,
        hidden: i64,
        seed: u64,
    ) -> Result<Self, TchError> {
        let device = norms.device();
        let random = |rows: i64, inputs: i64, share: f32, index: u64| {
            let mut random = generator(seed, "predictor", index);
            // Of variance 1.
            let bound = share * 3.0_f32.sqrt();
            let value = |_| (random.f32() * 2.0 - 1.0) * bound;
            let values: Vec<f32> = (0..rows * inputs).map(value).collect();
            Tensor::f_from_slice(&values)?.f_reshape([rows, inputs])?.f_to_device(device)
        };
        let centre = statistics.f_mean_dim([0_i64].as_slice(), false, Kind::Float)?;
        let spread = statistics.f_sub(&centre)?.f_square()?;
        let spread = spread.f_mean_dim([0_i64].as_slice(), false, Kind::Float)?.f_sqrt()?;
        let parameters = vec![
            random(hidden, STATISTICS as i64, 1.0, 0)?,
            Tensor::f_zeros([hidden], (Kind::Float, device))?,
            random(norms.size1()?, hidden, FIRST, 1)?,
            copy(norms)?,
        ];
        Self::of(
            centre.f_to_device(device)?,
            spread.f_clamp_min(LEAST_SCALE)?.f_to_device(device)?,
            parameters,
        )
    }

    /// That of a model; none if it has none.
    ///
    /// # Errors
    /// When memory is short.
    pub fn from_model(model: &ModelFile, device: Device) -> Result<Option<Self>, TchError> {
        let get = |name: &str| -> Result<Option<Tensor>, TchError> {
            let Some(raw) = model.tensors.get(name) else { return Ok(None) };
            let value = Tensor::f_from_slice(&raw.to_f32())?.f_reshape(raw.shape.as_slice())?;
            Ok(Some(value.f_to_device(device)?))
        };
        let (Some(centre), Some(scale)) = (get(CENTRE)?, get(SCALE)?) else { return Ok(None) };
        let mut parameters = Vec::new();
        for name in LAYERS {
            let Some(value) = get(name)? else { return Ok(None) };
            parameters.push(value.f_mul_scalar(1.0 / factor(&value))?);
        }
        Self::of(centre, scale, parameters).map(Some)
    }

    fn of(centre: Tensor, scale: Tensor, parameters: Vec<Tensor>) -> Result<Self, TchError> {
        let trained = parameters.into_iter().map(|p| p.f_set_requires_grad(true));
        Ok(StylePredictor { centre, scale, parameters: trained.collect::<Result<_, _>>()? })
    }

    /// A copy with weights of its own.
    ///
    /// # Errors
    /// When memory is short.
    pub fn copied(&self) -> Result<Self, TchError> {
        let copies = self.parameters.iter().map(copy);
        Ok(StylePredictor {
            centre: self.centre.shallow_clone(),
            scale: self.scale.shallow_clone(),
            parameters: copies.collect::<Result<_, _>>()?,
        })
    }

    /// Norms of styles, with gradients: styles × values. `statistics`: styles × [`STATISTICS`].
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn forward(&self, statistics: &Tensor) -> Result<Tensor, TchError> {
        let [hidden, hidden_bias, out, out_bias] = &self.parameters[..] else {
            return Err(TchError::Shape("a predictor has four parameters".to_owned()));
        };
        let x = statistics.f_sub(&self.centre)?.f_div(&self.scale)?;
        let layer = |x: Tensor, weight: &Tensor, bias: &Tensor| {
            x.f_matmul(&weight.f_tr()?)?.f_mul_scalar(factor(weight))?.f_add(bias)
        };
        layer(layer(x, hidden, hidden_bias)?.f_relu()?, out, out_bias)
    }

    /// What is trained, with its names.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        LAYERS.into_iter().zip(&self.parameters)
    }

    /// What belongs to the model and is not trained, with its names.
    pub fn constants(&self) -> [(&'static str, &Tensor); 2] {
        [(CENTRE, &self.centre), (SCALE, &self.scale)]
    }

    /// Number of hidden values.
    pub fn hidden(&self) -> i64 {
        self.parameters.first().and_then(|p| p.size().first().copied()).unwrap_or_default()
    }

    /// The model of a network that was trained with this predictor: its norms are left out.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn model_of(&self, mut model: ModelFile) -> Result<ModelFile, TchError> {
        let architecture = &mut model.description.architecture;
        (architecture.styles, architecture.predictor) = (1, Some(self.hidden()));
        model.description.styles = Vec::new();
        let mut own: BTreeMap<String, RawTensor> = BTreeMap::new();
        for (name, value) in self.constants().into_iter().chain(self.parameters()) {
            let whole = value.f_detach()?.f_mul_scalar(factor(value))?;
            let flat = whole.f_to_device(Device::Cpu)?.f_reshape([-1])?;
            let values = Vec::<f32>::try_from(flat)?;
            own.insert(name.to_owned(), RawTensor::from_f32(value.size(), &values, DType::F16));
        }
        let wanted = model.description.architecture.parameters();
        model.tensors.extend(own);
        model.tensors.retain(|name, _| wanted.iter().any(|(wanted, _)| wanted == name));
        Ok(model)
    }
}

/// What a layer's sum is multiplied by; 1 for what are no weights.
fn factor(parameter: &Tensor) -> f64 {
    match parameter.size()[..] {
        [_, inputs] => 1.0 / (inputs.max(1) as f64).sqrt(),
        _ => 1.0,
    }
}

fn copy(of: &Tensor) -> Result<Tensor, TchError> {
    let of = of.f_detach()?;
    let mut copied = of.f_zeros_like()?;
    copied.f_copy_(&of)?;
    Ok(copied)
}

/// Takes the gradients that a network's norms got on to the predictor that made them.
///
/// # Errors
/// When libtorch fails.
pub(super) fn pass_on(network: &TrainNetwork, predicted: &Tensor) -> Result<(), TchError> {
    // The gradient of the product with a constant is the constant.
    predicted.f_mul(&network.norm_gradients()?)?.f_sum(Kind::Float)?.f_backward()
}
