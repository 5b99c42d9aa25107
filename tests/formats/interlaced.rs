//! Interlaced pictures.

use super::*;

/// Six frames of two fields each, of a size, in this order of fields.
fn woven(
    folder: &tempfile::TempDir,
    name: &str,
    size: (usize, usize),
    bottom: bool,
    args: &[&str],
) -> PathBuf {
    let clip = carphone();
    let (order, field) = if bottom { ("bottom", "bff") } else { ("top", "tff") };
    let filter = format!(
        "scale={}:{}:flags=bilinear,tinterlace=interleave_{order},setfield={field}",
        size.0, size.1
    );
    let input = ["-r", "50", "-i", clip.to_str().unwrap(), "-frames:v", "6", "-vf", &filter];
    made(folder, name, &[&input, args].concat())
}

/// The output has the frames and times of the input, and looks as FFmpeg's deinterlacer makes it.
fn assert_deinterlaced(folder: &tempfile::TempDir, input: &Path, what: &str) {
    let output = folder.path().join("out.mkv");
    let (done, said) = converted(input, &output, QUICK);
    assert!(said.has("interlaced"), "{what}: {:?}", said.0);
    let (before, after) = (frame_times(input), frame_times(&output));
    assert_eq!(done.frames as usize, before.len(), "{what}");
    let from_first = |times: &[f64]| times.iter().map(|t| t - times[0]).collect::<Vec<_>>();
    assert_same_times(&from_first(&before), &from_first(&after), 0.0011, what);
    let filter = "yadif=mode=send_frame:parity=auto:deint=interlaced,format=yuv420p";
    let reference = made(
        folder,
        "reference.mkv",
        &["-i", input.to_str().unwrap(), "-vf", filter, "-c:v", "ffv1"],
    );
    let pairs = yuv_frames(&reference).into_iter().zip(yuv_frames(&output));
    let alike: Vec<f64> = pairs.map(|(a, b)| psnr(&a.y, &b.y)).collect();
    println!("{what}: {alike:.1?} dB");
    // At its ends each deinterlacer makes up for the frame that is missing in its own way.
    assert!(alike[1..alike.len() - 1].iter().all(|db| *db > 36.0), "{what}: {alike:?}");
    assert!(alike.iter().all(|db| *db > 24.0), "{what}: {alike:?}");
}

#[test]
fn interlaced_video_is_whole_at_widths_whose_lines_are_padded() {
    let folder = tempfile::tempdir().unwrap();
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-x264-params", "tff=1"];
    let mpeg2 = ["-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct"];
    for size in [(720, 576), (720, 480), (544, 576), (352, 288), (1440, 1080)] {
        let input = woven(&folder, "in.ts", size, false, &h264);
        assert_deinterlaced(&folder, &input, &format!("H.264 of {size:?}"));
    }
    let input = woven(&folder, "in.mpg", (720, 576), false, &mpeg2);
    assert_deinterlaced(&folder, &input, "MPEG-2");
}

#[test]
fn bottom_field_first_video_keeps_its_frames_and_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-x264-params", "bff=1"];
    let input = woven(&folder, "in.mp4", (352, 288), true, &h264);
    assert_deinterlaced(&folder, &input, "H.264");
    for (name, size, pixels) in
        [("pal.dv", (720, 576), "yuv420p"), ("ntsc.avi", (720, 480), "yuv411p")]
    {
        let rate = if size.1 == 576 { "25" } else { "30000/1001" };
        let dv = ["-c:v", "dvvideo", "-pix_fmt", pixels, "-r", rate];
        let input = woven(&folder, name, size, true, &dv);
        assert_deinterlaced(&folder, &input, name);
    }
}

#[test]
fn progressive_video_that_is_marked_as_interlaced_keeps_its_frames() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let fake = ["-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "fake-interlaced=1"];
    for name in ["in.ts", "in.mp4"] {
        let input =
            made(&folder, name, &[&carphone_of(clip.to_str().unwrap(), "12")[..], &fake].concat());
        let output = folder.path().join("out.mp4");
        let (done, _) = converted(&input, &output, QUICK);
        assert_eq!(done.frames, 12, "{name}");
        let (before, after) = (frame_times(&input), frame_times(&output));
        let from_first = |times: &[f64]| times.iter().map(|t| t - times[0]).collect::<Vec<_>>();
        assert_same_times(&from_first(&before), &from_first(&after), 0.0011, name);
        assert!(likeness(&input, &output) > 34.0, "{name}");
    }
}
