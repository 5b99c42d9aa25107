//! The layers of a texture network (Ulyanov et al. 2016, section 4.2; their Torch code's `pyramid`).
//!
//! Each scale, the coarsest first, reads the picture at 1 / 2^n of its size with three channels of noise: a block
//! of two 3×3 convolutions and one of 1×1. Then the scale before is enlarged and joined to it by channels, and
//! another block follows. A last 1×1 convolution makes RGB.

use super::{Architecture, Change, Epilogue, Layer, NetworkKind, Normalization, Padding, Source};

/// Name of the last convolution.
pub(super) const LAST: &str = "out";
/// Channels of noise, as of a photo.
pub(in crate::engine) const NOISE: i64 = 3;

impl Architecture {
    /// Textures whose sides are multiples of this continue at their opposite sides.
    ///
    /// # Errors
    /// A line for the user, when no texture of the network does.
    pub fn tile(&self) -> Result<u32, String> {
        match self.padding {
            // Lossless: at most 128.
            Padding::Circular => Ok(self.multiple() as u32),
            _ => Err("--tile needs a model that was trained with --padding circular".to_owned()),
        }
    }

    /// What is wrong with what only texture networks have, if anything.
    pub(super) fn fault_of_scales(&self) -> Option<&'static str> {
        if self.kind != NetworkKind::Texture {
            return match (self.padding, self.photo) {
                (Padding::Circular, _) => {
                    Some("circular padding, which only texture networks have")
                }
                (_, false) => Some("no photo as input, which only texture networks can do without"),
                _ => None,
            };
        }
        let refused = [
            (self.residual_blocks > 0, "a texture network with residual blocks"),
            (self.padding == Padding::Zero, "a texture network with zeros beyond the border"),
            (self.predictor.is_some(), "a texture network with a style predictor"),
            (!self.photo && self.luminance, "a texture of brightness alone"),
        ];
        refused.iter().find(|(found, _)| *found).map(|(_, what)| *what)
    }
}

/// The layers in the order in which they run.
pub(super) fn layers(architecture: &Architecture) -> Vec<Layer> {
    let named = architecture.norm != Normalization::None;
    let mut list = Vec::new();
    let mut block = |name: &str, source: Source, inputs: i64, outputs: i64| {
        for (n, size) in [(1, 3), (2, 3), (3, 1)] {
            list.push(Layer {
                source: if n == 1 { source.clone() } else { Source::Previous },
                conv: format!("{name}_conv{n}"),
                norm: named.then(|| format!("{name}_in{n}")),
                channels: (if n == 1 { inputs } else { outputs }, outputs),
                size,
                change: Change::Same,
                after: Epilogue::LeakyRelu,
                begins_block: false,
            });
        }
    };
    let inputs = if architecture.photo { 3 + NOISE } else { NOISE };
    let mut coarser = 0;
    for (n, &width) in architecture.widths.iter().enumerate() {
        let scale = architecture.widths.len() - 1 - n;
        block(&format!("scale{scale}"), Source::Scale(scale), inputs, width);
        if n > 0 {
            let norms = [format!("join{scale}_fine"), format!("join{scale}_coarse")];
            let norms = named.then_some(norms);
            let source = Source::Join { channels: [width, coarser], norms };
            block(&format!("join{scale}"), source, width + coarser, width + coarser);
        }
        coarser += width;
    }
    list.push(Layer {
        source: Source::Previous,
        conv: LAST.to_owned(),
        norm: None,
        channels: (coarser, 3),
        size: 1,
        change: Change::Same,
        after: Epilogue::Nothing,
        begins_block: false,
    });
    list
}

#[cfg(test)]
mod tests {
    use super::super::{last, multiply_adds};
    use super::*;

    fn texture(scales: usize) -> Architecture {
        Architecture {
            kind: NetworkKind::Texture,
            widths: vec![8; scales],
            residual_blocks: 0,
            ..Architecture::default()
        }
    }

    #[test]
    fn each_scale_has_a_block_and_joins_the_ones_before() {
        let layers = layers(&texture(5));
        assert_eq!(layers.len(), 5 * 3 + 4 * 3 + 1);
        let channels: Vec<_> = layers.iter().step_by(3).map(|layer| layer.channels).collect();
        let (scale, last) = ((6, 8), (40, 3));
        let joined = [16, 24, 32, 40].map(|width| (width, width));
        let expected = [scale, scale, joined[0], scale, joined[1], scale, joined[2], scale];
        assert_eq!(channels[..8], expected);
        assert_eq!(channels[8..], [joined[3], last]);
        assert_eq!(layers.last().map(|l| l.conv.clone()), Some(super::super::last(&texture(5))));
        let alone = Architecture { photo: false, ..texture(5) };
        assert_eq!(super::layers(&alone)[0].channels, (3, 8));
    }

    #[test]
    fn arithmetic_is_counted_at_the_size_of_each_scale() {
        // By hand: of 16 × 16 pixels, the coarse scale's 8 × 8 and the fine scale's.
        let block = |inputs: i64, width: i64| 9 * (inputs * width + width * width) + width * width;
        let (coarse, fine) = (64 * block(6, 8), 256 * (block(6, 8) + block(16, 16) + 16 * 3));
        assert_eq!(multiply_adds(&texture(2), 15, 16), (coarse + fine) as f64);
        assert_eq!((texture(5).multiple(), texture(1).multiple()), (16, 1));
    }

    #[test]
    fn norms_are_named_once_and_left_out_when_there_are_none() {
        let of = |architecture: &Architecture| {
            architecture.parameters().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let mut names = of(&texture(3));
        assert!(names.contains(&"join0_coarse.weight".to_owned()));
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        let bare = of(&Architecture { norm: Normalization::None, ..texture(3) });
        assert!(bare.iter().all(|name| name.contains(".conv2d.")));
        assert!(last(&texture(3)).starts_with("out"));
    }
}
