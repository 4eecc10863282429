//! Events of the program itself, by `tracing`, to the same writer as the access lines.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::LogSink;

/// Starts the event log. Later calls in one process change nothing.
///
/// # Errors
/// When `level` is not a filter.
pub fn init(sink: LogSink, level: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|fault| fault.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(ToSink(sink))
        .with_ansi(false);
    // a second gateway in one process (as in tests) logs through the first one's subscriber
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    Ok(())
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
