//! WebM that says it is transparent.

use super::*;

/// As the MediaRecorder of Chrome writes.
#[test]
fn a_webm_that_says_it_is_transparent_and_is_not_is_decoded_as_opaque() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    for encoder in ["libvpx", "libvpx-vp9"] {
        let args = ["-c:v", encoder, "-pix_fmt", "yuv420p", "-metadata:s:v:0", "alpha_mode=1"];
        let args = [&carphone_of(clip.to_str().unwrap(), "12")[..], &args].concat();
        let input = made(&folder, "in.webm", &args);
        let output = folder.path().join("out.mp4");
        let (done, said) = converted(&input, &output, QUICK);
        assert_eq!(done.frames, 12, "{encoder}");
        assert!(said.has("decoded as opaque"), "{encoder}: {:?}", said.0);
        assert!(!said.has("painted on black"), "{encoder}: {:?}", said.0);
        let alike = likeness(&input, &output);
        assert!(alike > 33.0, "{encoder}: {alike} dB");
    }
}
