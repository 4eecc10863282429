//! Events of the program itself, by `tracing`, to the same writer as the access lines.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, Layered, SubscriberExt as _};
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use super::LogSink;
use crate::config::Log;

/// The event log of this process.
#[derive(Clone)]
pub struct Events {
    sink: LogSink,
    filter: Handle<EnvFilter, Registry>,
    form: Handle<Form, Layered<Layer<EnvFilter, Registry>, Registry>>,
}

type Form =
    Box<dyn tracing_subscriber::Layer<Layered<Layer<EnvFilter, Registry>, Registry>> + Send + Sync>;

/// Starts the event log. Later calls in one process change nothing.
///
/// # Errors
/// When the level is not a filter.
pub fn init(sink: LogSink, settings: &Log) -> Result<Events, String> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|fault| fault.to_string())?;
    let (filter, filter_handle) = Layer::new(filter);
    let (form, form_handle) = Layer::new(form(&sink, settings.json));
    // a second gateway in one process (as in tests) logs through the first one's subscriber
    let _ = tracing_subscriber::registry().with(filter).with(form).try_init();
    Ok(Events { sink, filter: filter_handle, form: form_handle })
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Events")
    }
}

impl Events {
    /// Writes as `settings` say from now on.
    pub fn configure(&self, settings: &Log) {
        // the level was judged with the rest, and where the log of another gateway is used there is nothing to change
        if let Ok(filter) = EnvFilter::try_new(&settings.level) {
            let _ = self.filter.reload(filter);
        }
        let _ = self.form.reload(form(&self.sink, settings.json));
    }
}

fn form(sink: &LogSink, json: bool) -> Form {
    let lines = fmt::layer().with_writer(ToSink(sink.clone())).with_ansi(false);
    if json { lines.json().flatten_event(true).boxed() } else { lines.with_target(false).boxed() }
}

struct ToSink(LogSink);

/// Gathers one event and hands it over whole.
struct Line {
    sink: LogSink,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for ToSink {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { sink: self.0.clone(), bytes: Vec::new() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.sink.send(std::mem::take(&mut self.bytes));
        }
    }
}
