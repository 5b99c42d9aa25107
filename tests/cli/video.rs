//! What the options do to a video, seen in the decoded output.

use std::path::Path;

use super::common::{Yuv, ffmpeg, frame_times, psnr, rgb_frames, size, yuv_frames};
use super::{assert_says, common, folder, works};

/// The clip through the program; the planes of the frames that came out.
fn painted(folder: &Path, name: &str, more: &[&str]) -> Vec<Yuv> {
    works(folder, &[&["-m", "mosaic", "-i", "clip.mp4", "-o", name], more].concat());
    yuv_frames(&folder.join(name))
}

#[test]
fn preserved_colours_are_those_of_the_input_while_the_brightness_is_painted() {
    let folder = folder();
    let input = yuv_frames(&folder.path().join("clip.mp4"));
    let short = ["--duration", "0.3"];
    let kept = painted(folder.path(), "kept.mkv", &[&short[..], &["--preserve-color"]].concat());
    let plain = painted(folder.path(), "plain.mkv", &short);
    assert_eq!((kept.len(), plain.len()), (9, 9));
    for (n, ((input, kept), plain)) in input.iter().zip(&kept).zip(&plain).enumerate() {
        for (before, after, other) in [(&input.u, &kept.u, &plain.u), (&input.v, &kept.v, &plain.v)]
        {
            let (same, painted) = (psnr(before, after), psnr(before, other));
            println!("frame {n}: chroma kept {same:.1} dB, painted {painted:.1} dB");
            assert!(same > 38.0, "frame {n}: chroma {same} dB");
            assert!(painted < 30.0, "frame {n}: chroma {painted} dB");
        }
        let luma = psnr(&input.y, &kept.y);
        println!("frame {n}: luma {luma:.1} dB");
        assert!(luma < 20.0, "frame {n}: luma {luma} dB");
    }
}

#[test]
fn strength_0_gives_the_input_and_strength_1_does_not() {
    let folder = folder();
    let input = yuv_frames(&folder.path().join("clip.mp4"));
    let none = painted(folder.path(), "none.mp4", &["--strength", "0"]);
    assert_eq!(none.len(), 120);
    let mut unlike = 0;
    for (n, (before, after)) in input.iter().zip(&none).enumerate() {
        let same = psnr(&before.y, &after.y);
        assert!(same > 36.0, "frame {n}: {same} dB");
        let next = psnr(&input[(n + 1) % 120].y, &after.y);
        unlike += usize::from(next < 36.0);
    }
    // But for a few where nothing moves, the frames cannot be mistaken for each other.
    println!("{unlike} frames are unlike the next one");
    assert!(unlike > 90, "{unlike} of 120");
    let full = painted(folder.path(), "full.mp4", &["--duration", "0.1"]);
    assert!(psnr(&input[1].y, &full[1].y) < 20.0);
}

#[test]
fn a_batch_of_three_gives_the_same_frames_as_one_at_a_time() {
    let folder = folder();
    let short = |batch| ["--duration", "0.33", "--batch", batch];
    let one = painted(folder.path(), "one.mkv", &short("1"));
    let three = painted(folder.path(), "three.mkv", &short("3"));
    // Ten frames: the last batch is not full.
    assert_eq!((one.len(), three.len()), (10, 10));
    for (n, (a, b)) in one.iter().zip(&three).enumerate() {
        let (same, other) = (psnr(&a.y, &b.y), psnr(&one[(n + 1) % 10].y, &b.y));
        println!("frame {n}: {same:.1} dB, next {other:.1} dB");
        assert!(same > 40.0, "frame {n}: {same} dB");
        assert!(other < 35.0, "the next frame is another picture: {other} dB");
    }
}

#[test]
fn a_smaller_scale_paints_in_larger_strokes_at_the_same_size() {
    let folder = folder();
    let full = painted(folder.path(), "full.mkv", &["--duration", "0.1"]);
    let small = painted(folder.path(), "small.mkv", &["--duration", "0.1", "--scale", "0.25"]);
    assert_eq!(size(&folder.path().join("small.mkv")), (176, 144));
    // Detail is what changes from one pixel to the next.
    let detail = |plane: &[u8]| {
        plane.windows(2).map(|w| f64::from(w[0].abs_diff(w[1]))).sum::<f64>() / plane.len() as f64
    };
    let (full, small) = (detail(&full[1].y), detail(&small[1].y));
    println!("detail {full:.1} at full size, {small:.1} at a quarter");
    assert!(small < full / 2.0, "{full} at full size, {small} at a quarter");
}

/// Frames that are shown in the span, also when it begins while one is shown.
#[test]
fn start_and_duration_take_the_frames_shown_in_that_time() {
    let folder = folder();
    let input = folder.path().join("clip.mp4");
    let times = frame_times(&input);
    let frames = yuv_frames(&input);
    let step = 1001.0 / 30000.0;
    for (start, duration) in
        [("1", Some("1")), ("0.5", None), ("0", Some("0.5")), ("0:03.9", Some("9"))]
    {
        let from: f64 = start.rsplit(':').next().unwrap().parse().unwrap();
        let to = duration.map_or(f64::MAX, |d| from + d.parse::<f64>().unwrap());
        let shown = |t: &f64| *t < to && t + step > from;
        let first = times.iter().position(shown).unwrap();
        let count = times.iter().filter(|t| shown(t)).count();
        let mut more = vec!["--strength", "0", "--overwrite", "--start", start];
        more.extend(duration.iter().flat_map(|d| ["--duration", d]));
        let result = painted(folder.path(), "out.mkv", &more);
        assert_eq!(result.len(), count, "from {start} for {duration:?}");
        for n in [0, count - 1] {
            let same = psnr(&frames[first + n].y, &result[n].y);
            assert!(same > 36.0, "from {start}: frame {n} of {count}: {same} dB");
        }
    }
}

#[test]
fn a_preview_is_the_frame_at_that_time_at_its_full_size() {
    let folder = folder();
    let (wide, input) = (folder.path().join("clip.mp4"), folder.path().join("square.mp4"));
    let (wide, square) = (wide.to_str().unwrap(), input.to_str().unwrap());
    // The clip's pixels are wider than high, and a picture's are not: it would be another size.
    let filter = "h264_metadata=sample_aspect_ratio=1/1";
    ffmpeg(&["-i", wide, "-c", "copy", "-bsf:v", filter, "-aspect", "176:144", square]);
    let preview = |name: &str, more: &[&str]| {
        let args = ["-m", "mosaic", "-i", "square.mp4", "-o", name, "--preview", "1.0"];
        works(folder.path(), &[&args[..], more].concat());
        let picture = image::open(folder.path().join(name)).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (176, 144));
        picture
    };
    // Frame 29 is shown from 0.968 s to 1.001 s.
    let frames = rgb_frames(&input, 40);
    let plain = preview("plain.png", &["--strength", "0"]);
    let likeness = |n: &usize| psnr(&frames[*n], &plain);
    let best = (0..40).max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap();
    assert_eq!(best, 29);
    // ffmpeg and GStreamer enlarge chroma differently.
    assert!(likeness(&29) > 34.0, "{} dB", likeness(&29));
    let painted = preview("painted.png", &[]);
    assert!(psnr(&frames[29], &painted) < 20.0);
    preview("painted.jpg", &["--preserve-color"]);
}

/// 1024 frames of 1920×1080 on their way are gigabytes, which nobody asked for.
#[test]
fn a_batch_is_no_larger_than_memory_allows_and_says_so() {
    let folder = folder();
    let source = ["-f", "lavfi", "-i", "testsrc=s=1920x1080:d=0.12", "-c:v", "mjpeg"];
    common::ffmpeg(&[&source[..], &[folder.path().join("large.avi").to_str().unwrap()]].concat());
    let args = ["-m", "mosaic", "-i", "large.avi", "-o", "out.mkv", "--strength", "0"];
    let said = works(folder.path(), &[&args[..], &["--batch", "1024"]].concat());
    assert_says(
        &said,
        &["not enough memory for batches of 1024 frames of 1920×1080", "they are of"],
    );
    let said = works(folder.path(), &[&args[..], &["--batch", "2", "--overwrite"]].concat());
    assert!(!said.contains("memory"), "{said}");
}
