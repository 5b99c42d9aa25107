//! Sizes of a style picture: one, or several.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Shorter sides of a style picture, pixels: `512`, or `384,768`. One alone is written as a number, as
/// recipes from before there were several have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SizesForm", into = "SizesForm")]
pub struct StyleSizes(pub Vec<u32>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SizesForm {
    One(u32),
    Several(Vec<u32>),
}

impl From<SizesForm> for StyleSizes {
    fn from(written: SizesForm) -> Self {
        match written {
            SizesForm::One(size) => size.into(),
            SizesForm::Several(sizes) => StyleSizes(sizes),
        }
    }
}

impl From<StyleSizes> for SizesForm {
    fn from(sizes: StyleSizes) -> Self {
        match sizes.0[..] {
            [size] => Self::One(size),
            _ => Self::Several(sizes.0),
        }
    }
}

impl From<u32> for StyleSizes {
    fn from(size: u32) -> Self {
        StyleSizes(vec![size])
    }
}

impl FromStr for StyleSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |part: &str| part.trim().parse::<u32>().ok().filter(|size| *size > 0);
        let sizes: Option<Vec<u32>> = text.split(',').map(size).collect();
        sizes.map(StyleSizes).ok_or_else(|| format!("'{text}': expected PIXELS or PIXELS,PIXELS,…"))
    }
}

impl fmt::Display for StyleSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&sizes.join(","))
    }
}
