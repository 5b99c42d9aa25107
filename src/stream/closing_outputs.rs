//! The end of the outputs of a live run.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::output_end::OutputEnd;
use super::supervisor::Stage;
use crate::core::timeouts::WaitTimer;
use crate::media::{Event, PipelineRole};

/// The stage in which the outputs end, each with its own time limit.
#[derive(Default)]
pub(super) struct ClosingOutputs {
    waiting: BTreeMap<usize, (Duration, WaitTimer)>,
    ended: BTreeMap<usize, OutputEnd>,
}

impl ClosingOutputs {
    /// Waits for the end of this output, for so long at most.
    pub fn wait_for(&mut self, number: usize, limit: Duration) {
        self.waiting.insert(number, (limit, WaitTimer::new()));
    }

    fn end(&mut self, number: usize, end: OutputEnd) {
        if self.waiting.remove(&number).is_some() {
            self.ended.insert(number, end);
        }
    }
}

impl Stage for ClosingOutputs {
    type End = BTreeMap<usize, OutputEnd>;

    fn handle(&mut self, event: Event) -> ControlFlow<Self::End> {
        match event {
            Event::End(PipelineRole::Sink(number)) => self.end(number, OutputEnd::Finished),
            Event::Failed(PipelineRole::Sink(number), error) => {
                self.end(number, OutputEnd::Failed(error));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn stop_at_once(&mut self) -> Self::End {
        std::mem::take(&mut self.ended)
    }

    fn tick(&mut self) -> ControlFlow<Self::End> {
        let ended = &mut self.ended;
        self.waiting.retain(|number, (limit, patience)| {
            let over = patience.is_over(*limit);
            if over {
                ended.insert(*number, OutputEnd::OutOfTime);
            }
            !over
        });
        match self.waiting.is_empty() {
            true => ControlFlow::Break(std::mem::take(&mut self.ended)),
            false => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::supervisor::Supervisor;
    use super::*;
    use crate::core::stop::StopSignal;
    use crate::media::PipelineError;

    #[test]
    fn each_output_ends_by_itself() {
        let supervisor = Supervisor::new(&StopSignal::default());
        let mut ending = ClosingOutputs::default();
        ending.wait_for(0, Duration::from_secs(60));
        ending.wait_for(1, Duration::from_millis(50));
        ending.wait_for(3, Duration::from_secs(60));
        for event in [
            Event::End(PipelineRole::Source),
            Event::End(PipelineRole::Sink(2)),
            Event::End(PipelineRole::Sink(3)),
            Event::End(PipelineRole::Sink(3)),
            Event::Failed(PipelineRole::Sink(0), PipelineError::new("file", "the disk is full")),
        ] {
            supervisor.events().send(event).unwrap();
        }
        let ended = supervisor.supervise(ending);
        assert_eq!(ended.keys().copied().collect::<Vec<_>>(), [0, 1, 3]);
        assert!(matches!(ended[&0], OutputEnd::Failed(_)));
        assert!(matches!(ended[&1], OutputEnd::OutOfTime), "it said nothing in time");
        assert!(matches!(ended[&3], OutputEnd::Finished));
    }
}
