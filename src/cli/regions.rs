//! Which models paint, and where: `--model`, `--style`, `--blend` and `--mask` together.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;

use super::UsageError;
use super::styles::{ANY, predicted};
use crate::core::regions::{self, Color, Mask, MaskError};
use crate::engine::blend::Blend;
use crate::engine::shipped;
use crate::stream::{MOST_REGIONS, ModelChoice, RegionSettings};
use crate::train::optimize::regions::StyleAt;
use crate::train::recipe::StyleSource;

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
    /// The model that predicts styles.
    pub predictor: String,
}

/// What the user gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// `--model`.
    pub models: &'a [ModelAt],
    /// `--style`.
    pub styles: &'a [StyleAt],
    /// `--blend`.
    pub blends: &'a [BlendAt],
    /// `--mask`.
    pub mask: Option<&'a Path>,
}

/// What paints a region; none: it stays as it is.
type Painted = (Option<Color>, Option<ModelChoice>);

fn at_region(choices: &[Painted]) -> bool {
    choices.iter().any(|(region, _)| region.is_some())
}

/// The models but for the one that predicts styles, and what it makes of the pictures: with a mask a model for each,
/// else one with all of their styles, mixed by their shares; live, pictures without shares are styles to step through.
fn with_pictures(
    models: &[ModelAt],
    styles: &[StyleAt],
    masked: bool,
    is_live: bool,
) -> Result<(Vec<ModelAt>, Vec<Painted>, String)> {
    let mut models = models.to_vec();
    if styles.is_empty() {
        return Ok((models, Vec::new(), ANY.to_owned()));
    }
    let predicts = |at: &ModelAt| {
        let model = at.model.as_deref().filter(|_| at.region.is_none());
        model.is_some_and(|model| {
            shipped::open(model).is_ok_and(|m| m.description.architecture.predictor.is_some())
        })
    };
    let any = models.iter().position(predicts).and_then(|n| models.remove(n).model);
    let any = any.unwrap_or_else(|| ANY.to_owned());
    let sources: Vec<StyleSource> = styles.iter().filter_map(|at| at.source.clone()).collect();
    if masked {
        let mut choices = Vec::new();
        for StyleAt { source, region } in styles {
            let choice = match source {
                Some(source) => {
                    let made = Arc::new(predicted(&any, std::slice::from_ref(source))?);
                    Some(ModelChoice { model: source.name(), blend: None, made: Some(made) })
                }
                None => None,
            };
            choices.push((*region, choice));
        }
        return Ok((models, choices, any));
    }
    if let Some(at) = styles.iter().find(|at| at.region.is_some()) {
        let region = at.region.map_or_else(String::new, |region| region.to_string());
        return Err(UsageError(format!("--style …@{region} needs a --mask")).into());
    }
    let made = predicted(&any, &sources)?;
    let names = made.description.styles.clone();
    let shared = !is_live || sources.iter().any(|source| source.weight != 1.0);
    let blend = match &sources[..] {
        [_, _, ..] if shared => {
            Blend::of(names.iter().cloned().zip(sources.iter().map(|source| source.weight)))
        }
        _ => None,
    };
    let model = if sources.len() == 1 { names.join("") } else { made.description.name.clone() };
    let choice = ModelChoice { model, blend, made: Some(Arc::new(made)) };
    Ok((models, vec![(None, Some(choice))], any))
}

/// The models, styles and regions given by `--model`, `--style`, `--blend` and `--mask`. `is_live`: regions can be given other models
/// while the run goes on, also such that were named without a region.
///
/// # Errors
/// [`UsageError`] if the options do not fit together or the mask lacks a region; an error if the mask cannot
/// be read.
pub(super) fn select(given: Given<'_>, is_live: bool) -> Result<ModelSelection> {
    let Given { models, styles, blends, mask } = given;
    let (models, pictures, predictor) = with_pictures(models, styles, mask.is_some(), is_live)?;
    let models = models.as_slice();
    let at_model = models.iter().any(|model| model.region.is_some()) || at_region(&pictures);
    let at_blend = blends.iter().any(|blend| blend.region.is_some());
    let option = match (at_blend, styles.is_empty()) {
        (true, _) => "--blend",
        (false, true) => "--model",
        (false, false) => "--style",
    };
    let usage = |text: String| Err(UsageError(text).into());
    if mask.is_none() && (at_model || at_blend) {
        return usage(format!("{option} …@REGION needs a --mask"));
    }
    if at_model && at_blend {
        return usage("--model and --blend both name regions: use only one of them".to_owned());
    }
    if !pictures.is_empty() && !blends.is_empty() {
        return usage("--style names its own shares: --style a.jpg:0.7, not --blend".to_owned());
    }
    if blends.len() > 1 && !at_blend {
        return usage("several --blend need a --mask".to_owned());
    }
    // Without a region it is that of all models.
    let blend = blends.first().and_then(|blend| blend.blend.clone());
    let names = models.iter().filter_map(|model| model.model.clone());
    let Some(path) = mask else {
        let of = |model| ModelChoice::named(model, blend.clone());
        let of_pictures = pictures.into_iter().filter_map(|(_, choice)| choice);
        let models = of_pictures.chain(names.map(of)).collect();
        let regions = RegionSettings::default();
        return Ok(ModelSelection { models, mask: None, regions, predictor });
    };
    let mut regions: Vec<Painted> = match (at_blend, models) {
        (true, [ModelAt { model: Some(model), .. }]) => {
            let of = |blend| ModelChoice::named(model, Some(blend));
            blends.iter().map(|at| (at.region, at.blend.clone().map(of))).collect()
        }
        (true, _) => {
            return usage("--blend …@REGION needs one --model, with several styles".to_owned());
        }
        (false, _) => {
            let of = |model| ModelChoice::named(model, blend.clone());
            let of_models = models.iter().map(|at| (at.region, at.model.clone().map(of)));
            pictures.into_iter().chain(of_models).collect()
        }
    };
    let colors: Vec<Color> = regions.iter().filter_map(|(region, _)| *region).collect();
    if colors.is_empty() || (colors.len() < regions.len() && !is_live) {
        let one = if at_blend { "wave" } else { "mosaic" };
        let one = if option == "--style" { "sky.jpg" } else { one };
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
            Ok(ModelSelection { models, mask: Some(mask), regions, predictor })
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
