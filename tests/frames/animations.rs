//! Animated pictures (GIF, WebP, APNG) are videos with times of their own.

use super::*;

/// Four frames of a test picture, shown for 0.1, 0.3, 0.5 and 0.5 s, or each for 0.2 s.
fn animation(path: &Path, more: &[&str], varies: bool) {
    let times = if varies { "setpts=N*N*0.1/TB" } else { "setpts=N*0.2/TB" };
    let times = format!("hue=h=90*n,{times},format=rgb24");
    let source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=0.4", "-vf", &times];
    let args =
        [&source[..], &["-fps_mode", "passthrough"], more, &[path.to_str().unwrap()]].concat();
    common::ffmpeg(&args);
}

const KINDS: [(&str, &[&str]); 3] = [
    ("moves.gif", &[]),
    ("moves.webp", &["-c:v", "libwebp_anim", "-lossless", "1"]),
    ("moves.png", &["-f", "apng"]),
];

/// The frames of one of these. ffmpeg makes animated WebPs but does not read them; they are lossless, as the
/// PNG of the same source is.
fn frames_of(path: &Path) -> Vec<Vec<u8>> {
    if path.extension().is_some_and(|ending| ending != "webp") {
        return common::rgb_frames(path, 4);
    }
    let twin = path.with_extension("twin.png");
    animation(&twin, &["-f", "apng"], true);
    let frames = common::rgb_frames(&twin, 4);
    std::fs::remove_file(twin).unwrap();
    frames
}

/// Fails unless the picture is this one of the frames, as nearly as `least` dB.
fn assert_frame(picture: &[u8], frames: &[Vec<u8>], number: usize, least: f64, what: &str) {
    let like: Vec<_> = frames.iter().map(|frame| common::psnr(frame, picture)).collect();
    let others = like.iter().enumerate().filter(|(n, _)| *n != number);
    let nearest = others.map(|(_, like)| *like).fold(0.0, f64::max);
    assert!(
        like[number] > least && like[number] > nearest + 3.0,
        "{what}, frame {number}: {like:?}"
    );
}

fn close(times: &[f64], expected: &[f64]) -> bool {
    times.len() == expected.len() && times.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.0011)
}

#[test]
fn an_animated_picture_becomes_a_video_with_the_times_of_its_frames() {
    for (name, more) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        animation(&at(name), more, true);
        for output in ["out.mkv"] {
            let said = works(folder.path(), &["-i", name, "-o", output]);
            assert!(said.contains(&format!("{output}: 4 frames")), "{name}: {said}");
            let times = common::frame_times(&at(output));
            assert!(close(&times, &[0.0, 0.1, 0.4, 0.9]), "{name} → {output}: {times:?}");
            let (before, after) = (frames_of(&at(name)), common::rgb_frames(&at(output), 4));
            assert_eq!((before.len(), after.len()), (4, 4), "{name} → {output}");
            for (n, frame) in after.iter().enumerate() {
                assert_frame(frame, &before, n, 18.0, &format!("{name} → {output}"));
            }
        }
        // A part of it begins in the middle of a frame.
        works(
            folder.path(),
            &["-i", name, "-o", "part.mkv", "--start", "0.2", "--duration", "0.4"],
        );
        let times = common::frame_times(&at("part.mkv"));
        assert!(close(&times, &[0.0, 0.2]), "{name}: {times:?}");
        let line = refusal(folder.path(), 1, &["-i", name, "-o", "none.mkv", "--start", "1.5"]);
        assert!(line.contains("there is nothing at 1.500 s: it ends at 1."), "{line}");
    }
}

#[test]
fn an_animated_picture_becomes_pictures_and_raw_video_where_its_rate_is_constant() {
    for (name, more) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        animation(&at(name), more, false);
        works(folder.path(), &["-i", name, "-o", "out/"]);
        assert_eq!(
            names(&at("out")),
            ["00001.png", "00002.png", "00003.png", "00004.png"],
            "{name}"
        );
        let before = frames_of(&at(name));
        for n in 0..4 {
            let painted = image::open(at("out").join(format!("0000{}.png", n + 1))).unwrap();
            assert_frame(painted.into_rgb8().as_raw(), &before, n, 36.0, name);
        }
        works(folder.path(), &["-i", name, "-o", "out.y4m"]);
        assert!(header(&at("out.y4m")).contains(" F5:1 "), "{name}: {}", header(&at("out.y4m")));
    }
}

#[test]
fn one_picture_of_an_animation_is_its_first_frame_which_is_said_or_the_one_asked_for() {
    for (name, more) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        animation(&at(name), more, true);
        let before = frames_of(&at(name));
        let is = |picture: &str, n: usize| {
            let picture = image::open(at(picture)).unwrap().into_rgb8();
            assert_frame(picture.as_raw(), &before, n, 36.0, name);
        };
        let said = works(folder.path(), &["-i", name, "-o", "one.png"]);
        assert!(said.contains("its first frame is painted; --preview"), "{name}: {said}");
        is("one.png", 0);
        let said = works(folder.path(), &["-i", name, "-o", "other.png", "--preview", "0.5"]);
        assert!(!said.contains("first frame"), "{name}: {said}");
        is("other.png", 2);
        let line = refusal(folder.path(), 1, &["-i", name, "-o", "no.png", "--preview", "9"]);
        assert!(line.contains("nothing at 9.000 s"), "{line}");
        let line = refusal(folder.path(), 2, &["-i", name, "-o", "no.png", "--start", "1"]);
        assert!(line.contains("--preview"), "{line}");
        let line = refusal(folder.path(), 2, &["-i", name, "-o", "no.mp4", "--fps", "5"]);
        assert!(line.contains("--fps"), "{line}");
    }
}

#[test]
fn pictures_that_do_not_move_stay_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, more) in
        [("still.gif", &[][..]), ("still.webp", &["-c:v", "libwebp"]), ("still.png", &[])]
    {
        let source = ["-f", "lavfi", "-i", "testsrc2=s=64x48", "-frames:v", "1"];
        common::ffmpeg(&[&source[..], more, &[at(name).to_str().unwrap()]].concat());
        let said = works(folder.path(), &["-i", name, "-o", "one.png", "--overwrite"]);
        assert!(!said.contains("first frame"), "{name}: {said}");
        let line = refusal(folder.path(), 1, &["-i", name, "-o", "no.mp4"]);
        assert!(line.contains("is a picture"), "{line}");
    }
}

/// What is cut off or damaged is an error or a shorter video, and no half-made file.
#[test]
fn a_damaged_animation_gives_what_can_be_read_or_one_line() {
    for (name, more) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        animation(&at(name), more, true);
        let whole = std::fs::read(at(name)).unwrap();
        for share in [0.3, 0.6, 0.95] {
            let cut = &whole[..(whole.len() as f64 * share) as usize];
            std::fs::write(at(name), cut).unwrap();
            let args = ["-i", name, "-o", "out.mkv", "--overwrite"];
            let out = output(program(folder.path(), &args).arg("-q"));
            let code = out.status.code();
            assert!(matches!(code, Some(0 | 1)), "{name} {share}: {code:?} {}", said(&out));
            assert!(said(&out).lines().count() <= 1, "{name} {share}: {}", said(&out));
            assert!(!said(&out).contains("panicked"), "{name} {share}: {}", said(&out));
            assert_eq!(at("out.mkv").exists(), code == Some(0), "{name} {share}");
            let _ = std::fs::remove_file(at("out.mkv"));
            assert!(names(folder.path()).iter().all(|n| !n.contains("partial")), "{name} {share}");
        }
    }
}
