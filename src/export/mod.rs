//! Sends spans to a collector: OTLP over HTTP in protobuf, from a thread of its own. A collector that is slow or away
//! costs spans, which are counted, and never a request.

#[cfg(feature = "otel")]
mod otlp;

use crate::config::Tracing;
use crate::dial::TlsSetupError;
use crate::observe::SpanSink;

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// TLS towards the collector cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The exporter does not take what it was given.
    #[error("spans cannot be exported: {0}")]
    Exporter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread or its runtime cannot be had.
    #[error("the thread that exports spans cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// This program was built without it; the configuration is refused before.
    #[error("this tollgate was built without otel")]
    NotBuilt,
}

/// Starts the thread. It ends, with what it still has sent or given up, when the last clone of the sink is gone.
///
/// # Errors
/// [`ExportError`]
#[cfg(feature = "otel")]
pub fn start(settings: &Tracing) -> Result<SpanSink, ExportError> {
    otlp::start(settings)
}

/// There is nothing to start.
///
/// # Errors
/// [`ExportError::NotBuilt`]
#[cfg(not(feature = "otel"))]
pub fn start(_: &Tracing) -> Result<SpanSink, ExportError> {
    Err(ExportError::NotBuilt)
}
