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
