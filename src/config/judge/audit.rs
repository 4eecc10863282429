//! `[audit]`: where events go.

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::fault::nearest;
use crate::config::raw;
use crate::config::settings::{Audit, AuditOutput};
use crate::config::shape::At;

/// Where events go; `Some(None)` where they are not told.
pub(super) fn audit(
    written: Option<&At<raw::Audit>>,
    desk: &mut Desk<'_>,
) -> Option<Option<Audit>> {
    let Some(At { value: raw, place }) = written else { return Some(None) };
    if !raw.given.has("output") {
        let mend = "add output = \"file:/var/log/tollgate/audit.jsonl\", or \"stdout\", or remove the table";
        desk.report.error(*place, "[audit] has no `output`", mend);
    }
    let output = raw.output.as_ref()?;
    let text = output.value.0.as_str();
    let output = match text.strip_prefix("file:") {
        Some("") => {
            let mend = "name it, as in \"file:/var/log/tollgate/audit.jsonl\"";
            desk.report.error(output.place, "`output` names no file", mend);
            return None;
        }
        Some(path) => {
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            AuditOutput::File(desk.folder.join(path))
        }
        None => match text {
            "stdout" => AuditOutput::Stdout,
            "stderr" => AuditOutput::Stderr,
            _ => {
                let mend = match nearest(text, ["stdout", "stderr"]) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => "use stdout, stderr or file:/path".to_owned(),
                };
                let reason = format!("unknown `output`: `{}`", printable(text));
                desk.report.error(output.place, reason, mend);
                return None;
            }
        },
    };
    Some(Some(Audit { output, required: raw.required.as_ref()?.value }))
}
