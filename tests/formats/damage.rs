//! Files that are damaged, cut off or no video at all.

use super::*;

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_file_cut_off_is_made_as_far_as_it_goes_and_where_it_ends_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let bunny = bunny();
    let bunny = bunny.to_str().unwrap();
    let small = ["-i", bunny, "-vf", "scale=320:180", "-c:v", "libx264", "-g", "25"];
    for (name, how) in [
        ("in.mp4", &["-movflags", "+faststart"][..]),
        ("in.mkv", &[]),
        ("in.ts", &[]),
        ("in.avi", &["-c:a", "mp3", "-ac", "2"]),
    ] {
        let whole = made(&folder, name, &[&small[..], how].concat());
        let cut = folder.path().join(format!("cut-{name}"));
        let data = bytes(&whole);
        std::fs::write(&cut, &data[..data.len() * 6 / 10]).unwrap();
        let output = folder.path().join("out.mp4");
        let (done, said) = converted(&cut, &output, QUICK);
        println!("{name}: {} frames, {:?}", done.frames, said.0);
        assert!((40..110).contains(&done.frames), "{name}: {}", done.frames);
        let frames = frame_times(&output).len();
        assert_eq!(frames as u64, done.frames, "{name}");
        // A transport stream does not say how long it was meant to be.
        if name != "in.ts" {
            assert!(said.has("cut off: its picture ends at"), "{name}: {:?}", said.0);
        }
        // Nor does an AVI, once its index is gone.
        if name == "in.mp4" || name == "in.mkv" {
            assert!(said.has(" of 5."), "{name}: {:?}", said.0);
        }
    }
}

#[test]
fn an_index_at_the_end_that_is_cut_off_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = bytes(&carphone());
    let cut = folder.path().join("cut.mp4");
    // The clip's index stands at its end.
    std::fs::write(&cut, &data[..data.len() / 2]).unwrap();
    let output = folder.path().join("out.mp4");
    let error = format!("{:#}", convert(&cut, &output, QUICK).0.unwrap_err());
    println!("{error}");
    assert!(error.contains("index is missing") && !output.exists(), "{error}");
}

#[test]
fn a_size_that_no_decoder_takes_is_not_called_a_missing_decoder() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = bytes(&carphone());
    // The last one: the first is the file's brand.
    let entry = data.windows(4).rposition(|name| name == b"avc1").unwrap();
    let size = entry + 28..entry + 32;
    assert_eq!(data[size.clone()], [0, 176, 0, 144]);
    data[size].copy_from_slice(&[0x40, 0, 0x40, 0]);
    let huge = folder.path().join("huge.mp4");
    std::fs::write(&huge, &data).unwrap();
    let output = folder.path().join("out.mp4");
    let error = format!("{:#}", convert(&huge, &output, QUICK).0.unwrap_err());
    println!("{error}");
    assert!(error.contains("H.264") && error.contains("refuses it"), "{error}");
    assert!(!error.contains("install gstreamer") && !output.exists(), "{error}");
}
