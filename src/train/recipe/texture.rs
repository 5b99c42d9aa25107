//! Recipes of texture networks.

use super::Recipe;
use crate::engine::architecture::{NetworkKind, Padding};

impl Recipe {
    /// Scales of a texture network: the picture at 1 to 1/16 of its size.
    pub const SCALES: usize = 5;

    /// The same recipe for a network that makes textures: of noise alone, without content loss, and with circular
    /// padding, so that what it makes can be laid side by side.
    #[must_use]
    pub fn of_texture(self) -> Self {
        Recipe {
            texture: true,
            content_layers: Vec::new(),
            content_weight: 0.0,
            style_size: 256.into(),
            noise: 0.0,
            padding: Padding::Circular,
            ..self.of(NetworkKind::Texture)
        }
    }

    /// What does not go with a texture network, or with one that makes textures.
    pub(super) fn check_texture(&self) -> Result<(), String> {
        if self.loss_padding == Padding::Circular {
            return Err("--loss-padding circular: expected reflect or zero".to_owned());
        }
        if self.arch != NetworkKind::Texture {
            return match (self.texture, self.padding) {
                (true, _) => Err("--texture goes with --arch texture only".to_owned()),
                (_, Padding::Circular) => {
                    Err("--padding circular goes with --arch texture only".to_owned())
                }
                _ => Ok(()),
            };
        }
        if self.residual_blocks > 0 {
            return Err(
                "--arch texture has no residual blocks: leave out --residual-blocks".to_owned()
            );
        }
        if self.padding == Padding::Zero {
            return Err("--arch texture takes --padding reflect or circular".to_owned());
        }
        let refused = [
            (self.content_weight > 0.0, "--content-weight"),
            (!self.content_layers.is_empty(), "--content-layers"),
            (self.temporal_weight > 0.0, "--temporal-weight"),
            (self.teacher.is_some(), "--teacher"),
            (self.luminance, "--luminance"),
            (self.styles_separate, "--styles-separate"),
            (self.noise > 0.0, "--noise"),
            (self.exposure > 0.0, "--exposure"),
        ];
        match refused.iter().find(|(given, _)| self.texture && *given) {
            Some((_, what)) => {
                Err(format!("--texture, which needs no photos, does not go with {what}"))
            }
            None => Ok(()),
        }
    }
}
