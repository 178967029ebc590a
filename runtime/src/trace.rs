//! Spans and events for subscribers of the crate `tracing`.
//!
//! The layers open spans and report events through [`span`] and [`event`] alone. Without the
//! feature `tracing` both are checked by the compiler and compiled to nothing: their fields are not
//! evaluated.

use crate::LaunchError;
#[cfg(feature = "tracing")]
pub(crate) use tracing::field::debug;

/// Enters a span, with fields, until the [`Span`] that it gives is dropped.
macro_rules! span {
    ($name:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        #[cfg(feature = "tracing")]
        let span = tracing::debug_span!(target: "farptr", $name, $($field = $value),*);
        #[cfg(feature = "tracing")]
        let span = $crate::trace::Span::enter(span);
        #[cfg(not(feature = "tracing"))]
        let span = $crate::trace::Span;
        $crate::trace::unused!($($value),*);
        span
    }};
}

/// Reports an event, with fields.
macro_rules! event {
    ($level:ident, $message:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        #[cfg(feature = "tracing")]
        tracing::event!(target: "farptr", tracing::Level::$level, $($field = $value,)* $message);
        $crate::trace::unused!($($value),*);
    }};
}

/// Counts values as used without the feature, and does not evaluate them.
macro_rules! unused {
    ($($value:expr),*) => {
        #[cfg(not(feature = "tracing"))]
        if false {
            $(let _ = &$value;)*
        }
    };
}

pub(crate) use {event, span, unused};

/// The place of a field that is recorded later.
#[cfg(feature = "tracing")]
pub(crate) const LATER: tracing::field::Empty = tracing::field::Empty;
#[cfg(not(feature = "tracing"))]
pub(crate) const LATER: () = ();

/// A span, until it is dropped.
#[cfg(feature = "tracing")]
pub(crate) struct Span(tracing::span::EnteredSpan);
#[cfg(not(feature = "tracing"))]
pub(crate) struct Span;

#[cfg(feature = "tracing")]
impl Span {
    pub(crate) fn enter(span: tracing::Span) -> Self {
        Self(span.entered())
    }

    /// Gives a field its value.
    pub(crate) fn record(&self, field: &'static str, value: impl tracing::Value) {
        self.0.record(field, value);
    }
}

#[cfg(not(feature = "tracing"))]
impl Span {
    /// Gives a field its value.
    pub(crate) fn record<T>(&self, _field: &'static str, _value: T) {}
}

/// A value as its `Debug` prints it.
#[cfg(not(feature = "tracing"))]
pub(crate) fn debug<T>(value: T) -> T {
    value
}

/// Reports the failure of a launch, once for each.
pub(crate) fn failure(error: &LaunchError) {
    let source: &(dyn std::error::Error + 'static) = error;
    match error {
        LaunchError::Fault(fault) => {
            event!(WARN, "fault", kernel = fault.kernel, error = source);
        }
        LaunchError::Deadline { kernel, .. } => {
            event!(WARN, "deadline", kernel = kernel, error = source);
        }
        _ => event!(WARN, "failure", error = source),
    }
}
