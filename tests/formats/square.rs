//! Pictures have square pixels, whatever the video's are like.

use std::process::Command;

use super::*;

#[test]
fn pictures_of_anamorphic_video_have_square_pixels_and_its_shape() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    for (ratio, (width, height)) in [("16/11", (256, 144)), ("1/2", (176, 288)), ("1", (176, 144))]
    {
        let filter = format!("setsar={ratio}");
        let args =
            ["-i", clip.to_str().unwrap(), "-frames:v", "8", "-vf", &filter, "-c:v", "libx264"];
        let clip = made(&folder, "wide.mp4", &args);
        let (clip, shape) = (clip.to_str().unwrap(), (width, height));

        let pictures = folder.path().join("out-%02d.png");
        let job = VideoJob { encoding: QUICK, ..VideoJob::new(Path::new(clip), &pictures) };
        let (done, _) = route::route(&job, Identity);
        assert_eq!(done.unwrap().frames, 8);
        let first = folder.path().join("out-01.png");
        assert_eq!(image_size(&first), shape, "{ratio}: pictures");

        let preview = folder.path().join("preview.png");
        let path = preview.to_str().unwrap();
        let args = ["-m", "mosaic", "--strength", "0", "--preview", "0.1", "-i", clip, "-o", path];
        succeed(nst().args(args));
        assert_eq!(image_size(&preview), shape, "{ratio}: --preview");

        // All frames of the sheet are as wide, and as high as the shape wants.
        let sheet = folder.path().join("sheet.png");
        let args =
            ["sheet", clip, "--columns", "2", "--width", "100", "-o", sheet.to_str().unwrap()];
        succeed(nst().args(args));
        let margins = {
            let (full, _) = image_size(&sheet);
            (full - 2 * 100) / 3
        };
        let expected = 100 * height / width + 2 * margins;
        assert!(image_size(&sheet).1.abs_diff(expected) < 2, "{ratio}: sheet");
        for file in [first, preview, sheet] {
            std::fs::remove_file(file).unwrap();
        }
        for n in 2..=8 {
            std::fs::remove_file(folder.path().join(format!("out-{n:02}.png"))).unwrap();
        }
    }
}

/// Width and height of a picture, as ffprobe sees it.
fn image_size(path: &Path) -> (usize, usize) {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0"]);
    let text = succeed(ffprobe.arg(path));
    let (width, height) = text.trim().split_once(',').unwrap();
    (width.parse().unwrap(), height.parse().unwrap())
}
