//! Inputs that cannot be painted.

use std::fs;

use super::common::{bunny, data, ffmpeg, nst, succeed};
use super::make::Random;
use super::{assert_says, folder, refusal};

fn to_mp4(folder: &std::path::Path, input: &str) -> String {
    let line = refusal(folder, 1, &["-m", "mosaic", "-i", input, "-o", "out.mp4"]);
    assert_says(&line, &[&format!("'{input}'")]);
    line
}

#[test]
fn an_input_that_is_missing_or_empty_or_a_folder_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("empty.mp4"), "").unwrap();
    fs::create_dir(folder.path().join("folder.mp4")).unwrap();
    assert_says(&to_mp4(folder.path(), "missing.mp4"), &["cannot read", "No such file"]);
    assert_says(&to_mp4(folder.path(), "empty.mp4"), &["cannot decode", "empty"]);
    assert_says(&to_mp4(folder.path(), "folder.mp4"), &["cannot read", "folder"]);
}

#[test]
fn an_input_that_is_text_or_noise_is_refused() {
    let folder = folder();
    let text = "This is not a video, whatever its name says.\n".repeat(40);
    fs::write(folder.path().join("text.mp4"), &text).unwrap();
    fs::write(folder.path().join("text.mkv"), &text).unwrap();
    fs::write(folder.path().join("noise.mp4"), noise(100_000)).unwrap();
    for input in ["text.mp4", "text.mkv", "noise.mp4"] {
        assert_says(&to_mp4(folder.path(), input), &["cannot decode"]);
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(0xA015E);
    (0..length).map(|_| random.below(256) as u8).collect()
}

/// The container is sound in the first, the packets are sound in the second.
#[test]
fn a_video_whose_packets_are_garbage_or_whose_index_is_cut_off_is_refused() {
    let folder = folder();
    let clip = fs::read(folder.path().join("clip.mp4")).unwrap();
    let find = |name: &[u8]| clip.windows(4).position(|w| w == name).unwrap();
    let (data, index) = (find(b"mdat") + 4, find(b"moov") - 4);
    assert!(data < index, "the clip has its index at the end");
    let mut garbage = clip.clone();
    garbage[data..index].copy_from_slice(&noise(index - data));
    fs::write(folder.path().join("garbage.mp4"), garbage).unwrap();
    fs::write(folder.path().join("cut.mp4"), &clip[..index]).unwrap();
    for input in ["garbage.mp4", "cut.mp4"] {
        assert_says(&to_mp4(folder.path(), input), &["cannot decode"]);
    }
}

#[test]
fn sound_alone_is_refused_and_named_as_what_it_is() {
    let folder = folder();
    let sound = folder.path().join("sound.m4a");
    let (bunny, to) = (bunny(), sound.to_str().unwrap());
    ffmpeg(&["-i", bunny.to_str().unwrap(), "-vn", "-c", "copy", "-t", "1", to]);
    assert_says(&to_mp4(folder.path(), "sound.m4a"), &["sound", "no video"]);
    let args = ["-m", "mosaic", "-i", "sound.m4a", "-o", "out.png", "--preview", "0.5"];
    assert_says(&refusal(folder.path(), 1, &args), &["'sound.m4a'", "no video"]);
}

#[test]
fn a_picture_is_not_made_of_text_nor_of_a_whole_video_nor_a_video_of_a_picture() {
    let folder = folder();
    fs::write(folder.path().join("text.png"), "no picture\n").unwrap();
    let cat = fs::read(folder.path().join("cat.png")).unwrap();
    fs::write(folder.path().join("cut.png"), &cat[..cat.len() / 2]).unwrap();
    let refused = |input: &str, output: &str| {
        let line = refusal(folder.path(), 1, &["-m", "mosaic", "-i", input, "-o", output]);
        assert_says(&line, &[&format!("'{input}'")]);
        line
    };
    assert_says(&refused("text.png", "out.png"), &["not a picture"]);
    assert_says(&refused("cut.png", "out.png"), &["cannot decode", "end of file"]);
    assert_says(&refused("clip.mp4", "out.png"), &["not a picture", "--preview"]);
    assert_says(&refused("cat.png", "out.mp4"), &["is a picture", "'out.mp4'"]);
}

#[test]
fn a_time_behind_the_end_is_refused() {
    let folder = folder();
    let base = ["-m", "mosaic", "-i", "clip.mp4", "-o"];
    let start = refusal(folder.path(), 1, &[&base[..], &["out.mp4", "--start", "100"]].concat());
    assert_says(&start, &["'clip.mp4'", "nothing at 100", "4.004 s"]);
    let preview = [&base[..], &["out.png", "--preview", "1:40"]].concat();
    assert_says(&refusal(folder.path(), 1, &preview), &["'clip.mp4'", "100", "4.004 s"]);
}

#[test]
fn files_have_any_name_of_any_length_and_may_be_named_as_addresses() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let here = |name: &OsStr| folder.path().join(name);
    let long = |ending: &str| "n".repeat(255 - ending.len()) + ending;
    let (long_in, long_out) = (long(".mp4"), long(".mkv"));
    let names: [(&[u8], &[u8]); 3] = [
        (b"\xFF no UTF-8.mp4", b"\xFE.mp4"),
        (b"test:clip.mp4", b"out of test:clip.mp4"),
        (long_in.as_bytes(), long_out.as_bytes()),
    ];
    let paint = |input: &OsStr, output: &OsStr| {
        let mut nst = nst();
        nst.current_dir(folder.path()).arg("-m").arg(data("reference-small.pth"));
        nst.arg("-i").arg(input).arg("-o").arg(output).args(["--duration", "0.1"]);
        succeed(&mut nst);
    };
    for (input, out) in names.map(|(input, out)| (OsStr::from_bytes(input), OsStr::from_bytes(out)))
    {
        fs::copy(here("clip.mp4".as_ref()), here(input)).unwrap();
        paint(input, out);
        assert!(here(out).metadata().unwrap().len() > 1000, "{out:?}");
    }
    let address = format!("file://{}/clip.mp4", folder.path().display());
    paint(address.as_ref(), "of an address.mp4".as_ref());
    assert!(here("of an address.mp4".as_ref()).exists());
}
