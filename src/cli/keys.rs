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
use crate::stream::{LiveMonitor, LiveSettings, SharedSettings, SnapshotRequest};

/// The line that explains the keys, for these numbers of models and regions.
pub fn help(models: usize, regions: usize) -> String {
    let change = match (models, regions) {
        (_, 1) => "1 next model of the region, ".to_owned(),
        (_, 2..) => format!("1-{} next model of a region, ", regions.min(9)),
        (2.., _) => "n/p next/previous model, ".to_owned(),
        _ => String::new(),
    };
    format!("keys: {change}+/- strength, c keep colours, h hold steady, s snapshot, q quit")
}

/// Step of the strength.
const STEP: f32 = 0.1;

/// What keys act on.
pub(super) struct Controls {
    /// The live settings.
    pub wanted: SharedSettings,
    /// Knows the models to choose from.
    pub monitor: LiveMonitor,
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
                let models = controls.monitor.models().len();
                match action(key) {
                    Some(KeyAction::Interrupt) => controls.interrupts.request(),
                    Some(KeyAction::Quit) => controls.interrupts.stop().end(),
                    Some(KeyAction::Snapshot) => controls.snapshot.ask(),
                    Some(KeyAction::Change(change)) => {
                        controls.wanted.change(|settings| change(settings, models));
                    }
                    Some(KeyAction::Region(n)) => {
                        controls.wanted.change(|settings| next_model(settings, n, models));
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
    /// The next model of the region with this number, from 0.
    Region(usize),
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
            step(settings, 1, models);
        }),
        KeyCode::Char('p') | KeyCode::Left => KeyAction::Change(|settings, models| {
            step(settings, models.max(1) - 1, models);
        }),
        KeyCode::Char(digit @ '1'..='9') => KeyAction::Region(digit as usize - '1' as usize),
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

fn step(settings: &mut LiveSettings, by: usize, models: usize) {
    // With a mask each region has its own.
    if settings.regions.is_empty() {
        settings.model = (settings.model + by) % models.max(1);
    }
}

/// After the last model comes none.
fn next_model(settings: &mut LiveSettings, region: usize, models: usize) {
    if let Some(region) = settings.regions.each_mut().get_mut(region) {
        let next = region.model.map_or(0, |model| model + 1);
        region.model = (next < models).then_some(next);
    }
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
    use crate::stream::RegionSettings;

    fn press(settings: &mut LiveSettings, key: KeyCode) {
        match action(KeyEvent::new(key, KeyModifiers::NONE)) {
            Some(KeyAction::Change(change)) => change(settings, 3),
            _ => panic!("{key:?} changes nothing"),
        }
    }

    fn settings() -> LiveSettings {
        LiveSettings {
            model: 0,
            scale: 1.0,
            stroke: 1.0,
            mix: StyleMix::default(),
            blend: None,
            regions: RegionSettings::default(),
            steady: 0.0,
        }
    }

    #[test]
    fn models_go_round_and_strength_stays_between_none_and_all() {
        let mut settings = settings();
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
    fn digits_step_through_the_models_of_a_region_and_through_none() {
        let mut settings = settings();
        settings.regions = RegionSettings::of(&[Some(1), None]);
        let mut press = |digit| {
            let Some(KeyAction::Region(n)) =
                action(KeyEvent::new(KeyCode::Char(digit), KeyModifiers::NONE))
            else {
                panic!("{digit} is for no region")
            };
            next_model(&mut settings, n, 3);
            settings.regions.models()[..2].to_vec()
        };
        assert_eq!(press('1'), [Some(2), None]);
        assert_eq!(press('1'), [None, None]);
        assert_eq!(press('2'), [None, Some(0)]);
        assert_eq!(press('3'), [None, Some(0)]);
        super::step(&mut settings, 1, 3);
        assert_eq!(settings.model, 0, "which is not seen");
        assert!(help(3, 2).contains("1-2 next model of a region") && !help(3, 2).contains("n/p"));
    }

    #[test]
    fn control_c_interrupts_and_q_quits() {
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(matches!(action(interrupt), Some(KeyAction::Interrupt)));
        let quit = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        assert!(matches!(action(quit), Some(KeyAction::Quit)));
    }
}
