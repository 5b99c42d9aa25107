//! Times of frames.

use super::*;

/// A clip whose frames come at irregular times.
fn irregular(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    let clip = carphone();
    // Of 40 frames some are left out, and the others keep their times.
    let choose =
        "select='not(eq(mod(n,5),2))*not(between(n,11,17))',setpts=PTS+0.0021*random(1)/TB";
    let args = ["-vf", choose, "-fps_mode", "vfr", "-c:v", "libx264", "-preset", "ultrafast"];
    let args = [&carphone_of(clip.to_str().unwrap(), "30")[..], &args].concat();
    let args =
        [&args[..], &["-enc_time_base", "1/90000", "-video_track_timescale", "90000"]].concat();
    made(folder, name, &args)
}

#[test]
fn variable_rates_stay_variable_frame_by_frame() {
    let folder = tempfile::tempdir().unwrap();
    let clip = irregular(&folder, "in.mp4");
    let times = frame_times(&clip);
    let steps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    let longest = steps.iter().copied().fold(0.0, f64::max);
    assert!(longest > 0.2 && steps.iter().any(|&s| s < 0.04), "{steps:?}");
    // Matroska counts in milliseconds.
    for (name, tolerance) in
        [("out.mp4", 0.0001), ("out.mov", 0.0001), ("out.mkv", 0.0011), ("out.webm", 0.0011)]
    {
        let output = folder.path().join(name);
        converted(&clip, &output, QUICK);
        let from_start: Vec<f64> = times.iter().map(|t| t - times[0]).collect();
        let out = frame_times(&output);
        let out: Vec<f64> = out.iter().map(|t| t - out[0]).collect();
        assert_same_times(&from_start, &out, tolerance, name);
    }
}

#[test]
fn an_mp4_without_an_edit_list_keeps_its_last_frames_and_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let clip = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1", "-c:v", "libx264"];
    for flags in [
        &["-use_editlist", "0"][..],
        &["-movflags", "frag_keyframe"],
        &["-movflags", "frag_keyframe", "-g", "5"],
    ] {
        let input = made(&folder, "in.mp4", &[&clip, flags].concat());
        let output = folder.path().join("out.mp4");
        let (done, _) = converted(&input, &output, QUICK);
        assert_eq!(done.frames, 25, "{flags:?}");
        let (a, b) = (frame_times(&input), frame_times(&output));
        let from_start = |t: &[f64]| t.iter().map(|x| x - t[0]).collect::<Vec<_>>();
        assert_same_times(&from_start(&a), &from_start(&b), 0.0001, &flags.join(" "));
        assert_eq!(stream_field(&output, "v:0", "r_frame_rate"), "25/1", "{flags:?}");
        let described = folder.path().join("out.y4m");
        converted(&input, &described, QUICK);
        let head = std::fs::read(&described).unwrap();
        let head = String::from_utf8_lossy(&head[..60]).into_owned();
        assert!(head.contains(" F25:1 "), "{flags:?}: {head}");
        std::fs::remove_file(&described).unwrap();
        std::fs::remove_file(&output).unwrap();
    }
}

#[test]
fn interlaced_video_becomes_progressive_at_its_frame_rate() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let clip = clip.to_str().unwrap();
    // Fields half a frame apart, as a camera makes them.
    let weave =
        ["-vf", "tinterlace=interleave_top,setfield=tff", "-c:v", "mpeg2video", "-q:v", "3"];
    let weave = [&["-i", clip, "-frames:v", "30"], &weave[..], &["-flags", "+ilme+ildct"]].concat();
    for name in ["in.ts", "in.mkv"] {
        let interlaced = made(&folder, name, &weave);
        let output = folder.path().join("out.mp4");
        let (done, said) = converted(&interlaced, &output, QUICK);
        assert_eq!(done.frames as usize, frame_times(&interlaced).len(), "{name}");
        assert!(said.has("interlaced"), "{name}: {:?}", said.0);
        assert_eq!(stream_field(&output, "v:0", "field_order"), "progressive", "{name}");
        let (a, b) = (frame_times(&interlaced), frame_times(&output));
        let from_start = |t: &[f64]| t.iter().map(|x| x - t[0]).collect::<Vec<_>>();
        assert_same_times(&from_start(&a), &from_start(&b), 0.002, name);
    }
}

#[test]
fn files_without_duration_or_index_are_read_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let clip = clip.to_str().unwrap();
    let input = ["-i", clip, "-frames:v", "30"];
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast"];
    let cases: [(&str, &[&str]); 5] = [
        ("live.mkv", &["-f", "matroska", "-live", "1"]),
        ("broadcast.ts", &["-f", "mpegts"]),
        ("raw.h264", &["-f", "h264"]),
        ("fragments.mp4", &["-movflags", "frag_keyframe+empty_moov"]),
        ("flash.flv", &["-f", "flv", "-flvflags", "no_duration_filesize"]),
    ];
    for (name, how) in cases {
        let args = [&input[..], &h264, how].concat();
        let source = made(&folder, name, &args);
        let output = folder.path().join("out.mp4");
        let (done, said) = converted(&source, &output, QUICK);
        assert_eq!(done.frames, 30, "{name} {:?}", said.0);
        let times = frame_times(&output);
        assert_eq!(times.len(), 30, "{name}");
        let step = times[29] / 29.0;
        assert!((step - 1001.0 / 30000.0).abs() < 0.004, "{name}: a frame lasts {step} s");
    }
}

/// What a header says of the length of its file is not always true.
#[test]
fn a_stated_duration_that_is_too_short_cuts_nothing_off() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let clip = clip.to_str().unwrap();
    let args = ["-i", clip, "-frames:v", "30", "-c:v", "libx264", "-preset", "ultrafast"];
    // Where the duration stands: in Matroska behind its id and size, in FLV behind its name and type.
    let cases: [(&str, &[u8], f64); 2] = [
        ("in.mkv", &[0x44, 0x89, 0x88], 1000.0 * 29.0 * 1001.0 / 30000.0),
        ("in.flv", b"duration\0", 0.5),
    ];
    for (name, before, duration) in cases {
        let source = made(&folder, name, &args);
        let mut bytes = std::fs::read(&source).unwrap();
        let at = bytes.windows(before.len()).position(|w| w == before).unwrap() + before.len();
        bytes[at..at + 8].copy_from_slice(&duration.to_be_bytes());
        std::fs::write(&source, bytes).unwrap();
        let output = folder.path().join("out.mp4");
        let (done, said) = converted(&source, &output, QUICK);
        assert_eq!(done.frames, 30, "{name} {:?}", said.0);
        assert_eq!(frame_times(&output).len(), 30, "{name}");
    }
}

#[test]
fn frames_that_an_avi_leaves_out_keep_the_times_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let choose = "select='not(eq(mod(n,5),2))*not(between(n,11,17))'";
    for codec in ["zmbv", "msmpeg4", "mjpeg", "cinepak", "ffvhuff"] {
        let args = ["-r", "25", "-i", clip.to_str().unwrap(), "-frames:v", "16", "-vf", choose];
        let args = [&args[..], &["-fps_mode", "vfr", "-c:v", codec]].concat();
        let input = made(&folder, "in.avi", &args);
        let output = folder.path().join("out.mp4");
        converted(&input, &output, QUICK);
        let (before, after) = (frame_times(&input), frame_times(&output));
        assert!(before.windows(2).any(|pair| pair[1] - pair[0] > 0.2), "{before:?}");
        let from_first = |times: &[f64]| times.iter().map(|t| t - times[0]).collect::<Vec<_>>();
        assert_same_times(&from_first(&before), &from_first(&after), 0.0011, codec);
    }
}

#[test]
fn small_pictures_that_share_a_packet_of_a_program_stream_keep_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let moving = ["-i", clip.to_str().unwrap(), "-vf", "scale=64:48", "-r", "25"];
    let grey = "color=gray:s=64x48:r=25:d=4";
    // Two seconds of pictures in one packet.
    let still = ["-f", "lavfi", "-i", grey, "-f", "lavfi", "-i", "sine=d=4", "-g", "100"];
    for (name, codec, source, count) in [
        ("1.mpg", "mpeg1video", &moving[..], 99),
        ("2.mpg", "mpeg2video", &moving, 99),
        ("2.vob", "mpeg2video", &moving, 99),
        ("still.mpg", "mpeg2video", &still, 100),
    ] {
        let codec = ["-c:v", codec, "-bf", "2", "-q:v", "8"];
        let input = made(&folder, name, &[source, &codec].concat());
        let output = folder.path().join("out.mp4");
        let (done, _) = converted(&input, &output, QUICK);
        let times = frame_times(&output);
        assert_eq!(done.frames as usize, times.len(), "{name}");
        assert!(times.len() >= count, "{name}: {}", times.len());
        let even: Vec<f64> = (0..times.len()).map(|n| times[0] + n as f64 / 25.0).collect();
        assert_same_times(&even, &times, 0.001, name);
    }
}
