//! Folders of pictures and numbered ones, in and out.

use std::fs;

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use nst_stream::core::rate::FrameRate;

use super::*;

/// A picture that no other number has.
fn picture(number: u32, width: u32, height: u32) -> RgbImage {
    let shade = |a: u32, b: u32| (a * 255 / b.max(1)) as u8;
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([shade(x, width), shade(y, height), (number * 20) as u8])
    })
}

/// A folder with `frames/` of these names, all of one size.
fn frames(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("frames")).unwrap();
    for (number, name) in names.iter().enumerate() {
        let picture = picture(number as u32, 32, 24);
        picture.save(folder.path().join("frames").join(name)).unwrap();
    }
    folder
}

fn opened(path: &Path) -> RgbImage {
    image::open(path).unwrap().into_rgb8()
}

#[test]
fn a_folder_becomes_a_folder_whose_pictures_keep_their_names_sizes_and_opacity() {
    let folder = frames(&["a2.png", "a10.png"]);
    let at = |name: &str| folder.path().join(name);
    picture(5, 35, 27).save(at("frames/odd.bmp")).unwrap();
    let clear = RgbaImage::from_fn(9, 5, |x, y| Rgba([x as u8, y as u8, 7, (x * 20) as u8]));
    clear.save(at("frames/clear.png")).unwrap();
    fs::write(at("frames/notes.txt"), "no picture").unwrap();
    let said = works(folder.path(), &["-i", "frames", "-o", "out/"]);
    assert!(said.contains("out/: 4 pictures in"), "{said}");
    assert_eq!(names(&at("out")), ["a10.png", "a2.png", "clear.png", "odd.png"]);
    for name in ["a2.png", "a10.png"] {
        assert!(opened(&at("frames").join(name)) == opened(&at("out").join(name)), "{name}");
    }
    assert!(opened(&at("out/odd.png")) == picture(5, 35, 27));
    assert!(image::open(at("out/clear.png")).unwrap().into_rgba8() == clear);
}

#[test]
fn numbered_pictures_keep_their_numbers_and_a_gap_ends_them_and_is_said() {
    let folder = frames(&["f008.png", "f009.png", "f010.png", "f012.png"]);
    let at = |name: &str| folder.path().join(name);
    let said = works(folder.path(), &["-i", "frames/f%03d.png", "-o", "out/%d.jpg"]);
    assert!(said.contains("'frames/f011.png' is missing") && said.contains("f012.png"), "{said}");
    assert_eq!(names(&at("out")), ["10.jpg", "8.jpg", "9.jpg"]);
    assert_eq!(fs::read(at("out/8.jpg")).unwrap()[..3], [0xFF, 0xD8, 0xFF]);
    works(folder.path(), &["-i", "frames/", "-o", "all/n%02d.png"]);
    assert_eq!(names(&at("all")), ["n01.png", "n02.png", "n03.png", "n04.png"]);
    assert!(opened(&at("all/n04.png")) == opened(&at("frames/f012.png")));
}

#[test]
fn an_unreadable_picture_is_left_out_counted_and_the_others_are_made() {
    let folder = frames(&["1.png", "2.png", "3.png"]);
    fs::write(folder.path().join("frames/2.png"), "no picture").unwrap();
    let said = works(folder.path(), &["-i", "frames/", "-o", "out/"]);
    assert!(said.contains("'frames/2.png'") && said.contains("; skipped"), "{said}");
    assert!(said.contains("1 of 3 pictures could not be read"), "{said}");
    assert_eq!(names(&folder.path().join("out")), ["1.png", "3.png"]);
    for name in ["1.png", "3.png"] {
        fs::write(folder.path().join("frames").join(name), "no picture").unwrap();
    }
    let line = refusal(folder.path(), 1, &["-i", "frames/", "-o", "none/"]);
    assert!(line.contains("none of the 3 pictures"), "{line}");
    assert!(!folder.path().join("none").exists());
}

#[test]
fn pictures_become_a_video_of_the_rate_that_is_asked_for() {
    let folder = frames(&["1.png", "2.png", "10.png", "11.png", "12.png"]);
    let at = |name: &str| folder.path().join(name);
    fs::write(at("frames/2.png"), "no picture").unwrap();
    let rate = FrameRate::new(30000, 1001);
    let (input, output) = (at("frames"), at("out.mkv"));
    let (made, notes) = route(&VideoJob { rate, ..VideoJob::new(&input, &output) });
    assert_eq!(made.unwrap().frames, 5);
    assert!(notes[0].contains("2.png") && notes[0].contains("repeated"), "{notes:?}");
    assert!(notes.iter().any(|note| note.starts_with("1 pictures of")), "{notes:?}");
    let times = common::frame_times(&output);
    for (n, time) in times.iter().enumerate() {
        assert!((time - n as f64 * 1001.0 / 30000.0).abs() < 0.0006, "{times:?}");
    }
    let frames = common::rgb_frames(&output, 5);
    for (n, name) in [(0, "1.png"), (1, "1.png"), (2, "10.png"), (4, "12.png")] {
        let like = common::psnr(&opened(&at("frames").join(name)), &frames[n]);
        println!("{name}: {like:.1} dB");
        assert!(like > 34.0, "{name}: {like} dB");
    }
}

#[test]
fn pictures_of_another_size_end_a_video_and_are_named() {
    let folder = frames(&["1.png", "2.png", "3.png"]);
    picture(2, 30, 24).save(folder.path().join("frames/3.png")).unwrap();
    let line = refusal(folder.path(), 1, &["-i", "frames/%d.png", "-o", "out.mkv"]);
    for word in ["'frames/3.png' is 30×24", "'frames/1.png' 32×24", "after 2 frames"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn a_video_becomes_pictures_and_they_the_same_frames_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    y4m(&at("in.y4m"), 3, &["-vf", "scale=35:27,setsar=1", "-pix_fmt", "yuv444p"]);
    let out = at("out/");
    assert_eq!(identity(&VideoJob::new(&at("in.y4m"), &out)).frames, 3);
    assert_eq!(names(&out), ["00001.png", "00002.png", "00003.png"]);
    let before = common::rgb_frames(&at("in.y4m"), 3);
    for (n, frame) in before.iter().enumerate() {
        let picture = opened(&out.join(format!("0000{}.png", n + 1)));
        assert_eq!(picture.dimensions(), (35, 27));
        let like = common::psnr(frame, &picture);
        assert!(like > 36.0, "frame {n}: {like} dB");
    }
    assert_eq!(identity(&VideoJob::new(&out.join("%05d.png"), &at("again.y4m"))).frames, 3);
    let (a, b) = (samples(&at("in.y4m"), "yuv444p"), samples(&at("again.y4m"), "yuv444p"));
    let like = common::psnr(&a, &b);
    assert!(like > 40.0, "{like} dB");
    // A number in the name, and nothing of the sound.
    let span = Span { start: None, duration: Some(std::time::Duration::from_millis(80)) };
    let (bunny, numbered) = (common::bunny(), at("out/b%d.jpg"));
    let (made, notes) = route(&VideoJob { span, ..VideoJob::new(&bunny, &numbered) });
    assert_eq!(made.unwrap().frames, 2);
    assert!(
        notes.iter().any(|note| note.contains("left out: pictures have no sound")),
        "{notes:?}"
    );
    assert_eq!(opened(&at("out/b2.jpg")).dimensions(), (1280, 720));
}

#[test]
fn a_picture_that_cannot_be_written_ends_the_run_and_the_earlier_ones_stay() {
    let folder = frames(&["1.png", "2.png", "3.png"]);
    // A folder of that name cannot be replaced by a file, whoever runs the test.
    fs::create_dir_all(folder.path().join("out/2.png")).unwrap();
    let line = refusal(folder.path(), 1, &["-i", "frames", "-o", "out/", "--overwrite"]);
    assert!(line.contains("'out/2.png'") && line.contains("after 1 pictures"), "{line}");
    let out = folder.path().join("out");
    assert!(opened(&out.join("1.png")) == picture(0, 32, 24));
    assert!(!out.join("3.png").exists());
}

#[test]
fn existing_pictures_are_replaced_only_when_asked() {
    let folder = frames(&["1.png", "2.png"]);
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("out")).unwrap();
    fs::write(at("out/2.png"), "earlier").unwrap();
    let line = refusal(folder.path(), 1, &["-i", "frames", "-o", "out"]);
    assert!(line.contains("'out/2.png' already exists"), "{line}");
    fs::write(at("out/00007.png"), "earlier").unwrap();
    y4m(&at("in.y4m"), 2, &[]);
    let line = refusal(folder.path(), 1, &["-i", "in.y4m", "-o", "out/"]);
    assert!(line.contains("'out/00007.png' already exists"), "{line}");
    works(folder.path(), &["-i", "frames", "-o", "out", "--overwrite"]);
    assert!(opened(&at("out/2.png")) == opened(&at("frames/2.png")));
}

#[test]
fn one_picture_into_a_folder_keeps_its_name() {
    let folder = frames(&["cat.png"]);
    works(folder.path(), &["-i", "frames/cat.png", "-o", "out/"]);
    assert_eq!(names(&folder.path().join("out")), ["cat.png"]);
}

/// What an earlier run left behind the end of the new sequence would be read as its end.
#[test]
fn a_replaced_sequence_leaves_nothing_of_a_longer_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    y4m(&at("long.y4m"), 5, &[]);
    y4m(&at("short.y4m"), 2, &[]);
    for output in ["out/", "out/x%03d.jpg"] {
        works(folder.path(), &["-i", "long.y4m", "-o", output]);
    }
    // Another sequence behind a gap, and names that the pattern would not write.
    for other in ["00008.png", "3.png", "notes.txt", "00004.jpg"] {
        fs::write(at("out").join(other), "mine").unwrap();
    }
    let said = works(folder.path(), &["-i", "short.y4m", "-o", "out/", "--overwrite"]);
    assert!(said.contains("3 pictures from 'out/00003.png' on"), "{said}");
    let jpgs = ["x001.jpg", "x002.jpg", "x003.jpg", "x004.jpg", "x005.jpg"];
    let kept = ["00001.png", "00002.png", "00004.jpg", "00008.png", "3.png", "notes.txt"];
    assert_eq!(names(&at("out")), [&kept[..], &jpgs].concat());
    let said = works(folder.path(), &["-i", "short.y4m", "-o", "out/x%03d.jpg", "--overwrite"]);
    assert!(said.contains("3 pictures from 'out/x003.jpg' on"), "{said}");
    assert_eq!(names(&at("out")), [&kept[..], &jpgs[..2]].concat());
}

#[test]
fn a_run_that_fails_or_replaces_a_part_removes_nothing() {
    let folder = frames(&["1.png", "2.png", "3.png", "4.png"]);
    let at = |name: &str| folder.path().join(name);
    works(folder.path(), &["-i", "frames/%d.png", "-o", "out/%d.png"]);
    let all = ["1.png", "2.png", "3.png", "4.png"];
    // Two of the four frames, which keep their numbers.
    let part = ["--fps", "1", "--start", "1", "--duration", "2", "--overwrite"];
    works(folder.path(), &[&["-i", "frames/%d.png", "-o", "out/%d.png"][..], &part].concat());
    assert_eq!(names(&at("out")), all);
    // A video that fails in the middle.
    y4m(&at("in.y4m"), 3, &[]);
    let whole = fs::read(at("in.y4m")).unwrap();
    fs::write(at("in.y4m"), &whole[..whole.len() * 2 / 3]).unwrap();
    refusal(folder.path(), 1, &["-i", "in.y4m", "-o", "out/%d.png", "--overwrite"]);
    assert_eq!(names(&at("out")), all);
    // Fewer pictures that keep their numbers: the end is theirs.
    fs::remove_file(at("frames/4.png")).unwrap();
    let said = works(folder.path(), &["-i", "frames/%d.png", "-o", "out/%d.png", "--overwrite"]);
    assert!(said.contains("removed 'out/4.png', left over"), "{said}");
    assert_eq!(names(&at("out")), all[..3]);
    let said = works(folder.path(), &["-i", "frames/%d.png", "-o", "named/"]);
    assert!(!said.contains("removed"), "{said}");
    fs::write(at("named/4.png"), "earlier").unwrap();
    works(folder.path(), &["-i", "frames/%d.png", "-o", "named/", "--overwrite"]);
    assert_eq!(names(&at("named")), all[..3]);
    // Names that are not numbers have no end; an input is never removed.
    fs::write(at("named/4.png"), "earlier").unwrap();
    works(folder.path(), &["-i", "frames/", "-o", "named/", "--overwrite"]);
    assert_eq!(names(&at("named")), all);
    fs::create_dir(at("both")).unwrap();
    picture(1, 8, 8).save(at("both/a.png")).unwrap();
    picture(2, 8, 8).save(at("both/3.png")).unwrap();
    works(folder.path(), &["-i", "both/", "-o", "both/%d.png", "--overwrite"]);
    assert_eq!(names(&at("both")), ["1.png", "2.png", "3.png", "a.png"]);
}

#[test]
fn a_percent_sign_in_a_videos_name_is_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    y4m(&folder.path().join("in.y4m"), 2, &[]);
    for output in ["100%done.mp4", "50%d.mkv", "%05d.y4m"] {
        works(folder.path(), &["-i", "in.y4m", "-o", output]);
        assert!(folder.path().join(output).is_file(), "{output}");
    }
}
