//! Habits of the API that make a GET more than a GET, or one header another: asked with GETs that change nothing.

use super::probe::{Asked, ProbeError, Seen};
use super::{Finding, Level, Patient};

/// One origin.
pub(super) async fn look(asked: &Asked, patient: &Patient<'_>, findings: &mut Vec<Finding>) {
    let outcome = async {
        findings.push(overrides(asked, patient).await?);
        findings.push(parameter(asked, patient).await?);
        findings.push(names(asked, patient).await?);
        Ok::<_, ProbeError>(())
    };
    if let Err(fault) = outcome.await {
        let found = format!("{} stopped answering: {fault}", asked.name);
        findings.push(Finding::new(Level::Warning, "upstream", found));
    }
}

/// Does a header make another method of a GET? The methods that are asked for change nothing by their meaning, or have none.
async fn overrides(asked: &Asked, patient: &Patient<'_>) -> Result<Finding, ProbeError> {
    const CHECK: &str = "method override";
    let Some(usual) = steady(asked, patient.path).await? else {
        return Ok(unsteady(CHECK, asked));
    };
    let mut obeyed = Vec::new();
    for header in ["x-http-method-override", "x-http-method", "x-method-override"] {
        for method in HARMLESS {
            let seen = asked.get(patient.path, &[(header, method)]).await?;
            if differs(&usual, &seen) {
                obeyed.push(header);
                break;
            }
        }
    }
    if obeyed.is_empty() {
        let found = format!("{} takes no GET for another method by its headers", asked.name);
        return Ok(Finding::new(Level::Ok, CHECK, found));
    }
    let found = format!(
        "{} obeys {}: the gateway takes it off requests that need no token, but who comes another way can make a GET \
         delete",
        asked.name,
        obeyed.join(", ")
    );
    Ok(Finding::new(Level::Warning, CHECK, found).mend("turn method override off in the API"))
}

/// The same by a parameter of the query, which the gateway does not touch.
async fn parameter(asked: &Asked, patient: &Patient<'_>) -> Result<Finding, ProbeError> {
    const CHECK: &str = "method override in the query";
    let join = if patient.path.contains('?') { '&' } else { '?' };
    let with = |value: &str| format!("{}{join}{value}", patient.path);
    let Some(usual) = steady(asked, &with("_tollgate=GET")).await? else {
        return Ok(unsteady(CHECK, asked));
    };
    for method in HARMLESS {
        let seen = asked.get(&with(&format!("_method={method}")), &[]).await?;
        if differs(&usual, &seen) {
            let found = format!("{} obeys `_method` in the query of a GET", asked.name);
            return Ok(Finding::new(Level::Fault, CHECK, found).mend(
                "turn it off in the API, or protect every request: access.protect = \"all\"",
            ));
        }
    }
    Ok(Finding::new(Level::Ok, CHECK, format!("{} does not obey `_method`", asked.name)))
}

/// Are `_` and `.` in a header's name read as `-`? It shows where some header makes a difference at all.
async fn names(asked: &Asked, patient: &Patient<'_>) -> Result<Finding, ProbeError> {
    const CHECK: &str = "header names";
    let Some(usual) = steady(asked, patient.path).await? else {
        return Ok(unsteady(CHECK, asked));
    };
    let mut told = false;
    for (name, value) in TELLING {
        if !differs(&usual, &asked.get(patient.path, &[(name, value)]).await?) {
            continue;
        }
        told = true;
        for (sign, folded) in [('_', name.replace('-', "_")), ('.', name.replace('-', "."))] {
            if differs(&usual, &asked.get(patient.path, &[(&folded, value)]).await?) {
                let found = format!(
                    "{} reads `{folded}` as `{name}`: the gateway takes `{sign}` spellings of identity headers away, but \
                     other headers that you filter elsewhere can come in by this door",
                    asked.name
                );
                return Ok(Finding::new(Level::Warning, CHECK, found).mend(
                    "have the API's server drop such names, as nginx and gunicorn do by default",
                ));
            }
        }
    }
    let (level, found) = match told {
        true => (Level::Ok, format!("{} keeps `_` and `.` in names apart from `-`", asked.name)),
        false => (
            Level::Note,
            format!(
                "whether {} reads `_` in names as `-` cannot be told by {}",
                asked.name, patient.path
            ),
        ),
    };
    let finding = Finding::new(level, CHECK, found);
    Ok(if told { finding } else { finding.mend("try another path with --path") })
}

/// The usual answer to a GET; none if two in a row differ.
async fn steady(asked: &Asked, path: &str) -> Result<Option<Seen>, ProbeError> {
    let first = asked.get(path, &[]).await?;
    let second = asked.get(path, &[]).await?;
    Ok((!differs(&first, &second)).then_some(second))
}

fn unsteady(check: &'static str, asked: &Asked) -> Finding {
    let found = format!("{} answers the same GET differently each time", asked.name);
    Finding::new(Level::Note, check, found).mend("try another path with --path")
}

/// Whether two answers are of different kinds: another status, or content where there was none.
fn differs(usual: &Seen, seen: &Seen) -> bool {
    usual.status != seen.status || (usual.length == 0) != (seen.length == 0)
}

/// RFC 9110 §9.2.1: safe ones; and one that nobody has.
const HARMLESS: [&str; 3] = ["OPTIONS", "HEAD", "TOLLGATE"];

/// Headers with a hyphen that change an answer where they are understood.
const TELLING: [(&str, &str); 6] = [
    ("if-none-match", "*"),
    ("if-match", "\"tollgate-doctor\""),
    ("if-modified-since", "Fri, 31 Dec 2100 00:00:00 GMT"),
    ("x-http-method-override", "TOLLGATE"),
    ("x-http-method", "TOLLGATE"),
    ("x-method-override", "TOLLGATE"),
];
