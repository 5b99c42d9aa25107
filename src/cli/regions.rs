//! Which models paint, and where: `--model`, `--blend` and `--mask` together.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use anyhow::Result;

use super::UsageError;
use crate::core::regions::{self, Color, Mask, MaskError};
use crate::engine::blend::Blend;
use crate::stream::{MOST_REGIONS, ModelChoice, RegionSettings};

/// A model, and the region it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelAt {
    /// None where a region stays as it is.
    model: Option<String>,
    region: Option<Color>,
}

impl FromStr for ModelAt {
    type Err = String;

    /// `mosaic`, `mosaic@white`, `none@0`, as [`regions::at`] splits them.
    fn from_str(text: &str) -> Result<Self, String> {
        let (model, region) = regions::at(text)?;
        Ok(ModelAt { model: model.map(str::to_owned), region })
    }
}

/// A mixture of styles, and the region it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct BlendAt {
    /// None where a region stays as it is.
    blend: Option<Blend>,
    region: Option<Color>,
}

impl FromStr for BlendAt {
    type Err = String;

    /// `wave`, `night:0.5,wave:0.5@#ff0000`, `none@0`. A style's name may hold an `@`: what is no
    /// region belongs to it.
    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.rsplit_once('@').and_then(|(blend, at)| Some((blend, at.parse().ok()?)));
        let (blend, region) = split.map_or((text, None), |(blend, region)| (blend, Some(region)));
        let blend = (blend != "none" || region.is_none()).then(|| blend.parse()).transpose()?;
        Ok(BlendAt { blend, region })
    }
}

/// The models of a run, and where each of them paints.
pub(super) struct ModelSelection {
    /// Models and their styles, each once; those of regions first.
    pub models: Vec<ModelChoice>,
    /// None without `--mask`.
    pub mask: Option<Mask>,
    /// Which of the models paints each region of the mask.
    pub regions: RegionSettings,
}

/// The models, styles and regions given by `--model`, `--blend` and `--mask`. `is_live`: regions can be given other models
/// while the run goes on, also such that were named without a region.
///
/// # Errors
/// [`UsageError`] if the options do not fit together or the mask lacks a region; an error if the mask cannot
/// be read.
pub(super) fn select(
    models: &[ModelAt],
    blends: &[BlendAt],
    mask: Option<&Path>,
    is_live: bool,
) -> Result<ModelSelection> {
    let at_model = models.iter().any(|model| model.region.is_some());
    let at_blend = blends.iter().any(|blend| blend.region.is_some());
    let option = if at_blend { "--blend" } else { "--model" };
    let usage = |text: String| Err(UsageError(text).into());
    if mask.is_none() && (at_model || at_blend) {
        return usage(format!("{option} …@REGION needs a --mask"));
    }
    if at_model && at_blend {
        return usage("--model and --blend both name regions: use only one of them".to_owned());
    }
    if blends.len() > 1 && !at_blend {
        return usage("several --blend need a --mask".to_owned());
    }
    // Without a region it is that of all models.
    let blend = blends.first().and_then(|blend| blend.blend.clone());
    let names = models.iter().filter_map(|model| model.model.clone());
    let Some(path) = mask else {
        let of = |model| ModelChoice { model, blend: blend.clone() };
        let (models, regions) = (names.map(of).collect(), RegionSettings::default());
        return Ok(ModelSelection { models, mask: None, regions });
    };
    let mut regions: Vec<(Option<Color>, Option<ModelChoice>)> = match (at_blend, models) {
        (true, [ModelAt { model: Some(model), .. }]) => {
            let of = |blend| ModelChoice { model: model.clone(), blend: Some(blend) };
            blends.iter().map(|at| (at.region, at.blend.clone().map(of))).collect()
        }
        (true, _) => {
            return usage("--blend …@REGION needs one --model, with several styles".to_owned());
        }
        (false, _) => {
            let of = |model| ModelChoice { model, blend: blend.clone() };
            models.iter().map(|at| (at.region, at.model.clone().map(of))).collect()
        }
    };
    let colors: Vec<Color> = regions.iter().filter_map(|(region, _)| *region).collect();
    if colors.is_empty() || (colors.len() < regions.len() && !is_live) {
        let one = if at_blend { "wave" } else { "mosaic" };
        let example = format!("{one}@white {option} none@black");
        return usage(format!("with --mask each {option} names its region: {option} {example}"));
    }
    if let Some(color) = first_duplicate(&colors) {
        return usage(format!("{option} …@{color}: the region {color} is given twice"));
    }
    if colors.len() > MOST_REGIONS {
        return usage(format!("{option} …@REGION: at most {MOST_REGIONS} regions can be painted"));
    }
    // A model that is there to be chosen later comes behind those that paint from the beginning.
    regions.sort_by_key(|(region, _)| region.is_none());
    let mut models: Vec<ModelChoice> = Vec::new();
    for choice in regions.iter().filter_map(|(_, choice)| choice.as_ref()) {
        if !models.contains(choice) {
            models.push(choice.clone());
        }
    }
    if models.is_empty() {
        let what = option.trim_start_matches('-');
        return usage(format!("no region has a {what}: all are 'none'"));
    }
    let number = |choice: &Option<ModelChoice>| {
        models.iter().position(|model| Some(model) == choice.as_ref())
    };
    let numbers: Vec<_> =
        regions.iter().take(colors.len()).map(|(_, choice)| number(choice)).collect();
    match Mask::open(path, &colors, option) {
        Ok(mask) => {
            let regions = RegionSettings::of(&numbers);
            Ok(ModelSelection { models, mask: Some(mask), regions })
        }
        Err(MaskError::Refused(text)) => usage(text),
        Err(error) => Err(error.into()),
    }
}

/// The first that is there twice.
fn first_duplicate<T: PartialEq + Display>(all: &[T]) -> Option<&T> {
    all.iter().enumerate().find(|(n, one)| all[..*n].contains(one)).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blends_name_their_regions_and_styles_may_have_any_name() {
        let at = |text: &str| text.parse::<BlendAt>().unwrap();
        let (white, shares) = ("white".parse().ok(), "night:0.5,wave:0.5".parse().ok());
        assert_eq!(at("night:0.5,wave:0.5@white"), BlendAt { blend: shares, region: white });
        assert_eq!(at("none@255"), BlendAt { blend: None, region: white });
        assert_eq!(at("me@home"), BlendAt { blend: "me@home".parse().ok(), region: None });
        assert_eq!(at("none"), BlendAt { blend: "none".parse().ok(), region: None });
        assert!("@white".parse::<BlendAt>().is_err() && "a:x@0".parse::<BlendAt>().is_err());
    }
}
