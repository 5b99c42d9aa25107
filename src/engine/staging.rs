//! Page-locked memory for copying frames to a GPU while it works on the previous ones.

use std::sync::Arc;

use tch::{TchError, Tensor};

use super::device::gpu::{Gpu, Mark};

/// Two slots: one is filled while the device may still read the other.
#[derive(Debug)]
pub(super) struct Staging {
    gpu: Arc<Gpu>,
    places: [Slot; 2],
    next: usize,
}

#[derive(Debug, Default)]
struct Slot {
    memory: Option<Tensor>,
    /// The event after which the device no longer reads the slot.
    free: Option<Mark>,
}

impl Staging {
    pub(super) fn new(gpu: Arc<Gpu>) -> Self {
        Staging { gpu, places: Default::default(), next: 0 }
    }

    /// Memory of this shape that the device no longer reads.
    ///
    /// # Errors
    /// When memory is short, or the device has failed.
    pub(super) fn take(&mut self, shape: [i64; 2]) -> Result<Tensor, TchError> {
        let place = &mut self.places[self.next];
        if let Some(free) = place.free.take() {
            free.wait()?;
        }
        let fitting = place.memory.take().filter(|memory| memory.size() == shape);
        let memory = match fitting {
            Some(memory) => memory,
            None => self.gpu.staging(shape)?,
        };
        place.memory = Some(memory.shallow_clone());
        Ok(memory)
    }

    /// Records an event after all work queued so far that uses the slot taken last. The slot is free once the
    /// event has completed.
    ///
    /// # Errors
    /// When the device has failed.
    pub(super) fn mark_queued(&mut self) -> Result<Mark, TchError> {
        let mark = self.gpu.mark()?;
        self.places[self.next].free = Some(mark.clone());
        self.next = 1 - self.next;
        Ok(mark)
    }
}
