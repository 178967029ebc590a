//! A subscriber that keeps the spans and events of its thread.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// A span or an event.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The name of a span, or the message of an event.
    pub name: String,
    pub target: String,
    /// The spans around it, outermost first.
    pub within: Vec<String>,
    pub fields: Fields,
    pub is_event: bool,
}

/// Values as they are printed, by name.
#[derive(Clone, Debug, Default)]
pub struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Seen {
    pub fn get(&self, field: &str) -> &str {
        self.fields.0.get(field).map_or("", String::as_str)
    }

    pub fn count(&self, field: &str) -> u64 {
        self.get(field).parse().unwrap_or_else(|_| panic!("{field} is no number in {self:?}"))
    }

    /// The name, and the fields as a line.
    pub fn line(&self) -> String {
        let fields = self.fields.0.iter().map(|(name, value)| format!(" {name}={value}"));
        self.name.clone() + &fields.collect::<String>()
    }
}

/// Everything that was seen, in the order in which it began.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

/// The place of a span among what was seen.
struct Place(usize);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let (metadata, mut fields) = (span.metadata(), Fields::default());
        span.record(&mut fields);
        let span = context.span(id).expect("the registry has it");
        let around = span.parent().map(|parent| parent.scope().from_root());
        let within = around.into_iter().flatten().map(|span| span.name().to_owned()).collect();
        let (name, target) = (metadata.name().to_owned(), metadata.target().to_owned());
        let mut seen = self.0.lock().expect("no other test panicked");
        span.extensions_mut().insert(Place(seen.len()));
        seen.push(Seen { name, target, within, fields, is_event: false });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("the registry has it");
        let extensions = span.extensions();
        let &Place(at) = extensions.get().expect("it was noted when it began");
        values.record(&mut self.0.lock().expect("no other test panicked")[at].fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let name = fields.0.remove("message").expect("every event has a message");
        let around = context.event_scope(event).map(|scope| scope.from_root());
        let within = around.into_iter().flatten().map(|span| span.name().to_owned()).collect();
        let target = event.metadata().target().to_owned();
        let seen = Seen { name, target, within, fields, is_event: true };
        self.0.lock().expect("no other test panicked").push(seen);
    }
}

/// Runs `body` and gives the spans and events of its thread.
pub fn collect<R>(body: impl FnOnce() -> R) -> (R, Vec<Seen>) {
    let collector = Collector::default();
    let subscriber = Registry::default().with(collector.clone());
    let result = tracing::subscriber::with_default(subscriber, body);
    let seen = std::mem::take(&mut *collector.0.lock().expect("no other test panicked"));
    (result, seen)
}
