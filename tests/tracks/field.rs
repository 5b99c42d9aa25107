//! Sound as cameras, recorders and editors write it: issue 19.

use std::path::Path;
use std::process::Command;

use super::common::output;
use super::*;

/// The clip with these channels, each with a tone of its own (60 Hz in the fourth, as for an LFE).
fn with_channels(folder: &Path, name: &str, channels: usize, codec: &[&str]) -> PathBuf {
    let tone = |n: usize| {
        let pitch = if n == 3 { 60 } else { 300 + 150 * n };
        format!("0.2*sin(2*PI*{pitch}*t)*lt(mod(t+0.1*{n}\\,1)\\,0.7)")
    };
    let tones: Vec<_> = (0..channels).map(tone).collect();
    let layout = ["", "mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1"][channels];
    let sound = format!("aevalsrc='{}':s=48000:d=2:c={layout}", tones.join("|"));
    let video = match name.rsplit('.').next() {
        Some("avi") => "mpeg4",
        Some("mxf" | "vob") => "mpeg2video",
        _ => "libx264",
    };
    let mut args = vec!["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-f", "lavfi", "-i"];
    args.extend([sound.as_str(), "-c:v", video, "-pix_fmt", "yuv420p", "-strict", "-2", "-c:a"]);
    args.extend(codec);
    make(folder, name, &args)
}

/// How loud each channel of the first track is, in dB, and how long the track is, in seconds.
fn levels(path: &Path) -> (Vec<f64>, f64) {
    let channels: usize = stream_field(path, "a:0", "channels").parse().unwrap();
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(path).args(["-map", "0:a:0"]);
    command.args(["-ar", "48000", "-f", "f32le", "-"]);
    let out = output(&mut command);
    let sample = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    let samples: Vec<f64> = out.stdout.chunks_exact(4).map(sample).collect();
    let count = (samples.len() / channels).max(1) as f64;
    let level = |channel: usize| {
        let square: f64 = samples.iter().skip(channel).step_by(channels).map(|v| v * v).sum();
        10.0 * (square / count).max(1e-12).log10()
    };
    ((0..channels).map(level).collect(), count / 48_000.0)
}

/// The sound of a file comes through: every channel, as loud to 0.5 dB, as long to a packet and 20 ms.
fn assert_sounds(input: &Path, names: &[&str]) {
    let (before, length) = levels(input);
    assert!(before.iter().all(|level| *level > -40.0), "{input:?}: {before:?}");
    for name in names {
        let out = input.with_extension(name);
        let notes = convert(input, &out);
        let (after, now) = levels(&out);
        let what = format!("{input:?} to {name}: {before:?} became {after:?}; {notes:?}");
        assert_eq!(before.len(), after.len(), "{what}");
        let same = before.iter().zip(&after).all(|(before, after)| (before - after).abs() < 0.5);
        assert!(same, "{what}");
        assert!((now - length).abs() < 0.045, "{what}: {length} s became {now} s");
    }
}

#[test]
fn pcm_of_quicktime_and_mxf_is_read_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec, channels) in [
        ("f32.mov", "pcm_f32le", 2),
        ("f64.mov", "pcm_f64le", 1),
        ("s32.mov", "pcm_s32le", 6),
        ("s24.mov", "pcm_s24be", 4),
        ("five.mov", "pcm_s16le", 5),
        ("s16.mxf", "pcm_s16le", 6),
    ] {
        let input = with_channels(folder.path(), name, channels, &[codec]);
        assert_sounds(&input, &["out.mkv", "out.mp4"]);
    }
}

#[test]
fn pcm_is_encoded_for_quicktime_since_gstreamer_writes_none_and_its_channels_are_said() {
    let folder = tempfile::tempdir().unwrap();
    for (channels, coded) in [(2, "AAC:"), (8, "AAC, in 5.1 channels:")] {
        let input = with_channels(folder.path(), "in.mov", channels, &["pcm_s16le"]);
        let notes = convert(&input, &folder.path().join("out.mov"));
        let coded = format!("is encoded as {coded} GStreamer writes no PCM");
        assert_noted(&notes, &["audio track 1 (PCM)", &coded]);
        assert!(!notes.iter().any(|note| note.contains("fit into")), "{notes:?}");
    }
}

#[test]
fn adpcm_of_avi_keeps_its_length() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec, channels) in
        [("ms.avi", "adpcm_ms", 1), ("ima.avi", "adpcm_ima_wav", 1), ("two.avi", "adpcm_ms", 2)]
    {
        let input = with_channels(folder.path(), name, channels, &[codec, "-ar", "44100"]);
        assert_sounds(&input, &["out.mkv", "out.mp4"]);
    }
}

#[test]
fn sound_of_flv_comes_along_whatever_its_codec() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec) in [("a.flv", "aac"), ("b.flv", "libmp3lame"), ("c.flv", "pcm_s16le")] {
        let input = with_channels(folder.path(), name, 2, &[codec, "-ar", "44100"]);
        assert_sounds(&input, &["out.mkv", "out.mp4"]);
    }
}

#[test]
fn sound_of_transport_streams_is_known_by_its_packets() {
    let folder = tempfile::tempdir().unwrap();
    let m2ts = ["-f", "mpegts", "-mpegts_m2ts_mode", "1"];
    for (name, codec, channels, more) in [
        ("a.ts", "dca", 2, &[][..]),
        ("b.m2ts", "dca", 2, &m2ts),
        ("c.m2ts", "aac", 2, &m2ts),
        ("d.m2ts", "libmp3lame", 2, &m2ts),
        ("e.m2ts", "ac3", 6, &m2ts),
    ] {
        let input = with_channels(folder.path(), name, channels, &[&[codec], more].concat());
        assert_sounds(&input, &["out.mkv"]);
        let copied = stream_field(&input.with_extension("out.mkv"), "a:0", "codec_name");
        assert_eq!(copied, stream_field(&input, "a:0", "codec_name"), "{name}");
    }
}

#[test]
fn packets_of_opus_are_copied_whatever_they_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_channels(folder.path(), "six.mkv", 6, &["libopus", "-b:a", "384k"]);
    let before = packets(&input, "a:0");
    for name in ["out.mkv", "out.mp4"] {
        let out = folder.path().join(name);
        convert(&input, &out);
        let hashes = |all: &[Packet]| all.iter().map(|p| p.hash.clone()).collect::<Vec<_>>();
        assert_eq!(hashes(&before), hashes(&packets(&out, "a:0")), "{name}");
    }
}

#[test]
fn channels_that_an_encoder_has_no_layout_for_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let side = ["flac", "-af", "aformat=channel_layouts=5.1(side)", "-sample_fmt", "s16"];
    let input = with_channels(folder.path(), "side.mkv", 6, &side);
    assert_sounds(&input, &["out.webm", "out.mp4"]);
    let four = with_channels(folder.path(), "four.avi", 4, &["pcm_s16le"]);
    let out = folder.path().join("out.webm");
    convert(&four, &out);
    // Opus has no centre behind: it is shared by the left and the right.
    assert_eq!(stream_field(&out, "a:0", "channel_layout"), "5.0");
}

#[test]
fn aac_in_latm_is_copied_from_its_first_frame_on() {
    let folder = tempfile::tempdir().unwrap();
    let latm = ["aac", "-b:a", "192k", "-mpegts_flags", "+latm"];
    let input = with_channels(folder.path(), "a.ts", 2, &latm);
    assert_sounds(&input, &["out.mkv", "out.mp4"]);
    let plain = with_channels(folder.path(), "plain.ts", 2, &latm[..3]);
    let hashes = |path| packets(path, "a:0").iter().map(|p| p.hash.clone()).collect::<Vec<_>>();
    // What is in the frames is what FFmpeg puts into plain AAC.
    let out = plain.with_extension("mkv");
    convert(&plain, &out);
    assert_eq!(hashes(&input.with_extension("out.mkv")), hashes(&out));
}

#[test]
fn pcm_of_discs_is_read_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let decoded = |path: &Path| {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-i"]).arg(path);
        succeed(command.args(["-map", "0:a", "-c:a", "pcm_s24le", "-f", "md5", "-"]))
    };
    let m2ts = ["-f", "mpegts", "-mpegts_m2ts_mode", "1"];
    for (channels, form) in [(1, "s16"), (2, "s32"), (6, "s32"), (8, "s16")] {
        let name = format!("{channels}.m2ts");
        let codec = [&["pcm_bluray", "-sample_fmt", form][..], &m2ts].concat();
        let input = with_channels(folder.path(), &name, channels, &codec);
        let out = input.with_extension("mkv");
        convert(&input, &out);
        assert_eq!(decoded(&input), decoded(&out), "{channels} channels of {form}");
    }
    for (channels, form) in [(1, "s16"), (1, "s32"), (2, "s16"), (2, "s32"), (6, "s16")] {
        let name = format!("{channels}-{form}.vob");
        let codec = ["pcm_dvd", "-sample_fmt", form];
        let input = with_channels(folder.path(), &name, channels, &codec);
        assert_sounds(&input, &["out.mkv"]);
    }
}

#[test]
fn the_last_packet_of_tta_is_no_longer_than_its_sound() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_channels(folder.path(), "a.mkv", 2, &["tta"]);
    assert_sounds(&input, &["out.mkv"]);
    assert_eq!(stream_field(&input.with_extension("out.mkv"), "a:0", "codec_name"), "tta");
}

#[test]
fn sound_of_a_matroska_file_that_begins_late_stays_with_its_picture() {
    let folder = tempfile::tempdir().unwrap();
    let apart = |path: &Path| packets(path, "a:0")[0].at - frame_times(path)[0];
    for (offset, codec) in [("10", "ac3"), ("100000", "ac3"), ("100000", "pcm_s16le")] {
        let name = format!("{offset}-{codec}.mkv");
        let more = [codec, "-output_ts_offset", offset];
        let input = with_channels(folder.path(), &name, 2, &more);
        for name in ["out.mkv", "out.mp4"] {
            let out = input.with_extension(name);
            convert(&input, &out);
            let late = apart(&out) - apart(&input);
            // An encoder's first packet comes before the sound.
            assert!(late.abs() < 0.03, "{offset} s, {codec}, {name}: {late} s late");
        }
    }
}

#[test]
fn a_programme_map_of_several_packets_is_read_and_further_programmes_are_said_to_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let tracks = [["-map", "1:a"]; 24].concat();
    let sound = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1"];
    let codecs = ["-map", "0:v", "-c:v", "libx264", "-c:a", "dca", "-strict", "-2", "-ac", "2"];
    let long = make(folder.path(), "long.ts", &[&sound[..], &tracks, &codecs].concat());
    let out = folder.path().join("out.mkv");
    convert(&long, &out);
    let streams = probe(&out)["streams"].as_array().unwrap().len();
    assert_eq!(streams, 25);

    let programmes = ["-map", "0:v", "-map", "1:a", "-map", "0:v", "-map", "1:a"];
    let named = ["-program", "st=0:st=1", "-program", "st=2:st=3", "-c:v", "libx264"];
    let two = make(folder.path(), "two.ts", &[&sound[..], &programmes, &named].concat());
    assert_noted(&convert(&two, &out), &["1 further programme is left out"]);
}
