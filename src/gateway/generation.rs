//! What one configuration makes, for all workers: each builds its own [`super::Gateway`] of it. A reload makes the next
//! one, and what outlives it is handed on: the store, and whatever belongs to something that has not changed.

use std::io;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Settings;
use crate::export;
use crate::issuers::Issuers;
use crate::limit::Limits;
use crate::observe::{AuditLog, SpanSink};
use crate::store::{MemoryStore, Store};
use crate::tls::{TlsServer, TlsServerError};
use crate::token::{self, TokenService};
use crate::upstream::{Origins, OriginsError};

/// A configuration, set up. Whatever can fail has been done: a worker that is told of it only builds.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    pub(super) settings: Arc<Settings>,
    pub(super) tokens: Option<Arc<TokenService>>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) store: Arc<dyn Store>,
    pub(super) origins: Origins,
    pub(super) limits: Arc<Limits>,
    /// Towards clients; without it they are served in clear.
    pub(super) tls: Option<Arc<TlsServer>>,
    /// Where it is told who was let in and who was not; none where it is not told.
    pub(super) audit: Option<Arc<AuditLog>>,
    /// To whoever exports spans; none where none are made.
    pub(super) spans: Option<SpanSink>,
    pub(super) clock: Clock,
}

/// Why a configuration that was judged cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The audit log cannot be opened.
    #[error("the audit log cannot be written: {0}; see audit.output")]
    Audit(#[source] io::Error),
    /// Spans cannot be exported.
    #[error(transparent)]
    Export(#[from] export::ExportError),
    /// TLS towards clients cannot be set up.
    #[error(transparent)]
    TlsServer(#[from] TlsServerError),
    /// The ways to the upstreams cannot be set up.
    #[error(transparent)]
    Origins(#[from] OriginsError),
    /// The token service cannot be set up.
    #[error(transparent)]
    Tokens(#[from] token::StartError),
    /// The thread that asks other issuers cannot be had.
    #[error("the thread for other issuers cannot be started: {0}")]
    Issuers(#[source] io::Error),
}

impl Generation {
    /// The first one.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn first(
        settings: Settings,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Arc<Self>, SetupError> {
        let issuers = Issuers::start(&settings, &clock, None).map_err(SetupError::Issuers)?;
        let origins = Origins::start(&settings, &clock, None)?;
        Self::build(settings, issuers, origins, store, clock, None)
    }

    /// One that asks nobody and keeps nothing: to look at what `settings` would do.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn offline(settings: Settings, clock: Clock) -> Result<Arc<Self>, SetupError> {
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let settings = Settings { tracing: None, audit: None, ..settings };
        let origins = Origins::offline(&settings, &clock)?;
        Self::build(settings, Arc::default(), origins, store, clock, None)
    }

    /// The one after this, with everything that stays what it was.
    ///
    /// # Errors
    /// [`SetupError`]; this one is as good as before then.
    pub fn next(&self, settings: Settings) -> Result<Arc<Self>, SetupError> {
        let issuers = Issuers::start(&settings, &self.clock, Some(&self.issuers))
            .map_err(SetupError::Issuers)?;
        let origins = Origins::start(&settings, &self.clock, Some(&self.origins))?;
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        Self::build(settings, issuers, origins, store, clock, Some(self))
    }

    fn build(
        settings: Settings,
        issuers: Arc<Issuers>,
        origins: Origins,
        store: Arc<dyn Store>,
        clock: Clock,
        previous: Option<&Self>,
    ) -> Result<Arc<Self>, SetupError> {
        let tokens = TokenService::new(
            &settings,
            Arc::clone(&store),
            clock.clone(),
            previous.and_then(|previous| previous.tokens.as_deref()),
        )?;
        let tls = TlsServer::new(
            &settings.server.tls,
            settings.server.http2,
            &clock,
            previous.and_then(|previous| previous.tls.as_ref()),
        )?;
        let spans = spans(&settings, previous)?;
        let audit = audit(&settings, &clock, previous).map_err(SetupError::Audit)?;
        let limits = previous.map(|previous| Arc::clone(&previous.limits));
        Ok(Arc::new(Self {
            number: previous.map_or(1, |previous| previous.number + 1),
            settings: Arc::new(settings),
            tokens,
            issuers,
            store,
            spans,
            audit,
            origins,
            limits: limits.unwrap_or_else(|| Arc::new(Limits::new(clock.monotonic()))),
            tls,
            clock,
        }))
    }

    /// Where it is told who was let in and who was not.
    #[must_use]
    pub const fn audit(&self) -> Option<&Arc<AuditLog>> {
        self.audit.as_ref()
    }

    /// To whoever exports spans; none where none are made.
    #[must_use]
    pub const fn spans(&self) -> Option<&SpanSink> {
        self.spans.as_ref()
    }

    /// Counts from 1.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The issuers of the configuration, as they are reached.
    #[must_use]
    pub const fn issuers(&self) -> &Arc<Issuers> {
        &self.issuers
    }

    /// The origins of every upstream, as they are reached.
    #[must_use]
    pub const fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Where records are kept.
    #[must_use]
    pub const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The configuration.
    #[must_use]
    pub const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
}

/// The exporter of the previous configuration, if it is good for this one.
fn spans(
    settings: &Settings,
    previous: Option<&Generation>,
) -> Result<Option<SpanSink>, export::ExportError> {
    let Some(tracing) = &settings.tracing else { return Ok(None) };
    match previous.filter(|previous| previous.settings.tracing.as_ref() == Some(tracing)) {
        Some(previous) => Ok(previous.spans.clone()),
        None => export::start(tracing).map(Some),
    }
}

/// The audit log of the previous configuration, its file opened again, if it is good for this one.
fn audit(
    settings: &Settings,
    clock: &Clock,
    previous: Option<&Generation>,
) -> io::Result<Option<Arc<AuditLog>>> {
    let Some(audit) = &settings.audit else { return Ok(None) };
    let known = previous.filter(|previous| previous.settings.audit.as_ref() == Some(audit));
    match known.and_then(|known| known.audit.as_ref()) {
        Some(log) => {
            log.reopen();
            Ok(Some(Arc::clone(log)))
        }
        None => AuditLog::start(audit, clock.clone()).map(Some),
    }
}
