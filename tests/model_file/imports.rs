//! Published networks, in every dress PyTorch has given them.

use nst_stream::engine::model_file::{DType, ModelFile, RawTensor};

use super::make::{Entry, Pickle, entries, entry, legacy_file, pickled, small, zip_file};

/// The small model as published files hold it: without a description.
fn read(bytes: &[u8]) -> ModelFile {
    ModelFile::from_bytes("nets/small.pth", bytes).unwrap()
}

#[test]
fn a_state_dict_is_read_from_a_zip_and_from_an_old_pickle() {
    let entries = entries(&small());
    assert_eq!(read(&zip_file(&pickled(&entries, false), &entries)), small());
    assert_eq!(read(&legacy_file(&pickled(&entries, true), &entries)), small());
}

#[test]
fn a_state_dict_is_found_inside_a_checkpoint() {
    let entries = entries(&small());
    for name in ["state_dict", "model", "model_state_dict"] {
        let pickle = Pickle::new().raw(b"}(").text("epoch").int(2).text(name);
        let pickle = pickle.state_dict(&entries, false).text("loss").raw(b"G\x3f\xf0\0\0\0\0\0\0");
        assert_eq!(read(&zip_file(&pickle.raw(b"u").stop(), &entries)), small(), "{name}");
    }
}

#[test]
fn names_may_begin_with_module() {
    let mut entries = entries(&small());
    entries.iter_mut().for_each(|entry| entry.name.insert_str(0, "module."));
    assert_eq!(read(&zip_file(&pickled(&entries, false), &entries)), small());
}

#[test]
fn names_may_begin_with_what_a_wrapper_puts_there() {
    for prefix in
        ["_orig_mod.", "model.", "generator.net.", "module._orig_mod.", "ema_model.module."]
    {
        let mut entries = entries(&small());
        entries.iter_mut().for_each(|entry| entry.name.insert_str(0, prefix));
        assert_eq!(read(&zip_file(&pickled(&entries, false), &entries)), small(), "{prefix}");
        if prefix == "_orig_mod." {
            continue;
        }
        // What lies beside the network, such as the one that its loss is measured with.
        entries.push(entry("loss.features.0.weight", &small().tensors["in1.weight"]));
        assert_eq!(read(&zip_file(&pickled(&entries, false), &entries)), small(), "{prefix}");
    }
}

#[test]
fn a_state_dict_may_have_any_name_in_a_checkpoint() {
    let entries = entries(&small());
    for name in ["params_ema", "ema", "generator", "netG"] {
        let pickle = Pickle::new().raw(b"}(").text("epoch").int(2).text(name);
        let pickle = pickle.state_dict(&entries, false).raw(b"u").stop();
        assert_eq!(read(&zip_file(&pickle, &entries)), small(), "{name}");
    }
}

#[test]
fn what_is_exported_as_safetensors_can_be_read_again() {
    use nst_stream::engine::export::{Format, to_bytes};
    let bytes = to_bytes(&small(), Format::Safetensors).unwrap();
    assert_eq!(read(&bytes), small());
    for cut in [9, 100, bytes.len() - 1] {
        assert!(ModelFile::from_bytes("x", &bytes[..cut]).is_err(), "of {cut} bytes");
    }
}

#[test]
fn running_statistics_of_old_files_are_dropped() {
    let mut entries = entries(&small());
    let nan = RawTensor::from_f32([2], &[f32::NAN, 1.0], DType::F32);
    let count = RawTensor::from_f32([], &[3.0], DType::I64);
    entries.push(entry("in1.running_mean", &nan));
    entries.push(entry("res1.in2.running_var", &nan));
    entries.insert(0, entry("in5.num_batches_tracked", &count));
    assert_eq!(read(&legacy_file(&pickled(&entries, true), &entries)), small());
}

#[test]
fn sizes_are_read_from_the_shapes() {
    let entries = entries(&small());
    let model = read(&zip_file(&pickled(&entries, false), &entries));
    assert_eq!(model.description.architecture.to_string(), "johnson 2-3-4, 1 block");
    assert_eq!(model.description.name, "small");
    assert_eq!(model.description.styles, ["small"]);
}

/// `in1.weight` and `in1.bias` as views into one storage of seven numbers, in the legacy format
/// also through a window that skips the first two.
#[test]
fn tensors_may_share_a_storage_and_look_at_parts_of_it() {
    let values: Vec<f32> = (0..7).map(|v| v as f32).collect();
    let shared = RawTensor::from_f32([7], &values, DType::F32);
    let view = |name: &str, offset, stride| Entry {
        key: "shared".to_owned(),
        offset,
        shape: vec![2],
        strides: vec![stride],
        ..entry(name, &shared)
    };
    let mut entries = entries(&small());
    entries.retain(|entry| !entry.name.starts_with("in1."));
    entries.extend([view("in1.weight", 1, 3), view("in1.bias", 5, 1)]);
    for bytes in [
        zip_file(&pickled(&entries, false), &entries),
        legacy_file(&pickled(&entries, true), &entries),
    ] {
        let model = read(&bytes);
        assert_eq!(model.tensors["in1.weight"].to_f32(), [1.0, 4.0]);
        assert_eq!(model.tensors["in1.bias"].to_f32(), [5.0, 6.0]);
    }
    // None, the end of a storage's id, becomes the window ('w', 2, 5).
    let whole = Pickle::default().text("cpu").int(7).raw(b"NtQ").0;
    let window = Pickle::default().text("cpu").int(7).raw(b"(").text("w").int(2).int(5);
    let window = window.raw(b"ttQ").0;
    let pickle = replace(&pickled(&entries, true), &whole, &window);
    let error = ModelFile::from_bytes("x", &legacy_file(&pickle, &entries)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "'x' is damaged: 'in1.bias' reaches past the end of its numbers; fetch or save it again"
    );
    let pickle = replace(&pickle, b"J\x05\0\0\0(J\x02\0\0\0t", b"J\x03\0\0\0(J\x02\0\0\0t");
    let model = read(&legacy_file(&pickle, &entries));
    assert_eq!(model.tensors["in1.weight"].to_f32(), [3.0, 6.0]);
    assert_eq!(model.tensors["in1.bias"].to_f32(), [5.0, 6.0]);
}

#[test]
fn a_tensor_laid_out_otherwise_is_brought_into_row_major_order() {
    let plain = small();
    let mut entries = entries(&plain);
    // channels_last: [out, in, h, w] with the channels innermost
    let name = "conv2.conv2d.weight";
    let entry = entries.iter_mut().find(|entry| entry.name == name).unwrap();
    let [o, c, h, w] = [3, 2, 3, 3];
    let number = |i: usize| [entry.storage[2 * i], entry.storage[2 * i + 1]];
    let mut data = Vec::new();
    for out in 0..o {
        for y in 0..h {
            for x in 0..w {
                (0..c).for_each(|ch| data.extend(number(((out * c + ch) * h + y) * w + x)));
            }
        }
    }
    entry.storage = data;
    entry.strides = vec![18, 1, 6, 2];
    assert_eq!(read(&zip_file(&pickled(&entries, false), &entries)), plain);
    assert_eq!(read(&legacy_file(&pickled(&entries, true), &entries)), plain);
}

#[test]
fn parameters_untyped_storages_and_newer_pickles_are_read() {
    let entries = entries(&small());
    let short = |p: Pickle, text: &str| p.raw(&[0x8c, text.len() as u8]).raw(text.as_bytes());
    let named =
        |p: Pickle, module: &str, name: &str| short(short(p, module), name).raw(b"\x93\x94");
    let mut pickle = Pickle(b"\x80\x05\x95\0\0\0\0\0\0\0\0".to_vec());
    pickle = named(pickle, "collections", "OrderedDict").raw(b")R\x94(");
    for (number, entry) in entries.iter().enumerate() {
        pickle = short(pickle, &entry.name).raw(b"\x94");
        let parameter = number % 2 == 0;
        if parameter {
            pickle = named(pickle, "torch._utils", "_rebuild_parameter").raw(b"(");
        }
        pickle = named(pickle, "torch._utils", "_rebuild_tensor_v3").raw(b"((");
        pickle = named(short(pickle, "storage"), "torch.storage", "UntypedStorage");
        pickle = short(short(pickle, &entry.key), "cpu").int(entry.storage.len() as i32);
        pickle = named(pickle.raw(b"tQ").int(0), "torch", "Size").ints(&entry.shape);
        pickle = pickle.raw(b"\x85R").ints(&entry.strides).raw(b"\x89}");
        pickle = named(pickle, "torch", "float16").raw(b"tR");
        if parameter {
            pickle = pickle.raw(b"\x88h\x01tR"); // True, the OrderedDict itself: never used
        }
    }
    assert_eq!(read(&zip_file(&pickle.raw(b"u").stop(), &entries)), small());
}

#[test]
fn zips_without_checksums_are_read() {
    let entries = entries(&small());
    let mut bytes = zip_file(&pickled(&entries, false), &entries);
    for at in 0..bytes.len() - 20 {
        if bytes[at..].starts_with(b"PK\x01\x02") {
            bytes[at + 16..at + 20].fill(0);
        }
    }
    assert_eq!(read(&bytes), small());
}

#[test]
fn files_of_python_2_are_read() {
    let entries = entries(&small());
    let byte_text = |p: Pickle, text: &str| p.raw(&[b'U', text.len() as u8]).raw(text.as_bytes());
    let mut pickle = Pickle::new().raw(b"ccollections\nOrderedDict\n](");
    for entry in &entries {
        pickle = byte_text(pickle.raw(b"]("), &entry.name).tensor(entry, true).raw(b"e");
    }
    assert_eq!(read(&legacy_file(&pickle.raw(b"e\x85R").stop(), &entries)), small());
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let found = bytes[i..].starts_with(from);
        out.extend_from_slice(if found { to } else { &bytes[i..=i] });
        i += if found { from.len() } else { 1 };
    }
    out
}
