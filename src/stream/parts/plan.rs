//! The plan of a job in parts, and the files in the job's folder.
//!
//! `plan.json` says what is painted and how. For part 3 there is `part-00003.gdp`, its encoded pictures, and, once it is
//! complete, `part-00003.json`, which says what it was made from.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::core::encoding::Container;
use crate::stream::PartialFile;

/// Version of the files in a job's folder.
const FORMAT: u32 = 1;
/// Bytes at either end of a source that its checksum sees: the index of a container lies at one of them.
const ENDS: u64 = 1 << 20;
const PLAN: &str = "plan.json";

/// What is painted, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Version of the format of the job's files.
    pub format: u32,
    /// Version of the program that made the plan.
    pub program: String,
    /// The folder in which relative names of the options are looked up.
    pub folder: PathBuf,
    /// The video.
    pub source: Fingerprint,
    /// The models that paint it.
    pub models: Vec<Fingerprint>,
    /// The options of the run, as on the command line.
    pub options: Vec<String>,
    /// What computes the network, where a machine that computes in another way must not paint a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<String>,
    /// Container that the pictures are encoded for.
    pub container: Container,
    /// All frames.
    pub frames: u64,
    /// The parts, in their order.
    pub parts: Vec<Part>,
}

/// A file that must not change while a job is worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Where it is, or the name of a shipped model.
    pub name: String,
    /// Size, bytes.
    pub bytes: u64,
    /// SHA-256, in hexadecimal digits; of a video, of its first and last megabyte.
    pub sha256: String,
}

/// A part of the video. Times count from the beginning of the run, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Time of its first frame.
    pub start: u64,
    /// Time of the first frame of the next part; none: it goes to the end.
    pub end: Option<u64>,
    /// How many frames.
    pub frames: u64,
    /// Frames before the first that are painted too, and left out: what filters and `--steady` remember.
    pub lead_frames: u64,
    /// Time of the first of these; that of its first frame where there are none.
    pub lead_start: u64,
    /// CRC-32 of the times of its frames, each of 8 bytes, counted from `lead_start`.
    pub times: u32,
}

/// What a complete part says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// SHA-256 of the plan that it belongs to.
    pub plan: String,
    /// How many frames.
    pub frames: u64,
    /// Size of its packets' file, bytes.
    pub bytes: u64,
    /// SHA-256 of that file.
    pub sha256: String,
    /// What computed the network.
    pub arithmetic: String,
}

impl Part {
    /// Time of its first frame.
    pub fn start(&self) -> Duration {
        Duration::from_nanos(self.start)
    }
}

impl Fingerprint {
    /// Of a video. `name` is its whole path.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_video(path: &Path) -> Result<Self> {
        let read = || -> std::io::Result<(u64, String)> {
            let mut file = File::open(path)?;
            let bytes = file.metadata()?.len();
            let mut hash = Sha256::new();
            std::io::copy(&mut (&file).take(ENDS), &mut hash)?;
            if bytes > ENDS {
                file.seek(SeekFrom::Start(ENDS.max(bytes.saturating_sub(ENDS))))?;
                std::io::copy(&mut file, &mut hash)?;
            }
            Ok((bytes, hex(&hash.finalize())))
        };
        let name = path.display();
        let (bytes, sha256) = read().with_context(|| format!("cannot read '{name}'"))?;
        let path = path.canonicalize().with_context(|| format!("cannot read '{name}'"))?;
        let Some(name) = path.to_str().map(str::to_owned) else {
            bail!("'{name}': a plan holds names in UTF-8 only: rename it");
        };
        Ok(Fingerprint { name, bytes, sha256 })
    }

    /// Of a model, whose file has these bytes.
    pub fn of_model(name: &str, file: &[u8]) -> Self {
        Fingerprint {
            name: name.to_owned(),
            bytes: file.len() as u64,
            sha256: hex(&Sha256::digest(file)),
        }
    }

    /// Refuses a file that is another than the one of the plan.
    ///
    /// # Errors
    /// Says which file, and what to do.
    pub fn check(&self, now: &Fingerprint) -> Result<()> {
        if (self.bytes, &self.sha256) != (now.bytes, &now.sha256) {
            bail!("'{}' has changed since the job was split: split it anew", now.name);
        }
        Ok(())
    }
}

/// A job's folder.
#[derive(Debug, Clone)]
pub struct JobFolder(PathBuf);

impl JobFolder {
    /// The folder at this path.
    pub fn at(path: &Path) -> Self {
        JobFolder(path.to_owned())
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the plan is.
    pub fn plan_path(&self) -> PathBuf {
        self.0.join(PLAN)
    }

    /// The packets of a part.
    pub fn packets(&self, index: usize) -> PathBuf {
        self.0.join(format!("part-{index:05}.gdp"))
    }

    fn record_path(&self, index: usize) -> PathBuf {
        self.0.join(format!("part-{index:05}.json"))
    }

    /// Reads the plan; beside it, its SHA-256.
    ///
    /// # Errors
    /// When there is none, or it is of another version.
    pub fn plan(&self) -> Result<(JobPlan, String)> {
        let path = self.plan_path();
        let text = fs::read(&path).with_context(|| {
            format!("'{}' is no job: `nst-stream split` makes one", self.0.display())
        })?;
        let named = || format!("cannot read '{}'", path.display());
        // The version first: a later one may have other fields.
        let any: serde_json::Value = serde_json::from_slice(&text).with_context(named)?;
        match any.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            _ => bail!("'{}' was made by another version of nst-stream", path.display()),
        }
        let plan: JobPlan = serde_json::from_value(any).with_context(named)?;
        Ok((plan, hex(&Sha256::digest(&text))))
    }

    /// Makes the folder, and writes the plan into it.
    ///
    /// # Errors
    /// When it cannot be written; when it holds another job, unless `overwrite`: its files are then removed.
    pub fn create(&self, plan: &JobPlan, overwrite: bool) -> Result<()> {
        let named = || format!("cannot write '{}'", self.0.display());
        if self.plan_path().exists() && !overwrite {
            bail!("'{}' holds a job already; use --overwrite to replace it", self.0.display());
        }
        fs::create_dir_all(&self.0).with_context(named)?;
        // The plan goes first: without it the parts belong to nothing.
        let ours = |name: &str| name == PLAN || name.starts_with("part-");
        let mut old: Vec<_> = fs::read_dir(&self.0).with_context(named)?.flatten().collect();
        old.retain(|entry| entry.file_name().to_str().is_some_and(ours));
        old.sort_by_key(|entry| entry.file_name().to_str() != Some(PLAN));
        for entry in old {
            fs::remove_file(entry.path()).with_context(named)?;
        }
        write_whole(&self.plan_path(), plan).with_context(named)
    }

    /// The record of a part; none if it is not complete.
    ///
    /// # Errors
    /// When it is unreadable, or the part belongs to another plan.
    pub fn record(&self, index: usize, plan: &str) -> Result<Option<PartRecord>> {
        let path = self.record_path(index);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read '{}'", path.display()))?,
        };
        let record: PartRecord = serde_json::from_slice(&text)
            .with_context(|| format!("part {index} is damaged: '{}'", path.display()))?;
        if record.plan != plan {
            bail!("part {index} belongs to another plan");
        }
        Ok(Some(record))
    }

    /// Says that a part is complete.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub fn complete(&self, index: usize, plan: &str, frames: u64, arithmetic: &str) -> Result<()> {
        let packets = self.packets(index);
        let named = || format!("cannot read '{}'", packets.display());
        let (bytes, sha256) = sum_of(&packets).with_context(named)?;
        let (plan, arithmetic) = (plan.to_owned(), arithmetic.to_owned());
        let record = PartRecord { plan, frames, bytes, sha256, arithmetic };
        write_whole(&self.record_path(index), &record)
    }

    /// Removes what says that a part is complete.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, index: usize) -> Result<()> {
        let path = self.record_path(index);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove '{}'", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with a part; none if it is complete and whole. Reads all of its packets, for their checksum.
    pub fn fault(&self, index: usize, plan: &JobPlan, sum: &str) -> Option<String> {
        let record = match self.record(index, sum) {
            Ok(Some(record)) => record,
            Ok(None) => return Some(format!("part {index} is missing")),
            Err(error) => return Some(format!("{error:#}")),
        };
        let whole =
            sum_of(&self.packets(index)).is_ok_and(|now| now == (record.bytes, record.sha256));
        let frames = plan.parts.get(index).is_some_and(|part| part.frames == record.frames);
        (!whole || !frames).then(|| format!("part {index} is damaged"))
    }

    /// Unfinished files of a part that somebody may be working on.
    pub fn begun(&self, index: usize) -> Vec<PathBuf> {
        let begins = format!("part-{index:05}.partial");
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let named = |name: &str| name.starts_with(&begins) && name.ends_with(".gdp");
        let mut found: Vec<_> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(named))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    }
}

impl JobPlan {
    /// The version of the format that this program writes.
    pub const FORMAT: u32 = FORMAT;
}

/// Size and SHA-256 of a file.
fn sum_of(path: &Path) -> std::io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let bytes = std::io::copy(&mut File::open(path)?, &mut hash)?;
    Ok((bytes, hex(&hash.finalize())))
}

/// Writes a file of JSON; it appears whole, or not at all.
fn write_whole(path: &Path, value: &impl Serialize) -> Result<()> {
    let named = || format!("cannot write '{}'", path.display());
    let file = PartialFile::beside(path).with_context(named)?;
    let text = format!("{}\n", serde_json::to_string_pretty(value)?);
    fs::write(file.path(), text).with_context(named)?;
    file.commit().with_context(named)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
