//! The network as TorchScript source, as an archive holds it: attributes are declared, types are named by
//! their path in the archive, and operators are under `torch.`.
//!
//! It is generated as source, not traced: a trace would fix the padding for one picture size.

mod scales;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::engine::EPSILON;
use crate::engine::architecture::{Architecture, NetworkKind, Normalization, OutputLayer, Padding};
use crate::engine::architecture::{Change, Epilogue, Layer, layers};
use crate::engine::network::{LUMA, MIDDLE, TANH_SCALE};

/// The class of the whole network.
pub(super) const TOP: &str = "Stylizer";
/// The class of a residual block.
pub(super) const BLOCK: &str = "Residual";
/// The class of an instance norm.
pub(super) const NORM: &str = "Norm";
/// The class that holds a convolution's weights, for the sake of their published names.
pub(super) const WEIGHTS: &str = "Weights";

/// Reflection padding as in the engine, also for sides shorter than the padding.
const PADDED: &str = "\
def mirrored(before: int, length: int, after: int, like: Tensor) -> Tensor:
  swing = ops.prim.max(2 * (length - 1), 1)
  place = torch.arange(-before, length + after, dtype=4, layout=0, device=ops.prim.device(like), pin_memory=False)
  place0 = torch.remainder(place, swing)
  return torch.clamp(torch.minimum(place0, torch.rsub(place0, swing)), 0, length - 1)
def padded(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
  height = torch.size(x, 2)
  width = torch.size(x, 3)
  if left + right + top + bottom == 0:
    y = x
  elif ops.prim.max(left, right) < width and ops.prim.max(top, bottom) < height:
    y = torch.reflection_pad2d(x, [left, right, top, bottom])
  else:
    rows = __torch__.mirrored(top, height, bottom, x)
    columns = __torch__.mirrored(left, width, right, x)
    y = torch.index_select(torch.index_select(x, 2, rows), 3, columns)
  return y
";

/// Brightness in all three channels.
fn luma() -> String {
    let mut text = "def luma(x: Tensor) -> Tensor:\n".to_owned();
    for (n, (name, part)) in ["red", "green", "blue"].into_iter().zip(LUMA).enumerate() {
        let _ = writeln!(text, "  {name} = torch.mul(torch.slice(x, 1, {n}, {}), {part})", n + 1);
    }
    text + "  return torch.repeat(torch.add(torch.add(red, green), blue), [1, 3, 1, 1])\n"
}

/// Class name of a layer's convolution: `Halve3` is a 3×3 convolution of stride 2.
pub(super) fn class(layer: &Layer) -> String {
    format!("{:?}{}", layer.change, layer.size)
}

/// The whole source.
pub(super) fn source(architecture: &Architecture) -> String {
    let layers = layers(architecture);
    let mut text = PADDED.to_owned();
    if architecture.luminance {
        text += &luma();
    }
    if architecture.kind == NetworkKind::Texture {
        text += &scales::functions();
    }
    text += &begin(WEIGHTS, &["weight", "bias"], &[]);
    if architecture.norm != Normalization::None {
        text += &norm(architecture.styles > 1);
    }
    let classes: BTreeMap<String, &Layer> = layers.iter().map(|l| (class(l), l)).collect();
    for (name, layer) in classes {
        text += &convolution(&name, layer, architecture.padding);
    }
    if let Some(first) = layers.iter().position(|layer| layer.begins_block) {
        text += &block(&layers[first..first + 2]);
    }
    text + &network(architecture, &layers)
}

/// The head of a class: its parameters and its modules with their classes.
fn begin(name: &str, parameters: &[&str], modules: &[(&str, String)]) -> String {
    let mut text = format!("class {name}(Module):\n  __parameters__ = [");
    // Infallible: into a String, here and below.
    for parameter in parameters {
        let _ = write!(text, "\"{parameter}\", ");
    }
    text += "]\n  __buffers__ = []\n";
    for parameter in parameters {
        let _ = writeln!(text, "  {parameter} : Tensor");
    }
    text += "  training : bool\n  _is_full_backward_hook : Optional[bool]\n";
    for (module, class) in modules {
        let _ = writeln!(text, "  {module} : __torch__.{class}");
    }
    text
}

fn norm(several: bool) -> String {
    let chosen = |part: &str| match several {
        false => format!("    {part} = self.{part}\n"),
        true => format!(
            "    if torch.__is__(style, None):
      {part} = torch.select(self.{part}, 0, 0)
    else:
      shares = torch.to(unchecked_cast(Tensor, style), ops.prim.dtype(self.{part}))
      {part} = torch.matmul(shares, self.{part})
"
        ),
    };
    let (weight, bias) = (chosen("weight"), chosen("bias"));
    let head = begin(NORM, &["weight", "bias"], &[]);
    format!(
        "{head}  def forward(self: __torch__.{NORM}, x: Tensor, style: Optional[Tensor]=None) -> Tensor:
{weight}{bias}    return torch.instance_norm(x, weight, bias, None, None, True, 0., {EPSILON:?}, True)
"
    )
}

fn convolution(class: &str, layer: &Layer, padding: Padding) -> String {
    let pad = layer.size / 2;
    let head = begin(class, &[], &[("conv2d", WEIGHTS.to_owned())]);
    let mut text = format!("{head}  def forward(self: __torch__.{class}, x: Tensor) -> Tensor:\n");
    text += "    weight = self.conv2d.weight\n    bias = self.conv2d.bias\n    y = x\n";
    if layer.change == Change::Transposed {
        text += "    return torch.conv_transpose2d(y, weight, bias, [2, 2], [1, 1], [1, 1], 1, [1, 1])\n";
        return text;
    }
    if layer.change == Change::Nearest {
        text += "    size = [2 * torch.size(x, 2), 2 * torch.size(x, 3)]\n";
        text += "    y = torch.upsample_nearest2d(y, size, 2., 2.)\n";
    }
    let zeros = match padding {
        Padding::Zero => pad,
        _ if pad == 0 => 0,
        Padding::Circular => {
            scales::wrapped(&mut text, pad);
            0
        }
        Padding::Reflect => {
            let _ = writeln!(text, "    y = __torch__.padded(y, {pad}, {pad}, {pad}, {pad})");
            0
        }
    };
    let stride = if layer.change == Change::Halve { 2 } else { 1 };
    let _ = writeln!(
        text,
        "    return torch.conv2d(y, weight, bias, [{stride}, {stride}], [{zeros}, {zeros}], [1, 1], 1)"
    );
    text
}

/// The last part of a layer's name: `conv2` of `res1.conv2`.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Convolution, norm and ReLU of a layer, one line each.
fn steps(text: &mut String, layer: &Layer) {
    let _ = writeln!(text, "    y = (self.{}).forward(y)", short(&layer.conv));
    if let Some(norm) = &layer.norm {
        let _ = writeln!(text, "    y = (self.{}).forward(y, style)", short(norm));
    }
    match layer.after {
        Epilogue::Relu => *text += "    y = torch.relu(y)\n",
        Epilogue::LeakyRelu => *text += "    y = torch.leaky_relu(y, 0.01)\n",
        Epilogue::Add | Epilogue::Nothing => {}
    }
}

fn modules(layers: &[Layer]) -> Vec<(&str, String)> {
    let mut modules = Vec::new();
    for layer in layers {
        modules.push((short(&layer.conv), class(layer)));
        modules.extend(layer.norms().map(|(norm, _)| (short(norm), NORM.to_owned())));
    }
    modules
}

fn block(layers: &[Layer]) -> String {
    let mut text = begin(BLOCK, &[], &modules(layers));
    let _ = writeln!(
        text,
        "  def forward(self: __torch__.{BLOCK}, x: Tensor, style: Optional[Tensor]=None) -> Tensor:\n    y = x"
    );
    layers.iter().for_each(|layer| steps(&mut text, layer));
    text + "    return torch.add(y, x)\n"
}

fn network(architecture: &Architecture, layers: &[Layer]) -> String {
    let plain: Vec<Layer> = layers.iter().filter(|l| !l.conv.contains('.')).cloned().collect();
    let mut all = modules(&plain);
    let blocks: Vec<String> =
        (1..=architecture.residual_blocks).map(|n| format!("res{n}")).collect();
    all.extend(blocks.iter().map(|name| (name.as_str(), BLOCK.to_owned())));
    let mut text = begin(TOP, &[], &all);
    let first = layers.first().map_or("", |layer| layer.conv.as_str());
    let multiple = architecture.multiple();
    // Without several styles there is nothing to choose, and so no argument.
    let (argument, style) = match architecture.styles {
        1 => ("", "    style : Optional[Tensor] = None\n"),
        _ => (", style: Optional[Tensor]=None", ""),
    };
    let _ = writeln!(
        text,
        "  def forward(self: __torch__.{TOP}, x: Tensor{argument}) -> Tensor:\n{style}    height = torch.size(x, 2)\n    width = torch.size(x, 3)\n    y = torch.to(x, ops.prim.dtype(self.{first}.conv2d.weight))\n    y = __torch__.padded(y, 0, ({multiple} - width % {multiple}) % {multiple}, 0, ({multiple} - height % {multiple}) % {multiple})"
    );
    let grey = if architecture.luminance { "    y = __torch__.luma(y)\n" } else { "" };
    text += grey;
    if architecture.kind == NetworkKind::Texture {
        text += "    seen = y\n";
    }
    for layer in layers {
        scales::source(&mut text, layer, architecture);
        match layer.conv.split_once('.') {
            None => steps(&mut text, layer),
            Some((block, _)) if layer.begins_block => {
                let _ = writeln!(text, "    y = (self.{block}).forward(y, style)");
            }
            Some(_) => {}
        }
    }
    text += "    y = torch.to(y, 6)\n";
    if architecture.output == OutputLayer::Tanh {
        let _ = writeln!(
            text,
            "    y = torch.add(torch.mul(torch.tanh(y), {TANH_SCALE:?}), {MIDDLE:?})"
        );
    }
    text + grey
        + "    y = torch.slice(torch.slice(torch.clamp(y, 0., 255.), 2, 0, height), 3, 0, width)
    return torch.contiguous(y)
"
}
