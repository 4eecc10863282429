//! Looks at a deployment and says what is wrong with it: what no configuration can tell, because it is about what stands
//! around the gateway. It asks the upstream and the issuers with GETs that change nothing, and reads files' permissions.
//!
//! Invariant: no finding shows a secret, and nothing is asked with a method that could change something.

mod around;
mod clocks;
mod expiry;
mod files;
mod habits;
mod probe;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::{SeenFile, Settings};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; or it could not be found out.
    Note,
    /// It will hurt one day, or hurts already under some condition.
    Warning,
    /// The gateway does not protect what it stands before, or will stop working.
    Fault,
}

/// What was found about one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Which question it answers: a stable word.
    pub check: &'static str,
    /// The answer.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn new(level: Level, check: &'static str, found: impl Into<String>) -> Self {
        Self { level, check, found: found.into(), mend: None }
    }

    fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Patient<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// Every file that it was read from.
    pub files: &'a [SeenFile],
    /// A path of the API that answers a GET.
    pub path: &'a str,
    /// This machine's time.
    pub clock: Clock,
}

/// Every finding, question by question. Takes some seconds at most for each upstream and issuer.
///
/// Call it within a `LocalSet`.
pub async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    files::look(patient, &mut findings);
    expiry::look(patient, &mut findings);
    around::exposed(patient, &mut findings);
    for origin in probe::origins(patient.settings) {
        let answered = probe::greet(&origin, patient, &mut findings).await;
        around::look(&origin, patient, &mut findings).await;
        if answered {
            habits::look(&origin, patient, &mut findings).await;
        }
    }
    clocks::look(patient, &mut findings).await;
    findings
}
