//! Repairs of what GStreamer's own elements get wrong, each at a pad. Every one says which versions are
//! affected, what is wrong, how to see it, and thereby when it can go. What GStreamer does right from a version
//! on asks [`older_than`](super::older_than); of the rest, 1.26 was seen to need it.

mod caps;
mod deinterlacer;
mod flash;
mod quicktime;
mod transport;

pub(super) use caps::{complete, complete_on, repair_demuxers, usual_positions};
pub(super) use deinterlacer::one_frame_for_each;
pub(super) use quicktime::ContainerFacts;
pub(super) use transport::{is_transport_stream, repair_transport_stream};
