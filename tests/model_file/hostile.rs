//! Files made to do harm: they run nothing, and no bytes at all make the reader panic.

use nst_stream::engine::architecture::Architecture;
use nst_stream::engine::model_file::{ModelError, ModelFile};

use super::make::{Pickle, Random, entries, legacy_file, pickled, small, zip_file};

/// The Python name the file is refused for, in both formats and as a bare pickle.
fn refused_name(pickle: Pickle) -> String {
    let pickle = pickle.stop();
    let names = [zip_file(&pickle, &[]), legacy_file(&pickle, &[]), pickle].map(|bytes| {
        match ModelFile::from_bytes("x.pt", &bytes) {
            Err(ModelError::UnsafeGlobal { global, .. }) => global,
            other => panic!("expected a refusal for its global, got {other:?}"),
        }
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    names[0].clone()
}

#[test]
fn a_pickle_that_asks_to_run_a_program_is_refused_whatever_the_opcode() {
    let new = Pickle::new;
    let system = "os.system";
    assert_eq!(refused_name(new().global("os", "system").raw(b"(").text("id").raw(b"tR")), system);
    assert_eq!(refused_name(new().text("os").text("system").raw(b"\x93").text("id")), system);
    assert_eq!(refused_name(new().raw(b"\x80\x04\x8c\x02os\x8c\x06system\x93")), system);
    assert_eq!(refused_name(new().raw(b"(").text("id").raw(b"ios\nsystem\n")), system);
    assert_eq!(refused_name(new().raw(b"(cos\nsystem\n").text("id").raw(b"o")), system);
    assert_eq!(refused_name(new().raw(b"cos\nsystem\n)\x81")), system);
    assert_eq!(refused_name(new().raw(b"cos\nsystem\n)}\x92")), system);
    for extension in [&b"\x82\x01"[..], b"\x83\x01\x01", b"\x84\x01\x01\x01\x01"] {
        assert_eq!(refused_name(new().raw(extension)), "a registered extension");
    }
}

#[test]
fn only_the_names_on_the_list_pass() {
    for (module, name) in [
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("posix", "system"),
        ("torch", "load"),
        ("torch", "FloatStorage.__init__"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "defaultdict"),
        ("numpy.core.multiarray", "scalar"),
        ("transformer_net", "TransformerNet"),
    ] {
        let refused = refused_name(Pickle::new().global(module, name));
        assert_eq!(refused, format!("{module}.{name}"));
    }
    let long = "x".repeat(200);
    let refused = refused_name(Pickle::new().global("\u{1b}[31m\r", &long));
    assert!(refused.starts_with("\\u{1b}[31m\\r.xxx") && refused.ends_with("x…"), "{refused}");
}

#[test]
fn the_refusal_says_what_was_asked_for_and_what_to_do() {
    let pickle = Pickle::new().global("os", "system").stop();
    let error = ModelFile::from_bytes("x.pt", &zip_file(&pickle, &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "'x.pt' asks to run os.system: refused, nothing was run; save the network's state_dict() \
         alone"
    );
}

/// Each of these wants more memory, time or stack than the file is long.
#[test]
fn pickles_without_end_are_cut_off() {
    let many = 1 << 19;
    let damaged = |pickle: Pickle| {
        let bytes = zip_file(&pickle.stop(), &[]);
        match ModelFile::from_bytes("x.pt", &bytes) {
            Err(ModelError::Damaged { reason, .. }) => reason,
            other => panic!("expected it to be refused as damaged, got {other:?}"),
        }
    };
    assert_eq!(damaged(Pickle::new().raw(&vec![b'N'; many])), TOO_LONG);
    assert_eq!(damaged(Pickle::new().raw(&vec![b'('; many])), TOO_LONG);
    assert_eq!(damaged(Pickle::new().raw(b"]").raw(&b"2a".repeat(many / 2))), TOO_LONG);
    // A text, a tuple and an integer that claim more bytes than there are.
    let early = "it ends early";
    assert_eq!(damaged(Pickle::new().raw(b"X\xff\xff\xff\xff")), early);
    assert_eq!(damaged(Pickle::new().raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff")), early);
    assert_eq!(damaged(Pickle::new().raw(b"\x8b\xff\xff\xff\xff")), early);
    // One long list made into dicts again and again.
    let pair = b"NN\x86".repeat(10_000);
    let list = Pickle::new().raw(b"](").raw(&pair).raw(b"e\x85q\x01");
    let again = b"ccollections\nOrderedDict\nh\x01R".repeat(100);
    assert_eq!(damaged(list.raw(&again)), "it repeats itself without end");
    // A tuple nested 200,000 deep is no more than a long row of small ones.
    let deep = Pickle::new().raw(b"N").raw(&vec![0x85; 200_000]);
    let refused = ModelFile::from_bytes("x.pt", &zip_file(&deep.stop(), &[])).unwrap_err();
    assert_eq!(refused.to_string(), "'x.pt' is not a model: it holds a tuple, not a state dict");
}

const TOO_LONG: &str = "its pickle is too long for a state dict";

#[test]
fn pickles_that_make_no_sense_are_damaged() {
    for nonsense in [
        &b"."[..],
        b"0.",
        b"1.",
        b"2.",
        b"q\x01.",
        b"h\x07.",
        b"\x94.",
        b"t.",
        b"R.",
        b"b.",
        b"Q.",
        b"NNR.",
        b"NQ.",
        b"N)R.",
        b"}Na.",
        b"]NNs.",
        b"}(Nu.",
        b"(o.",
        b"N(0.",
        b"NNb.",
        b"I01\n.",
        b"\x80\x09.",
        b"ccollections\nOrderedDict\n",
        b"ccollections\nOrderedDict\nNR.",
        b"ccollections\nOrderedDict\n)}\x93.",
        b"ctorch\nFloatStorage\n)R.",
        b"\x97.",
        b"X\x01\0\0\0\xff.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNt R.",
    ] {
        let file = zip_file(&[b"\x80\x02", nonsense].concat(), &[]);
        let error = ModelFile::from_bytes("x.pt", &file).unwrap_err();
        assert!(matches!(error, ModelError::Damaged { .. }), "{nonsense:02x?}: {error}");
    }
}

/// Thousands of files with bytes changed, cut off, moved and put in. Those that still load must be
/// sound; the others must be refused in one line; none may panic. NST_MUTATIONS sets how many.
#[test]
fn no_bytes_make_the_reader_panic() {
    let rounds = std::env::var("NST_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let mut model = small();
    model.description.architecture =
        Architecture { widths: vec![1, 1, 1], residual_blocks: 0, ..Default::default() };
    let shapes = model.description.architecture.parameters();
    model.tensors = shapes
        .into_iter()
        .map(|(name, shape)| {
            let mut tensor = model.tensors[&name].clone();
            tensor.data.truncate(2 * shape.iter().product::<i64>() as usize);
            tensor.shape = shape;
            (name, tensor)
        })
        .collect();
    let entries = entries(&model);
    let (zip_pickle, old_pickle) = (pickled(&entries, false), pickled(&entries, true));
    let originals = [
        model.to_bytes("x").unwrap(),
        zip_file(&zip_pickle, &entries),
        legacy_file(&old_pickle, &entries),
    ];
    for bytes in &originals {
        ModelFile::from_bytes("x.pt", bytes).unwrap();
    }
    let mut random = Random(0x5EED);
    let (mut sound, mut refused) = (0, 0);
    for round in 0..rounds {
        let bytes = match round % 5 {
            // The pickle alone, in a zip whose checksums are right: it is really read.
            3 => zip_file(&mutated(&zip_pickle, &old_pickle, &mut random), &entries),
            4 => legacy_file(&mutated(&old_pickle, &zip_pickle, &mut random), &entries),
            kind => mutated(&originals[kind], &originals[(kind + 1) % 3], &mut random),
        };
        match ModelFile::from_bytes("x.pt", &bytes) {
            Ok(model) => {
                model.check("x.pt").unwrap();
                sound += 1;
            }
            Err(error) => {
                let line = error.to_string();
                assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
                refused += 1;
            }
        }
    }
    println!("{sound} still sound, {refused} refused");
    assert!(refused > rounds / 2, "{sound} sound, {refused} refused: hardly anything was changed");
}

/// One to four changes; `other` is where bytes to put in are taken from.
fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(6) {
            0 => bytes.truncate(at),
            1 | 2 if at < bytes.len() => bytes[at] = random.next() as u8,
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 => {
                let length = random.below(16).min(bytes.len() - at);
                bytes.splice(at..at + length, std::iter::repeat_n(0xFF, length));
            }
            _ => {
                let from = random.below(other.len());
                let part = &other[from..other.len().min(from + random.below(64))];
                let length = random.below(64).min(bytes.len() - at);
                bytes.splice(at..at + length, part.iter().copied());
            }
        }
    }
    bytes
}
