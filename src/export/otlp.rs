//! OTLP by the OpenTelemetry crates, over connections of our own.

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::ExportError;
use crate::config::{Tracing, UpstreamTls};
use crate::dial::{Dialer, TlsClient};
use crate::observe::{Said, Span, SpanMessage, SpanSink};

/// As [`super::start`].
pub(super) fn start(settings: &Tracing) -> Result<SpanSink, ExportError> {
    let origin = settings.endpoint.origin.clone();
    let tls = match origin.https {
        true => Some(TlsClient::new(&origin, &UpstreamTls::default())?),
        false => None,
    };
    let dialer = Dialer::new(origin, tls, CONNECT_LIMIT);
    let (asked, questions) = channel(1);
    let client = Client { asked };
    let headers: HashMap<String, String> = settings
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.expose().clone()))
        .collect();
    let mut exporter = Otlp::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(settings.endpoint.to_string())
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_headers(headers)
        .with_timeout(EXPORT_LIMIT)
        .build()
        .map_err(|fault| ExportError::Exporter(Box::new(fault)))?;
    exporter.set_resource(
        &Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", settings.service_name.clone()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("telemetry.sdk.language", "rust"),
            ])
            .build(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_RESOLVERS)
        .build()
        .map_err(ExportError::Thread)?;
    let (sink, queue, dropped) = SpanSink::new();
    let exporting = Exporting { exporter, dropped, batch: Vec::new(), is_failing: false };
    std::thread::Builder::new()
        .name("spans".to_owned())
        .spawn(move || {
            tokio::task::LocalSet::new().block_on(&runtime, async {
                tokio::task::spawn_local(exchange_all(dialer, questions));
                exporting.run(queue).await;
            });
            // a name look-up that still hangs must not hold the end up
            runtime.shutdown_background();
        })
        .map_err(ExportError::Thread)?;
    Ok(sink)
}

/// What the thread has.
struct Exporting {
    exporter: Otlp,
    dropped: Arc<AtomicU64>,
    batch: Vec<SpanData>,
    /// The last batch came to nothing, and that was told.
    is_failing: bool,
}

/// Why a batch is sent.
enum Due {
    Full,
    Time,
    Asked(SyncSender<()>),
    End,
}

impl Exporting {
    async fn run(mut self, mut queue: Receiver<SpanMessage>) {
        loop {
            let due = self.gather(&mut queue).await;
            self.send().await;
            match due {
                Due::Full | Due::Time => {}
                Due::Asked(done) => drop(done.try_send(())), // whoever asked may have stopped waiting
                Due::End => return,
            }
        }
    }

    /// Waits for spans until it is time to send them.
    async fn gather(&mut self, queue: &mut Receiver<SpanMessage>) -> Due {
        let mut pause = pin!(tokio::time::sleep(EVERY));
        loop {
            tokio::select! {
                message = queue.recv() => match message {
                    Some(SpanMessage::Span(span)) => {
                        if self.batch.is_empty() {
                            pause.set(tokio::time::sleep(EVERY)); // from the first span on
                        }
                        self.batch.push(data(*span));
                        if self.batch.len() >= MAX_BATCH {
                            return Due::Full;
                        }
                    }
                    Some(SpanMessage::Flush(done)) => return Due::Asked(done),
                    None => return Due::End,
                },
                () = &mut pause, if !self.batch.is_empty() => return Due::Time,
            }
        }
    }

    async fn send(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let count = batch.len() as u64;
        if count > 0 {
            let limit = EXPORT_LIMIT + CONNECT_LIMIT;
            match tokio::time::timeout(limit, self.exporter.export(batch)).await {
                Ok(Ok(())) if self.is_failing => {
                    self.is_failing = false;
                    tracing::info!("spans are exported again");
                }
                Ok(Ok(())) => {}
                Ok(Err(fault)) => self.failed(count, &fault.to_string()),
                Err(_) => self.failed(count, "the collector did not answer in time"),
            }
        }
        // counted while the collector is away, told when there is news of it
        if !self.is_failing || count > 0 {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "spans were dropped, the collector is too slow");
            }
        }
    }

    fn failed(&mut self, count: u64, error: &str) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(error, "spans cannot be exported; requests are not held up by it");
        }
    }
}

/// Has requests sent by the one task of this thread that has a connection: that cannot leave the thread, and the SDK
/// wants what could.
#[derive(Debug)]
struct Client {
    asked: Sender<Question>,
}

/// A request, and whom to tell the answer.
type Question = (Request<Bytes>, oneshot::Sender<Result<Response<Bytes>, HttpError>>);

impl HttpClient for Client {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let (told, answer) = oneshot::channel();
            self.asked.send((request, told)).await.map_err(|_| "the thread ends")?;
            answer.await?
        })
    }
}

/// One exchange a connection: there is about one batch in a second.
async fn exchange_all(dialer: Dialer, mut questions: Receiver<Question>) {
    while let Some((request, told)) = questions.recv().await {
        let answer = tokio::time::timeout(EXPORT_LIMIT, exchange(&dialer, request)).await;
        let _ = told.send(answer.unwrap_or_else(|late| Err(late.into()))); // nobody may wait any more
    }
}

async fn exchange(
    dialer: &Dialer,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let host = HeaderValue::from_str(&dialer.origin().authority)?;
    request.headers_mut().insert(header::HOST, host);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse::<Uri>()?;
    let stream = dialer.dial().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut exchange => return answer,
            // its end is what the exchange learns of it
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

/// A span in the words of the SDK.
fn data(span: Span) -> SpanData {
    let scope = InstrumentationScope::builder("tollgate").with_version(env!("CARGO_PKG_VERSION"));
    let attribute = |(name, value): (&'static str, Said)| {
        let value = match value {
            Said::Text(text) => Value::from(text),
            Said::Number(number) => Value::from(number),
        };
        KeyValue::new(name, value)
    };
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.trace),
            SpanId::from_bytes(span.id),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent_is_remote && span.parent.is_some(),
        span_kind: if span.is_client { SpanKind::Client } else { SpanKind::Server },
        name: span.name.into(),
        start_time: time(span.start),
        end_time: time(span.end.max(span.start)),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if span.failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope.build(),
    }
}

fn time(since_1970: Duration) -> SystemTime {
    UNIX_EPOCH + since_1970
}

/// Longest wait of a span for others.
const EVERY: Duration = Duration::from_secs(1);
/// Most spans of one message.
const MAX_BATCH: usize = 512;
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// For one message, with everything that is tried again.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// Longest answer, bytes: it says at most what was not taken.
const MAX_ANSWER: usize = 64 * 1024;
/// Threads for name look-ups.
const MAX_RESOLVERS: usize = 2;
