//! Keys on the terminal while live.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::enable_raw_mode;

use super::interrupts::Interrupts;
use super::terminal::leave_raw_mode;
use crate::core::timeouts::END_KEY_THREAD;
use crate::stream::{LiveSettings, SharedSettings, SnapshotRequest};

/// The line that explains the keys, for this number of models.
pub fn help(models: usize) -> String {
    let change = if models > 1 { "n/p next/previous model, " } else { "" };
    format!("keys: {change}+/- strength, c keep colours, h hold steady, s snapshot, q quit")
}

/// Step of the strength.
const STEP: f32 = 0.1;

/// What keys act on.
pub(super) struct Controls {
    /// The live settings.
    pub wanted: SharedSettings,
    /// Number of models to choose from.
    pub models: usize,
    /// Requests a snapshot of the next frame.
    pub snapshot: SnapshotRequest,
    /// Ends the run.
    pub interrupts: Interrupts,
}

/// Reads keys until dropped, also while the run is ending: a terminal in raw mode sends no signal for Ctrl-C. The
/// terminal is restored on drop.
pub struct Keys {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Starts a thread that reads keys; none if stdin is not a terminal.
    pub fn watch(controls: Controls) -> Option<Self> {
        if !std::io::stdin().is_terminal() || enable_raw_mode().is_err() {
            return None;
        }
        let done = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&done);
        let thread = std::thread::Builder::new().name("keys".into()).spawn(move || {
            while !end.load(Ordering::Acquire) {
                // Short enough that the end of the run is not held up.
                if !poll(Duration::from_millis(100)).unwrap_or(false) {
                    continue;
                }
                let Ok(Event::Key(key)) = read() else { continue };
                match action(key) {
                    Some(KeyAction::Interrupt) => controls.interrupts.request(),
                    Some(KeyAction::Quit) => controls.interrupts.stop().end(),
                    Some(KeyAction::Snapshot) => controls.snapshot.ask(),
                    Some(KeyAction::Change(change)) => {
                        controls.wanted.change(|settings| change(settings, controls.models));
                    }
                    None => {}
                }
            }
        });
        Some(Keys { done, thread: thread.ok() })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        let since = Instant::now();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
            && since.elapsed() < END_KEY_THREAD
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        leave_raw_mode();
    }
}

enum KeyAction {
    Interrupt,
    Quit,
    Snapshot,
    Change(fn(&mut LiveSettings, usize)),
}

fn action(key: KeyEvent) -> Option<KeyAction> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        let interrupts = matches!(key.code, KeyCode::Char('c' | 'd'));
        return interrupts.then_some(KeyAction::Interrupt);
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => KeyAction::Quit,
        KeyCode::Char('s') => KeyAction::Snapshot,
        KeyCode::Char('n') | KeyCode::Right => KeyAction::Change(|settings, models| {
            settings.model = (settings.model + 1) % models.max(1)
        }),
        KeyCode::Char('p') | KeyCode::Left => KeyAction::Change(|settings, models| {
            settings.model = (settings.model + models.max(1) - 1) % models.max(1);
        }),
        KeyCode::Char('+' | '=') | KeyCode::Up => {
            KeyAction::Change(|settings, _| strengthen(settings, STEP))
        }
        KeyCode::Char('-') | KeyCode::Down => {
            KeyAction::Change(|settings, _| strengthen(settings, -STEP))
        }
        KeyCode::Char('c') => KeyAction::Change(|settings, _| {
            settings.mix.preserve_color = !settings.mix.preserve_color
        }),
        KeyCode::Char('h') => KeyAction::Change(|settings, _| {
            settings.steady = if settings.steady > 0.0 { 0.0 } else { 1.0 }
        }),
        _ => return None,
    })
}

fn strengthen(settings: &mut LiveSettings, by: f32) {
    // Rounded to the step, so that ten steps down end at exactly 0.
    let steps = ((settings.mix.strength + by) / STEP).round();
    settings.mix.strength = (steps * STEP).clamp(0.0, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stylizer::StyleMix;

    fn press(settings: &mut LiveSettings, key: KeyCode) {
        match action(KeyEvent::new(key, KeyModifiers::NONE)) {
            Some(KeyAction::Change(change)) => change(settings, 3),
            _ => panic!("{key:?} changes nothing"),
        }
    }

    #[test]
    fn models_go_round_and_strength_stays_between_none_and_all() {
        let mut settings = LiveSettings {
            model: 0,
            scale: 1.0,
            stroke: 1.0,
            mix: StyleMix::default(),
            blend: None,
            steady: 0.0,
        };
        press(&mut settings, KeyCode::Char('p'));
        assert_eq!(settings.model, 2);
        press(&mut settings, KeyCode::Char('n'));
        assert_eq!(settings.model, 0);
        (0..12).for_each(|_| press(&mut settings, KeyCode::Char('-')));
        assert_eq!(settings.mix.strength, 0.0);
        (0..12).for_each(|_| press(&mut settings, KeyCode::Char('+')));
        assert_eq!(settings.mix.strength, 1.0);
        press(&mut settings, KeyCode::Char('c'));
        assert!(settings.mix.preserve_color);
        press(&mut settings, KeyCode::Char('h'));
        assert_eq!(settings.steady, 1.0);
        press(&mut settings, KeyCode::Char('h'));
        assert_eq!(settings.steady, 0.0);
    }

    #[test]
    fn control_c_interrupts_and_q_quits() {
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(matches!(action(interrupt), Some(KeyAction::Interrupt)));
        let quit = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        assert!(matches!(action(quit), Some(KeyAction::Quit)));
    }
}
