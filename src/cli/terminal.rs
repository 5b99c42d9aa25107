//! The terminal, as the program must leave it.

use crossterm::terminal::disable_raw_mode;

/// Leaves raw mode; does nothing otherwise.
pub fn leave_raw_mode() {
    let _ = disable_raw_mode();
}
