//! The mean of several models' weights: Wortsman et al. 2022, "Model soups".

use std::collections::BTreeMap;

use serde_json::json;

use super::{DType, Description, ModelFile, RawTensor};

impl ModelFile {
    /// The weighted mean of models that were fine-tuned from the same one. Shares are above 0, and only their
    /// ratios count. Averaging unrelated models would give noise.
    ///
    /// The result is called `name`. Its description is that of the model with the largest share, with the
    /// recipes and credits of all. It has a licence if all models have the same one.
    ///
    /// # Errors
    /// When there are none, or their networks or styles differ: a message that completes "cannot average".
    pub fn averaged(models: &[(Self, f64)], name: &str) -> Result<Self, String> {
        let largest = models.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((largest, _)) = largest else { return Err("no models at all".to_owned()) };
        let what = |model: &Self| {
            let Description { architecture, styles, .. } = &model.description;
            format!("{architecture} ({})", styles.join(", "))
        };
        for (model, _) in models {
            if model.description.architecture != largest.description.architecture
                || model.description.styles.len() != largest.description.styles.len()
            {
                return Err(format!("{} with {}", what(model), what(largest)));
            }
        }
        let total: f64 = models.iter().map(|(_, share)| share).sum();
        let mut tensors = BTreeMap::new();
        for (key, tensor) in &largest.tensors {
            let mut sums = vec![0.0; tensor.to_f32().len()];
            for (model, share) in models {
                let values = model.tensors.get(key).map(RawTensor::to_f32);
                let values = values.filter(|values| values.len() == sums.len());
                let values = values.ok_or_else(|| format!("models without '{key}'"))?;
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += share / total * f64::from(value);
                }
            }
            let values: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
            let mean = RawTensor::from_f32(tensor.shape.clone(), &values, DType::F32);
            tensors.insert(key.clone(), mean);
        }
        let parts = models.iter().map(|(model, share)| {
            let Description { name, recipe, .. } = &model.description;
            json!({ "name": name, "share": share / total, "recipe": recipe })
        });
        let all = || models.iter().map(|(model, _)| &model.description);
        let mut credits: Vec<&str> = all().filter_map(|d| d.credit.as_deref()).collect();
        credits.dedup();
        let licence = largest.description.licence.clone();
        let description = Description {
            name: name.to_owned(),
            licence: licence.filter(|licence| all().all(|d| d.licence.as_ref() == Some(licence))),
            credit: (!credits.is_empty()).then(|| credits.join("; ")),
            recipe: Some(json!({ "average": parts.collect::<Vec<_>>() })),
            ..largest.description.clone()
        };
        Ok(ModelFile { description, tensors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::architecture::Architecture;

    fn model(width: i64, value: f32) -> ModelFile {
        let widths = vec![width, 2 * width, 4 * width];
        let architecture = Architecture { widths, residual_blocks: 1, ..Architecture::default() };
        let tensors = architecture.parameters().into_iter().map(|(name, shape)| {
            let values = vec![value; shape.iter().product::<i64>() as usize];
            (name, RawTensor::from_f32(shape, &values, DType::F16))
        });
        let tensors = tensors.collect();
        ModelFile { description: Description::new(format!("of {value}"), architecture), tensors }
    }

    #[test]
    fn shares_are_ratios() {
        let mean = ModelFile::averaged(&[(model(2, 1.0), 2.0), (model(2, 5.0), 6.0)], "a").unwrap();
        mean.check("a").unwrap();
        assert!(mean.tensors.values().all(|t| t.to_f32().iter().all(|v| *v == 4.0)));
        assert_eq!(
            (mean.description.name.as_str(), &mean.description.styles[0]),
            ("a", &"of 5".to_owned())
        );
        assert_eq!(mean.description.recipe.unwrap()["average"][0]["share"], 0.25);
    }

    #[test]
    fn other_networks_are_refused() {
        let error = ModelFile::averaged(&[(model(2, 1.0), 1.0), (model(3, 1.0), 2.0)], "a");
        assert!(error.unwrap_err().starts_with("johnson 2-4-8"));
        assert!(ModelFile::averaged(&[], "a").is_err());
    }
}
