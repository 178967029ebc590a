//! What the borrow checker stops.
