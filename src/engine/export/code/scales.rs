//! What only texture networks have, as TorchScript: [noise](crate::engine::noise), scales and where they are joined.

use std::fmt::Write as _;

use crate::engine::architecture::{Architecture, Layer, Source};
use crate::engine::noise::{PRIME, SEED, WHITE, keys};

/// Functions that texture networks call.
pub(super) fn functions() -> String {
    format!(
        "\
def cube(v: Tensor) -> Tensor:
  rest = torch.remainder(v, {PRIME})
  square = torch.remainder(torch.mul(rest, rest), {PRIME})
  return torch.remainder(torch.mul(square, rest), {PRIME})
def line(length: int, like: Tensor) -> Tensor:
  return torch.arange(length, dtype=4, layout=0, device=ops.prim.device(like), pin_memory=False)
def noise(keys: List[int], scale: int, like: Tensor) -> Tensor:
  height = torch.floordiv(torch.size(like, 2), scale)
  width = torch.floordiv(torch.size(like, 3), scale)
  rows = torch.view(__torch__.line(height, like), [1, 1, height, 1])
  columns = torch.view(__torch__.line(width, like), [1, 1, 1, width])
  both = torch.view(torch.tensor(keys, dtype=4, device=ops.prim.device(like)), [2, 3, 1, 1])
  first = __torch__.cube(torch.add(torch.slice(both, 0, 0, 1), rows))
  second = __torch__.cube(torch.add(torch.slice(both, 0, 1, 2), rows))
  all = __torch__.cube(torch.add(__torch__.cube(torch.add(first, columns)), second))
  numbers = torch.mul(torch.to(all, 6), {scale:?})
  return torch.expand(torch.to(numbers, ops.prim.dtype(like)), [torch.size(like, 0), -1, -1, -1])
",
        scale = WHITE / PRIME as f64
    )
}

/// What a layer reads, if not what the layer before made.
pub(super) fn source(text: &mut String, layer: &Layer, architecture: &Architecture) {
    // Infallible: into a String.
    match &layer.source {
        Source::Previous => {}
        Source::Scale(scale) => {
            let keys = keys(SEED, *scale);
            let keys = [keys.map(|[first, _]| first), keys.map(|[_, second]| second)].concat();
            let side = 1 << scale;
            let noise = format!("__torch__.noise({keys:?}, {side}, seen)");
            let means = match side {
                1 => "seen".to_owned(),
                _ => format!(
                    "torch.avg_pool2d(seen, [{side}, {side}], [{side}, {side}], [0, 0], False, True, None)"
                ),
            };
            *text += "    coarser = y\n";
            let _ = match architecture.photo {
                true => writeln!(text, "    y = torch.cat([{means}, {noise}], 1)"),
                false => writeln!(text, "    y = {noise}"),
            };
        }
        Source::Join { norms, .. } => {
            let _ = writeln!(
                text,
                "    size = [2 * torch.size(coarser, 2), 2 * torch.size(coarser, 3)]\n    coarser = torch.upsample_nearest2d(coarser, size, 2., 2.)"
            );
            if let Some([fine, coarse]) = norms {
                let _ = writeln!(
                    text,
                    "    y = (self.{fine}).forward(y, style)\n    coarser = (self.{coarse}).forward(coarser, style)"
                );
            }
            *text += "    y = torch.cat([y, coarser], 1)\n";
        }
    }
}

/// Continues `y` beyond its border by its opposite side.
pub(super) fn wrapped(text: &mut String, pad: i64) {
    for axis in [2, 3] {
        let _ = writeln!(
            text,
            "    y = torch.cat([torch.slice(y, {axis}, -{pad}, {}), y, torch.slice(y, {axis}, 0, {pad})], {axis})",
            i64::MAX
        );
    }
}
