//! Codecs and containers.

use super::*;
use nst_stream::core::encoding::{Container, RateControl};

#[test]
fn every_codec_in_every_container_that_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, names) = (carphone(), ["h264", "hevc", "vp9", "av1"]);
    let clip = made(
        &folder,
        "in.mkv",
        &[&carphone_of(clip.to_str().unwrap(), "12")[..], &["-c", "copy"]].concat(),
    );
    let codecs = [Codec::H264, Codec::H265, Codec::Vp9, Codec::Av1];
    for ending in ["mp4", "mov", "mkv", "webm"] {
        let container = Container::from_path(Path::new(&format!("a.{ending}"))).unwrap();
        for (codec, name) in codecs.into_iter().zip(names) {
            let output = folder.path().join(format!("{name}.{ending}"));
            let what = format!("{codec} in {ending}");
            let (done, _) = convert(&clip, &output, with(codec));
            if !container.codecs().contains(&codec) {
                let error = format!("{:#}", done.unwrap_err());
                assert!(error.contains("cannot hold"), "{what}: {error}");
                assert!(!output.exists(), "{what}");
                continue;
            }
            done.unwrap_or_else(|e| panic!("{what}: {e:#}"));
            assert_eq!(stream_field(&output, "v:0", "codec_name"), name, "{what}");
            assert_eq!(size(&output), (176, 144), "{what}");
            assert_same_times(&frame_times(&clip), &frame_times(&output), 0.0011, &what);
            let alike = likeness(&clip, &output);
            println!("{what}: {alike:.1} dB");
            assert!(alike > 34.0, "{what}: {alike} dB");
            if container.is_mp4() {
                assert!(index_in_front(&output), "{what}");
            }
        }
    }
}

/// What is hard to encode needs many bits; x264enc has a limit of its own.
#[test]
fn quality_is_kept_however_many_bits_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let noise = folder.path().join("noise.mkv");
    let source = "testsrc2=s=320x240:r=25:d=2,noise=alls=60:allf=t";
    ffmpeg(&["-f", "lavfi", "-i", source, "-c:v", "ffv1", noise.to_str().unwrap()]);
    let sizes = [60, 90].map(|quality| {
        let output = folder.path().join("out.mp4");
        let encoding = Encoding { rate: RateControl::Quality(quality), ..with(Codec::H264) };
        converted(&noise, &output, encoding);
        let level: u32 = stream_field(&output, "v:0", "level").parse().unwrap();
        assert!(level <= 41, "{level}");
        std::fs::metadata(&output).unwrap().len()
    });
    // Two seconds of 2 Mbit/s are 512,000 bytes.
    assert!(sizes[0] > 800_000 && 2 * sizes[1] > 3 * sizes[0], "{sizes:?}");
}

#[test]
fn quality_and_bit_rate_decide_the_size() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [Codec::H264, Codec::H265, Codec::Vp9, Codec::Av1] {
        let sizes =
            [RateControl::Quality(20), RateControl::Quality(80), RateControl::Bitrate(100_000)]
                .map(|rate| {
                    let output = folder.path().join("out.mkv");
                    let encoding = Encoding { rate, ..with(codec) };
                    let (done, _) = converted(&carphone(), &output, encoding);
                    assert_eq!(done.frames, 120);
                    std::fs::metadata(&output).unwrap().len()
                });
        println!("{codec}: {sizes:?}");
        assert!(sizes[1] > 3 * sizes[0], "{codec}: {sizes:?}");
        // Four seconds of 100 kbit/s, and what a container costs.
        assert!((20_000..110_000).contains(&sizes[2]), "{codec}: {sizes:?}");
    }
}

/// ffmpeg's arguments for a few frames in a codec.
fn few_frames<'a>(clip: &'a Path, filter: &'a str, codec: &[&'a str]) -> Vec<&'a str> {
    let input = ["-i", clip.to_str().unwrap(), "-frames:v", "8", "-vf", filter, "-c:v"];
    [&input, codec].concat()
}

#[test]
fn what_demuxers_know_by_four_letters_alone_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let cases: [(&str, &[&str]); 9] = [
        ("ffvhuff.avi", &["ffvhuff"]),
        ("ffvhuff.mkv", &["ffvhuff"]),
        ("h265.avi", &["libx265", "-x265-params", "log-level=none:crf=12", "-vtag", "HEVC"]),
        ("vp9.avi", &["libvpx-vp9", "-deadline", "realtime"]),
        ("prores.avi", &["prores_ks"]),
        ("dnxhr.avi", &["dnxhd", "-profile:v", "dnxhr_lb", "-pix_fmt", "yuv422p", "-vtag", "AVdh"]),
        ("sorenson.avi", &["svq1"]),
        ("dnxhr_hqx.mov", &["dnxhd", "-profile:v", "dnxhr_hqx", "-pix_fmt", "yuv422p10le"]),
        ("dnxhr_444.mov", &["dnxhd", "-profile:v", "dnxhr_444", "-pix_fmt", "yuv444p10le"]),
    ];
    for (name, codec) in cases {
        let filter = if name.starts_with("dnxhr") { "scale=256:144,setsar=1" } else { "setsar=1" };
        let input = made(&folder, name, &few_frames(&clip, filter, codec));
        let output = folder.path().join("out.mp4");
        let (done, _) = converted(&input, &output, QUICK);
        assert_eq!(done.frames, 8, "{name}");
        assert_eq!(stream_field(&output, "v:0", "sample_aspect_ratio"), "1:1", "{name}");
        let reference = made(&folder, "reference.mkv", &few_frames(&clip, filter, &["ffv1"]));
        assert_eq!(size(&output), size(&reference), "{name}");
        let alike = likeness(&reference, &output);
        println!("{name}: {alike:.1} dB");
        assert!(alike > 28.0, "{name}: {alike} dB");
    }
}

#[test]
fn a_picture_that_nothing_decodes_is_named_though_there_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["in.avi", "in.mkv"] {
        let args =
            ["-f", "lavfi", "-i", "testsrc=s=64x64:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4"];
        let args = [&args[..], &["-c:v", "utvideo", "-c:a", "mp2"]].concat();
        let input = made(&folder, name, &args);
        let error = convert(&input, &folder.path().join("out.mp4"), QUICK).0.map(drop).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("cannot decode UL") && error.contains("convert it first"),
            "{error}"
        );
    }
}

#[test]
fn where_a_decoder_refuses_a_picture_the_next_one_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    for pixels in ["yuv420p", "yuv422p"] {
        let codec = ["jpeg2000", "-pix_fmt", pixels];
        let input = made(&folder, "in.mov", &few_frames(&clip, "setsar=1", &codec));
        let output = folder.path().join("out.mp4");
        let (done, _) = converted(&input, &output, QUICK);
        assert_eq!(done.frames, 8, "{pixels}");
        let alike = likeness(&input, &output);
        assert!(alike > 32.0, "{pixels}: {alike} dB");
    }
}
