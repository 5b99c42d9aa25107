//! One line of `losses.csv`.

use super::loss::LossTerms;

/// A step, as `losses.csv` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossRow {
    /// Steps done, this one among them.
    pub step: u64,
    /// Its loss terms.
    pub terms: LossTerms,
    /// Its learning rate.
    pub rate: f64,
    /// How long it took.
    pub seconds: f64,
}
