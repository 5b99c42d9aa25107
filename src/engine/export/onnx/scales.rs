//! What only texture networks have, in ONNX: [noise](crate::engine::noise), scales and where they are joined.

use super::{Builder, Tensor, float, int, ints, text};
use crate::engine::architecture::NOISE;
use crate::engine::noise::{PRIME, SEED, WHITE, keys};

impl Builder<'_> {
    /// The picture's means at 1 / 2^scale of its size, if the network reads photos, and noise.
    pub(super) fn at_scale(&mut self, pictures: &str, scale: usize) -> String {
        let noise = self.noise(scale);
        if !self.model.description.architecture.photo {
            return noise;
        }
        let means = match scale {
            0 => pictures.to_owned(),
            _ => {
                let side = [1 << scale; 2];
                let attributes = vec![
                    ints("kernel_shape", &side),
                    ints("strides", &side),
                    ints("pads", &[0; 4]),
                ];
                self.node("AveragePool", &format!("scale{scale}/means"), &[pictures], attributes)
            }
        };
        let name = format!("scale{scale}/read");
        self.node("Concat", &name, &[&means, &noise], vec![int("axis", 1)])
    }

    /// Noise of a scale for each picture of the batch, of the padded picture's size.
    fn noise(&mut self, scale: usize) -> String {
        let name = |part: &str| format!("noise{scale}/{part}");
        for (constant, value) in [("zero", 0), ("one", 1), ("prime", PRIME)] {
            self.integers(constant, &[value], &[]);
        }
        self.integers("rows_axes", &[0, 1, 3], &[3]);
        self.integers("columns_axes", &[0, 1, 2], &[3]);
        self.integers("three_ones", &[1; 3], &[3]);
        let keys = keys(SEED, scale);
        let shape = [1, NOISE, 1, 1];
        self.integers(&name("keys"), &keys.map(|[first, _]| first), &shape);
        self.integers(&name("more_keys"), &keys.map(|[_, second]| second), &shape);
        let [rows, columns] = [(2, "rows"), (3, "columns")].map(|(axis, line)| {
            let part = |part: &str| format!("noise{scale}/{line}/{part}");
            let attributes = vec![int("start", axis), int("end", axis + 1)];
            let length = self.node("Shape", &part("padded"), &["padded"], attributes);
            let length = self.node("Squeeze", &part("number"), &[&length], vec![]);
            let side = format!("side{scale}");
            self.integers(&side, &[1 << scale], &[]);
            let length = self.node("Div", &part("length"), &[&length, &side], vec![]);
            let places = self.node("Range", &part("places"), &["zero", &length, "one"], vec![]);
            self.node("Unsqueeze", &part("line"), &[&places, &format!("{line}_axes")], vec![])
        });
        let first = self.node("Add", &name("first"), &[&name("keys"), &rows], vec![]);
        let first = self.cube(&first);
        let second = self.node("Add", &name("second"), &[&name("more_keys"), &rows], vec![]);
        let second = self.cube(&second);
        let all = self.node("Add", &name("places"), &[&first, &columns], vec![]);
        let all = self.cube(&all);
        let all = self.node("Add", &name("both"), &[&all, &second], vec![]);
        let all = self.cube(&all);
        let to = vec![int("to", Tensor::FLOAT.into())];
        let all = self.node("Cast", &name("numbers"), &[&all], to);
        self.floats("noise_scale", &[(WHITE / PRIME as f64) as f32], &[]);
        let all = self.node("Mul", &name("noise"), &[&all, "noise_scale"], vec![]);
        let attributes = vec![int("start", 0), int("end", 1)];
        let batch = self.node("Shape", &name("batch"), &["padded"], attributes);
        let shape = vec![int("axis", 0)];
        let shape = self.node("Concat", &name("shape"), &[&batch, "three_ones"], shape);
        self.node("Expand", &name("each"), &[&all, &shape], vec![])
    }

    /// The cube modulo the prime.
    fn cube(&mut self, x: &str) -> String {
        let name = |part: &str| format!("{x}/{part}");
        let v = self.node("Mod", &name("rest"), &[x, "prime"], vec![]);
        let square = self.node("Mul", &name("square"), &[&v, &v], vec![]);
        let square = self.node("Mod", &name("square/rest"), &[&square, "prime"], vec![]);
        let cube = self.node("Mul", &name("cube"), &[&square, &v], vec![]);
        self.node("Mod", &name("cube/rest"), &[&cube, "prime"], vec![])
    }

    /// What a scale made, and what those before made, enlarged: both normalized, joined by channels.
    pub(super) fn joined(
        &mut self,
        layer: &str,
        [fine, coarser]: [&str; 2],
        norms: Option<&[String; 2]>,
    ) -> std::io::Result<String> {
        let coarse = self.doubled(layer, coarser);
        let [fine, coarse] = match norms {
            Some([of_fine, of_coarse]) => {
                [self.norm(of_fine, fine)?, self.norm(of_coarse, &coarse)?]
            }
            None => [fine.to_owned(), coarse],
        };
        let name = format!("{layer}/joined");
        Ok(self.node("Concat", &name, &[&fine, &coarse], vec![int("axis", 1)]))
    }

    /// Each pixel repeated 2×2.
    pub(super) fn doubled(&mut self, layer: &str, x: &str) -> String {
        self.floats("twice", &[1.0, 1.0, 2.0, 2.0], &[4]);
        let attributes = vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        self.node("Resize", &format!("{layer}/enlarged"), &[x, "", "twice"], attributes)
    }

    /// Continues a picture beyond its border by its opposite side, `pad` pixels.
    pub(super) fn wrapped(&mut self, layer: &str, x: &str, pad: i64) -> String {
        let mut x = x.to_owned();
        let [zero, end] = ["wrap_start", "wrap_end"];
        self.integers(zero, &[0], &[1]);
        self.integers(end, &[i64::from(i32::MAX)], &[1]);
        let (first, last) = (format!("wrap_to_{pad}"), format!("wrap_from_{pad}"));
        self.integers(&first, &[pad], &[1]);
        self.integers(&last, &[-pad], &[1]);
        for (axis, line) in [(2, "rows"), (3, "columns")] {
            let sides = format!("wrap_{line}");
            self.integers(&sides, &[axis], &[1]);
            let name = |part: &str| format!("{layer}/{line}/{part}");
            let before = self.node("Slice", &name("before"), &[&x, &last, end, &sides], vec![]);
            let after = self.node("Slice", &name("after"), &[&x, zero, &first, &sides], vec![]);
            let axis = vec![int("axis", axis)];
            x = self.node("Concat", &name("wrapped"), &[&before, &x, &after], axis);
        }
        x
    }

    /// A hundredth of what is negative.
    pub(super) fn leaky_relu(&mut self, layer: &str, x: &str) -> String {
        self.node("LeakyRelu", &format!("{layer}/relu"), &[x], vec![float("alpha", 0.01)])
    }
}
