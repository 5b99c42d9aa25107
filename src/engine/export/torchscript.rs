//! The network as a TorchScript archive: a zip of the source, the modules with their weights as a
//! pickle, and what is known of the model as extra file.

use std::io;

use super::code;
use super::contents::{metadata, single, tensor};
use crate::engine::architecture::{Layer, layers};
use crate::engine::model_file::ModelFile;
use crate::engine::model_file::write::{DESCRIPTION, Records, tensor as pickle_tensor, text};

/// The archive; `_extra_files={"nst-stream.json": ""}` of `torch.jit.load` gives the description.
pub(super) fn to_bytes(model: &ModelFile) -> io::Result<Vec<u8>> {
    let architecture = &model.description.architecture;
    let mut zip = Records::default();
    for (name, value) in metadata(model)? {
        let name = if name == DESCRIPTION { name.to_owned() } else { format!("{name}.txt") };
        zip.add(&format!("extra/{name}"), value.as_bytes())?;
    }
    let mut pickle = Pickle { model, bytes: b"\x80\x02".to_vec(), names: Vec::new() };
    pickle.network()?;
    let Pickle { bytes, names, .. } = pickle;
    zip.add("data.pkl", &bytes)?;
    zip.add("byteorder", b"little")?;
    for (number, name) in names.iter().enumerate() {
        zip.add(&format!("data/{number}"), &single(tensor(model, name)?).data)?;
    }
    zip.add("code/__torch__.py", code::source(architecture).as_bytes())?;
    // An empty tuple: the source holds all constants itself.
    zip.add("constants.pkl", b"\x80\x02).")?;
    zip.add("version", b"3\n")?;
    zip.finish()
}

/// The modules under construction, and the names of their tensors, each of which is the record of
/// its place in the list.
struct Pickle<'a> {
    model: &'a ModelFile,
    bytes: Vec<u8>,
    names: Vec<String>,
}

impl Pickle<'_> {
    fn network(&mut self) -> io::Result<()> {
        let layers = layers(&self.model.description.architecture);
        self.open(code::TOP)?;
        for layer in layers.iter().filter(|layer| !layer.conv.contains('.')) {
            self.layer(layer, "")?;
        }
        for pair in layers.chunk_by(|a, b| a.begins_block && !b.begins_block) {
            if let [first, _] = pair
                && let Some((block, _)) = first.conv.split_once('.')
            {
                text(&mut self.bytes, block)?;
                self.open(code::BLOCK)?;
                pair.iter().try_for_each(|layer| self.layer(layer, &format!("{block}.")))?;
                self.close();
            }
        }
        self.close();
        self.bytes.push(b'.');
        Ok(())
    }

    /// Convolution and norm as members of the module that is open, whose name is the prefix.
    fn layer(&mut self, layer: &Layer, prefix: &str) -> io::Result<()> {
        let short = |name: &str| name.trim_start_matches(prefix).to_owned();
        text(&mut self.bytes, &short(&layer.conv))?;
        self.open(&code::class(layer))?;
        text(&mut self.bytes, "conv2d")?;
        self.weights(code::WEIGHTS, &format!("{}.conv2d", layer.conv))?;
        self.close();
        for (norm, _) in layer.norms() {
            text(&mut self.bytes, &short(norm))?;
            self.weights(code::NORM, norm)?;
        }
        Ok(())
    }

    fn weights(&mut self, class: &str, name: &str) -> io::Result<()> {
        self.open(class)?;
        for part in ["weight", "bias"] {
            let name = format!("{name}.{part}");
            text(&mut self.bytes, part)?;
            let value = single(tensor(self.model, &name)?);
            pickle_tensor(&mut self.bytes, self.names.len(), &value)?;
            self.names.push(name);
        }
        self.close();
        Ok(())
    }

    /// Opens an object of a class with what every module has: it is not training, it has no hooks.
    fn open(&mut self, class: &str) -> io::Result<()> {
        self.bytes.extend_from_slice(format!("c__torch__\n{class}\n").as_bytes());
        self.bytes.extend_from_slice(b")\x81}(");
        text(&mut self.bytes, "training")?;
        self.bytes.push(0x89);
        text(&mut self.bytes, "_is_full_backward_hook")?;
        self.bytes.push(b'N');
        Ok(())
    }

    fn close(&mut self) {
        self.bytes.extend_from_slice(b"ub");
    }
}
