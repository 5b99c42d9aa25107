//! Style pictures with the region of the mask that each is for.

use std::str::FromStr;

use crate::core::regions::{self, Color};
use crate::train::recipe::StyleSource;

/// A style picture with its weight, and the region it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct StyleAt {
    /// The picture; none where a region keeps to the content alone.
    pub source: Option<StyleSource>,
    /// Its region; none: everywhere.
    pub region: Option<Color>,
}

impl FromStr for StyleAt {
    type Err = String;

    /// `a.jpg`, `a.jpg:0.7`, `a.jpg@white`, `a.jpg:0.7@#ff0000`, `none@0`, as [`regions::at`] splits
    /// them.
    fn from_str(text: &str) -> Result<Self, String> {
        let (picture, region) = regions::at(text)?;
        let source = picture.map(str::parse).transpose()?;
        Ok(StyleAt { source, region })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_name_their_regions() {
        let style: StyleAt = "dir/a.jpg:0.7@#ff8000".parse().unwrap();
        assert_eq!(style.region, "#ff8000".parse().ok());
        assert_eq!(style.source.unwrap().weight, 0.7);
        assert_eq!("a.jpg".parse::<StyleAt>().unwrap().region, None);
        assert_eq!("none@white".parse::<StyleAt>().unwrap().source, None);
        for bad in ["none", "a.jpg@300", "a.jpg@#ff", "a.jpg@sky"] {
            assert!(bad.parse::<StyleAt>().is_err(), "{bad}");
        }
    }
}
