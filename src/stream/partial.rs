//! A file that has a partial name until it is complete.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Bytes of a file's name.
const LONGEST: usize = 255;

/// `out.partial.mp4` beside `out.mp4`: an unfinished file never has its final name.
///
/// If it is dropped without [`commit`](Self::commit) or [`keep`](Self::keep), it is removed.
#[derive(Debug)]
pub struct PartialFile {
    path: PathBuf,
    target: PathBuf,
    remove: bool,
}

impl PartialFile {
    /// Creates the file beside `target`. An earlier partial file is kept: the new name then gets a number.
    ///
    /// # Errors
    /// When the folder is missing or not writable.
    pub fn beside(target: &Path) -> Result<Self, std::io::Error> {
        // If the target is a link, the file that it points to is replaced, not the link.
        let real = target.canonicalize();
        let target = real.as_deref().unwrap_or(target);
        let stem = target.file_stem().unwrap_or_default().to_string_lossy();
        let ending = target.extension().unwrap_or_default().to_string_lossy();
        // A file name has at most 255 bytes, and the partial name is longer than the final one.
        let room = LONGEST.saturating_sub(".partial-999.".len() + ending.len());
        let stem = &stem[..stem.floor_char_boundary(room.min(stem.len()))];
        for number in 1..1000 {
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let path = target.with_file_name(format!("{stem}.partial{number}.{ending}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => return Ok(PartialFile { path, target: target.to_owned(), remove: true }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::Error::new(ErrorKind::AlreadyExists, "too many partial files exist"))
    }

    /// Creates a second partial file for the same target, made from this one.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn sibling(&self) -> Result<Self, std::io::Error> {
        PartialFile::beside(&self.target)
    }

    /// The current path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The final path.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its final name, and atomically replaces a file that has it. The contents are flushed to
    /// the disk before the rename and the folder after it, so that after a loss of power at least one of the
    /// two files is complete.
    ///
    /// # Errors
    /// When it cannot be written to the disk or renamed; it then stays where it is.
    pub fn commit(mut self) -> Result<(), std::io::Error> {
        self.remove = false;
        write_back(&self.path)?;
        std::fs::rename(&self.path, &self.target)?;
        // The file is renamed; if the folder cannot be flushed (some network shares), nothing more can be
        // done.
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// Keeps the file under its partial name, unless it is empty.
    pub fn keep(mut self) -> Option<PathBuf> {
        self.remove = std::fs::metadata(&self.path).is_ok_and(|file| file.len() == 0);
        (!self.remove).then(|| self.path.clone())
    }
}

/// Flushes a file to the disk.
fn write_back(path: &Path) -> Result<(), std::io::Error> {
    match File::open(path)?.sync_all() {
        // The file system does not support flushing.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.remove {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_partial_file_is_left_alone_and_the_final_name_comes_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.mp4");
        std::fs::write(folder.path().join("out.partial.mp4"), "earlier").unwrap();
        let partial = PartialFile::beside(&target).unwrap();
        assert_eq!(partial.path().file_name().unwrap(), "out.partial-2.mp4");
        std::fs::write(partial.path(), "new").unwrap();
        assert!(!target.exists());
        partial.commit().unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "new");
        let earlier = std::fs::read_to_string(folder.path().join("out.partial.mp4")).unwrap();
        assert_eq!(earlier, "earlier");
    }

    #[test]
    fn the_longest_names_have_room_for_a_partial_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x".repeat(251), "ü".repeat(125)] {
            let target = folder.path().join(format!("{name}.mp4"));
            let partial = PartialFile::beside(&target).unwrap();
            std::fs::write(partial.path(), "new").unwrap();
            partial.commit().unwrap();
            assert!(target.exists());
        }
    }

    #[test]
    fn dropped_it_is_gone_kept_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.mkv");
        drop(PartialFile::beside(&target).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(PartialFile::beside(&target).unwrap().keep(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let partial = PartialFile::beside(&target).unwrap();
        std::fs::write(partial.path(), "something").unwrap();
        assert!(partial.keep().unwrap().exists());
        assert!(PartialFile::beside(Path::new("/nowhere/out.mp4")).is_err());
    }
}
