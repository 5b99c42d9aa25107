//! Every kind of YUV4MPEG2 that ffmpeg writes, through the whole route and back to ffmpeg.

use std::time::Duration;

use super::*;

/// Luma and chroma of all frames, apart.
fn planes(bytes: &[u8], (width, height): (usize, usize), whole: bool) -> (Vec<u8>, Vec<u8>) {
    let luma = width * height;
    let chroma = if whole { 2 * luma } else { 2 * width.div_ceil(2) * height.div_ceil(2) };
    let frames = bytes.chunks_exact(luma + chroma);
    assert!(frames.remainder().is_empty());
    let (mut y, mut c) = (Vec::new(), Vec::new());
    for frame in frames {
        y.extend(&frame[..luma]);
        c.extend(&frame[luma..]);
    }
    (y, c)
}

fn farthest(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len(), "number of samples");
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// How far luma and chroma are from what ffmpeg makes of the input, and the header that came out.
fn changed(format: &str, size: (usize, usize)) -> (u8, u8, String) {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.y4m"), folder.path().join("out.y4m"));
    let scale = format!("scale={}:{}", size.0, size.1);
    y4m(&input, 3, &["-vf", &scale, "-pix_fmt", format]);
    assert_eq!(identity(&VideoJob::new(&input, &output)).frames, 3);
    let line = header(&output);
    let (whole, full) = (line.contains(" C444 "), line.ends_with("XCOLORRANGE=FULL"));
    let name = match (full, whole) {
        (false, false) => "yuv420p",
        (false, true) => "yuv444p",
        (true, false) => "yuvj420p",
        (true, true) => "yuvj444p",
    };
    let before = planes(&samples(&input, name), size, whole);
    let after = planes(&samples(&output, name), size, whole);
    let far = (farthest(&before.0, &after.0), farthest(&before.1, &after.1));
    println!("{format} {size:?}: luma {} chroma {}: {line}", far.0, far.1);
    (far.0, far.1, line)
}

#[test]
fn eight_bits_of_4_2_0_come_out_byte_for_byte() {
    for (format, range) in [("yuv420p", "LIMITED"), ("yuvj420p", "FULL")] {
        let (luma, chroma, line) = changed(format, (64, 48));
        assert_eq!((luma, chroma), (0, 0), "{format}");
        assert!(line.ends_with(range) && line.starts_with("YUV4MPEG2 W64 H48 F30000:1001 Ip "));
    }
}

#[test]
fn every_sampling_keeps_luma_exactly_at_even_and_odd_sizes() {
    for format in ["yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv411p", "yuva444p", "gray"] {
        for (width, height) in [(64, 48), (35, 27), (36, 27)] {
            let (luma, chroma, line) = changed(format, (width, height));
            assert_eq!(luma, 0, "{format} {width}×{height}");
            // Chroma is made fewer, and by other weights than ffmpeg's.
            assert!(chroma <= 8, "{format} {width}×{height}: {chroma}");
            let full = format.starts_with("yuvj") || format == "gray";
            assert_eq!(line.ends_with("FULL"), full, "{format}: {line}");
            assert_eq!(line.contains(" C444 "), height == 27, "{format}: {line}");
        }
    }
}

#[test]
fn odd_4_2_0_and_a_single_pixel_keep_their_size() {
    for (format, size) in
        [("yuv420p", (35, 27)), ("yuvj420p", (1, 1)), ("yuv444p", (1, 1)), ("gray", (1, 7))]
    {
        let (luma, chroma, line) = changed(format, size);
        assert!(luma == 0 && chroma <= 3, "{format} {size:?}: {luma}, {chroma}");
        assert!(line.contains(" C444 "), "{line}");
    }
}

#[test]
fn more_than_eight_bits_come_out_as_the_same_picture() {
    // Odd 4:2:0 of two bytes is not among them: ffmpeg 5 writes it too short, and cannot read it.
    for (format, size) in [
        ("yuv420p9le", (64, 48)),
        ("yuv420p10le", (64, 48)),
        ("yuv420p12le", (64, 48)),
        ("yuv420p14le", (64, 48)),
        ("yuv420p16le", (64, 48)),
        ("yuv422p10le", (64, 48)),
        ("yuv444p10le", (35, 27)),
        ("yuv444p16le", (35, 27)),
        ("gray10le", (35, 27)),
        ("gray16le", (64, 48)),
    ] {
        let (luma, chroma, _) = changed(format, size);
        assert!(luma <= 1, "{format}: luma {luma}");
        assert!(chroma <= 6, "{format}: chroma {chroma}");
    }
}

#[test]
fn size_rate_pixel_shape_and_siting_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.y4m"), folder.path().join("out.y4m"));
    let mut stream = b"YUV4MPEG2 W4 H2 F24000:1001 Ip A4:3 C420paldv Xmine\n".to_vec();
    stream.extend(b"FRAME Ip\n0123456789abFRAME\nABCDEFGHIJKL");
    std::fs::write(&input, stream).unwrap();
    assert_eq!(identity(&VideoJob::new(&input, &output)).frames, 2);
    let made = std::fs::read_to_string(&output).unwrap();
    let line = "YUV4MPEG2 W4 H2 F24000:1001 Ip A4:3 C420paldv XCOLORRANGE=LIMITED\n";
    assert_eq!(made, format!("{line}FRAME\n0123456789abFRAME\nABCDEFGHIJKL"));
}

#[test]
fn a_part_is_counted_in_frames() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.y4m"), folder.path().join("out.y4m"));
    y4m(&input, 20, &["-r", "10"]);
    let ms = |ms| Some(Duration::from_millis(ms));
    for (start, duration, first, count) in
        [(ms(500), ms(300), 5, 3), (None, ms(250), 0, 3), (ms(1850), None, 18, 2)]
    {
        let span = Span { start, duration };
        assert_eq!(identity(&VideoJob { span, ..VideoJob::new(&input, &output) }).frames, count);
        let (before, after) = (samples(&input, "yuv420p"), samples(&output, "yuv420p"));
        let frame = 176 * 144 * 3 / 2;
        assert!(before[first * frame..][..after.len()] == after, "from frame {first}");
    }
    let span = Span { start: ms(2000), duration: None };
    let error = route(&VideoJob { span, ..VideoJob::new(&input, &output) }).0.unwrap_err();
    assert!(error.contains("nothing at 2.000 s: it ends at 2.000 s"), "{error}");
}

#[test]
fn a_video_file_becomes_raw_video_and_a_file_again_with_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, again) = (folder.path().join("raw.y4m"), folder.path().join("again.mkv"));
    let clip = carphone();
    assert_eq!(identity(&VideoJob::new(&clip, &raw)).frames, 120);
    assert!(samples(&clip, "yuv420p") == samples(&raw, "yuv420p"), "decoded as ffmpeg does");
    assert_eq!(identity(&VideoJob::new(&raw, &again)).frames, 120);
    let (before, after) = (common::frame_times(&clip), common::frame_times(&again));
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 0.0006));
}

#[test]
fn a_rate_that_varies_is_refused_and_said_and_sound_is_left_out_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("variable.mkv"), folder.path().join("out.y4m"));
    let clip = carphone();
    // A rate is stated, and then the times are changed. (From ffmpeg 7 on the filter setpts states none.)
    let times = ["-bsf:v", "setts=ts=PTS+gt(N\\,5)*0.1/TB", "-enc_time_base", "1/90000"];
    let codec = ["-frames:v", "10", "-c:v", "libx264", "-bf", "0"];
    let (clip, to) = (["-i", clip.to_str().unwrap()], [input.to_str().unwrap()]);
    common::ffmpeg(&[&clip[..], &codec, &times, &to].concat());
    let error = route(&VideoJob::new(&input, &output)).0.unwrap_err();
    for word in ["constant rate", "stopped after", "ffmpeg -i IN -r"] {
        assert!(error.contains(word), "{error}");
    }
    assert!(!output.exists());

    let span = Span { start: None, duration: Some(Duration::from_millis(200)) };
    let bunny = common::bunny();
    let (made, notes) = route(&VideoJob { span, ..VideoJob::new(&bunny, &output) });
    assert_eq!(made.unwrap().frames, 5);
    let notes: Vec<_> = notes.iter().filter(|note| note.contains("sound")).collect();
    assert!(notes.len() == 1 && notes[0].contains("is left out: YUV4MPEG2 has no sound"));
}
