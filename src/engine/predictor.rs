//! The style predictor: from the statistics of a picture to the weights and biases of a network's norms, so that
//! it paints in that picture's style without training (Ghiasi et al. 2017, "Exploring the structure of a
//! real-time, arbitrary neural artistic stylization network"; the norms: Dumoulin et al. 2017).
//!
//! The statistics of a picture are mean and standard deviation of each channel of VGG16's relu1_1, relu2_1,
//! relu3_1 and relu4_1 (Caffe release, reflected borders), as `ln(1 + v)`: 960 means, then 960 deviations. The
//! predictor is `norms = out · relu(hidden · near((statistics − centre) / scale))`, with biases. `near` leaves what pictures
//! have that it learned from, and brings nearer what is further from the centre than any of these, such as plain pictures.

use std::collections::BTreeMap;

use super::architecture::{Architecture, Layer, layers};
use super::model_file::{DType, ModelFile, RawTensor};

/// Number of statistics of a picture.
pub const STATISTICS: usize = 2 * (64 + 128 + 256 + 512);

/// Names of its parameters.
pub const CENTRE: &str = "predictor.centre";
/// What the distance from the centre is divided by.
pub const SCALE: &str = "predictor.scale";
/// Weights and biases of both layers, in this order.
pub const LAYERS: [&str; 4] = [
    "predictor.hidden.weight",
    "predictor.hidden.bias",
    "predictor.out.weight",
    "predictor.out.bias",
];

/// Names and shapes of the parameters of a predictor with `hidden` hidden values and `norms` results.
pub(super) fn parameters(hidden: i64, norms: i64) -> Vec<(String, Vec<i64>)> {
    let statistics = STATISTICS as i64;
    let shapes = [vec![hidden, statistics], vec![hidden], vec![norms, hidden], vec![norms]];
    let ends = [CENTRE, SCALE].map(|name| (name.to_owned(), vec![statistics]));
    ends.into_iter().chain(LAYERS.map(str::to_owned).into_iter().zip(shapes)).collect()
}

/// Largest distance of one statistic from the centre, as `near` leaves it. Paintings come to 5.
pub(super) const FARTHEST: f32 = 5.0;
/// Root mean square of all distances, as `near` leaves it. Paintings have 0.5 to 1.7, a plain picture 8.
pub(super) const FAR: f32 = 2.0;

/// Brings statistics near, in units of their scale: each, then all together.
fn near(mut distances: Vec<f32>) -> Vec<f32> {
    distances.iter_mut().for_each(|v| *v = v.clamp(-FARTHEST, FARTHEST));
    let square = distances.iter().map(|v| v * v).sum::<f32>() / distances.len().max(1) as f32;
    let over = (square.sqrt() / FAR).max(1.0);
    distances.iter_mut().for_each(|v| *v /= over);
    distances
}

/// A picture whose style is painted.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictedStyle {
    /// The name that its style gets.
    pub name: String,
    /// [`STATISTICS`] numbers.
    pub statistics: Vec<f32>,
}

/// A model that paints in the style of each of the pictures, made from one with a style predictor: a plain
/// one, of several styles if there are several pictures. None if `model` has no predictor, or there is no picture,
/// or more than a network can have styles. `model` has passed [`check`](ModelFile::check).
pub fn predicted(model: &ModelFile, styles: &[PredictedStyle]) -> Option<ModelFile> {
    model.description.architecture.predictor?;
    let get = |name: &str| model.tensors.get(name).map(RawTensor::to_f32);
    let (centre, scale) = (get(CENTRE)?, get(SCALE)?);
    let [hidden, hidden_bias, out, out_bias] = LAYERS.map(get);
    let (hidden, hidden_bias, out, out_bias) = (hidden?, hidden_bias?, out?, out_bias?);
    let mut rows = Vec::with_capacity(styles.len());
    for style in styles {
        let standardized = style.statistics.iter().zip(&centre).zip(&scale);
        let x = near(standardized.map(|((v, centre), scale)| (v - centre) / scale).collect());
        let middle: Vec<f32> = affine(&hidden, &hidden_bias, &x).map(|v| v.max(0.0)).collect();
        rows.push(affine(&out, &out_bias, &middle).collect::<Vec<f32>>());
    }
    let architecture = Architecture {
        predictor: None,
        styles: rows.len(),
        ..model.description.architecture.clone()
    };
    if rows.is_empty() || architecture.fault().is_some() {
        return None;
    }
    let mut tensors: BTreeMap<String, RawTensor> = model.tensors.clone();
    tensors.retain(|name, _| !name.starts_with("predictor."));
    let shapes: BTreeMap<String, Vec<i64>> = architecture.parameters().into_iter().collect();
    let mut place = 0;
    for (norm, channels) in layers(&architecture).iter().flat_map(Layer::norms) {
        // Lossless: at most MAX_WIDTH.
        let channels = channels as usize;
        for part in ["weight", "bias"] {
            let name = format!("{norm}.{part}");
            let values: Vec<f32> =
                rows.iter().flat_map(|row| &row[place..place + channels]).copied().collect();
            let shape = shapes.get(&name)?.clone();
            tensors.insert(name, RawTensor::from_f32(shape, &values, DType::F32));
            place += channels;
        }
    }
    let mut description = model.description.clone();
    description.architecture = architecture;
    description.styles = styles.iter().map(|style| style.name.clone()).collect();
    Some(ModelFile { description, tensors })
}

/// The model with the first style of `other` as its style number `at`, or behind its last. Both have been predicted by the
/// same model; none if they differ in more than styles, or there would be more than a network can have.
pub fn with_style(model: &ModelFile, at: usize, other: &ModelFile) -> Option<ModelFile> {
    let count = model.description.styles.len();
    let at = at.min(count);
    let mut description = model.description.clone();
    let name = other.description.styles.first()?.clone();
    match description.styles.get_mut(at) {
        Some(style) => *style = name,
        None => description.styles.push(name),
    }
    description.architecture.styles = description.styles.len();
    if description.architecture.fault().is_some() {
        return None;
    }
    let layers = layers(&description.architecture);
    let norms: Vec<&str> = layers.iter().flat_map(Layer::norms).map(|(norm, _)| norm).collect();
    let shapes: BTreeMap<String, Vec<i64>> =
        description.architecture.parameters().into_iter().collect();
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &model.tensors {
        let added = other.tensors.get(name)?;
        let is_norm = norms
            .iter()
            .any(|norm| name.strip_prefix(norm).is_some_and(|rest| rest.starts_with('.')));
        let tensor = if is_norm {
            let (mut values, added) = (tensor.to_f32(), added.to_f32());
            let channels = values.len() / count.max(1);
            values.resize(values.len().max((at + 1) * channels), 0.0);
            values
                .get_mut(at * channels..(at + 1) * channels)?
                .copy_from_slice(added.get(..channels)?);
            RawTensor::from_f32(shapes.get(name)?.clone(), &values, DType::F32)
        } else if tensor == added {
            tensor.clone()
        } else {
            return None;
        };
        tensors.insert(name.clone(), tensor);
    }
    Some(ModelFile { description, tensors })
}

/// `weight · x + bias`, `weight` having a row for each result.
fn affine<'a>(weight: &'a [f32], bias: &'a [f32], x: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    weight
        .chunks_exact(x.len().max(1))
        .zip(bias)
        .map(move |(row, bias)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::architecture::NetworkKind;
    use crate::engine::random_model;

    #[test]
    fn what_no_painting_has_is_brought_near() {
        let usual: Vec<f32> = (0..100).map(|n| 0.9 * ((n % 7) as f32 - 3.0)).collect();
        assert_eq!(near(usual.clone()), usual);
        let plain = near(vec![-20.0, 0.5, 20.0, -20.0]);
        // Each to 5, then all together to a root mean square of 2.
        let square: f32 = plain.iter().map(|v| v * v).sum::<f32>() / 4.0;
        assert!((square - 4.0).abs() < 1e-3, "{plain:?}");
        assert!((plain[1] / plain[2] - 0.1).abs() < 1e-4 && plain[0] == -plain[2], "{plain:?}");
    }

    #[test]
    fn a_model_with_a_predictor_becomes_one_with_a_style_for_each_picture() {
        let any = Architecture {
            kind: NetworkKind::Lite,
            widths: vec![8, 16],
            residual_blocks: 1,
            predictor: Some(12),
            ..Default::default()
        };
        let model = random_model(any.clone());
        model.check("any").unwrap();
        let styles = ["a", "b"].map(|name| PredictedStyle {
            name: name.to_owned(),
            statistics: (0..STATISTICS).map(|n| (n % 7) as f32 + f32::from(name == "b")).collect(),
        });
        let both = predicted(&model, &styles).unwrap();
        both.check("both").unwrap();
        assert_eq!(both.description.styles, ["a", "b"]);
        assert_eq!(both.tensors["in1.weight"].shape, [2, 8]);
        let one = predicted(&model, &styles[1..]).unwrap();
        one.check("one").unwrap();
        let row = |m: &ModelFile, name: &str| m.tensors[name].to_f32();
        assert_eq!(row(&both, "in3.bias")[8..], row(&one, "in3.bias")[..]);
        assert_ne!(row(&both, "in3.bias")[8..], row(&both, "in3.bias")[..8]);
        // By hand: the first value of the first norm.
        let get = |name: &str| row(&model, name);
        let (centre, scale, w) = (get(CENTRE), get(SCALE), get(LAYERS[0]));
        let mut expected = get(LAYERS[3])[0];
        let x = (0..STATISTICS).map(|n| (styles[1].statistics[n] - centre[n]) / scale[n]);
        let x = near(x.collect());
        for h in 0..12 {
            let sum: f32 = (0..STATISTICS).map(|n| w[h * STATISTICS + n] * x[n]).sum();
            expected += get(LAYERS[2])[h] * (sum + get(LAYERS[1])[h]).max(0.0);
        }
        let found = row(&one, "in1.weight")[0];
        assert!((found - expected).abs() < 1e-3 * expected.abs().max(1.0), "{found} {expected}");
        let alone = predicted(&model, &styles[..1]).unwrap();
        let joined = with_style(&alone, 1, &one).unwrap();
        assert_eq!(joined, both);
        let swapped = with_style(&joined, 0, &one).unwrap();
        swapped.check("swapped").unwrap();
        assert_eq!(swapped.description.styles, ["b", "b"]);
        let twice = [row(&one, "in3.bias"), row(&one, "in3.bias")].concat();
        assert_eq!(row(&swapped, "in3.bias"), twice);
        let mut stranger = one.clone();
        let weights = stranger.tensors.values_mut().find(|tensor| tensor.shape.len() == 4).unwrap();
        weights.data[0] ^= 1;
        assert!(with_style(&alone, 1, &stranger).is_none(), "its network is another one");
        assert!(predicted(&one, &styles).is_none(), "a model without a predictor");
        assert!(predicted(&model, &[]).is_none());
    }
}
