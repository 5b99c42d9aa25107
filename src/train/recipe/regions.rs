//! Regions of masks in a recipe: which styles go where (Gatys et al. 2017, section 3).

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Recipe;
use crate::core::regions::Color;
use crate::engine::architecture::Normalization;

impl Serialize for Color {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Color {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Recipe {
    /// The regions of the masks: those with styles first, otherwise in the order in which they are named;
    /// empty without masks.
    pub fn regions(&self) -> Vec<Color> {
        let mut regions: Vec<Color> = Vec::new();
        let named =
            self.styles.iter().filter_map(|style| style.region).chain(self.unstyled.clone());
        for region in named {
            if !regions.contains(&region) {
                regions.push(region);
            }
        }
        regions
    }

    /// Checks for settings that cannot be combined with regions.
    pub(super) fn check_regions(&self) -> Result<(), String> {
        if self.regions().is_empty() {
            return Ok(());
        }
        let refused = |text: &str| Err(text.to_owned());
        if self.styles.is_empty() {
            return refused("no region has a style: all are 'none'");
        }
        if self.styles.iter().any(|style| style.region.is_none()) {
            return refused(Self::EACH_ITS_REGION);
        }
        if self.styles_separate {
            return refused("--styles-separate does not go with --masks: one network paints both");
        }
        if self.tile_share > 0.0 {
            return refused("--masks goes with --tile-share 0 only");
        }
        if self.norm == Normalization::Batch {
            // Masks differ from photo to photo, so each is a pass of its own.
            return refused("--masks goes with --norm instance only");
        }
        Ok(())
    }

    /// The message when a style names no region.
    pub const EACH_ITS_REGION: &str =
        "with --masks each --style names its region: a.jpg@white --style b.jpg@black";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::recipe::{RecipePreset, StyleSource};

    fn recipe() -> Recipe {
        let style = |name: &str, region: &str| StyleSource {
            region: Some(region.parse().unwrap()),
            ..name.parse().unwrap()
        };
        let styles =
            vec![style("a.jpg", "#ff0000"), style("b.jpg", "white"), style("c.jpg", "255")];
        let unstyled = vec!["0".parse().unwrap(), "white".parse().unwrap()];
        Recipe { unstyled, ..Recipe::preset(RecipePreset::Default, styles) }
    }

    #[test]
    fn regions_survive_toml_and_come_once_each_those_with_styles_first() {
        let recipe = recipe();
        recipe.check().unwrap();
        let text = toml::to_string(&recipe).unwrap();
        assert!(
            text.contains("region = \"#ff0000\"") && text.contains("unstyled = [\"0\""),
            "{text}"
        );
        let read: Recipe = toml::from_str(&text).unwrap();
        assert_eq!(read, recipe);
        let regions: Vec<String> = read.regions().iter().map(ToString::to_string).collect();
        assert_eq!(regions, ["#ff0000", "255", "0"]);
        assert!(toml::from_str::<Recipe>(&text.replace("#ff0000", "sky")).is_err());
    }

    #[test]
    fn recipes_from_before_regions_have_none_and_are_written_as_before() {
        let before = Recipe::preset(RecipePreset::Default, vec!["a.jpg".parse().unwrap()]);
        let text = toml::to_string(&before).unwrap();
        assert!(!text.contains("region") && !text.contains("unstyled"), "{text}");
        assert!(toml::from_str::<Recipe>(&text).unwrap().regions().is_empty());
    }

    #[test]
    fn what_does_not_go_with_regions_is_refused() {
        for (bad, words) in [
            (Recipe { tile_share: 0.1, ..recipe() }, "--tile-share 0"),
            (Recipe { styles_separate: true, ..recipe() }, "--styles-separate"),
            (Recipe { norm: Normalization::Batch, ..recipe() }, "--norm instance"),
            (Recipe { styles: Vec::new(), ..recipe() }, "all are 'none'"),
            (Recipe { styles: vec!["a.jpg".parse().unwrap()], ..recipe() }, "names its region"),
        ] {
            let said = bad.check().unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
