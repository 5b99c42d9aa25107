//! What is no sound model is refused, with a word that says what is wrong.

use nst_stream::engine::model_file::{DType, ModelError, ModelFile, RawTensor};
use zip::CompressionMethod;

use super::make::{
    Entry, Pickle, entries, entry, legacy_file, legacy_file_of, pickled, small, zip, zip_file,
};

fn refusal(bytes: &[u8]) -> String {
    ModelFile::from_bytes("x.pt", bytes).unwrap_err().to_string()
}

/// The refusal of the small model after a change to its entries.
fn refusal_with(change: impl Fn(&mut Vec<Entry>)) -> String {
    let mut entries = entries(&small());
    change(&mut entries);
    let refusals = [
        refusal(&zip_file(&pickled(&entries, false), &entries)),
        refusal(&legacy_file(&pickled(&entries, true), &entries)),
    ];
    assert_eq!(refusals[0], refusals[1]);
    refusals[0].clone()
}

fn zeros(shape: &[i64]) -> RawTensor {
    let count = shape.iter().product::<i64>() as usize;
    RawTensor::from_f32(shape, &vec![0.0; count], DType::F32)
}

fn find<'e>(entries: &'e mut [Entry], name: &str) -> &'e mut Entry {
    entries.iter_mut().find(|entry| entry.name == name).unwrap()
}

#[test]
fn what_is_no_pytorch_file() {
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b"GIF89a", "neither a PyTorch zip nor a PyTorch pickle"),
        (b"\x80\x02K\x01.", "neither a PyTorch zip nor a PyTorch pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid", GIT_LFS),
        (b"\n<!DOCTYPE html><html>", "it is a web page, so the download went wrong"),
        (&zip(&[("word/document.xml", b"<x/>")]), "it is a zip, but none that torch.save writes"),
    ] {
        assert_eq!(refusal(bytes), format!("'x.pt' is not a model: {why}"));
    }
}

const GIT_LFS: &str = "it is a Git LFS pointer; `git lfs pull` fetches the file";

#[test]
fn what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| ModelFile::open(&folder.path().join(name)).unwrap_err().to_string();
    let error = open("missing.pt");
    assert!(error.starts_with("cannot read the model '"), "{error}");
    assert!(error.contains("missing.pt': No such file or directory"), "{error}");
    assert!(open("").ends_with("': it is a folder or device, not a file"));
    // A sparse file: its size alone is looked at.
    let huge = std::fs::File::create(folder.path().join("film.mkv")).unwrap();
    huge.set_len(3 << 30).unwrap();
    assert!(open("film.mkv").ends_with("': 3072 MiB are too many for a model"));
}

#[test]
fn pytorch_files_that_hold_no_state_dict() {
    let not = |pickle: Pickle| {
        let pickle = pickle.stop();
        let zipped = refusal(&zip_file(&pickle, &[]));
        assert_eq!(zipped, refusal(&legacy_file(&pickle, &[])));
        zipped.strip_prefix("'x.pt' is not a model: ").unwrap().to_owned()
    };
    assert_eq!(not(Pickle::new().raw(b"]")), "it holds a list, not a state dict");
    assert_eq!(not(Pickle::new().int(7)), "it holds an int, not a state dict");
    assert_eq!(not(Pickle::new().raw(b"}")), "its state dict is empty");
    let dict = |p: Pickle| not(Pickle::new().raw(b"}").raw(&p.raw(b"s").0));
    let part = || Pickle::default();
    assert_eq!(dict(part().text("lr\n").raw(b"N")), "its 'lr\\n' is None, not a tensor");
    assert_eq!(dict(part().int(3).raw(b"N")), "its dict has an int for a name");
}

#[test]
fn tensors_that_do_not_fit() {
    assert_eq!(
        refusal_with(|e| *find(e, "conv1.conv2d.weight") =
            entry("conv1.conv2d.weight", &zeros(&[2, 3, 3, 3]))),
        "'x.pt': 'conv1.conv2d.weight' has the shape [2, 3, 3, 3], expected [2, 3, 9, 9]"
    );
    assert_eq!(
        refusal_with(|e| *find(e, "in4.bias") = entry("in4.bias", &zeros(&[3, 1]))),
        "'x.pt': 'in4.bias' has the shape [3, 1], expected [3]"
    );
    assert_eq!(
        refusal_with(|e| e.retain(|entry| entry.name != "res1.in2.bias")),
        "'x.pt' lacks 'res1.in2.bias' of the shape [4]; is it a fast_neural_style network?"
    );
    assert_eq!(
        refusal_with(|e| find(e, "conv1.conv2d.weight").name = "features.0.weight".to_owned()),
        "'x.pt' lacks 'conv1.conv2d.weight' of the shape [outputs, inputs, height, width]; is it \
         a fast_neural_style network?"
    );
    assert_eq!(
        refusal_with(|e| e.push(entry("res3.in1.weight", &zeros(&[4])))),
        "'x.pt' lacks 'res2.conv1.conv2d.weight' of the shape [4, 4, 3, 3]; is it a \
         fast_neural_style network?"
    );
    assert_eq!(
        refusal_with(|e| e.push(entry("tanh\u{1b}[2J", &zeros(&[1])))),
        "'x.pt' has 'tanh\\u{1b}[2J', which johnson 2-3-4, 1 block has no place for"
    );
    let whole = RawTensor::from_f32([2], &[1.0, 2.0], DType::I64);
    assert_eq!(
        refusal_with(|e| *find(e, "in1.weight") = entry("in1.weight", &whole)),
        "'x.pt': 'in1.weight' holds int64 numbers, expected floating point"
    );
}

#[test]
fn weights_that_are_no_numbers() {
    for (dtype, value) in
        [(DType::F32, f32::NAN), (DType::F16, f32::INFINITY), (DType::F64, f32::NEG_INFINITY)]
    {
        let tensor = RawTensor::from_f32([2], &[1.0, value], dtype);
        assert_eq!(
            refusal_with(|e| *find(e, "in1.weight") = entry("in1.weight", &tensor)),
            "'x.pt': 'in1.weight' holds NaN or infinite values"
        );
    }
}

#[test]
fn tensors_that_reach_too_far() {
    let past = "'x.pt' is damaged: 'in1.bias' reaches past the end of its numbers; fetch or save \
                it again";
    assert_eq!(refusal_with(|e| find(e, "in1.bias").offset = 1), past);
    assert_eq!(refusal_with(|e| find(e, "in1.bias").strides[0] = 2), past);
    assert_eq!(refusal_with(|e| find(e, "in1.bias").strides[0] = i32::MAX), past);
    assert_eq!(refusal_with(|e| find(e, "in1.bias").shape[0] = 3), past);
    // 2³¹ numbers made of one: nothing is allocated for them.
    let huge = refusal_with(|e| {
        let bias = find(e, "in1.bias");
        (bias.shape, bias.strides) = (vec![i32::MAX, 1], vec![0, 0]);
    });
    assert_eq!(huge, "'x.pt' is damaged: 'in1.bias' is too large; fetch or save it again");
    let overflow = refusal_with(|e| {
        let bias = find(e, "in1.bias");
        (bias.shape, bias.strides) = (vec![i32::MAX; 3], vec![i32::MAX; 3]);
    });
    assert_eq!(overflow, past);
    let negative = refusal_with(|e| find(e, "in1.bias").strides[0] = -1);
    assert!(negative.ends_with("with the wrong arguments; fetch or save it again"), "{negative}");
}

#[test]
fn two_tensors_of_one_name() {
    assert_eq!(
        refusal_with(|e| e.push(e[3].clone())),
        "'x.pt' is damaged: it has two tensors called 'in1.bias'; fetch or save it again"
    );
}

#[test]
fn torchscript_is_told_from_a_model() {
    let program = zip(&[("m/data.pkl", b"\x80\x02}."), ("m/constants.pkl", b"\x80\x02).")]);
    let code = super::make::zip_with(
        &[("m/code/__torch__.py", b"import os"), ("m/data.pkl", b"\x80\x02}.")],
        CompressionMethod::Stored,
    );
    for bytes in [program, code] {
        assert!(matches!(
            ModelFile::from_bytes("x.pt", &bytes),
            Err(ModelError::TorchScript { .. })
        ));
        assert_eq!(
            refusal(&bytes),
            "'x.pt' is a TorchScript program, not a plain model; `--trust` runs it, if you trust \
             its author"
        );
    }
}

#[test]
fn big_endian_files() {
    let entries = entries(&small());
    let legacy = legacy_file_of(&pickled(&entries, true), &entries, false);
    let zipped = zip(&[("m/data.pkl", b"\x80\x02}."), ("m/byteorder", b"big")]);
    for bytes in [legacy, zipped] {
        assert!(refusal(&bytes).starts_with("'x.pt' was saved on a big-endian machine; "));
    }
}

#[test]
fn zips_that_are_not_as_pytorch_writes_them() {
    let twice = {
        let mut bytes = zip(&[("m/data.pkl", b"\x80\x02}."), ("m/data/pkl", b"\x80\x02}.")]);
        for at in 0..bytes.len() - 10 {
            if bytes[at..].starts_with(b"m/data/pkl") {
                bytes[at + 6] = b'.';
            }
        }
        bytes
    };
    assert!(refusal(&twice).contains("it has two records called 'm/data.pkl'"));

    let good = zip(&[("m/data.pkl", b"\x80\x02}."), ("m/version", b"3\n")]);
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[directory + at] = to;
        refusal(&bytes)
    };
    assert!(changed(10, 8).starts_with(
        "'x.pt' has the compressed record 'm/data.pkl', PyTorch compresses none; zip it again"
    ));
    assert!(changed(8, 1).contains("its record 'm/data.pkl' is broken"));
    assert!(changed(16, 1).contains("the checksum of its record 'm/data.pkl' differs"));
    assert!(changed(20, 200).contains("its record 'm/data.pkl' is broken"));
    assert!(changed(42, 200).contains("its record 'm/data.pkl' is broken"));
    assert!(changed(46, b'n').contains("its record 'n/data.pkl' is broken"));

    // The second entry of the directory pointed at the first record, name and all.
    let mut overlapping = zip(&[("m/data.pkl", b"\x80\x02}."), ("m/data.pkm", b"\x80\x02}.")]);
    let second = (0..overlapping.len() - 4).rfind(|&i| overlapping[i..].starts_with(b"PK\x01\x02"));
    let second = second.unwrap();
    overlapping[second + 42..second + 46].fill(0);
    overlapping[second + 46 + 9] = b'l';
    assert!(refusal(&overlapping).contains("two of its records overlap"));
}

#[test]
fn files_cut_short() {
    let entries = entries(&small());
    let whole = [
        zip_file(&pickled(&entries, false), &entries),
        legacy_file(&pickled(&entries, true), &entries),
    ];
    for bytes in whole {
        for length in (20..bytes.len()).step_by(37) {
            let error = refusal(&bytes[..length]);
            assert!(error.contains("it ends early"), "{length}: {error}");
        }
    }
}

#[test]
fn descriptions_that_cannot_be_understood() {
    let entries = entries(&small());
    let pickle = pickled(&entries, false);
    let described = |json: &str| {
        let names: Vec<String> = entries.iter().map(|e| format!("m/data/{}", e.key)).collect();
        let mut records = vec![("m/data.pkl", &*pickle), ("m/nst-stream.json", json.as_bytes())];
        records.extend(names.iter().map(String::as_str).zip(entries.iter().map(|e| &*e.storage)));
        refusal(&zip(&records))
    };
    assert_eq!(
        described(r#"{"format": 2, "architecture": "of another time"}"#),
        "'x.pt' was made by a newer nst-stream (model format 2); update nst-stream"
    );
    let kind = |kind: &str, blocks: &str| {
        described(&format!(
            r#"{{"architecture": {{"kind": "{kind}", "widths": [2, 3, 4],
                "residual_blocks": {blocks}}}}}"#
        ))
    };
    assert!(kind("unet", "1").contains("the architecture 'unet' is unknown, known is johnson"));
    assert!(kind("johnson", "99999999999").contains("residual blocks, expected at most 256"));
    assert!(kind("johnson", "2").contains("lacks 'res2.conv1.conv2d.weight'"));
    assert!(kind("johnson", "0").contains("has 'res1.conv1.conv2d.bias', which johnson 2-3-4"));
    assert!(described("{").starts_with("'x.pt' has a bad description: EOF while parsing"));
    assert!(described("{}").contains("missing field `architecture`"));
}
