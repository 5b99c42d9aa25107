//! Training, measured against PyTorch and against itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "train/losses.rs"]
mod losses;
