//! What is on the disk when a file has its name.

use super::common::{data, nst};
use super::{folder, shim};

#[test]
fn a_file_is_on_the_disk_before_it_gets_its_name_and_the_name_after_it() {
    let folder = folder();
    std::fs::copy(data("chelsea.png"), folder.path().join("cat.png")).unwrap();
    for (input, output, last) in [
        ("cat.png", "out.png", "out.partial.png"),
        ("clip.mp4", "out.mkv", "out.partial.mkv"),
        // The one with its index in front.
        ("clip.mp4", "out.mp4", "out.partial-2.mp4"),
        ("clip.mp4", "out.y4m", "out.partial.y4m"),
    ] {
        let mut command = nst();
        command.current_dir(folder.path()).args(["-m", "mosaic", "-i", input, "-o", output]);
        command.args(["--scale", "0.1"]);
        let stored = shim::stored(folder.path(), &mut command);
        let expected = [format!("fsync {last}"), format!("rename {output}"), "fsync .".to_owned()];
        assert_eq!(stored, expected, "{output}");
    }
}
