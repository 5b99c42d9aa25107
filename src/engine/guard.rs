//! tch reports libtorch's errors as `Err`, except in functions that take a number: when the number is
//! dropped, tch asks libtorch for the error first and panics (tch 0.24, `Scalar`). Here such a panic becomes
//! an error again.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use tch::TchError;

/// The source file of tch that panics.
const PANICKING_SOURCE_FILE: &str = "wrappers/scalar.rs";

/// Runs a computation; if tch panics because of libtorch's error, returns that error. Other panics continue.
///
/// After an error, the contents of tensors that the computation was changing are arbitrary.
pub(crate) fn guarded<T, E>(
    compute: impl FnOnce() -> Result<T, E>,
    error: impl FnOnce(TchError) -> E,
) -> Result<T, E> {
    silence();
    match catch_unwind(AssertUnwindSafe(compute)) {
        Ok(result) => result,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().filter(|text| text.contains("Torch(\""));
            match words {
                Some(text) => Err(error(TchError::Torch(libtorchs_words(text)))),
                None => std::panic::resume_unwind(panic),
            }
        }
    }
}

/// Keeps the panic's own message and stack from the terminal: the user gets one line.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            let culprit = info.location().map(Location::file);
            if !culprit.is_some_and(|file| file.ends_with(PANICKING_SOURCE_FILE)) {
                usual(info);
            }
        }));
    });
}

/// ``called `Result::unwrap()` on an `Err` value: Torch("CUDA out of memory.\nException …")`` →
/// `CUDA out of memory.`
fn libtorchs_words(text: &str) -> String {
    let words = text.split_once("Torch(\"").map_or(text, |(_, words)| words);
    let words = words.split("\\n").next().unwrap_or_default();
    words.trim_end_matches("\")").replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn an_error_with_a_number_in_hand_is_an_error_and_no_panic() {
        let rows = Tensor::ones([1, 4], (Kind::Float, Device::Cpu)).expand([3, 4], false);
        // Cannot be changed in place: three rows share their memory.
        let result = guarded(|| rows.shallow_clone().f_clamp_(0.0, 1.0), |e| e);
        let text = result.unwrap_err().to_string();
        assert!(text.contains("refers to a single memory location"), "{text}");
        assert!(!text.contains("Exception raised"), "{text}");
        assert_eq!(guarded(|| Ok::<_, TchError>(7), |e| e).unwrap(), 7);
    }

    #[test]
    fn other_panics_go_on() {
        let result = catch_unwind(|| guarded::<(), _>(|| panic!("ours"), |e| e));
        assert!(result.is_err());
    }
}
