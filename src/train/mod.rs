//! Training: a style picture and photographs → a model.
//!
//! * [`vgg`] (in kernels: `features`) → [`loss`]: the loss network and what is measured with it.
//! * [`recipe`]: everything that decides what is made; [`dataset`]: the photographs, `masks`: theirs;
//!   [`crop`]: what a step sees of them.
//! * [`network`], [`optimizer`]: what is trained, and how (in kernels: `painter`); [`temporal`]: so that it is steady,
//!   also on frames of videos ([`video_pairs`]).
//! * `style_pictures` → [`statistics`] → `style_predictor`: a network for the style of any picture.
//! * [`measures`]: how good a picture is; [`evaluate`]: how good a model is; [`texture_figures`]: one that makes textures;
//!   [`flicker`]: how steady a video is.
//! * [`optimize`]: a picture without a network, by optimization.
//! * [`run`]: one run (told by [`config`], opened by `open`) of [`trainer`] steps; [`checkpoint`], [`run_folder`],
//!   [`loss_row`], [`preview`], [`plot`]: what it leaves on disk.
//!
//! All randomness is a function of seed, step and index ([`random`]): a run that was stopped and
//! resumed makes, on the CPU, the very same numbers as one that never was.

pub mod checkpoint;
pub mod config;
pub mod crop;
pub mod dataset;
pub mod dataset_error;
pub mod evaluate;
mod features;
pub mod flicker;
pub mod loss;
pub mod loss_row;
mod masks;
pub mod measures;
pub mod network;
mod open;
pub mod optimize;
pub mod optimizer;
mod painter;
pub mod plot;
pub mod preview;
pub mod random;
pub mod recipe;
pub mod run;
pub mod run_folder;
pub mod statistics;
mod style_pictures;
mod style_predictor;
pub mod temporal;
pub mod texture_figures;
pub mod trainer;
pub mod vgg;
pub mod video_pairs;
